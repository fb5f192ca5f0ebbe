"""The history of a training run: each term of the loss, averaged over the steps since the last row.

Rows are written to `history.csv` and, if DVCLive is installed, in its format for `dvc metrics` and `dvc plots`. A resumed run
drops the rows after its checkpoint.
"""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from repose.errors import DataError, ReposeError
from repose.storage.atomic import disk_errors_named, write_text
from repose.terminal import say


class History:
    """Collects the terms of each step; `log` turns those since the last row into a row."""

    def __init__(self, folder: Path, start: int) -> None:
        self._file = folder / "history.csv"
        self._rows = _rows_until(self._file, start)
        self._names = [name for name in self.latest if name != "step"]  # of the terms
        self._since: list[tuple[int, dict[str, Tensor]]] = []  # steps since the last row; terms on their device
        self._checked = 0  # of these
        self._live = _dvclive(folder / "live")
        self._write_live(self._rows)

    @property
    def latest(self) -> dict[str, float]:
        """The last row; empty before the first."""
        return self._rows[-1] if self._rows else {}

    def add(self, step: int, terms: dict[str, Tensor]) -> None:
        """Add the terms of a step (scalars on any device), the same as of the steps before.

        Raises:
            ReposeError: they are not the same.
        """
        self._names = self._names or list(terms)
        if terms.keys() != set(self._names):
            raise ReposeError(
                f"The loss terms of step {step} are {', '.join(terms)}, and those of earlier ones {', '.join(self._names)}. A "
                "system returns the same terms at every step, 0 for what it does not train then (docs/systems.md). If its "
                f"code has changed since, delete {self._file.parent}, and training starts over."
            )
        self._since.append((step, {name: terms[name] for name in self._names}))

    def check_finite(self, system: str, checkpoint: Path) -> None:
        """Check the terms added since the last check.

        Raises:
            ReposeError: a term is NaN or infinite.
        """
        new = self._since[self._checked :]
        if new:
            finite = torch.stack([torch.stack(list(terms.values())).isfinite() for _, terms in new]).cpu()
            if not finite.all():
                row, column = finite.logical_not().nonzero()[0].tolist()
                step, terms = new[row]
                name, value = list(terms.items())[column]
                raise ReposeError(
                    f"Training {system} stopped: the loss term {name} became {'NaN' if math.isnan(value) else 'infinite'} at "
                    f"step {step}. {what_is_kept(checkpoint)}. Lower the learning rate or the weight of that term in "
                    f"systems.{system}, or use precision fp32; the same settings would end the same way."
                )
        self._checked = len(self._since)

    def log(self, step: int) -> None:
        """Add a row with the means since the last row."""
        means = torch.stack([torch.stack(list(terms.values())).double() for _, terms in self._since]).mean(0).tolist()
        self._rows.append({"step": float(step), **dict(zip(self._names, means, strict=True))})
        self._write_live(self._rows[-1:])
        self._since, self._checked = [], 0

    def write(self) -> None:
        """Write history.csv atomically."""
        table = pd.DataFrame(self._rows or {"step": []}).astype({"step": int})
        write_text(self._file, table.to_csv(index=False, lineterminator="\n"))

    def _write_live(self, rows: list[dict[str, float]]) -> None:
        if self._live is None or not rows:
            return
        with disk_errors_named(self._file):
            for row in rows:
                self._live.step = int(row["step"])
                for name, value in row.items():
                    if name != "step":
                        self._live.log_metric(f"train/{name}", value)
            self._live.make_summary()


def what_is_kept(checkpoint: Path) -> str:
    """Return which checkpoint of a stopped run is kept, for the error message."""
    return f"The last good checkpoint is kept: {checkpoint}" if checkpoint.exists() else "No checkpoint was written yet"


def _rows_until(file: Path, step: int) -> list[dict[str, float]]:
    if step == 0 or not file.is_file():
        return []
    try:
        table = pd.read_csv(file, dtype=str)  # Python's float parser is exact, unlike that of older pandas
        rows = [{str(name): float(value) for name, value in row.items()} for row in table.to_dict("records")]
        return [row for row in rows if row["step"] <= step]
    except (ValueError, KeyError) as error:
        raise DataError(
            f"{file} is damaged ({str(error).strip()}). Delete {file.parent}, and training starts over."
        ) from None


def _dvclive(folder: Path) -> Any:
    if find_spec("dvclive") is None:
        say("dvclive is not installed: the curves are only in history.csv")
        return None
    from dvclive.live import Live

    return Live(str(folder), save_dvc_exp=False, dvcyaml=None)
