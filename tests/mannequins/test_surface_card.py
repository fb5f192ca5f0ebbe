"""The scores on real photos in the card of the model that comes with repose."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repose.data.skeleton import JOINT, K

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The names of docs/surface_card.py; its card is a copy."""
    names = runpy.run_path(str(ROOT / "docs" / "surface_card.py"))
    (tmp_path / "README.md").write_text(names["CARD"].read_text())
    monkeypatch.setitem(names["main"].__globals__, "CARD", tmp_path / "README.md")
    return names


def test_the_color_of_a_face_is_that_around_the_nose(script):
    pixels = np.full((60, 40, 3), 255, np.uint8)
    pixels[10:30, 10:30] = (190, 140, 100)
    joints = np.full((K, 2), np.nan, np.float32)
    joints[[JOINT["nose"], JOINT["right_eye"], JOINT["left_eye"]]] = (20, 20), (16, 16), (24, 16)
    np.testing.assert_array_equal(script["face"](pixels, joints), (190, 140, 100))
    joints[JOINT["left_eye"]] = np.nan  # in profile
    assert script["face"](pixels, joints) is None


def test_the_card_gets_a_row_for_all_pairs_and_for_each_group(script, monkeypatch, tmp_path):
    made: Callable[..., Any] = script["Score"]
    scores = [
        made("WOMEN", "Dresses", "tan", 0.5, 10.0, 4.0), made("WOMEN", "Dresses", "light", 0.7, 20.0, np.nan),
        made("MEN", "Sweaters", "tan", 0.6, np.nan, 2.0),
    ]  # fmt: skip
    monkeypatch.setitem(script["main"].__globals__, "scored", lambda _: scores)
    before = (tmp_path / "README.md").read_text().split("<!--")
    for _ in range(2):
        script["main"]([str(tmp_path)])
    head, table, end = (tmp_path / "README.md").read_text().split("<!--")
    assert (head, end) == (before[0], before[2])
    assert table.split("|---|---|---|---|---|\n")[1].splitlines() == [
        "| all | 3 | 0.600 | 15.0 | 3.0 |", "| MEN | 1 | 0.600 |  | 2.0 |", "| WOMEN | 2 | 0.600 | 15.0 | 4.0 |",
        "| light | 1 | 0.700 | 20.0 |  |", "| tan | 2 | 0.550 | 10.0 | 3.0 |",
        "| Dresses | 2 | 0.600 | 15.0 | 4.0 |", "| Sweaters | 1 | 0.600 |  | 2.0 |", "",
    ]  # fmt: skip


def test_the_sentence_after_the_table_has_its_numbers(script):
    card = script["CARD"].read_text()
    of_tone = dict(re.findall(r"^\| ([a-z ]+) \|.*\| (\S+) \|$", card, re.MULTILINE))
    said = re.findall(r"(\d+\.\d) \(([a-z ]+)", card.rpartition("<!-- end -->")[2])
    assert [tone for _, tone in said] == ["light", "very light", "tan", "brown"]
    assert {tone: number for number, tone in said}.items() <= of_tone.items()
