"""The results of the parts of the campaign, and docs/faults.md, which is made from them."""

import json
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".faults"
PAGE = ROOT / "docs" / "faults.md"
MINUTES = 10.0  # of each area of fuzz
PARTS = {
    "kills": 200,
    "terms": 50,
    "disk": 50,
    "twice": 50,
    "s3": 100,
    "fuzz": 6,
}  # with the number of rounds, or areas
_WORDS = {
    "kills": (
        "SIGKILL",
        "A command is killed at a random moment, or before a random change of a file, in one of five rounds twice. Afterwards its "
        "outputs must be absent, old or whole, no other file may have changed, and no child may live on for 5 s. The same "
        "command again must end with the bytes of an undisturbed run, in the whole folder.",
    ),
    "terms": ("SIGTERM", "The same with SIGTERM, without a traceback."),
    "disk": (
        "Full disk",
        "A command runs on a disk (tmpfs) that is too small by a random number of bytes. It must end with a message about the "
        "disk; with more space, the same command must end with the bytes of an undisturbed run.",
    ),
    "twice": (
        "Two at once",
        "A command is started twice within 50 ms in the same folder. Each must do its work, or end with a message that names "
        "the other; the bytes must be those of an undisturbed run.",
    ),
    "s3": (
        "S3",
        "A command uses SeaweedFS, a real S3 server, through a proxy that cuts, slows, delays, refuses or falsifies answers. "
        "It must end, or say why not, within two minutes; no object may be lost or half-written, and the same command without "
        "faults must end with the files and the bucket of an undisturbed run.",
    ),
    "fuzz": (
        "Damaged files",
        f"Valid files are damaged and read for {MINUTES:g} minutes per area. A function may only return or raise a ReposeError, "
        "within 5 s, and with at most 512 MiB of memory more than at its start.",
    ),
}  # fmt: skip


class Results:
    """What the rounds of a part did, in a file that is written after each."""

    def __init__(self, part: str, seed: int, rounds: dict[str, Any], seconds: float = 0) -> None:
        self.part, self.seed, self.rounds, self.seconds, self._lock = part, seed, rounds, seconds, threading.Lock()

    @classmethod
    def open(cls, part: str, seed: int, again: bool) -> "Results":
        """The results of this commit so far, unless it is to run again or has uncommitted changes."""
        kept, now = read(part), commit()
        if again or kept is None or (kept["commit"], kept["seed"]) != (now, seed) or now.endswith("-dirty"):
            return cls(part, seed, {})
        return cls(part, seed, kept["rounds"], kept["seconds"])

    def __contains__(self, name: object) -> bool:
        return str(name) in self.rounds

    def add(self, name: object, case: str, how: str, problems: list[str]) -> None:
        with self._lock:
            self.rounds[str(name)] = {"case": case, "how": how, "problems": problems}
            self._write()

    def took(self, seconds: float) -> None:
        self.seconds += seconds
        self._write()

    def _write(self) -> None:
        FOLDER.mkdir(exist_ok=True)
        content = {
            "part": self.part,
            "commit": commit(),
            "seed": self.seed,
            "seconds": self.seconds,
            "rounds": self.rounds,
        }
        (FOLDER / f"{self.part}.json").write_text(json.dumps(content, indent=1))


def read(part: str) -> dict[str, Any] | None:
    """The results of a part; None if it was not run."""
    file = FOLDER / f"{part}.json"
    found: dict[str, Any] | None = json.loads(file.read_text()) if file.exists() else None
    return found


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    return subprocess.run(command, cwd=ROOT, check=True, text=True, capture_output=True).stdout.strip()


def write() -> None:
    PAGE.write_text(text({part: read(part) for part in PARTS}))


def text(results: dict[str, dict[str, Any] | None]) -> str:
    """The page of these results."""
    lines = [
        "# Faults", "",
        "What repose survives. `make test-faults` runs all of it, in about an hour on two cores, and writes this page; it needs "
        "Linux and root. A part or a round runs alone with `PYTHONPATH=tests python -m faults kills --first 17 --rounds 1 --seed 0`; "
        "`--help` shows the rest. Results are kept in `.faults/`, and `python -m faults page` makes this page from them.", "",
        "| part | rounds | survived | commit | minutes |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for part, found in results.items():
        title, wanted = _WORDS[part][0], PARTS[part]
        if found is None:
            lines.append(f"| {title} | not run | | | |")
            continue
        done, bad = len(found["rounds"]), sum(bool(each["problems"]) for each in found["rounds"].values())
        of = f"{done}" if done >= wanted else f"{done} of {wanted}"
        lines.append(f"| {title} | {of} | {done - bad} | {found['commit']} | {found['seconds'] / 60:.0f} |")
    for part, found in results.items():
        lines += ["", f"## {_WORDS[part][0]}", "", _WORDS[part][1]]
        lines += ["", "Not run."] if found is None else _part(found)
    return "\n".join(lines) + "\n"


def _part(found: dict[str, Any]) -> list[str]:
    rounds, lines = found["rounds"], [""]
    if found["part"] == "fuzz":
        lines += [f"- {each['case']}: {each['how']}" for each in rounds.values()]
    else:
        counts = Counter(each["case"] for each in rounds.values())
        lines.append(f"Rounds: {', '.join(f'{case} {count}' for case, count in counts.items())}.")
    bad = {name: each for name, each in rounds.items() if each["problems"]}
    if bad:
        lines += ["", f"Failures, with seed {found['seed']}:", ""]
        for name, each in bad.items():
            shown = [" ".join(problem.split())[:300].replace("`", "'") for problem in each["problems"]]
            lines += [f"- {name}, {each['case']} ({each['how']}): `{shown[0]}`"] if found["part"] != "fuzz" else []
            lines += [f"- {name}: `{problem}`" for problem in shown] if found["part"] == "fuzz" else []
    return lines
