from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from repose.data.records import read_json, write_json
from repose.errors import ReposeError
from repose.evaluation.results import BASELINES, PROTOCOL, RECORD, TRAINING, read_result
from repose.metrics.provenance import SCHEMA

PAIRS = pd.DataFrame({
    "system": "attend", "from": ["1", "NA"], "to": ["02", "3"], "occlusion": [None, 0.25],
    "torso-ciede2000": [0.1 + 0.2, None],
})  # fmt: skip


def write(folder: Path, **facts: Any) -> Path:
    names = [*PROTOCOL, *RECORD, *(() if folder.name == BASELINES else TRAINING)]
    folder.mkdir()
    write_json(folder / "facts.json", dict.fromkeys(names, 1) | {"schema": SCHEMA, "system": folder.name} | facts)
    PAIRS.to_csv(folder / "pairs.csv", index=False)
    return folder


def test_names_stay_text_and_a_score_is_read_to_the_last_digit_or_missing(tmp_path):
    facts, pairs = read_result(write(tmp_path / "attend", seed=7))
    assert facts["seed"] == 7
    assert pairs[["from", "to"]].to_numpy().tolist() == [["1", "02"], ["NA", "3"]]
    np.testing.assert_array_equal(pairs["torso-ciede2000"], [0.1 + 0.2, np.nan])
    np.testing.assert_array_equal(pairs["occlusion"], [np.nan, 0.25])
    assert read_result(write(tmp_path / BASELINES)).facts["system"] == BASELINES  # which have no training


def without(name: str) -> Callable[[Path], Any]:
    return lambda file: write_json(file, {key: fact for key, fact in read_json(file).items() if key != name})


def replaced(old: str, new: str) -> Callable[[Path], Any]:
    return lambda file: file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize(("name", "change", "message"), [
    ("facts.json", without(TRAINING[-1]), rf"attend/facts\.json lacks {TRAINING[-1]}: another version of repose"),
    ("facts.json", replaced('"attend"', '"paper-m"'), "holds the results of paper-m: its folder should have that name"),
    ("facts.json", replaced(f'"schema": {SCHEMA}', '"schema": 3'), r"has schema 3, but this version of repose reads 2\."),
    ("facts.json", Path.unlink, r"There is no .*attend/facts\.json. Run the stage that writes it"),
    ("pairs.csv", replaced("0.25", "0.25x"), r"pairs\.csv is damaged in occlusion \(.*'0.25x'\)\. Run the stage evaluate"),
    ("pairs.csv", replaced("0.30000000000000004", ""), "has no torso-ciede2000, which every table with SSIM needs"),
])  # fmt: skip
def test_what_is_missing_or_damaged_is_named(tmp_path, name, change, message):
    folder = write(tmp_path / "attend")
    change(folder / name)
    with pytest.raises(ReposeError, match=message):
        read_result(folder)
