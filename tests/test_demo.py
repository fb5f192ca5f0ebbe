"""What `make demo` does, on fewer mannequins and with a few steps."""

import json

import pytest

from project import TINY, Project

BASELINES = ("copy source", "mean of sources")
OUTPUTS = ("data", "reports", "runs", "results")
CHANGES = TINY | {"download.mannequin.items": 24, "split.min_test_pairs": 4, "evaluate.pairs": 6}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"), CHANGES)


@pytest.fixture(scope="module", autouse=True)
def output(project: Project) -> str:
    """What the first `dvc repro` printed."""
    return project.dvc("repro")


@pytest.mark.slow
def test_the_pipeline_ends_with_a_table_and_the_path_of_a_picture(project: Project, output: str) -> None:
    table = output[output.index("Running stage 'evaluate'") :]
    for row in (*BASELINES, "paper-m", "paper-m, 1 source", "attend", "attend, 1 source"):
        assert f" {row} " in table
    assert "pg2-like" in table
    assert "results/picture.png" in table
    assert (project.folder / "results" / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_second_repro_runs_no_stage(project: Project) -> None:
    before = project.files(*OUTPUTS)
    output = project.dvc("repro")
    assert "Running stage" not in output
    assert "Data and pipelines are up to date" in output
    assert project.files(*OUTPUTS) == before
    assert project.dvc("status", "--json").strip() == "{}"


@pytest.mark.slow
def test_editing_a_system_trains_that_system_only(project: Project) -> None:
    project.set(systems__attend__steps=4)
    ran = [line for line in project.dvc("repro").splitlines() if line.startswith("Running stage")]
    assert ran == ["Running stage 'train@attend':", "Running stage 'evaluate':"]


@pytest.mark.slow
def test_a_failing_stage_leaves_the_earlier_results(project: Project) -> None:
    before = project.files(*OUTPUTS)
    project.set(split__min_test_pairs=10_000)
    assert "at least 10,000 pairs to test on" in project.dvc("repro", code=255)
    reports = [name for name in before if name.startswith("reports/split/")]
    assert {k: v for k, v in project.files(*OUTPUTS).items() if k not in reports} == {
        k: v for k, v in before.items() if k not in reports
    }
    project.set(split__min_test_pairs=CHANGES["split.min_test_pairs"])
    project.dvc("repro")
    assert project.files(*OUTPUTS) == before


@pytest.mark.slow
def test_a_typo_in_the_params_names_key_file_and_nearest_key(project: Project) -> None:
    path = project.folder / "params.yaml"
    text = path.read_text()
    path.write_text(text.replace("thickness:", "thicknes:"))
    output = project.dvc("repro", "posemaps", code=255)
    path.write_text(text)
    assert "params.yaml: posemaps: unknown key 'thicknes'. Did you mean 'thickness'?" in output


@pytest.mark.slow
def test_dvc_shows_metrics_and_plots(project: Project) -> None:
    metrics = json.loads(project.dvc("metrics", "show", "--json"))
    scores = metrics[""]["data"]["metrics.json"]["data"]["scores"]
    assert set(scores["attend"]) >= {"ssim/pg2", "ssim/pose-gan", "garment-de"}
    project.dvc("plots", "show", "--out", "plots")
    page = (project.folder / "plots" / "index.html").read_text()
    assert all(f'"text": "{title}"' in page for title in ("scores", "training"))
    assert list((project.folder / "plots" / "static").glob("*picture.png"))
