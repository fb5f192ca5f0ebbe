"""Faster starts for programs that tests run: each is forked from a server that has already imported its modules.

A stage imports torch or Great Expectations for seconds, and tests of the pipeline start tens of stages. With the variables of
`environment`, `repose`, `dvc` and the step of Kubeflow send their command line, folder, variables and streams to a server,
which forks and runs the same `__main__`. Tests of imports and signals start programs without these variables.
"""

import atexit
import gc
import importlib
import importlib.util
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_COMMANDS = Path(sys.executable).parent
_DVC = [
    "dvc.cli.parser", "dvc.repo.reproduce", "dvc.repo.index", "dvc.repo.plots", "dvc.repo.datasets", "dvc.repo.artifacts",
    "dvc.data_cloud", "dvc.scm", "dvc.dvcfile", "dvc.stage.cache", "dvc.rwlock", "dvc.lock", "dvc.utils.strictyaml",
    "dvc_data.index", "dvc_s3", "s3fs",
]  # fmt: skip
_REPOSE = ["repose.cli", "typer._adapters", "PIL.PngImagePlugin", "PIL.JpegImagePlugin"]
_TRAINED = ["repose.systems.attend", "repose.systems.paper", "repose.systems.surface"]
_STAGES = {  # what a command of repose imports when it runs, beside the module of its stage
    "validate": ["great_expectations.expectations"],
    "keypoints": ["great_expectations.expectations"],
    "split": ["great_expectations.expectations"],
    "train": [*_TRAINED, "torch.distributed.optim", "dvclive", "dvc.repo", "dvc.scm"],
    "evaluate": [*_TRAINED, "skimage.color", "skimage.draw"],
    "kfp": [*_DVC, "repose.kubeflow.compiler", "kfp.local"],
}
_PROGRAMS = {  # as the first words of their command line
    str(_COMMANDS / "dvc"): _DVC,
    str(_COMMANDS / "repose"): _REPOSE,
    "-mrepose.cli": _REPOSE,
    "-mrepose.kubeflow.step": [*_DVC, "repose.kubeflow.step"],
    "-mrepose.kubeflow.record": [*_DVC, "repose.kubeflow.record"],
}
_SHARED = "TESTS_WARM_SHARED"  # the variable with the address of each program's server


def environment() -> dict[str, str]:
    """The variables of this process, and those that let programs start from a server."""
    ours = str(Path(__file__).with_name("warm_start"))
    python_path = os.pathsep.join(filter(None, [ours, os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": python_path, "TESTS_WARM": os.environ[_SHARED]}


def share() -> None:
    """Start the servers for this process and its children: one for repose; a small one, which forks faster, for the others."""
    if _SHARED not in os.environ:
        large, small = _server(), _server()
        os.environ[_SHARED] = json.dumps({name: large if of is _REPOSE else small for name, of in _PROGRAMS.items()})


def _server() -> str:
    """The address of a new server, which imports modules on the first request and ends with this process."""
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
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # fork warns of threads: those of numpy's library know of it
            _import_for(request["words"])
            gc.freeze()  # else each fork would scan all objects and copy their pages
            job = os.fork()
        if not job:
            listener.close()
            _run(connection, streams, **request)
        for stream in streams:
            os.close(stream)
        connection.close()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _import_for(words: list[str]) -> None:
    program, *rest = ["-m" + words[1], *words[2:]] if words[0] == "-m" else words
    modules = list(_PROGRAMS[program])
    if "repose.cli" in modules and rest and rest[0].isidentifier():
        modules += _STAGES.get(rest[0], [])
        modules += [f"repose.stages.{rest[0]}"] * (importlib.util.find_spec(f"repose.stages.{rest[0]}") is not None)
    for module in modules:
        importlib.import_module(module)


def _run(
    connection: socket.socket, streams: list[int], *, words: list[str], folder: str, environment: dict[str, str]
) -> NoReturn:
    """Run the program as Python runs its command line, and answer with its exit status."""
    threading.Thread(
        target=lambda: connection.recv(1) or os._exit(143), daemon=True
    ).start()  # ends when the client is gone
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code: object = 0
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            sys.modules.pop(words[1], None)  # what runs is another copy of it, __main__
            sys.path[0] = folder
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            sys.path[0] = str(Path(words[0]).parent)
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code
        if not isinstance(code, int | None):
            print(code, file=sys.stderr)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    # as Python exits, but without destroying objects, which would copy all pages of the fork
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall((code if isinstance(code, int) else int(code is not None)).to_bytes(4))
    os._exit(0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
