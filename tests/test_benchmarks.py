"""The benchmarks run and measure what they claim."""

import errno
import importlib
import itertools
import math
import resource
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
import yaml

from repose.data.records import IMAGES, read_parts
from repose.kubeflow.params import ParamsFile

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


def test_every_metric_has_a_rate_and_is_what_its_reference_gives(monkeypatch, capsys):
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
    monkeypatch.setattr(metrics, "cases", lambda _: [])
    metrics.main(["cpu"])
    assert "furthest apart" in capsys.readouterr().out


def test_the_references_of_the_metrics_have_one_thread():
    code = """
import os, runpy, sys
sys.argv[1:] = ["--help"]
try:
    runpy.run_module("benchmarks.metrics", run_name="__main__")
except SystemExit:
    print(len(os.listdir("/proc/self/task")))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1"


def test_training_and_generation_have_rates_and_steps_of_equal_time(tmp_path, capsys):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["systems"]["paper-m"]["generator"] = params["systems"]["paper-m"]["discriminators"] = {"width": 4}
    params["systems"]["pg2"] |= {"width": 4, "code": 8, "discriminator_width": 4}
    params["train"]["threads"] = 1
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(params))
    words = "--size 32x24 --seconds 0 --rows pg2 paper-m --equal-time 1000 --params"
    imported("train").main(["cpu", *words.split(), str(tmp_path / "tiny.yaml")])
    answer = capsys.readouterr()
    assert list(yaml.safe_load(answer.out)["systems"]) == ["pg2", "paper-m"]
    assert "32x24" in answer.err
    assert "…" not in answer.err  # no cell is cut


def test_an_evaluation_with_all_metrics_is_compared_with_each_alone(monkeypatch, capsys):
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
    calls: list[Any] = []
    monkeypatch.setattr(work, "score", lambda names: calls.append((names, work.real)) or evaluation.Spent(1, 1))
    evaluation.compared(work, ["fid/inception-tf-2015"], 1)
    assert calls == [(["fid/inception-tf-2015"], 2)] + 2 * [
        (["fid/inception-tf-2015"], 12)
    ]  # the first loads the network
    evaluation.main(["--peak", "--pairs", "2", "--real", "2", "--metrics", "psnr", "--threads", "1"])
    assert float(capsys.readouterr().out) > 50


def test_jobs_are_made_of_garments_with_three_photos(tmp_path, monkeypatch):
    generate, real = imported("generate"), imported("generate").render_item
    monkeypatch.setattr(generate, "render_item", lambda how, number: real(how, number)[: 2 + number % 2])
    generate.prepare(tmp_path, 1)
    sources, pose, _ = (tmp_path / "jobs.csv").read_text().splitlines()[1].split(",")
    assert {*sources.split(";"), pose, "1-2.jpg"} <= {path.name for path in tmp_path.glob("*.jpg")}
    with pytest.raises(SystemExit, match="There is no seed"):
        generate.run(["-c", "import sys; sys.exit('There is no seed')"], ROOT / "src", tmp_path)


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


def test_a_peak_is_the_largest_process_s_in_the_unit_of_the_platform(monkeypatch):
    kilobytes = {resource.RUSAGE_SELF: 2**20, resource.RUSAGE_CHILDREN: 2**21}
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=kilobytes[who]))
    peaks = []
    for platform in ("linux", "darwin"):
        monkeypatch.setattr(sys, "platform", platform)
        peaks.append(importlib.import_module("benchmarks").peak_mebibytes())
    assert peaks == [2048, 2]


def test_the_small_profile_of_the_pipeline_trains_every_row_for_three_steps():
    params = ParamsFile.read(ROOT / "params.yaml")
    small = yaml.safe_load(params.with_values(imported("kubeflow").SMALL))
    assert {small["systems"][row]["steps"] for row in small["evaluate"]["systems"]} == {0, 3}


def test_the_data_stages_are_measured_on_files_that_all_differ_and_dvc_then_has_nothing_to_do(
    tmp_path, monkeypatch, capsys
):
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
    monkeypatch.setattr(remote.os, "link", MagicMock(side_effect=OSError(errno.EXDEV, "another file system")))
    *_, nothing_to_do, stated = remote._measured(place, tmp_path / "project")
    assert float(nothing_to_do) > 0
    assert stated == "no SeaweedFS"
