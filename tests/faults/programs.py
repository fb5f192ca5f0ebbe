"""Programs that the campaign starts, strikes and waits for."""

import multiprocessing
import os
import pkgutil
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from repose import stages

PATIENCE = 120  # seconds until a program counts as hanging
AFTERLIFE = 5  # seconds that children may live on after a program's death
_MARK = "FAULTS_PROGRAM"  # the variable by which the children of a program are found
_PRELOADED = [
    "repose.cli", "repose.systems.attend", "repose.systems.paper", "repose.inference.jobs", "repose.kubeflow.fetch",
    "repose.kubeflow.step", "repose.kubeflow.record", "repose.kubeflow.compiler", "dvclive.live", "dvc.repo.reproduce",
    "skimage.color", "skimage.draw", "torch.distributed.optim", "PIL.PngImagePlugin", "PIL.JpegImagePlugin",
    "great_expectations.expectations", "fast_zip_decryption", "requests", "boto3", "dvc_s3", "s3fs",
    *(f"repose.stages.{stage.name}" for stage in pkgutil.iter_modules(stages.__path__)),
]  # fmt: skip
# Audit events of Python that change files; the path is the first argument.
_CHANGES = {
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.utime",
}


class Program(NamedTuple):
    """What is started: a module with its words, in a folder, with variables."""

    module: str
    words: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]

    @property
    def command(self) -> str:
        return " ".join(["python", "-m", self.module, *self.words])


class Strike(NamedTuple):
    """A signal that a program sends to itself before it changes files for the `change`-th time."""

    signal: int
    change: int


@dataclass
class Ended:
    """How a program ended."""

    code: int | None  # of the exit, negative for a signal; None: it hung and was killed
    output: str
    seconds: float
    changes: int  # of files, by the program itself; 0 if it was not counted or did not get to its end
    survivors: list[str]  # children that were still there AFTERLIFE seconds after its end

    @property
    def words(self) -> str:
        """Its exit code, and the end of what it said; where it hung, or our innermost line in a traceback."""
        if self.code is None:
            return (
                f"did not end in {PATIENCE} s: {self.output.rpartition('(most recent call first):')[2].strip()[:300]}"
            )
        ours = re.findall(r'File ".*/src/(\S+)", line (\d+)', self.output) if "Traceback" in self.output else []
        how = " ".join([f"ended with {self.code}", *(f"in {file}:{line}" for file, line in ours[-1:])])
        return f"{how}: {self.output.strip()[-300:]}"


class Running:
    """A started program: forked from a server that has imported its modules or, if `cold`, as from a shell."""

    def __init__(self, program: Program, log: Path, *, cold: bool = False, strike: Strike | None = None) -> None:
        self.log, self._counted = log, log.with_suffix(".changes")
        self._mark = f"{os.getpid()}-{id(self)}-{time.monotonic_ns()}"
        self._began = time.monotonic()
        environment = {**os.environ, **program.environment, _MARK: self._mark}
        self._counted.unlink(missing_ok=True)
        log.touch()
        self._cold: subprocess.Popen[bytes] | None = None
        if cold:
            with log.open("wb") as output:
                self._cold = subprocess.Popen(
                    [sys.executable, "-m", program.module, *program.words], cwd=program.folder, env=environment,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                )  # fmt: skip
            self.pid = self._cold.pid
        else:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(_PRELOADED)  # read when the first process starts
            self._warm = context.Process(target=_run, args=(program, environment, str(log), str(self._counted), strike))
            self._warm.start()
            self.pid = self._warm.pid or 0

    def send(self, number: int, *, to_all: bool = False) -> None:
        """Send a signal to the program or, with `to_all`, to its children as well, as the end of a container does."""
        for pid in [self.pid, *(child.pid for child in (self._children() if to_all else ()))]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None if it has not ended in so many seconds."""
        if self._cold is not None:
            with suppress(subprocess.TimeoutExpired):
                self._cold.wait(seconds)
            return self._cold.returncode
        self._warm.join(seconds)
        return self._warm.exitcode

    def end(self) -> Ended:
        """Wait for the program and its children; kill what hangs."""
        code = self.wait(PATIENCE)
        seconds = time.monotonic() - self._began
        if code is None:
            self.send(signal.SIGUSR1)  # it writes where it hangs
            self.wait(1)
            self.send(signal.SIGKILL, to_all=True)
            self.wait(10)
        end = time.monotonic() + AFTERLIFE
        while (children := self._children()) and time.monotonic() < end:
            time.sleep(0.05)
        survivors = []
        for child in children:
            with suppress(psutil.Error):
                survivors.append(" ".join(child.cmdline())[:200])
                child.kill()
        changes = int(self._counted.read_text()) if self._counted.exists() else 0
        return Ended(code, self.log.read_text(errors="replace"), seconds, changes, survivors)

    def _children(self) -> list[psutil.Process]:
        """Processes of its session, and those with its variable."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if process.pid == self.pid or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if os.getsid(process.pid) == self.pid or process.environ().get(_MARK) == self._mark:
                    found.append(process)
        return found


def _run(program: Program, environment: dict[str, str], log: str, counted: str, strike: Strike | None) -> None:
    """Run a module as `python -m` does, in a process that has its modules."""
    import faulthandler

    import torch

    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(output, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(program.folder)
    torch.set_num_threads(1)
    sys.path[0] = str(program.folder)
    sys.argv = [program.module, *program.words]
    sys.dont_write_bytecode = True
    changes = _count_changes(strike)
    sys.modules.pop(program.module, None)  # what runs is another copy of it, __main__
    try:
        runpy.run_module(program.module, run_name="__main__", alter_sys=True)
    finally:
        if strike is None:
            Path(counted).write_text(str(len(changes)))


def _count_changes(strike: Strike | None) -> list[None]:
    changes: list[None] = []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)) or str(path).startswith("/dev/"):
                return
        elif event not in _CHANGES:
            return
        changes.append(None)
        if strike is not None and len(changes) == strike.change:
            os.kill(os.getpid(), strike.signal)

    sys.addaudithook(hook)
    return changes
