"""The ablations: their rows differ in what the page says, and the picture shows the table."""

import importlib
import re
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from project import ROOT
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


def test_the_blocks_are_read():
    for name, settings in (("train", TrainSettings), ("evaluate", EvaluateSettings), ("table", TableSettings)):
        block(PARAMS, name, settings, "params")
    assert PARAMS["evaluate"]["systems"] == PARAMS["table"]["systems"] == list(ROWS)
    assert PARAMS["table"]["figure_pairs"] <= PARAMS["evaluate"]["picture_pairs"]


def test_every_row_builds_at_the_demos_size_and_sees_as_many_images():
    for name, row in ROWS.items():
        with torch.device("meta"):
            assert systems.build(row, Frame(128, 88)).networks, name
        assert row.steps * row.items_per_step == 300, name
        assert row not in [other for key, other in ROWS.items() if key != name], name


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


def test_the_picture_is_of_the_table(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    drawing: Any = importlib.import_module("ablations")
    committed, drawn = (
        np.asarray(Image.open(ROOT / "docs" / "ablations.png")),
        drawing.chart(pd.read_csv(drawing.TABLE)),
    )
    for colour in (drawing.BASELINE, drawing.TRAINED):  # the letters differ with the libraries that Pillow finds
        np.testing.assert_array_equal((committed == colour).all(2), (drawn == colour).all(2))
