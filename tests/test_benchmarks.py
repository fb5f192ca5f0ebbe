"""The benchmarks run and measure what they claim."""

import importlib
import math
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from repose import systems
from repose.config import build
from repose.data.records import IMAGES, read_parts

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "__init__")
pytestmark = pytest.mark.usefixtures("one_thread")
TINY: dict[str, dict[str, Any]] = {
    "paper-m": {"generator": {"width": 4}, "discriminators": {"width": 4}},
    "pg2": {"width": 4, "code": 8, "discriminator_width": 4},
    "vunet": {"width": 4},
}


@pytest.fixture(autouse=True)
def root_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)


def imported(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


def test_all_benchmarks_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    everything, commands = imported("__main__"), []
    monkeypatch.setattr("subprocess.run", lambda command, **how: commands.append((command[1:], how["check"])))
    everything.main()
    assert commands == [(["-m", f"benchmarks.{name}"], True) for name in NAMES if name != "__main__"]
    assert all(callable(imported(name).main) for name in NAMES)


def test_every_metric_has_a_rate_and_is_what_its_reference_gives(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = imported("metrics")
    monkeypatch.setattr(imported("ssim"), "ROUNDS", 1)
    for name, value in (("PAIRS", 3), ("PERSONS", 20), ("LOGITS", (50, 12)), ("FEATURES", (70, 9))):
        monkeypatch.setattr(metrics, name, value)
    rows = [metrics.row(case) for case in metrics.cases(torch.device("cpu"))]
    assert [name.split(",")[0] for name, *_ in rows] == [
        "psnr", "ssim/pg2", "ssim/gaussian11", "ssim/win51", "ssim/pg2+crop-176+white-40", "mask-ssim/pg2",
        "is/tf-2015", "frechet", "garment retrieval", "pckh",
    ]  # fmt: skip
    assert [images for _, images, *_ in rows] == ["3", "3", "3", "3", "3", "3", "50", "70", "70", "20"]
    for *_, theirs, ours, times, apart in rows:
        assert all(float(rate.replace(",", "")) > 0 for rate in (theirs, ours))
        assert float(times) >= 0
        assert float(apart) < 1e-6
    monkeypatch.setattr(metrics, "cases", lambda _: [])
    metrics.main(["cpu"])
    assert "furthest apart" in capsys.readouterr().out


def params() -> dict[str, Any]:
    everything: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    everything["systems"] = {name: everything["systems"][name] | changes for name, changes in TINY.items()}
    everything["train"]["threads"] = 1
    return everything


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(params()))
    return path


def case(name: str, precision: str = "fp32") -> Any:
    train = imported("train")
    return train.Case(name, systems.row(params()["systems"][name], name), (32, 24), 1.0, precision)


def settings(**changes: Any) -> Any:
    return replace(build(imported("train").TrainSettings, params()["train"], "train"), **changes)


def test_every_row_of_the_project_is_measured_on_a_gpu_also_in_bf16() -> None:
    everything = yaml.safe_load((ROOT / "params.yaml").read_text())
    found = imported("train").cases(everything, "params.yaml", device="cpu", names=None, size=None)
    assert {case.name: case.row for case in found} == {
        name: systems.row(block, name) for name, block in everything["systems"].items()
    }
    assert {case.size for case in found} == {(128, 88)}
    found = imported("train").cases(everything, "here", device="cuda", names=["vunet", "pg2"], size=(64, 48))
    assert [(case.name, case.size, case.precision) for case in found] == [
        (name, (64, 48), precision) for name in ("vunet", "pg2") for precision in ("fp32", "bf16")
    ]


def test_vunet_begins_in_the_uncounted_round_and_trains_on_every_photo() -> None:
    train = imported("train")
    work = train.Work(case("vunet"), settings(augment=None), torch.device("cpu"))
    assert not work.system.networks["vunet"].begun
    counted, learned = work.train(), 0
    assert work.system.networks["vunet"].begun
    for packed in work.packed:
        batch = train.unpack(packed, line_width=1.0, augment=work.augment, device=torch.device("cpu"))
        learned += len(work.system._with_whole_torso(batch)[0])
    assert learned == counted == 4 * train.ROUND


def test_a_round_has_steps_of_both_stages_of_pg2(monkeypatch: pytest.MonkeyPatch) -> None:
    train = imported("train")
    work, seen = train.Work(case("pg2"), settings(), torch.device("cpu")), []
    real = work.system.step
    monkeypatch.setattr(work.system, "step", lambda *given: seen.append(given[2]) or real(*given))
    work.train()
    alone = work.case.row.alone(work.case.row.steps)
    assert [progress.step < alone for progress in seen] == [True] * 5 + [False] * 3
    assert work.system.networks["g2"].begun


def test_a_table_has_ratios_within_a_precision() -> None:
    train = imported("train")
    rates = {"fp32": (10.0, 40.0), "bf16": (20.0, 50.0)}
    measured = [
        (case(name, precision), train.Measured(times * trained, times * generated, 4, 1234, None))
        for name, times in (("paper-m", 1), ("pg2", 3))
        for precision, (trained, generated) in rates.items()
    ]
    drawn = train.table(torch.device("cpu"), measured)
    rows = list(zip(*(column.cells for column in drawn.columns), strict=True))
    assert rows[0] == ("paper-m", "paper", "32x24", "fp32", "10.0", "1.00", "40.0", "1.00", "1,234")
    assert rows[3] == ("pg2", "pg2", "32x24", "bf16", "60.0", "3.00", "150.0", "3.00", "1,234")
    fragment = yaml.safe_load(train.budget(measured, "fp32", 110.0))  # of equal time, for the precision that trains
    assert fragment == {"systems": {"paper-m": {"steps": 270}, "pg2": {"steps": 820}}}  # 275 and 825


def test_the_command_prints_rates_and_with_equal_time_a_fragment(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, seen = imported("train"), []
    table = train.table
    monkeypatch.setattr(train, "table", lambda device, measured: seen.extend(measured) or table(device, measured))
    train.main(["cpu", "--params", str(file), "--size", "32x24", "--seconds", "0", "--rows", "pg2", "paper-m",
                "--equal-time", "1000"])  # fmt: skip
    assert [case.name for case, _ in seen] == ["pg2", "paper-m"]
    for _, found in seen:
        assert 0 < min(found.trained, found.generated, found.parameters) < math.inf
        assert found.peak_gib is None
    answer = capsys.readouterr()
    assert list(yaml.safe_load(answer.out)["systems"]) == ["pg2", "paper-m"]
    assert "32x24" in answer.err
    assert "…" not in answer.err  # no cell is cut


def test_one_and_two_processes_have_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    train = imported("train")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT}")  # the processes import the benchmark anew
    found = train.measure_processes(case("paper-m"), settings(), "cpu", 0.0, 2)
    assert len(found) == 2
    assert all(0 < rate < math.inf for rate in found)
    drawn = train.table_of_processes("cpu", 2, 1, [(case("paper-m"), (2.0, 3.0)), (case("pg2"), None)])
    assert [list(column.cells) for column in drawn.columns][-3:] == [["2.0", ""], ["3.0", "refused"], ["1.50", ""]]


def test_what_cannot_be_measured_is_a_message(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for asked, message in (("paper-n", "has no row 'paper-n'"), ("vunet", "a power of two")):
        with pytest.raises(SystemExit, match=message):
            imported("train").main(["--params", str(file), "--size", "40x24", "--rows", asked])
    with pytest.raises(SystemExit):
        imported("train").main(["--size", "0x88"])
    assert "should be height x width in px, such as 128x88, not '0x88'" in capsys.readouterr().err


def test_the_data_stages_are_measured_on_files_that_all_differ_and_dvc_then_has_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scale, remote = imported("scale"), imported("remote")
    scale.source(place := tmp_path / "120", 120)
    for stage in scale.STAGES:
        for part in scale.PARTS if stage in ("keypoints", "posemaps") else ("",):
            assert all(value > 0 for value in scale.measure(stage, place, part).values())
    images = read_parts(place / "data" / "images", scale.PARTS, "images.csv", IMAGES)
    assert images["sha256"].nunique() == len(images) == 120
    found = [{"stage": "split", "photos": n, "seconds": n**2, "processor": 1, "mebibytes": n} for n in (10, 100)]
    scale._show([*found, {**found[0], "stage": "decode", "seconds": 50}])
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("2.00", "1.00", "0.50 (0.50-0.50)"))  # exponents; half the rate of decoding
    monkeypatch.setattr(remote.shutil, "which", lambda *_, **__: None)  # no SeaweedFS
    *_, nothing_to_do, stated = remote._measured(place, tmp_path / "project")
    assert float(nothing_to_do) > 0
    assert stated == "no SeaweedFS"
