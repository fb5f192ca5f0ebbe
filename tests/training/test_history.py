import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor

from repose.errors import DataError, ReposeError
from repose.training import history
from repose.training.history import History
from tiny import files_in


@pytest.fixture(autouse=True)
def _outside_any_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # DVCLive looks for a git repository here, and leaves its files open


def terms(l1: float, d_image: float = 0.5) -> dict[str, Tensor]:
    return {"l1": torch.tensor(l1), "d_image": torch.tensor(d_image)}


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "history.csv").open() as lines:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(lines)]


def course(folder: Path, start: int, end: int) -> None:
    """Steps whose l1 is a third of their number, with a row every two; the history is written."""
    kept = History(folder, start)
    for step in range(start + 1, end + 1):
        kept.add(step, terms(step / 3))
        if step % 2 == 0:
            kept.log(step)
    kept.write()


def test_a_row_holds_the_means_since_the_last_one(tmp_path):
    kept = History(tmp_path, 0)
    assert kept.latest == {}
    for step in (1, 2, 3):
        kept.add(step, terms(step, d_image=10 * step))
    kept.log(3)
    assert kept.latest == {"step": 3, "l1": 2, "d_image": 20}
    kept.add(4, terms(0.1))
    kept.log(4)
    assert kept.latest == {"step": 4, "l1": float(torch.tensor(0.1)), "d_image": 0.5}
    kept.write()
    assert rows(tmp_path) == [{"step": 3, "l1": 2, "d_image": 20}, kept.latest]
    assert (tmp_path / "history.csv").read_text().splitlines()[:2] == ["step,l1,d_image", "3,2.0,20.0"]
    for step, value in ((5, 2.0**24), (6, 1.0)):
        kept.add(step, terms(value))
    kept.log(6)
    assert kept.latest["l1"] == (2**24 + 1) / 2  # summed in float32, the 1 would be lost


def test_terms_are_told_apart_by_name_and_the_same_at_every_step(tmp_path):
    kept = History(tmp_path, 0)
    kept.add(1, terms(1, d_image=10))
    kept.add(2, dict(reversed(terms(3, d_image=20).items())))
    with pytest.raises(ReposeError, match=r"of step 3 are d_image, late, and those of earlier ones l1, d_image\."):
        kept.add(3, {"d_image": torch.ones(()), "late": torch.ones(())})
    kept.log(2)
    assert kept.latest == {"step": 2, "l1": 2, "d_image": 15}
    kept.write()
    for after_a_row in (kept, History(tmp_path, 2)):
        with pytest.raises(ReposeError, match=rf"those of earlier ones l1, d_image\..* delete {tmp_path}, and"):
            after_a_row.add(3, {"l1": torch.ones(())})


@pytest.mark.parametrize(("value", "word", "checks"), [(torch.nan, "NaN", []), (-torch.inf, "infinite", [1, 2, 3])])
def test_the_first_term_that_is_not_finite_is_named_with_its_step(tmp_path, value, word, checks):
    kept, last = History(tmp_path, 10), tmp_path / "last.safetensors"
    for step in range(11, 17):
        kept.add(step, terms(1.0 if step < 16 else value, d_image=value if step == 15 else 0.5))
        if step - 10 in checks:
            kept.check_finite("paper-m", last)
        if step == 12:
            kept.log(step)
    with pytest.raises(ReposeError, match=rf"paper-m stopped: .* d_image became {word} at step 15\. No checkpoint"):
        kept.check_finite("paper-m", last)
    last.touch()
    with pytest.raises(ReposeError, match=rf"at step 15\. The last good checkpoint is kept: {last}\. Lower"):
        kept.check_finite("paper-m", last)


def test_rows_after_the_step_that_training_goes_on_from_are_dropped(tmp_path):
    course(tmp_path, 0, 8)
    kept = History(tmp_path, 4)
    assert kept.latest["step"] == 4
    kept.write()
    assert [row["step"] for row in rows(tmp_path)] == [2, 4]
    course(tmp_path, 0, 2)  # from the start
    (row,) = rows(tmp_path)
    assert (tmp_path / "live/plots/metrics/train/l1.tsv").read_text() == f"step\tl1\n2\t{row['l1']}\n"
    assert row["l1"] == pytest.approx(0.5)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "step,l1\nx,1\n"])
def test_a_damaged_file_is_an_error(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(DataError, match=rf"history\.csv is damaged .*Delete {tmp_path}"):
        History(tmp_path, 2)


def test_a_run_that_goes_on_writes_the_bytes_of_one_without_interruption(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    course(tmp_path / "one", 0, 8)
    course(tmp_path / "two", 0, 6)  # killed after step 6, the last checkpoint was at 4
    course(tmp_path / "two", 4, 8)
    assert len(files_in(tmp_path / "one")) == 4
    assert files_in(tmp_path / "two") == files_in(tmp_path / "one")


def test_without_dvclive_the_table_is_written_all_the_same(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(history, "find_spec", lambda _: None)
    monkeypatch.setattr(history, "say", said.append)
    course(tmp_path, 0, 4)
    assert said == ["dvclive is not installed: the curves are only in history.csv"]
    assert [row["step"] for row in rows(tmp_path)] == [2, 4]
    assert not (tmp_path / "live").exists()
