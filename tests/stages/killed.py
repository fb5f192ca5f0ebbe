"""Training that is interrupted, or kills itself (`kill -9`) in a process of its own."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import forked
from repose import checkpoint
from repose.storage import atomic
from repose.systems.learning.adversarial import AdversarialSystem
from tiny import Data, train_tiny, unfinished


def train_until_killed(point: str, data: Data, run: Path, system: str, changes: dict[str, Any]) -> None:
    """Run `train_tiny`; it must die at the point."""
    child = forked.start(_train, point, data, run, system, changes)
    child.join()
    assert child.exitcode == -signal.SIGKILL, f"{point}: exit code {child.exitcode}"


def _train(point: str, data: Data, run: Path, system: str, changes: dict[str, Any]) -> None:
    POINTS[point](run)
    train_tiny(data, run, system, **changes)


def _kill(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _on_call(owner: Any, name: str, number: int, doing: Callable[..., None]) -> None:
    """Have call number so-and-so of a function first do something else."""
    real, calls = getattr(owner, name), []

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(None)
        if len(calls) == number:
            doing(*arguments, **named)
        return real(*arguments, **named)

    setattr(owner, name, counted)


def _while_a_checkpoint_is_written(run: Path) -> None:
    """The second: half its bytes are there, and a hidden file as safetensors writes it."""
    real, seen = atomic._flush_to_disk, []

    def flush(file: Path) -> None:
        if file.name.startswith(".last.safetensors."):
            seen.append(file)
            if len(seen) == 2:
                os.truncate(file, file.stat().st_size // 2)
                (file.parent / ".tmpAb12Cd").write_bytes(b"begun")
                _kill()
        real(file)

    atomic._flush_to_disk = flush


def _just_after_a_checkpoint(run: Path) -> None:
    real = checkpoint.save

    def save(path: Path, *arguments: Any, **named: Any) -> None:
        real(path, *arguments, **named)
        _kill()

    checkpoint.save = save


def _before_the_run_is_renamed(run: Path) -> None:
    def rename(path: Path, target: Path) -> None:
        assert target == run
        _kill()

    Path.rename = rename


def _before_the_state_is_kept(run: Path) -> None:
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if "finished" in target.parts:
            _kill()
        return real(path, target)

    Path.rename = rename


def _while_an_earlier_state_is_removed(run: Path) -> None:
    earlier = run.parent / "work" / "finished" / run.name / "of other settings"
    (earlier / "checkpoints").mkdir(parents=True)
    (earlier / "checkpoints" / "last.safetensors").write_bytes(b"of a whole checkpoint")
    real = shutil.rmtree

    def rmtree(path: Path, **named: Any) -> None:
        if path == earlier:
            assert list(earlier.glob("*/*")) == []
            _kill()
        real(path, **named)

    shutil.rmtree = rmtree


POINTS: dict[str, Callable[[Path], None]] = {
    "before the first checkpoint": lambda _: _on_call(AdversarialSystem, "step", 2, _kill),
    "between two checkpoints": lambda _: _on_call(AdversarialSystem, "step", 4, _kill),
    "while a checkpoint is written": _while_a_checkpoint_is_written,
    "between history and checkpoint": lambda _: _on_call(checkpoint, "save", 2, _kill),
    "just after a checkpoint": _just_after_a_checkpoint,
    "before the run is renamed": _before_the_run_is_renamed,
    "before the state is kept": _before_the_state_is_kept,
    "while an earlier state is removed": _while_an_earlier_state_is_removed,
}


def on_step(
    monkeypatch: pytest.MonkeyPatch, number: int, doing: Callable[[AdversarialSystem, dict[str, Any]], None]
) -> None:
    """After so many steps in this process, do something with the system and the terms that the step returns."""
    real, calls = AdversarialSystem.step, []

    def step(self: AdversarialSystem, *arguments: Any) -> dict[str, torch.Tensor]:
        terms = real(self, *arguments)
        calls.append(None)
        if len(calls) == number:
            doing(self, terms)
        return terms

    monkeypatch.setattr(AdversarialSystem, "step", step)


def train_interrupted(monkeypatch: pytest.MonkeyPatch, data: Data, run: Path, **changes: Any) -> None:
    """Ctrl-C in the third step."""
    with monkeypatch.context() as patched:
        on_step(patched, 3, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            train_tiny(data, run, **changes)


def the_work(run: Path) -> Path:
    (place,) = unfinished(run.parent / "work")
    return place


def steps_of(file: Path) -> int:
    return checkpoint.read_about(file).step
