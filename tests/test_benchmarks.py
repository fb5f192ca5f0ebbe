"""The benchmarks start, and measure what they say."""

import importlib
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

from repose import systems
from repose.settings import build

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
TINY = {"paper-m": {"generator": {"width": 4}, "discriminators": {"width": 4}}, "attend": {"generator": {"width": 8}}}


@pytest.fixture(autouse=True)
def root_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)


def imported(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_is_run_by_the_command_that_its_docstring_names(name: str) -> None:
    module = imported(name)
    assert callable(module.main)
    command = "python -m benchmarks" + ("" if name == "__main__" else f".{name}")
    assert any(line.split(" [")[0] == command for line in (module.__doc__ or "").splitlines())


def test_all_benchmarks_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    everything, commands = imported("__main__"), []
    monkeypatch.setattr("subprocess.run", lambda command, **how: commands.append((command[1:], how["check"])))
    everything.main()
    assert commands == [(["-m", f"benchmarks.{name}"], True) for name in NAMES if name != "__main__"]
    assert len(commands) >= 5


def tiny(name: str) -> systems.Row:
    block = yaml.safe_load((ROOT / "params.yaml").read_text())["systems"][name]
    return systems.row(block | TINY[name], name)


@pytest.mark.parametrize(("augmented", "precision"), [(True, "fp32"), (False, "fp32"), (True, "bf16")])
@pytest.mark.parametrize("name", sorted(TINY))
@pytest.mark.usefixtures("one_thread")
def test_training_and_generation_have_a_rate(
    name: str, augmented: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = imported("train")
    monkeypatch.setitem(train.THICKNESS, (32, 24), 1.0)
    settings = build(train.TrainSettings, yaml.safe_load((ROOT / "params.yaml").read_text())["train"], "train")
    if not augmented:
        settings = replace(settings, augment=None)
    case = train.Case(name, tiny(name), (32, 24), precision)
    measured = train.measure(case, settings, torch.device("cpu"), 0.0)
    assert 0 < measured.trained < math.inf
    assert 0 < measured.generated < math.inf
    assert measured.peak_gib is None
    drawn = train.table(torch.device("cpu"), [(case, measured)])
    assert next(iter(drawn.columns[0].cells)) == name


def test_one_and_two_processes_have_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    train = imported("train")
    settings = build(train.TrainSettings, yaml.safe_load((ROOT / "params.yaml").read_text())["train"], "train")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the processes import the benchmark anew
    case = train.Case("paper-m", tiny("paper-m"), train.DEMO, "fp32")
    found = train.measure_processes(case, replace(settings, threads=1), "cpu", 0.0, 2)
    assert len(found) == 2
    assert all(0 < rate < math.inf for rate in found)
    drawn = train.table_of_processes("cpu", 2, 1, [(case, [2.0, 3.0])])
    assert [next(iter(column.cells)) for column in drawn.columns][-3:] == ["2.0", "3.0", "1.50"]


def test_a_round_is_counted_in_images(monkeypatch: pytest.MonkeyPatch) -> None:
    train, calls = imported("train"), []
    seconds = iter(float(n) for n in range(100))
    monkeypatch.setattr(train.time, "perf_counter", lambda: next(seconds))
    rate = train._rate(lambda number: calls.append(number) or 3, torch.device("cpu"), 0.0)
    assert calls == [0, 1, *range(train.ROUND)]  # two that are not counted, then a round
    assert rate == 3 * train.ROUND  # it lasted one of our seconds


def test_a_gpu_also_measures_bf16_and_the_papers_size() -> None:
    train = imported("train")
    rows = {name: tiny(name) for name in TINY}
    assert [(case.size, case.precision) for case in train.cases("cpu", rows)] == [((128, 88), "fp32")] * 2
    large = [case for case in train.cases("cuda", rows) if case.size == (256, 256)]
    assert [case.precision for case in large] == ["fp32", "bf16"] * 2
    assert {case.row.generator.width for case in large if case.name == "paper-m"} == {64}
    assert {case.row.generator.stride for case in large if case.name == "attend"} == {8}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_tells_its_peak_memory(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train = imported("train")
    monkeypatch.setitem(train.THICKNESS, (32, 24), 1.0)
    settings = build(train.TrainSettings, yaml.safe_load((ROOT / "params.yaml").read_text())["train"], "train")
    case = train.Case("attend", tiny("attend"), (32, 24), precision)
    assert train.measure(case, settings, torch.device("cuda"), 0.0).peak_gib > 0


def test_no_other_device_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "tpu"])
    with pytest.raises(SystemExit):
        imported("train").main()
    assert "invalid choice: 'tpu'" in capsys.readouterr().err
