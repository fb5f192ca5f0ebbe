"""What `make demo` does, on fewer mannequins and with a few steps; and what the committed scores of the real one say."""

import json
import subprocess

import pytest
import yaml

from project import ROOT, TINY, Project

BASELINES = ("copy source", "mean of sources")
OUTPUTS = ("data", "reports", "runs", "results")
CHANGES = TINY | {"download.mannequin.items": 24, "split.min_test_pairs": 4, "evaluate.pairs": 6}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("project"), CHANGES)
    made.output = made.dvc("repro")  # type: ignore[attr-defined]
    return made


@pytest.mark.slow
def test_the_pipeline_ends_with_a_table_and_the_path_of_a_picture(project: Project) -> None:
    output: str = project.output  # type: ignore[attr-defined]
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


def committed() -> dict[str, dict[str, float]]:
    scores: dict[str, dict[str, float]] = json.loads((ROOT / "metrics.json").read_text())["scores"]
    return scores


@pytest.mark.parametrize("system", ["paper-m", "attend"])
def test_the_committed_demo_beats_the_baselines_on_ssim(system: str) -> None:
    scores = committed()
    for protocol in ("ssim/pg2", "ssim/pose-gan", "ssim/win51"):
        assert all(scores[system][protocol] > scores[baseline][protocol] for baseline in BASELINES)


def test_the_committed_demo_carries_the_garment() -> None:
    scores = committed()
    assert scores["attend"]["garment-de"] <= 0.7 * scores["paper-m"]["garment-de"]
    assert all(scores["attend"]["garment-de"] < scores[baseline]["garment-de"] for baseline in BASELINES)


def test_the_committed_lock_is_of_the_committed_params() -> None:
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, stage in lock.items():
        for key, value in stage["params"]["params.yaml"].items():
            now = params
            for part in key.split("."):
                now = now[part]
            assert value == now, f"{name} was run with another {key}: run `make demo` and commit dvc.lock"


def test_git_tracks_no_output_of_the_pipeline() -> None:
    tracked = subprocess.run(["git", "ls-files", *OUTPUTS], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    assert tracked.stdout == ""
