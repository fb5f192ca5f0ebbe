"""The same dvc.yaml on real photos, by changed params only: DeepFashion's, where they lie beside the project."""

from pathlib import Path

import pytest
import yaml

from project import ROOT, TINY, Project

SAMPLE = (ROOT / ".." / "shared" / "data" / "deepfashion-sample").resolve()
CHANGES = {
    "download.source": "deepfashion",
    "download.origins": [{"address": str(SAMPLE)}],
    "split.mode": "patn",
    "split.pairs": "pairs.csv",
    "split.test_share": 0.25,
    "train.augment.fill": "white",
    "evaluate.pairs": None,
}


@pytest.mark.slow
@pytest.mark.skipif(not SAMPLE.is_dir(), reason="there is no ../shared/data/deepfashion-sample beside the project")
def test_the_pipeline_on_real_photos(tmp_path: Path) -> None:
    project = Project(tmp_path, TINY | CHANGES)
    output = project.dvc("repro")
    evaluated = output[output.index("Running stage 'evaluate'") :]
    assert "25 test pairs of the split patn-like" in evaluated
    assert "non-commercial research" in output  # the terms of the owner
    tables = [(tmp_path / "data" / "images" / part / "images.csv").read_text() for part in ("0", "1")]
    assert [table.count("\n") - 1 for table in tables] == [95, 94]
    record = yaml.safe_load((tmp_path / "data" / "split" / "split.json").read_text())
    assert (record["train"]["items"], record["test"]["items"], record["test"]["pairs"]) == (68, 23, 25)
    assert "patn-like" in (tmp_path / "results" / "table.md").read_text()
    assert not (tmp_path / "reports" / "validate" / "set-aside.csv").read_text().splitlines()[1:]
