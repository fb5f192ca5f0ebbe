"""Faster starts for programs that tests run: each is forked from a server that has already imported its modules.

A stage imports torch or Great Expectations for seconds, and tests of the pipeline start tens of stages. With the variables of
`environment`, `repose`, `dvc` and the step of Kubeflow send their command line, folder, variables and streams to a server,
which forks and runs the same `__main__`. Tests of imports and signals start programs without these variables.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

_COMMANDS = Path(sys.executable).parent
_DVC = [
    "dvc.cli.parser", "dvc.repo.reproduce", "dvc.repo.index", "dvc.repo.plots", "dvc.repo.datasets", "dvc.repo.artifacts",
    "dvc.data_cloud", "dvc.scm", "dvc.dvcfile", "dvc.stage.cache", "dvc.rwlock", "dvc.lock", "dvc.utils.strictyaml",
    "dvc_data.index", "dvc_s3", "s3fs",
]  # fmt: skip
_REPOSE = ["repose.cli", "typer._adapters", "PIL.PngImagePlugin", "PIL.JpegImagePlugin"]
_CHECKS = ["great_expectations.expectations"]
_TRAINED = ["repose.systems.attend", "repose.systems.paper"]
_STAGES = {  # what a command of repose imports when it runs
    "download": ["repose.stages.download"],
    "validate": [*_CHECKS, "repose.stages.validate"],
    "keypoints": [*_CHECKS, "repose.stages.keypoints"],
    "posemaps": ["repose.stages.posemaps"],
    "split": [*_CHECKS, "repose.stages.split"],
    "train": [*_TRAINED, "repose.stages.train", "torch.distributed.optim", "dvclive", "dvc.repo", "dvc.scm"],
    "evaluate": [*_TRAINED, "repose.stages.evaluate", "skimage.color", "skimage.draw"],
    "report": ["repose.stages.report"],
    "gates": ["repose.stages.gates"],
    "card": ["repose.stages.card"],
    "table": ["repose.stages.table"],
    "kfp": [*_DVC, "repose.kubeflow.compiler", "kfp.local"],
}
_PROGRAMS = {  # as the first words of their command line
    str(_COMMANDS / "dvc"): _DVC,
    str(_COMMANDS / "repose"): _REPOSE,
    "-mrepose.cli": _REPOSE,
    "-mrepose.kubeflow.step": [*_DVC, "repose.kubeflow.step"],
    "-mrepose.kubeflow.record": [*_DVC, "repose.kubeflow.record"],
}
_SHARED = "TESTS_WARM_SHARED"  # the variable with the addresses of servers that pytest's workers share


def environment() -> dict[str, str]:
    """The variables of this process, and those that let programs start from a server."""
    ours = str(Path(__file__).with_name("warm_start"))
    python_path = os.pathsep.join(filter(None, [ours, os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": python_path, "TESTS_WARM": os.environ.get(_SHARED) or json.dumps(_servers())}


def share() -> None:
    """Start the servers now, so that child processes share them; a server imports modules on the first request."""
    os.environ[_SHARED] = json.dumps(_servers())


@cache
def _servers() -> Mapping[str, str]:
    """The address of each program's server: one for repose; a small one, which forks faster, for the others."""
    large, small = _server(), _server()
    return {program: large if modules is _REPOSE else small for program, modules in _PROGRAMS.items()}


def _server() -> str:
    """The address of a new server, which ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    address = f"{folder.name}/socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(16)
    server = subprocess.Popen(
        [sys.executable, __file__, str(listener.fileno())], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        pass_fds=[listener.fileno()], start_new_session=True,
    )  # fmt: skip
    listener.close()

    def end() -> None:
        server.communicate()
        folder.cleanup()

    atexit.register(end)
    return address


def serve(listener: socket.socket) -> None:
    """Run each request in a fork, until standard input ends."""
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        size, streams, *_ = socket.recv_fds(connection, 4, 3)
        content = b""
        while len(content) < int.from_bytes(size):
            content += connection.recv(1 << 16)
        request = json.loads(content)
        _import_for(request["words"])
        gc.freeze()  # else each fork would scan all objects and copy their pages
        watcher = _fork()
        if not watcher:
            listener.close()
            job = _fork()
            if not job:
                connection.close()
                _end(_status(streams, request))
        for stream in streams:
            os.close(stream)
        if not watcher:
            _watch(job, connection)
        connection.close()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _status(streams: list[int], request: dict[str, Any]) -> int:
    """Run the program; its exit status, as Python's."""
    try:
        _run(streams, **request)
    except SystemExit as ended:
        if isinstance(ended.code, int | None):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _end(status: int) -> NoReturn:
    """Exit as Python does, but without destroying objects, which would copy all pages of the fork."""
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: those of numpy's library know of forks
        return os.fork()


def _import_for(words: list[str]) -> None:
    named = words[1:] if words[0] == "-m" else words
    modules = list(_PROGRAMS["-m" + named[0] if words[0] == "-m" else named[0]])
    if "repose.cli" in modules:
        modules += _STAGES.get(next(iter(named[1:]), ""), [])
    for module in modules:
        if module not in sys.modules:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                importlib.import_module(module)


def _watch(job: int, connection: socket.socket) -> NoReturn:
    """Answer with the exit status of the job; terminate the job if the client is gone."""
    ended = os.pidfd_open(job)
    if ended not in select.select([ended, connection], [], [])[0]:
        os.kill(job, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
    with suppress(BrokenPipeError):
        connection.sendall(status.to_bytes(4, signed=True))
    os._exit(0)


def _run(streams: list[int], *, words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Run the program as Python runs its command line."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.modules.pop(words[1], None)  # what runs is another copy of it, __main__
        sys.path[0] = folder
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[0] = str(Path(words[0]).parent)
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
