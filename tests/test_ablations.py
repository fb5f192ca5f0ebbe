"""The ablations: their rows differ in what the page says, DVC reads their pipeline, and the picture shows the table."""

import importlib
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from project import ROOT, TINY, Project
from repose import systems
from repose.config import block, read_params
from repose.data.frame import Frame
from repose.evaluation.settings import EvaluateSettings
from repose.report.tables.settings import TableSettings
from repose.training import TrainSettings

FOLDER = ROOT / "ablations"
PARAMS = read_params(FOLDER / "params.yaml")
PAGE = (ROOT / "docs" / "ablations.md").read_text()
ROWS = {name: systems.row(values, f"systems.{name}") for name, values in PARAMS["systems"].items()}
STAGES = ["train", "evaluate", "evaluate-baselines", "table"]


def test_the_blocks_are_read():
    for name, settings in (("train", TrainSettings), ("evaluate", EvaluateSettings), ("table", TableSettings)):
        block(PARAMS, name, settings, "params")
    assert PARAMS["evaluate"]["systems"] == PARAMS["table"]["systems"] == list(ROWS)
    assert PARAMS["table"]["figure_pairs"] <= PARAMS["evaluate"]["picture_pairs"]


@pytest.mark.parametrize("name", list(ROWS))
def test_every_row_builds_at_the_demos_size_and_sees_as_many_images(name):
    row = ROWS[name]
    with torch.device("meta"):
        assert systems.build(row, Frame(128, 88)).networks
    assert row.steps * row.items_per_step == 300
    assert row not in [other for key, other in ROWS.items() if key != name]


def test_what_is_not_ablated_is_the_demos():
    demo = read_params(ROOT / "params.yaml")
    for name in ("paper-m", "attend"):
        losses = {term: weight for term, weight in demo["systems"][name]["losses"].items() if term != "perceptual"}
        assert PARAMS["systems"][name] == demo["systems"][name] | {"steps": 300, "losses": losses}
    assert PARAMS["train"]["perceptual"] == "none"
    # rows run two at a time, a thread each, and without the perceptual term
    unlike = {"sample_every", "checkpoint_every", "threads", "perceptual"}
    assert {k: v for k, v in PARAMS["train"].items() if k not in unlike} == {
        k: v for k, v in demo["train"].items() if k not in unlike
    }


def test_the_page_has_every_row_and_what_it_is_compared_with():
    table = PAGE.split("## The rows")[1].split("## Run it")[0]
    told = dict(re.findall(r"^\| ([\w-]+) \| ([\w, -]*?) *\|", table, re.MULTILINE))
    assert [name for name in told if name != "row"] == list(ROWS)
    assert {other for name, text in told.items() if name != "row" for other in text.split(", ") if text} <= set(ROWS)


def test_the_page_has_the_numbers_of_the_tables():
    table = pd.read_csv(FOLDER / "table" / "table.csv").set_index("system")
    results = PAGE.split("## Results")[1].split("**What makes")[0]
    names = re.findall(r"^\| ([a-z][\w -]*) \| \d", results, re.MULTILINE)
    assert sorted(names) == sorted(["copy source", *ROWS])
    for name in names:
        torso = [f"{table.loc[name, f'torso-ciede2000{end}']:.1f}" for end in ("", " low", " high")]
        ssim = [f"{table.loc[name, metric]:.3f}".removeprefix("0") for metric in ("ssim/pg2", "ssim/win51")]
        assert f"| {name} | {torso[0]} [{torso[1]}, {torso[2]}] | {' | '.join(ssim)} |" in results
    gains = [pd.read_csv(ROOT / folder / "table" / "multi-source-gains.csv") for folder in ("table1", "table1/gpu")]
    for gain, part in zip(gains, PAGE.split("## Do several sources")[1].split("With the budget `gpu`"), strict=True):
        torso = gain[(gain["metric"] == "torso-ciede2000") & gain["gain"].notna()]
        found = torso.groupby(["more", "fewer", "data set"])
        lines = re.findall(r"^\| ([^|]+) \| ([^|]+) \| (fashion|street) \| (.+) \|$", part, re.MULTILINE)
        assert lines
        for *key, cells in lines:
            of_row = found.get_group(tuple(key))[["gain", "gain low", "gain high"]].itertuples(index=False)
            assert cells.replace("**", "") == " | ".join(
                f"{g:+.2f} [{low:+.2f}, {high:+.2f}]" for g, low, high in of_row
            )


def test_dvc_reads_the_pipeline_and_makes_the_data_first(tmp_path):
    project = Project(tmp_path, TINY, ["ablations"])
    listed = project.dvc("stage", "list", "--name-only", "ablations/dvc.yaml").split()
    expected = [f"{stage}@{name}" for stage in STAGES[:2] for name in ROWS] + STAGES[2:]
    assert sorted(listed) == sorted(f"ablations/dvc.yaml:{name}" for name in expected)
    graph = project.dvc("dag", "--dot", "ablations/dvc.yaml")
    edges = set(re.findall(r'"(\S+)" -> "(\S+)"', graph))
    assert ("split", "ablations/dvc.yaml:train@paper-m") in edges
    assert ("posemaps@1", "ablations/dvc.yaml:train@paper-m") in edges
    assert ("ablations/dvc.yaml:train@paper-m", "ablations/dvc.yaml:evaluate@paper-m") in edges
    assert ("ablations/dvc.yaml:evaluate@attend-fixed", "ablations/dvc.yaml:table") in edges
    assert ("ablations/dvc.yaml:evaluate-baselines", "ablations/dvc.yaml:table") in edges


def test_the_picture_is_of_the_table_and_has_a_bar_for_each_row_as_long_as_its_score(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    drawing: Any = importlib.import_module("ablations")
    committed, drawn = (
        np.asarray(Image.open(ROOT / "docs" / "ablations.png")),
        drawing.chart(pd.read_csv(drawing.TABLE)),
    )
    for colour in (drawing.BASELINE, drawing.TRAINED):  # the letters differ with the libraries that Pillow finds
        np.testing.assert_array_equal((committed == colour).all(2), (drawn == colour).all(2))
    columns = ["system", "kind", *(f"torso-ciede2000{end}" for end in ("", " low", " high"))]
    rows = [
        ("copy source", None, 24, 23, 25), ("paper-m", "paper", 12, 11, 13), ("later", None, None, None, None),
        ("attend", "attend", 6, 5, 7),
    ]  # fmt: skip
    pd.DataFrame(rows, columns=columns).assign(confidence=0.95).to_csv(tmp_path / "table.csv", index=False)
    monkeypatch.setattr(drawing, "TABLE", tmp_path / "table.csv")
    monkeypatch.setattr(drawing, "HERE", tmp_path)
    drawing.main()
    image = np.asarray(Image.open(tmp_path / "ablations.png"))
    assert image.shape == (5 * drawing.ROW, drawing.TEXT + drawing.BARS + drawing.ROOM, 3)
    for number, (mean, colour) in enumerate([(24, drawing.BASELINE), (12, drawing.TRAINED), (6, drawing.TRAINED)]):
        line = image[int((number + 1.5) * drawing.ROW) + 7]  # below the interval
        length = int((line == np.array(colour)).all(1).sum())
        assert length == pytest.approx(mean / 25 * drawing.BARS, abs=3)
