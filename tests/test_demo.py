"""What `make demo` does, on fewer mannequins and with a few steps."""

import json
import shutil

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
    assert "The report: reports/run/report.html" in table
    assert (project.folder / "reports" / "run" / "report.html").read_bytes().endswith(b"</html>")


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
    stages = ["train@attend", "evaluate", "report", "gates", "card@paper-m", "card@attend"]
    assert ran == [f"Running stage '{stage}':" for stage in stages]


@pytest.mark.slow
def test_a_score_beyond_its_limit_ends_the_pipeline_without_a_card(project: Project) -> None:
    project.set(gates__limits={"attend": {"ssim/pg2": {"least": 0.99}}})
    output = project.dvc("repro", code=255)
    assert "Running stage 'evaluate'" not in output  # the gates alone are judged anew
    assert "is not at least 0.99" in output
    assert "Running stage 'card@" not in output
    assert "**beyond its limit**" in (project.folder / "reports" / "gates" / "gates.md").read_text()
    project.set(gates__limits={})
    assert "Stage 'gates' is cached - skipping run" in project.dvc("repro")
    card = (project.folder / "reports" / "card" / "attend" / "card.md").read_text()
    assert "Rendered by repose; Apache-2.0" in card
    assert "Gates: no regression in 2 scores, beside nothing." in card


@pytest.mark.slow
def test_a_failing_stage_leaves_the_earlier_results(project: Project) -> None:
    """DVC removes what a stage writes before it runs it; its cache holds the earlier results."""
    before = project.files(*OUTPUTS)
    project.set(split__min_test_pairs=10_000)
    assert "at least 10,000 pairs to test on" in project.dvc("repro", code=255)
    own = [name for name in before if name.startswith(("data/split/", "reports/split/"))]
    after = project.files(*OUTPUTS)
    assert {name: after.get(name) for name in before if name not in own} == {
        name: content for name, content in before.items() if name not in own
    }
    assert '"passed": false' in after["reports/split/validation.json"].decode()
    project.dvc("checkout", "--force")
    assert project.files(*OUTPUTS) == before
    project.set(split__min_test_pairs=CHANGES["split.min_test_pairs"])
    assert "Running stage" not in project.dvc("repro")
    assert project.files(*OUTPUTS) == before


@pytest.mark.slow
def test_a_part_is_run_by_itself_and_from_the_run_cache(project: Project) -> None:
    before = project.files(*OUTPUTS)
    assert {name.split("/")[2] for name in before if name.startswith("data/keypoints/")} == {"0", "1"}
    shutil.rmtree(project.folder / "data" / "keypoints" / "1")
    (project.folder / "dvc.lock").unlink()  # as on another machine: the result is found by its inputs alone
    output = project.dvc("repro", "--single-item", "keypoints@1")
    assert "Stage 'keypoints@1' is cached - skipping run, checking out outputs" in output
    assert project.files(*OUTPUTS) == before
    output = project.dvc("repro")
    assert "Running stage" not in output
    assert project.files(*OUTPUTS) == before


@pytest.mark.slow
def test_fewer_parts_read_no_left_over_and_give_the_same_split(project: Project) -> None:
    before = project.files(*OUTPUTS)
    project.set(validate__parts=[0])
    output = project.dvc("repro", "split")
    ran = [line for line in output.splitlines() if line.startswith("Running stage")]
    assert [line.split("'")[1] for line in ran] == ["validate", "keypoints@0", "split"]
    after = project.files(*OUTPUTS)
    assert "data/keypoints/1/keypoints.csv" in after  # left over
    assert {n: c for n, c in after.items() if n.startswith("data/split/")} == {
        n: c for n, c in before.items() if n.startswith("data/split/")
    }
    project.set(validate__parts=[0, 1])
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
