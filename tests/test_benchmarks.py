"""The benchmarks run and measure what they claim."""

import importlib
import itertools
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
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in ("__init__", "gpu_ways"))
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


def test_all_benchmarks_run_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    everything, commands = imported("__main__"), []
    monkeypatch.setattr("subprocess.run", lambda command, **how: commands.append((command[1:], how["check"])))
    everything.main()
    assert commands == [(["-m", f"benchmarks.{name}"], True) for name in NAMES if name not in ("__main__", "gpu")]
    assert all(callable(imported(name).main) for name in NAMES)
    imported("peers").main([])  # without checkouts of theirs
    assert "Skipped" in capsys.readouterr().out


def test_every_metric_has_a_rate_and_is_what_its_reference_gives(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = imported("metrics")
    monkeypatch.setattr(imported("ssim"), "ROUNDS", 1)
    for name, value in (("PAIRS", 3), ("PERSONS", 20), ("LOGITS", (50, 12)), ("FEATURES", (70, 9))):
        monkeypatch.setattr(metrics, name, value)
    rows = [metrics.row(case) for case in metrics.cases(torch.device("cpu"))]
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


def test_a_table_has_ratios_within_a_precision() -> None:
    train = imported("train")
    measured = [
        (case(name, precision), train.Measured(times * rate, times * 40.0, 4, 1234, None))
        for name, times in (("paper-m", 1), ("pg2", 3))
        for precision, rate in (("fp32", 10.0), ("bf16", 20.0))
    ]
    rows = list(zip(*(column.cells for column in train.table(torch.device("cpu"), measured).columns), strict=True))
    assert rows[0] == ("paper-m", "paper", "32x24", "fp32", "10.0", "1.00", "40.0", "1.00", "1,234")
    assert rows[3] == ("pg2", "pg2", "32x24", "bf16", "60.0", "3.00", "120.0", "3.00", "1,234")
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


def test_the_parts_of_a_step_are_its_operators() -> None:
    step = imported("step")
    training = step.Training(case("paper-m"), settings())
    convolutions, others = training.parts()
    assert (convolutions.kind, others.kind) == ("convolutions", "others")
    assert convolutions.gflop > 0.01
    assert convolutions.ms > 0
    assert others.ms > 0
    drawn = step.table({"paper-m": [convolutions, others]}, 90.0, 20.0)
    assert [list(column.cells)[-1] for column in drawn.columns][:4:3] == ["paper-m", "100%"]


def test_an_evaluation_with_all_metrics_is_compared_with_each_alone(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = imported("evaluation")
    metrics = ["psnr", "frechet/figure", "recall@1/figure", "is/tf-2015"]
    work = evaluation.Pass(10, 12, evaluation.Networks(inception=evaluation.Projection))
    assert [len(batch.items) for part in ("train", "test") for batch in work.task.real(part)] == [12, 10]
    found = evaluation.compared(work, metrics, 1)
    assert list(found) == ["all", *metrics]
    assert all(0 < spent < 60 for of in found.values() for spent in of[0])
    assert work.once > 0  # the root for frechet
    drawn = evaluation.table(found, 10, 12, 1)
    ratios = [float(cell) for cell in drawn.columns[2].cells]
    assert max(ratios[1:]) == 1.0 <= ratios[0]
    evaluation.main(["--peak", "--pairs", "2", "--real", "2", "--metrics", "psnr", "--threads", "1"])
    assert float(capsys.readouterr().out) > 50


def by_the_kernel(source: torch.Tensor, flow: torch.Tensor, size: int) -> torch.Tensor:
    """What block_extractor_kernel.cu writes, place by place."""
    (_, channels, height, width), (h, w) = source.shape, flow.shape[2:]
    out = torch.zeros(len(source), channels, size * h, size * w)
    for b, y, x in itertools.product(range(len(source)), range(size * h), range(size * w)):
        at_x = float(flow[b, 0, y // size, x // size]) + x % size - size // 2 + x // size
        at_y = float(flow[b, 1, y // size, x // size]) + y % size - size // 2 + y // size
        left, top = math.floor(at_x), math.floor(at_y)
        for row, column in itertools.product((0, 1), (0, 1)):
            share = abs(1 - column - (at_x - left)) * abs(1 - row - (at_y - top))
            there = min(max(top + row, 0), height - 1), min(max(left + column, 0), width - 1)
            out[b, :, y, x] += share * source[(b, slice(None), *there)]
    return out


def test_the_stand_ins_of_gfla_are_what_its_kernels_compute() -> None:
    peers, random = imported("peers"), torch.Generator().manual_seed(0)
    source, flow = torch.randn(2, 3, 5, 4, generator=random), 3 * torch.randn(2, 2, 5, 4, generator=random)
    for size in (3, 5):
        torch.testing.assert_close(
            peers.extract(source, flow, size), by_the_kernel(source, flow, size), rtol=1e-4, atol=1e-5
        )
    weights = torch.arange(2 * 9 * 2 * 2.0).reshape(2, 9, 2, 2)
    found = peers.reshape(weights)
    assert found.shape == (2, 1, 6, 6)
    for y, x in itertools.product(range(6), range(6)):
        assert torch.equal(found[:, 0, y, x], weights[:, y % 3 * 3 + x % 3, y // 3, x // 3])


def test_the_parts_for_a_gpu_run_on_the_cpu_as_small_as_possible() -> None:
    gpu, found = imported("gpu"), list[dict[str, Any]]()
    attend = ("attend", (32, 24))
    for part, *given in ((gpu.limits,), (gpu.training, *attend), (gpu.loading, *attend), (gpu.generation,)):
        part(gpu.DRY, lambda **record: found.append({"part": "here"} | record), *given)
    graphs = [some for some in found if "error" in some]
    assert {some["error"] for some in graphs} == {"RuntimeError: CUDA graphs need a GPU"}
    rows = list(zip(*(column.cells for column in gpu.table(gpu.DRY, found).columns), strict=True))
    assert len(rows) == len(found) - len(graphs)
    assert (rows[2][4], rows[2][9]) == ("fp32 plain", "1.00")
    assert 0 < float(rows[2][11]) < 100  # % of the limit


def test_generation_is_measured_alone_and_in_jobs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generate = imported("generate")
    run = generate.run

    def only_rates(words: list[str], *how: Path) -> tuple[float, float, str]:
        return run(words, *how) if words[1] == generate.RATE else (0.5, 0.25, "")

    monkeypatch.setattr(generate, "run", only_rates)
    monkeypatch.setattr(generate, "has_runtime", lambda: False)  # of BlazePose
    generate.main(["--jobs", "3", "--rounds", "1"])
    lines = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "│" in line]
    rows = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}
    assert list(rows) == [
        "first picture, figure", "first picture, poses.csv", "import torch", "jobs", "one by one", "repose --help",
    ]  # fmt: skip
    rates = {name: (float(cells[4]), int(cells[5])) for name, cells in rows.items() if cells[4]}
    assert set(rates) == {"jobs", "one by one"}
    assert all(rate > 0 and apart <= 1 for rate, apart in rates.values())


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
