from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from repose.data.records import write_json
from repose.errors import ReposeError
from repose.evaluation.results import BASELINES, PROTOCOL, RECORD, TRAINING, read_result
from repose.metrics.provenance import SCHEMA

PAIRS = pd.DataFrame(
    {"system": ["attend", "attend"], "from": ["1", "NA"], "to": ["02", "3"], "torso-ciede2000": [0.1, None]}
)
ALL = {"schema": SCHEMA} | dict.fromkeys([*PROTOCOL, *RECORD, *TRAINING], 1)


def write(folder: Path, pairs: pd.DataFrame = PAIRS, **facts: Any) -> Path:
    folder.mkdir()
    write_json(folder / "facts.json", ALL | {"system": folder.name} | facts)
    pairs.to_csv(folder / "pairs.csv", index=False)
    return folder


def without(folder: Path, name: str) -> Path:
    facts = ALL | {"system": folder.name}
    write_json(folder / "facts.json", {key: fact for key, fact in facts.items() if key != name})
    return folder


def test_names_stay_text_and_a_missing_score_is_missing(tmp_path: Path) -> None:
    facts, pairs = read_result(write(tmp_path / "attend", seed=7))
    assert facts["seed"] == 7
    assert pairs[["from", "to"]].to_numpy().tolist() == [["1", "02"], ["NA", "3"]]
    assert pairs["torso-ciede2000"].isna().tolist() == [False, True]


def test_a_score_is_read_to_the_last_digit(tmp_path: Path) -> None:
    value = 0.1 + 0.2
    folder = write(tmp_path / "attend", PAIRS.assign(**{"torso-ciede2000": value}))
    assert read_result(folder).pairs["torso-ciede2000"].tolist() == [value, value]


def test_occlusion_is_a_number_and_nan_where_it_is_empty_or_of_an_earlier_repose(tmp_path: Path) -> None:
    new = read_result(write(tmp_path / "new", PAIRS.assign(occlusion=[None, 0.25]))).pairs["occlusion"]
    np.testing.assert_array_equal(new, [np.nan, 0.25])
    assert read_result(write(tmp_path / "old")).pairs["occlusion"].isna().all()


@pytest.mark.parametrize("name", ["schema", "system", PROTOCOL[0], RECORD[-1], TRAINING[-1]])
def test_a_missing_fact_is_named(tmp_path: Path, name: str) -> None:
    folder = without(write(tmp_path / "attend"), name)
    with pytest.raises(
        ReposeError,
        match=rf"attend/facts\.json lacks {name}: another version of repose wrote it\. Run `repose evaluate` on it again",
    ):
        read_result(folder)


def test_baselines_have_no_training(tmp_path: Path) -> None:
    folder = write(tmp_path / BASELINES)
    write_json(folder / "facts.json", {"schema": SCHEMA, "system": BASELINES} | dict.fromkeys([*PROTOCOL, *RECORD], 1))
    assert read_result(folder).facts["system"] == BASELINES


def test_the_folder_has_the_name_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match="holds the results of paper-m: its folder should have that name"):
        read_result(write(tmp_path / "attend", system="paper-m"))


def test_another_schema_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match=r"facts\.json has schema 3, but this version of repose reads 2\."):
        read_result(write(tmp_path / "attend", schema=3))


def test_a_missing_file_or_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match=r"pairs\.csv lacks the column\(s\) from; it has "):
        read_result(write(tmp_path / "attend", PAIRS.drop(columns="from")))
    (tmp_path / "attend" / "facts.json").unlink()
    with pytest.raises(ReposeError, match=r"There is no .*attend/facts\.json. Run the stage that writes it"):
        read_result(tmp_path / "attend")


def test_a_damaged_table_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "attend")
    (folder / "pairs.csv").write_text("system,from,to,torso-ciede2000\nattend,1,2,0.3x\n")
    with pytest.raises(ReposeError, match=r"pairs\.csv is damaged \(.*'0.3x'\)\. Run the stage that writes it again"):
        read_result(folder)


@pytest.mark.parametrize("pairs", [PAIRS.drop(columns="torso-ciede2000"), PAIRS.assign(**{"torso-ciede2000": None})])
def test_ssim_never_stands_without_torso_ciede2000(tmp_path: Path, pairs: pd.DataFrame) -> None:
    with pytest.raises(ReposeError, match="has no torso-ciede2000, which every table with SSIM needs"):
        read_result(write(tmp_path / "attend", pairs))
