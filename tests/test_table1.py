"""`make table1` with fewer mannequins, rows and steps; each budget has every row."""

import json
import re
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from project import ROOT, TINY, Project, write_changed
from repose import systems
from repose.config import block
from repose.data.frame import Frame
from repose.evaluation.settings import EvaluateSettings
from repose.report.tables.settings import TableSettings
from repose.stages.download import DownloadSettings
from repose.stages.keypoints import KeypointsSettings
from repose.stages.posemaps import PosemapsSettings
from repose.stages.split import SplitSettings
from repose.stages.validate import ValidateSettings
from repose.training import TrainSettings

TABLE1 = ROOT / "table1"
BUDGETS = sorted(path.parent.name for path in TABLE1.glob("*/fashion.yaml"))
FILES = [f"{budget}/{data}.yaml" for budget in BUDGETS for data in ("fashion", "street")]
ROWS, OTHER = ["paper-m"], "pix2pix"
QUICK = {
    "train.threads": 1, "evaluate.threads": 1, "evaluate.picture_pairs": 2, "evaluate.pairs": 6,
    "systems.paper-m.steps": 2, "systems.paper-m.generator.width": 4, "systems.paper-m.discriminators.width": 4,
}  # fmt: skip
STREET = {"download.mannequin.items": 8, "split.min_train_pairs": 4, "split.min_test_pairs": 4}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    changes = TINY | {"download.mannequin.items": 24, "split.min_test_pairs": 4}
    project = Project(tmp_path_factory.mktemp("project"), changes, ["table1"])
    params = read("params.yaml")
    params["table"]["systems"] = ROWS
    params["table"]["multi_source_gains"] = [["paper-m", "paper-m, 1 source"], ["mean of sources", "copy source"]]
    (project.folder / "table1" / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    set_rows(project, "fashion", QUICK)
    set_rows(project, "street", QUICK | STREET)
    return project


@pytest.fixture(scope="module")
def made(project: Project) -> str:
    """The output of the first `make table1`."""
    return project.make("table1")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((TABLE1 / name).read_text())


def set_rows(project: Project, data: str, changes: dict[str, Any]) -> None:
    write_changed(project.folder / "table1" / "demo" / f"{data}.yaml", read(f"demo/{data}.yaml"), changes)


def stages_run(output: str) -> list[str]:
    return [name.removeprefix("table1/dvc.yaml:") for name in re.findall("Running stage '(.*)'", output)]


@pytest.mark.slow
def test_a_run_trains_and_scores_each_row_on_both_data_sets(project, made):
    queued, last = (stages_run(output) for output in made.split("\ndvc repro table1/dvc.yaml\n"))
    own = {f"{stage}{data}@{row}" for stage in ("train", "evaluate") for data in ("", "-street") for row in ROWS}
    in_parts = {f"{stage}@{part}" for stage in ("keypoints", "posemaps") for part in (0, 1)}
    assert sorted(queued) == sorted(own | in_parts | {"download", "validate", "split", "street"})
    assert sorted(last) == ["baselines@fashion", "baselines@street", "table"]  # what needs all rows
    table = pd.read_csv(project.folder / "table1" / "table" / "table.csv").set_index(["data set", "system"])
    assert set(table.index.levels[0]) == {"fashion", "street"}
    wanted = ["real data", "copy source", "mean of sources", *ROWS]
    for data in ("fashion", "street"):
        assert list(table.loc[data].index) == wanted
        of_all = ["ssim/pg2", "torso-ciede2000", "torso-ciede2000 low", "split", "budget"]
        assert table.loc[data, of_all].notna().all(axis=None)
        assert table.loc[data].loc[ROWS, ["seed", "images", "optimiser"]].notna().all(axis=None)
    written = {path.name for path in (project.folder / "table1" / "table").iterdir()}
    gains = pd.read_csv(project.folder / "table1" / "table" / "multi-source-gains.csv")
    assert set(gains["more"]) == {"paper-m", "mean of sources"}
    assert {"table.md", "figure-fashion.png", "figure-street.png"} <= written


@pytest.mark.slow
def test_editing_one_block_trains_that_row_alone_again(project, made):
    assert json.loads(project.dvc("status", "--json", "table1/dvc.yaml")) == {}
    set_rows(project, "street", QUICK | STREET | {f"systems.{OTHER}.steps": 3})
    assert json.loads(project.dvc("status", "--json", "table1/dvc.yaml")) == {}
    set_rows(project, "street", QUICK | STREET | {"systems.paper-m.steps": 3})
    changed = json.loads(project.dvc("status", "--json", "table1/dvc.yaml"))
    trained = {stage.removeprefix("table1/dvc.yaml:") for stage in changed if ":train" in stage}
    assert trained == {"train-street@paper-m"}


def test_the_table_names_every_row_of_the_published_one_and_ours():
    printed = pd.read_csv(TABLE1 / "published.csv")["system"]
    settings = block(read("params.yaml"), "table", TableSettings, "params.yaml")
    assert set(settings.systems) == set(printed) - {"real data"} | {"attend"}


@pytest.mark.parametrize("name", FILES)
def test_each_budget_holds_rows_that_build(name):
    params = read(name)
    block(params, "train", TrainSettings, name)
    block(params, "evaluate", EvaluateSettings, name)
    if name.endswith("street.yaml"):
        for stage, kind in STREET_STAGES.items():
            block(params, stage, kind, name)
    wanted = LARGE_ROWS if name.startswith("gpu-256") else read("params.yaml")["table"]["systems"]
    assert sorted(params["systems"]) == sorted(wanted)
    size = {"height": 128, "width": 88} if name.startswith(("demo", "gpu/")) else {"height": 256, "width": 256}
    size = params.get("posemaps", size)  # the street's own; of fashion, the pipeline's, or the large one
    rows = [systems.row(entry, f"{name}: {row}") for row, entry in params["systems"].items()]
    with torch.device("meta"):
        assert all(systems.build(row, Frame(size["height"], size["width"])).networks for row in rows)
    if name.startswith("demo"):  # every row makes as many images
        assert len({(row.steps, row.items_per_step, row.max_photos, row.targets) for row in rows}) == 1


@pytest.mark.parametrize(("data", "steps"), [("fashion", (30_000, 20_000)), ("street", (22_000, 14_000))])
def test_the_budget_paper_trains_pg2_as_long_as_its_authors(data, steps):
    rows = read(f"paper/{data}.yaml")["systems"]
    pg2: Any = systems.row(rows["pg2"], data)
    assert (pg2.alone(pg2.steps), pg2.steps, rows["pg2-g1d"]["steps"]) == (steps[0], sum(steps), sum(steps))


STREET_STAGES: dict[str, Any] = {
    "download": DownloadSettings, "validate": ValidateSettings, "keypoints": KeypointsSettings,
    "posemaps": PosemapsSettings, "split": SplitSettings,
}  # fmt: skip
LARGE_ROWS = ["paper-s", "paper-m", "vunet", "attend"]


def test_the_files_are_those_of_the_budgets_and_the_data_sets_those_of_the_table():
    assert sorted(str(path.relative_to(TABLE1)) for path in TABLE1.glob("*/*.yaml")) == sorted(FILES)
    stages = yaml.safe_load((TABLE1 / "dvc.yaml").read_text())["stages"]
    assert set(stages["baselines"]["foreach"]) == set(read("params.yaml")["table"]["data_sets"])
