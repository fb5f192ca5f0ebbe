"""The stage gates, as dvc.yaml calls it: beside a baseline or with limits alone."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tiny import PARAMS, files_in

GATES: dict[str, Any] = {
    "systems": ["attend"],
    "metrics": {"ssim/pg2": {"better": "higher", "tolerance": 0.01}},
    "limits": {"attend": {"ssim/pg2": {"min": 0.6}}},
    "resamples": 200, "confidence": 0.95, "seed": 0, "baseline": True,
}  # fmt: skip

PSNR = {"psnr": {"better": "higher", "tolerance": 0.1}}


def write(folder: str, *scores: Any, split: str = "pg2-like") -> None:
    """The scores of three pairs and their mean, as evaluate writes them."""
    mean = sum(scores) / len(scores) if all(isinstance(score, float) for score in scores) else None
    protocol = {"split": split, "pairs": len(scores), "size": "128x88", "crop": None}
    Path(folder).mkdir(exist_ok=True)
    record = {"schema": 2, "protocol": protocol, "metrics": {}, "scores": {"attend": {"ssim/pg2": mean}}}
    Path(folder, "metrics.json").write_text(json.dumps(record))
    rows = [f"attend,a{number},b{number},{score}\n" for number, score in enumerate(scores)]
    Path(folder, "pairs.csv").write_text(f"system,from,to,ssim/pg2\n{''.join(rows)}")


def change_gates(**changes: Any) -> None:
    Path("params.yaml").write_text(yaml.safe_dump({"gates": GATES | changes}))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has a baseline and its gates."""
    monkeypatch.chdir(tmp_path)
    write("baseline", 0.6, 0.7, 0.71)
    change_gates()


@pytest.fixture
def gates(said_by: Any) -> Any:
    """What the command says to people; it must end with the exit code."""
    of_base = "--base baseline/metrics.json --base-pairs baseline/pairs.csv"
    words = f"gates {of_base} --head new/metrics.json --head-pairs new/pairs.csv --report report".split()
    return lambda code: said_by(*words, code=code)[1]


def record() -> dict[str, Any]:
    return json.loads(Path("report/gates.json").read_text())


@pytest.mark.parametrize(("scores", "code", "verdict"), [
    ((0.65, 0.76, 0.75), 0, "better"), ((0.3, 0.9, 0.66), 0, "noise"), ((0.59, 0.68, 0.68), 1, "worse"),
    ((0.6, "", 0.71), 1, "not comparable"),
])  # fmt: skip
def test_a_score_beside_the_baseline(gates, scores, code, verdict):
    write("new", *scores)
    message = gates(code)
    (score,) = record()["scores"]
    assert score["verdict"] == verdict
    assert ("The table: report/gates.md. If the change is intended, `make baseline` accepts" in message) == bool(code)
    assert ("the new scores, except those beyond a limit." in message) == bool(code)
    assert Path("report/gates.md").read_text().startswith("## Scores\n")


def test_beside_a_baseline_of_other_data_the_limits_alone_judge(gates):
    write("new", 0.6, 0.61, 0.62, split="patn")
    assert "Not compared with the baseline" in gates(0)
    assert 'split is "pg2-like" in BASE and "patn" in HEAD' in record()["uncompared"]
    assert (record()["outcome"], record()["scores"][0]["verdict"]) == ("no regression", "limit kept")
    write("new", 0.6, 0.61, 0.5, split="patn")
    assert "0.57 is outside its limit: at least 0.6" in (message := gates(1))
    assert 'split is "pg2-like" in BASE and "patn" in HEAD' in message
    assert "Not compared with the baseline. BASE, baseline/metrics.json, and" in Path("report/gates.md").read_text()


def test_a_score_that_the_baseline_lacks_is_judged_by_its_limit(gates):
    """The other scores are compared."""
    change_gates(metrics=GATES["metrics"] | PSNR)
    write("new", 0.6, 0.7, 0.71)
    scores = json.loads(Path("new/metrics.json").read_text())
    scores["scores"]["attend"]["psnr"] = 20.0
    Path("new/metrics.json").write_text(json.dumps(scores))
    assert "1 of 2 gated scores not compared with the baseline" in gates(0)
    assert {score["metric"]: score["verdict"] for score in record()["scores"]}["psnr"] == "not compared"
    assert "BASE has no 'psnr' of attend" in Path("report/gates.md").read_text()
    del scores["scores"]["attend"]["psnr"]
    Path("new/metrics.json").write_text(json.dumps(scores))
    assert "HEAD has no 'psnr' of attend" in gates(1)


def test_a_regression_fails_beside_a_metric_and_a_system_that_the_baseline_lacks_by_pair(gates):
    change_gates(metrics=GATES["metrics"] | PSNR, systems=["attend", "pg2"], limits={})
    write("new", 0.5, 0.6, 0.61)
    scores, pairs = Path("new/metrics.json"), Path("new/pairs.csv")
    found = json.loads(scores.read_text())
    found["scores"]["attend"]["psnr"] = 20.0
    scores.write_text(json.dumps(found | {"scores": dict.fromkeys(("attend", "pg2"), found["scores"]["attend"])}))
    head, *rows = [f"{row},20" for row in pairs.read_text().splitlines()]
    rows += [row.replace("attend", "pg2") for row in rows]
    pairs.write_text("\n".join([head.replace(",20", ",psnr"), *rows]) + "\n")
    assert "Regression: 1 of 4 gated scores." in gates(1)
    assert sorted(score["verdict"] for score in record()["scores"]) == [*["not compared"] * 3, "worse"]


def test_the_message_about_a_system_that_was_not_trained_says_how_to_leave_it_out(gates):
    change_gates(baseline=False, systems=["attend", "paper-m"])
    write("new", 0.6, 0.7, 0.71)
    message = gates(1)
    assert "HEAD has no system 'paper-m'" in message
    assert "gates.systems to systems of evaluate.systems" in message


def test_without_a_baseline_the_limits_alone_judge(gates):
    change_gates(baseline=False)
    Path("baseline/metrics.json").unlink()
    write("new", 0.6, 0.61, 0.62, split="patn")
    message = "Not compared with the baseline; 1 gated score within the limits that are set. gates.baseline is f"
    assert message in gates(0)
    (score,) = record()["scores"]
    assert (record()["base"], score["verdict"], score["base"]) == ("nothing", "limit kept", None)


@pytest.mark.parametrize("file", ["metrics.json", "pairs.csv"])
def test_a_file_that_is_missing_is_named(gates, file):
    """Of the baseline's, the limits alone judge; without one of the scores to judge, the stage fails."""
    write("new", 0.6, 0.7, 0.71)
    Path("baseline", file).unlink()
    assert f"baseline/{file}" in gates(0)
    Path("new", file).unlink()
    assert f"new/{file}" in gates(1)


def test_make_baseline_without_scores_by_pair_accepts_nothing():
    write("results", 0.5, 0.6, 0.61)
    Path("results/metrics.json").rename("metrics.json")
    Path("results/pairs.csv").unlink()
    before = files_in(Path("baseline"))
    make = ["make", "-f", str(PARAMS.with_name("Makefile")), "baseline"]
    assert subprocess.run(make, check=False, capture_output=True).returncode
    assert files_in(Path("baseline")) == before
