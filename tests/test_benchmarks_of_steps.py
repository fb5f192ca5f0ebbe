"""The parts of the benchmarks of training: their rounds, their FLOPs, and what a GPU runs."""

import importlib
import json
import os
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
import yaml

from repose import systems
from repose.config import build
from repose.models.attend import AttendGenerator

ROOT = Path(__file__).parents[1]
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


def params() -> dict[str, Any]:
    everything: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    everything["systems"] = {name: everything["systems"][name] | changes for name, changes in TINY.items()}
    everything["train"]["threads"] = 1
    return everything


def case(name: str, precision: str = "fp32") -> Any:
    train = imported("train")
    return train.Case(name, systems.row(params()["systems"][name], name), (32, 24), 1.0, precision)


def settings(**changes: Any) -> Any:
    return replace(build(imported("train").TrainSettings, params()["train"], "train"), **changes)


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
    budget = yaml.safe_load((ROOT / "table1" / "demo" / "fashion.yaml").read_text())  # has no block posemaps
    (found,) = imported("train").cases(budget, "here", device="cpu", names=["attend"], size=(128, 88))
    assert (found.size, found.line_width) == ((128, 88), 2)


def test_vunet_begins_in_the_uncounted_round_and_trains_on_every_photo():
    train = imported("train")
    work = train.Work(case("vunet"), settings(augment=None), torch.device("cpu"))
    assert not work.system.networks["vunet"].begun
    counted, learned = work.train(), 0
    assert work.system.networks["vunet"].begun
    for packed in work.packed:
        batch = train.unpack(packed, augment=work.augment, device=torch.device("cpu"))
        learned += len(work.system._with_whole_torso(batch)[0])
    assert learned == counted == 4 * train.ROUND


def test_a_round_has_steps_of_both_stages_of_pg2(monkeypatch):
    train = imported("train")
    work, seen = train.Work(case("pg2"), settings(), torch.device("cpu")), []
    real = work.system.step
    monkeypatch.setattr(work.system, "step", lambda *given: seen.append(given[2]) or real(*given))
    work.train()
    alone = work.case.row.alone(work.case.row.steps)
    assert [progress.step < alone for progress in seen] == [True] * 5 + [False] * 3
    assert work.system.networks["g2"].begun


def test_the_parts_of_a_step_are_its_operators():
    step = imported("step")
    training = step.Training(case("paper-m"), settings())
    convolutions, others = training.parts()
    assert (convolutions.kind, others.kind) == ("convolutions", "others")
    assert convolutions.gflop > 0.01
    assert convolutions.ms > 0
    assert others.ms > 0
    drawn = step.table({"paper-m": [convolutions, others]}, 90.0, 20.0)
    assert [list(column.cells)[-1] for column in drawn.columns][:4:3] == ["paper-m", "100%"]


def test_flops_are_those_of_every_product_of_a_step():
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


def test_a_graph_trains_like_a_plain_loop_whatever_it_was_captured_with(monkeypatch):
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


def test_memory_that_runs_out_in_a_round_costs_only_that_way(monkeypatch):
    gpu, found = imported("gpu"), list[dict[str, Any]]()

    def begun(_: Any, __: Any, device: str, way: Any, ___: int) -> MagicMock:
        full = [8, 8, 8, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")]
        return MagicMock(
            device=torch.device(device), train=MagicMock(side_effect=full if way.name == "padded" else [8] * 4)
        )

    monkeypatch.setattr(gpu.ways, "Candidate", begun)
    assert gpu._take_turns(gpu.DRY, lambda **some: found.append(some), "attend", (32, 24), 2, gpu.CANDIDATES[3:6])
    assert [(some["way"], "error" in some) for some in found] == [
        ("padded", True), ("channels_last", False), ("a graph for each shape", False),
    ]  # fmt: skip


def test_as_many_images_are_made_at_once_as_the_table_says(monkeypatch):
    gpu, found = imported("gpu"), list[dict[str, Any]]()
    made, real = set[int](), AttendGenerator.decode
    monkeypatch.setattr(AttendGenerator, "decode", lambda *given: made.add(len(given[2].keypoints)) or real(*given))
    monkeypatch.setattr(gpu, "ROWS", ("attend",))
    gpu.generation(gpu.DRY._replace(small=(128, 64), batches=(96,)), lambda **some: found.append(some))
    assert {some["items"] for some in found} == made == {1, 96}


def dies(*_: Any) -> None:
    os._exit(3)


def sleeps(*_: Any) -> None:
    time.sleep(60)


def fails(scale: Any, say: Any) -> None:
    say(what="first", rate=1.0, unit="GB/s")
    raise ValueError(f"not on {scale.device}")


def test_a_part_that_fails_dies_or_hangs_costs_only_itself(monkeypatch, capsys, tmp_path):
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
