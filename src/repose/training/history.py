"""The course of a training run: each term of the loss, averaged over the steps since the last row.

The rows are kept in `history.csv` and, where DVCLive is installed, in the form that `dvc metrics` and `dvc plots` read. A
run that goes on from a checkpoint first drops the rows that came after it.
"""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from repose.errors import ReposeError
from repose.storage.atomic import write_text
from repose.terminal import say


class History:
    """Collects the terms of each step; `log` makes a row of those since the last one."""

    def __init__(self, folder: Path, start: int) -> None:
        self._file = folder / "history.csv"
        self._rows: list[dict[str, float]] = _rows_until(self._file, start)
        self._since: list[dict[str, Tensor]] = []  # the terms of the steps since the last row, on their device
        self._checked, self._step = 0, start
        self._live = _dvclive(folder / "live")
        for row in self._rows:
            self._to_live(row)
        self._summarise_live()

    @property
    def latest(self) -> dict[str, float]:
        """The last row; empty before the first."""
        return self._rows[-1] if self._rows else {}

    def add(self, step: int, terms: dict[str, Tensor]) -> None:
        """Remember the terms of a step (scalars on any device)."""
        self._since.append(terms)
        self._step = step

    def check_finite(self, system: str, checkpoint: Path) -> None:
        """Look at the terms that came since the last look.

        Raises:
            ReposeError: one is NaN or infinite: which, at which step, and what is kept.
        """
        new = self._since[self._checked :]
        if new:
            finite = torch.stack([torch.stack(list(terms.values())).isfinite() for terms in new]).cpu()
            if not finite.all():
                row, column = (int(i) for i in finite.logical_not().nonzero()[0])
                name = list(new[row])[column]
                raise ReposeError(
                    _not_finite(system, name, self._step - len(new) + 1 + row, new[row][name], checkpoint)
                )
        self._checked = len(self._since)

    def log(self, step: int) -> None:
        """Make a row of the means since the last one."""
        means = torch.stack([torch.stack(list(terms.values())).double() for terms in self._since]).mean(0).tolist()
        row = {"step": float(step), **dict(zip(self._since[0], means, strict=True))}
        self._rows.append(row)
        self._to_live(row)
        self._summarise_live()
        self._since, self._checked = [], 0

    def write(self) -> None:
        """Write history.csv, whole."""
        table = pd.DataFrame(self._rows).astype({"step": int})
        write_text(self._file, table.to_csv(index=False, lineterminator="\n"))

    def _to_live(self, row: dict[str, float]) -> None:
        if self._live is not None:
            self._live.step = int(row["step"])
            for name, value in row.items():
                if name != "step":
                    self._live.log_metric(f"train/{name}", value)

    def _summarise_live(self) -> None:
        if self._live is not None and self._rows:
            self._live.make_summary()


def _rows_until(file: Path, step: int) -> list[dict[str, float]]:
    if step == 0 or not file.exists():
        return []
    table = pd.read_csv(file, dtype=str)  # Python's float is exact, that of older pandas is not
    rows = [{str(name): float(value) for name, value in row.items()} for row in table.to_dict("records")]
    return [row for row in rows if row["step"] <= step]


def _dvclive(folder: Path) -> Any:
    if find_spec("dvclive") is None:
        say("dvclive is not installed here: the curves are in history.csv alone")
        return None
    from dvclive.live import Live

    return Live(str(folder), save_dvc_exp=False, dvcyaml=None)


def what_is_kept(checkpoint: Path) -> str:
    """Of a run that stopped, for its message."""
    return f"The last good checkpoint is kept: {checkpoint}" if checkpoint.exists() else "No checkpoint was written yet"


def _not_finite(system: str, name: str, step: int, value: Tensor, checkpoint: Path) -> str:
    word = "NaN" if math.isnan(float(value)) else "infinite"
    return (
        f"Training {system} stopped: the loss term {name} became {word} at step {step}. {what_is_kept(checkpoint)}. Lower "
        f"the learning rate or the weight of that term in systems.{system}, or use precision fp32; the same settings would "
        "end the same way."
    )
