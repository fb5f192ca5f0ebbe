"""The benchmarks run and measure what they claim."""

import importlib
import itertools
import json
import math
import os
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

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


def test_all_benchmarks_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    everything, commands = imported("__main__"), []
    monkeypatch.setattr("subprocess.run", lambda command, **how: commands.append((command[1:], how["check"])))
    everything.main()
    assert commands == [(["-m", f"benchmarks.{name}"], True) for name in NAMES if name not in ("__main__", "gpu")]
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
        batch = train.unpack(packed, augment=work.augment, device=torch.device("cpu"))
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


def test_a_revision_is_compared_in_turns_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    step, commands, times = imported("step"), [], iter([9.0, 4.0, 7.0, 5.0, 8.0, 3.0])

    def run(command: list[str], **how: Any) -> Any:
        commands.append((command, how))
        return SimpleNamespace(stdout=json.dumps({"attend": next(times)})) if "--json" in command else None

    monkeypatch.setattr("subprocess.run", run)
    drawn = step.compare("main", ["--rows", "attend"])
    assert [list(column.cells) for column in drawn.columns] == [
        ["attend"], ["8.0 (7.0 to 9.0)"], ["4.0 (3.0 to 5.0)"], ["2.00"],
    ]  # fmt: skip
    (added, *_), (removed, _) = commands[0], commands[-1]
    assert [added[4], added[-1], removed[4], removed[-1]] == ["add", "main", "remove", added[-2]]
    sources = [Path(how["env"]["PYTHONPATH"].split(os.pathsep)[0]) for _, how in commands[1:-1]]
    assert sources == [Path(added[-2]), ROOT] * step.ROUNDS


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


NETWORK = """
from torch import cat, nn
class PoseGenerator(nn.Module):
    def __init__(self, *settings, **others):
        super().__init__()
        self.flow_net = nn.Conv2d(39, 3, 1)
    def forward(self, *some):
        return self.flow_net(cat(some, 1)), None
"""


def test_peers_are_measured_from_checkouts_beside_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peers = imported("peers")
    peers.main([])
    assert "Skipped" in capsys.readouterr().out
    for option, name in (("--patn", "Pose-Transfer"), ("--gfla", "Global-Flow-Local-Attention")):
        with pytest.raises(SystemExit, match=name):
            peers.main([option, str(tmp_path)])
    networks = tmp_path / "model" / "networks"
    networks.mkdir(parents=True)
    (tmp_path / "model" / "__init__.py").write_text("raise ImportError('visdom')")
    (networks / "base_function.py").write_text(
        "import block_extractor_cuda\nclass BlockExtractor: pass\nclass LocalAttnReshape: pass\n"
    )
    (networks / "generator.py").write_text("from model.networks.base_function import *\n" + NETWORK)
    peers.main(["--gfla", str(tmp_path), "--sizes", "32x24", "32x32", "--rounds", "1"])
    first, second = capsys.readouterr().out.split("32x32")
    assert "GFLA" not in first
    assert second.count("GFLA") == 2
    assert not {"model", "model.networks", "block_extractor_cuda"} & set(sys.modules)


# ---- of a GPU ----


