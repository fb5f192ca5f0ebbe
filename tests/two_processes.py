"""`repose train` of paper-m in two processes, which a test may disturb."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from repose import checkpoint
from tiny import Data, params

COMMANDS = Path(sys.executable).parent
REPOSE = str(COMMANDS / "repose")


class Training:
    """Ten steps of two items, a checkpoint after each; run and work lie in a folder of its own, where it is started."""

    def __init__(self, data: Data, folder: Path, **changes: Any) -> None:
        self.folder, self.run, self.work, self.environment = folder, folder / "run", folder / "work", dict(os.environ)
        folder.mkdir(parents=True, exist_ok=True)
        made = params(**({"train__processes": 2, "train__checkpoint_every": 1, "train__sample_every": 0} | changes))
        made["systems"]["paper-m"] |= {"items_per_step": 2, "steps": 10}
        (folder / "params.yaml").write_text(yaml.safe_dump(made))
        paths = data._asdict() | {"run": self.run, "work": self.work, "params": folder / "params.yaml"}
        self.arguments = ["train", "--system", "paper-m", *(f"--{name}={path}" for name, path in paths.items())]

    def start(self, *program: str) -> "subprocess.Popen[str]":
        """Start it, by default by `repose`."""
        command = [*(program or [REPOSE]), *self.arguments]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stderr=subprocess.PIPE, text=True)

    def step(self) -> int:
        """Steps done at the last checkpoint."""
        return max((checkpoint.read_about(f).step for f in self.work.glob("*/checkpoints/last.*")), default=0)


def ended(*processes: "subprocess.Popen[str]") -> list[tuple[int, str]]:
    """Exit status and what was said, of each; none may end with a traceback."""
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert not any("Traceback" in text for text in said), said
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]
