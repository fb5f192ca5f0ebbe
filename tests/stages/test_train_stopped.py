"""Commands that are stopped by SIGTERM or SIGKILL, or started twice: no process stays, and the first is not disturbed."""

import inspect
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from killed import _on_call

import forked
from processes import until
from repose import cli
from repose.data.raw import RawFiles
from repose.errors import ReposeError
from repose.storage.atomic import locked
from repose.systems.learning.adversarial import AdversarialSystem
from tiny import PARAMS, Data, files_in, params, train_tiny, unfinished
from two_processes import REPOSE, Training

SECONDS = 5  # for all processes to end
SIGNALS = pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
pytestmark = pytest.mark.usefixtures("outside_git")


def stopped(pid: int, ready: Callable[[], bool], stop: signal.Signals) -> int:
    """Stop a process when it is ready, and wait for all that it started; their number."""
    until(ready)
    children = psutil.Process(pid).children(recursive=True)
    os.kill(pid, stop)
    _, alive = psutil.wait_procs(children, SECONDS)
    left = [child for child in alive if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    for child in left:
        child.kill()
    assert not left
    return len(children)


# ---- download ----


def download(folder: Path, workers: int, items: int) -> "subprocess.Popen[str]":
    made = params(download__workers=workers, download__mannequin__items=items)
    (folder / "params.yaml").write_text(yaml.safe_dump(made))
    command = [REPOSE, "download", "--raw", "data/raw", "--transfers", "work/transfers"]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)


@SIGNALS
def test_a_download_leaves_no_process_and_its_partial_folder_goes(tmp_path, stop):
    process = download(tmp_path, workers=2, items=2000)
    rendered = "data/.raw.*.partial/photos/*.tar"
    count = stopped(process.pid, lambda: any(file.stat().st_size for file in tmp_path.glob(rendered)), stop)
    process.communicate()
    assert (process.returncode, count >= 3) == (-stop, True)  # the fork server, too
    assert len(list((tmp_path / "data").glob(".raw.*.partial"))) == 1
    said = download(tmp_path, workers=1, items=2).communicate(timeout=60)[1]
    assert "in data/raw" in said
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw"]
    assert list((tmp_path / "work").iterdir()) == []


def test_two_downloads_at_once_take_turns(tmp_path):
    processes = [download(tmp_path, workers=1, items=2) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert all("in data/raw" in text for text in said)
    assert RawFiles(tmp_path / "data" / "raw").names
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw"]


OUTPUTS = {
    "download": ("raw", "transfers"), "validate": ("images", "report"), "keypoints": ("keypoints", "report", "work"),
    "split": ("split", "report"), "evaluate": ("results", "metrics"),
}  # fmt: skip


@pytest.mark.parametrize("command", OUTPUTS)
def test_a_command_has_all_its_outputs_locked_while_it_runs(tmp_path, monkeypatch, command):
    stage, held = import_module(f"repose.stages.{command}"), []

    def try_to_lock(path: Path) -> None:
        with pytest.raises(ReposeError, match="is in use by"), locked(path, wait=False):
            pass
        held.append(path.name)

    def run(**given: Any) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(try_to_lock, [given[name] for name in OUTPUTS[command]]))

    monkeypatch.setattr(stage, "run", run)
    options = inspect.signature(getattr(cli, command)).parameters.keys() - {"params", "system"}
    words = [f"--{name}={tmp_path / name}" for name in options]
    cli.app([command, f"--params={PARAMS}", *words], standalone_mode=False)
    assert sorted(held) == sorted(OUTPUTS[command])
    assert list(tmp_path.iterdir()) == []


# ---- train ----


def train_and_wait(data: Data, run: Path, workers: int) -> None:
    """Train; wait before the third step until there is a file `go`."""
    go, waits = run.parent / "go", run.parent / "waits"

    def wait(*_: object) -> None:
        waits.touch()
        until(go.exists)

    _on_call(AdversarialSystem, "step", 3, wait)
    train_tiny(data, run, workers=workers)


@SIGNALS
def test_training_leaves_no_process(data, tmp_path, stop):
    child = forked.start(train_and_wait, data, tmp_path / "attend", 2)
    assert stopped(child.pid, (tmp_path / "waits").exists, stop) >= 2
    child.join()
    assert child.exitcode == -stop


@SIGNALS
@pytest.mark.slow
def test_training_in_two_processes_leaves_none(data, tmp_path, stop):
    training = Training(data, tmp_path, train__workers=1)
    process = training.start()
    assert stopped(process.pid, lambda: training.step() > 0, stop) >= 4  # of torchrun, and a worker of each
    process.communicate()
    assert process.returncode == -stop
    assert not training.run.exists()


def test_a_second_training_is_told_who_is_there_and_the_first_is_not_disturbed(data, runs, tmp_path):
    run = tmp_path / "attend"
    first = forked.start(train_and_wait, data, run, 0)
    until((tmp_path / "waits").exists)
    who = f"work/attend is in use by process {first.pid} on {socket.gethostname()} since "
    for changes in ({}, {"seed": 7}):
        with pytest.raises(ReposeError, match=who):
            train_tiny(data, tmp_path / "other", **changes)
    train_tiny(data, tmp_path / "paper-m", "paper-m", row_changes={"steps": 1})  # another system may
    (tmp_path / "go").touch()
    first.join()
    assert first.exitcode == 0
    assert files_in(run) == files_in(runs / "attend")
    assert unfinished(tmp_path / "work") == []


def test_links_in_the_work_are_not_followed(data, runs, tmp_path):
    theirs, finished = tmp_path / "theirs", tmp_path / "work" / "finished" / "attend" / "earlier"
    (theirs / "checkpoints").mkdir(parents=True)
    (theirs / "checkpoints" / "last.safetensors").touch()
    finished.parent.mkdir(parents=True)
    finished.symlink_to(theirs)
    child = forked.start(train_tiny, data, tmp_path / "attend")
    child.join(60)
    assert child.exitcode == 0
    assert files_in(tmp_path / "attend") == files_in(runs / "attend")
    assert list(files_in(theirs)) == ["checkpoints/last.safetensors"]
    assert not finished.is_symlink()


def test_a_folder_of_other_files_is_not_replaced_by_a_run(data, tmp_path):
    (tmp_path / "attend").mkdir()
    (tmp_path / "attend" / "letter.odt").touch()
    with pytest.raises(ReposeError, match=r"attend contains letter\.odt, so it is not an earlier output"):
        train_tiny(data, tmp_path / "attend")
    assert [path.name for path in tmp_path.iterdir()] == ["attend"]  # before the first step