def records(part: Any, *arguments: Any, scale: Any = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    part(scale or imported("gpu").DRY, lambda **record: found.append({"part": "here"} | record), *arguments)
    return found


def test_the_parts_for_a_gpu_run_on_the_cpu_as_small_as_possible(capsys: pytest.CaptureFixture[str]) -> None:
    gpu = imported("gpu")
    trained = records(gpu.training, "attend", (32, 24))
    graphs = [some for some in trained if "error" in some]
    assert {some["error"] for some in graphs} == {"RuntimeError: CUDA graphs need a GPU"}
    assert all("graph" in some["way"] for some in graphs)
    ways = [(some["items"], some["precision"], some["way"]) for some in trained if "error" not in some]
    assert [way for items, *way in ways if items == 1] == [
        ["fp32", "plain"], ["bf16", "plain"], ["bf16", "batches in memory"],
        ["bf16", "channels_last"], ["bf16", "padded"],
    ]  # fmt: skip
    assert [way for items, *way in ways if items == 2] == [
        ["fp32", "plain"],
        ["bf16", "plain"],
        ["bf16", "channels_last"],
    ]
    loaded, made = records(gpu.loading, "attend", (32, 24)), records(gpu.generation)
    assert [(some["items"], 0 < some["waiting"] < 1) for some in loaded] == [(1, True), (2, True)]
    assert [some["unit"] for some in made[:3]] == ["images/s", "ms", "images/s"]
    found = [*records(gpu.limits), *trained, *loaded, *made]
    rows = list(zip(*(column.cells for column in gpu.table(gpu.DRY, found).columns), strict=True))
    assert len(rows) == len(found) - len(graphs)
    plain = rows[2]
    assert (plain[4], plain[9]) == ("fp32 plain", "1.00")
    assert 0 < float(plain[11]) < 100  # % of the limit


def test_flops_are_those_of_every_product_of_a_step() -> None:
    train, ways = imported("train"), imported("gpu_ways")
    work = ways.Candidate(case("paper-m"), settings(augment=None), "cpu", ways.PLAIN, 2)
    d_image = [w for w in work.system.networks["image"].modules() if isinstance(w, torch.nn.Conv2d)]
    assert ways.flops(work) > 4 * sum(2 * w.weight.numel() for w in d_image)
    twice = ways.Candidate(case("paper-m")._replace(size=(64, 48)), settings(augment=None), "cpu", ways.PLAIN, 2)
    assert 3.5 < ways.flops(twice) / ways.flops(work) < 4.5  # four times the pixels
    assert train.ROUND > 2


class Graph:
    """A CUDA graph whose replay trains on its batch as a plain step does."""

    work: Any = None

    def replay(self) -> None:
        static = next(batch for graph, batch, _ in self.work.graphs.values() if graph is self)
        imported("train").Work.step(self.work, static, 0)


def test_a_graph_trains_like_a_plain_loop_whatever_it_was_captured_with(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = imported("gpu_ways")
    for name, stand_in in {
        "is_available": lambda: True, "CUDAGraph": Graph, "graph": lambda *_, **__: nullcontext(),
        "graph_pool_handle": lambda: None, "stream": nullcontext, "Stream": MagicMock, "current_stream": MagicMock,
        "is_current_stream_capturing": lambda: False,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    photos, constant = ways.Rendered(2, (32, 24)), ways.at_constant_rate(case("paper-m"))
    same = ways.Way("without a graph", "fp32", frozenset({"padded"}))
    plain, graph = (ways.Candidate(constant, settings(), "cpu", way, 2) for way in (same, ways.GRAPH))
    monkeypatch.setattr(Graph, "work", graph)
    expected, found = (ways.curve(work, photos, ways.POINTS, 0) for work in (plain, graph))
    assert len(graph.graphs) > 1  # items of several sizes
    for term, values in expected.items():
        assert found[term] == pytest.approx(values, rel=1e-6), term


def dies(*_: Any) -> None:
    os._exit(3)


def sleeps(*_: Any) -> None:
    time.sleep(60)


def fails(scale: Any, say: Any) -> None:
    say(what="first", rate=1.0, unit="GB/s")
    raise ValueError(f"not on {scale.device}")


def test_a_part_that_fails_dies_or_hangs_costs_only_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gpu = imported("gpu")
    chosen = [(part.__name__, part, ()) for part in (dies, fails, sleeps, gpu.limits)]
    monkeypatch.setattr(gpu, "parts", lambda *_, **__: chosen)
    monkeypatch.setattr(gpu, "LEAST", 0.0)
    gpu.main(["--dry-run", "--only", "dies", "fails", "limits", "--out", str(tmp_path / "gpu.json")])
    shown = capsys.readouterr().out
    assert "not measured: dies: its process ended with 3" in shown
    assert "not measured: fails: ValueError: not on cpu" in shown
    written = json.loads((tmp_path / "gpu.json").read_text())["records"]
    assert [some.get("what") for some in written] == [None, "first", None, "copy", "bf16 product"]
    with pytest.raises(SystemExit, match="Nothing could be measured"):
        gpu.main(["--dry-run", "--only", "sleeps", "--minutes", "0.05"])
    assert "not measured: sleeps: not done after 3 s" in capsys.readouterr().out


def test_generation_is_measured_alone_and_in_jobs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generate, started = imported("generate"), []
    run = generate.run

    def only_rates(words: list[str], src: Path, folder: Path) -> tuple[float, float, str]:
        if words[1] == generate.RATE:
            return run(words, src, folder)
        started.append(words)
        return 0.5, 0.25, ""

    monkeypatch.setattr(generate, "run", only_rates)
    monkeypatch.setattr(generate, "has_runtime", lambda: False)  # of BlazePose
    generate.main(["--jobs", "3", "--rounds", "1"])
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines() if "│" in line
    ]
    assert [row[:2] for row in rows] == [
        [what, "now"]
        for what in (
            "first picture, figure",
            "first picture, poses.csv",
            "import torch",
            "jobs",
            "one by one",
            "repose --help",
        )
    ]
    rates = {row[0]: (float(row[5]), int(row[6])) for row in rows if row[5]}
    assert set(rates) == {"jobs", "one by one"}
    assert all(rate > 0 and apart <= 1 for rate, apart in rates.values())
    assert [words[2] for words in started if words[0] == "-m"] == ["--help", "generate", "generate"]


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
