"""The benchmarks run and measure what they claim."""

import importlib
import itertools
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from repose import systems
from repose.data.records import IMAGES, read_parts

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in ("__init__", "gpu_ways"))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def root_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)


def imported(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


def test_all_benchmarks_run_one_after_the_other(monkeypatch, capsys):
    everything, commands = imported("__main__"), []
    monkeypatch.setattr("subprocess.run", lambda command, **how: commands.append((command[1:], how["check"])))
    everything.main(["--all"])
    assert commands == [(["-m", f"benchmarks.{name}"], True) for name in NAMES if name not in ("__main__", "gpu")]
    commands.clear()
    everything.main([])
    short = {command[1].removeprefix("benchmarks."): command[2:] for command, _ in commands}
    assert set(NAMES) - set(short) == {"__main__", "gpu", *everything.LONG}
    assert {name: tuple(given) for name, given in short.items() if given} == everything.SHORTER
    assert all(callable(imported(name).main) for name in NAMES)
    imported("peers").main([])  # without checkouts of theirs
    assert "Skipped" in capsys.readouterr().out


def test_every_metric_has_a_rate_and_is_what_its_reference_gives(monkeypatch):
    metrics = imported("metrics")
    monkeypatch.setattr(metrics, "ROUNDS", 1)
    for name, value in (("PAIRS", 3), ("LOGITS", (50, 12)), ("FEATURES", (70, 9))):
        monkeypatch.setattr(metrics, name, value)
    rows = [metrics.row(case) for case in metrics.cases(torch.device("cpu"))]
    assert [images for _, images, *_ in rows] == ["3", "3", "3", "3", "3", "50", "70", "70"]
    for *_, theirs, ours, times, apart in rows:
        assert all(float(rate.replace(",", "")) > 0 for rate in (theirs, ours))
        assert float(times) >= 0
        assert float(apart) < 1e-6


def test_training_and_generation_have_rates_and_steps_of_equal_time(tmp_path, capsys):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["systems"]["paper-m"] |= {"generator": {"width": 4}, "discriminators": {"width": 4}}
    params["systems"]["pg2"] |= {"width": 4, "code": 8, "discriminator_width": 4}
    params["train"]["threads"] = 1
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(params))
    words = "--size 32x24 --seconds 0 --rows pg2 paper-m --equal-time 1000 --params"
    imported("train").main(["cpu", *words.split(), str(tmp_path / "tiny.yaml")])
    answer = capsys.readouterr()
    assert list(yaml.safe_load(answer.out)["systems"]) == ["pg2", "paper-m"]
    assert "32x24" in answer.err
    assert "…" not in answer.err  # no cell is cut


def test_an_evaluation_with_all_metrics_is_compared_with_each_alone(capsys):
    evaluation = imported("evaluation")
    metrics = ["psnr", "frechet/figure", "is/tf-2015"]
    work = evaluation.Pass(10, 12, evaluation.Networks(inception=evaluation.Projection))
    found = evaluation.compared(work, metrics, 1)
    assert list(found) == ["all", *metrics]
    assert all(0 < spent < 60 for of in found.values() for spent in of[0])
    ratios = [float(cell) for cell in evaluation.table(found, 10, 12, 1).columns[2].cells]
    assert max(ratios[1:]) == 1.0
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


def test_the_stand_ins_of_gfla_are_what_its_kernels_compute():
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


def test_the_data_stages_are_measured_on_files_that_all_differ(tmp_path, capsys):
    scale = imported("scale")
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


def test_every_row_of_the_project_is_measured_on_a_gpu_also_in_bf16():
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


def test_the_parts_for_a_gpu_run_on_the_cpu_as_small_as_possible():
    gpu, found = imported("gpu"), list[dict[str, Any]]()
    attend = ("attend", (32, 24))
    for part, *given in ((gpu.limits,), (gpu.training, *attend), (gpu.loading, *attend), (gpu.generation,)):
        part(gpu.DRY, lambda **record: found.append({"part": "here"} | record), *given)
    graphs = [some for some in found if "error" in some]
    assert {some["error"] for some in graphs} == {"RuntimeError: CUDA graphs need a GPU"}
    rows = list(zip(*(column.cells for column in gpu.table(gpu.DRY, found).columns), strict=True))
    assert len(rows) == len(found) - len(graphs)
    assert (rows[2][4], rows[2][9]) == ("fp32 plain", "1.00")
    limit = 100 if torch.cpu._is_avx512_bf16_supported() else math.inf  # of bf16, which other processors are slow in
    assert 0 < float(rows[2][11]) < limit  # % of the limit
