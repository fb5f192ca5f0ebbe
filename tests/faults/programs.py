"""Programs that the campaign starts, strikes and waits for."""

import faulthandler
import multiprocessing
import os
import pkgutil
import re
import runpy
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from repose import stages

PATIENCE = 120  # seconds until a program counts as hanging
AFTERLIFE = 5  # seconds that children may live on after a program's death
_MARK = "FAULTS_PROGRAM"  # the variable by which the children of a program are found
_PRELOADED = [
    "repose.cli", "repose.systems.attend", "repose.systems.paper", "repose.inference.jobs", "repose.kubeflow.fetch",
    "repose.kubeflow.step", "repose.kubeflow.record", "repose.kubeflow.compiler", "dvclive.live", "dvc.repo.reproduce",
    "skimage.color", "torch.distributed.optim", "PIL.PngImagePlugin", "PIL.JpegImagePlugin",
    "great_expectations.expectations", "dvc_s3", "s3fs",
    *(f"repose.stages.{stage.name}" for stage in pkgutil.iter_modules(stages.__path__)),
]  # fmt: skip
# Audit events of Python that change files.
_CHANGES = (
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "os.chmod", "os.utime"
)  # fmt: skip


class Strike(NamedTuple):
    """A signal that a program sends to itself before it changes files for the `change`-th time."""

    signal: int
    change: int


class Ended(NamedTuple):
    """How a program ended."""

    code: int | None  # of the exit, negative for a signal; None: it hung and was killed
    output: str  # where it hung, too
    changes: int  # of files, by the program itself
    survivors: list[str]  # children that were still there AFTERLIFE seconds after its end

    @property
    def words(self) -> str:
        """Its exit code, our innermost line in a traceback, and the end of what it said."""
        ours = re.findall(r'File ".*/src/(\S+)", line (\d+)', self.output) if "Traceback" in self.output else []
        return (
            f"ended with {self.code}{''.join(f' in {file}:{line}' for file, line in ours[-1:])}: {self.output[-300:]}"
        )


class Running:
    """A started program, forked from a server that has imported its modules."""

    def __init__(
        self, module: str, words: Sequence[str], folder: Path, variables: Mapping[str, str], log: Path, strike: Strike | None
    ) -> None:  # fmt: skip
        self._log, self._mark = log, f"{os.getpid()}-{time.monotonic_ns()}"
        environment = {**os.environ, **variables, _MARK: self._mark}
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)  # read when the first process starts
        self._changes = context.RawValue("q", 0)
        given = (module, words, folder, environment, log, self._changes, strike, PATIENCE)
        log.write_text("")  # it may be struck before it says anything
        self._process = context.Process(target=_run, args=given)
        self._process.start()

    def wait(self, seconds: float) -> None:
        """Wait for its end, so many seconds at most."""
        self._process.join(seconds)

    def send(self, number: int, *, to_all: bool = False) -> None:
        """Send a signal to the program or, with `to_all`, to its children as well, as the end of a container does."""
        for pid in [self._process.pid or 0, *(self._children() if to_all else ())]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self) -> Ended:
        """Wait for the program and its children; kill what is left."""
        self.wait(PATIENCE + 10)
        code = self._process.exitcode
        if code is None:
            self.send(signal.SIGKILL)
            self.wait(10)
        end = time.monotonic() + AFTERLIFE
        while (children := self._children()) and time.monotonic() < end:
            time.sleep(0.05)
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return Ended(code, self._log.read_text(errors="replace").strip(), self._changes.value, [*children.values()])

    def _children(self) -> dict[int, str]:
        """The command lines of the processes that have its variable, by their numbers."""
        found, mark = {}, f"{_MARK}={self._mark}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(process.name)] = words[:200]
        return found


def _run(
    module: str, words: Sequence[str], folder: Path, environment: dict[str, str], log: Path, changes: Any,
    strike: Strike | None, patience: float,
) -> None:  # fmt: skip
    """Run a module as `python -m` does, in a process that has its modules."""
    import torch

    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, stream in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
        os.dup2(stream, number)
    faulthandler.dump_traceback_later(patience, exit=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    torch.set_num_threads(1)
    sys.path[0] = str(folder)
    sys.argv = [module, *words]
    sys.dont_write_bytecode = True

    def count(event: str, arguments: tuple[object, ...]) -> None:
        path, _, flags = arguments if event == "open" else ("", "", 0)
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) and not str(path).startswith("/dev/")
        if writes or event in _CHANGES:
            changes.value += 1
            if strike is not None and changes.value == strike.change:
                os.kill(os.getpid(), strike.signal)

    sys.addaudithook(count)
    sys.modules.pop(module, None)  # what runs is another copy of it, __main__
    runpy.run_module(module, run_name="__main__", alter_sys=True)
