"""train in two processes of gloo on the CPU: as one process with both items, through torchrun, and how all of them end."""

import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from sharing import ROWS, STEPS, Stepped, shared_by_two, steps_of

from repose.data.records import read_json
from repose.errors import ReposeError
from tiny import Data, files_in, train_tiny, unfinished
from two_processes import COMMANDS, Training, ended

pytestmark = pytest.mark.usefixtures("outside_git")


# ---- gradients ----


@pytest.fixture(scope="module")
def shared(data: Data, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Stepped]]:
    return shared_by_two(data, tmp_path_factory.mktemp("shared"))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.usefixtures("one_thread")
def test_two_processes_with_an_item_each_learn_what_one_with_both_learns(data, shared, name):
    whole = steps_of(name, data)
    assert whole.shares == [1.0] * STEPS
    for part in shared[name]:
        for number in range(STEPS):
            assert set(part.gradients[number]) == set(whole.gradients[number])
            for key, gradient in whole.gradients[number].items():
                # a bias before InstanceNorm learns nothing: its gradient is rounding alone, as small as that of the others
                alike = [g for k, g in whole.gradients[number].items() if k.split(".")[0] == key.split(".")[0]]
                scale = max(float(g.abs().max()) for g in alike)
                torch.testing.assert_close(
                    part.gradients[number][key], gradient, rtol=1e-9, atol=1e-9 * scale, msg=f"{number} {key}"
                )
            assert part.terms[number] == pytest.approx(whole.terms[number], rel=1e-9)


def test_items_of_unequal_sizes_were_among_them(shared):
    first, second = shared["paper-m"]
    assert [sum(both) for both in zip(first.shares, second.shares, strict=True)] == pytest.approx([1.0] * STEPS)
    assert any(abs(share - 0.5) > 0.05 for share in first.shares)
    assert shared["paper-m, one target"][0].shares == [0.5] * STEPS


# ---- the command ----


@pytest.fixture(scope="module")
def whole(data: Data, outside_git: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run of a training that nobody disturbed, and what was said."""
    training = Training(data, tmp_path_factory.mktemp("whole"))
    ((code, said),) = ended(training.start())
    assert code == 0, said
    return training.run, said


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_the_first_alone_tells(data, whole, tmp_path):
    run, said = whole
    assert read_json(run / "run.json")["processes"] == 2
    lines = said.splitlines()
    assert [line.split(":")[0] for line in lines] == ["train paper-m"] * 2
    steps, quiet = {"items_per_step": 2, "steps": 10}, {"checkpoint_every": 1, "sample_every": 0}
    one = train_tiny(data, tmp_path / "one", "paper-m", row_changes=steps, **quiet)
    found, expected = (pd.read_csv(folder / "history.csv") for folder in (run, one))
    assert list(found["step"]) == list(expected["step"]) == list(range(1, 11))
    np.testing.assert_allclose(found.head(3), expected.head(3), rtol=5e-3)  # later steps enlarge what rounding began


@pytest.mark.slow
def test_with_a_process_killed_it_goes_on_and_ends_with_the_same_bytes(data, whole, tmp_path):
    training = Training(data, tmp_path)
    process = training.start()
    while not training.step():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    max(children, key=lambda child: child.pid).send_signal(signal.SIGKILL)
    ((code, said),) = ended(process)
    assert (code, said.count("repose: "), training.run.exists()) == (1, 1, False)
    assert "its process 2 of 2 was killed (SIGKILL)" in said
    assert "Run the same command again" in said
    assert psutil.wait_procs(children, 30)[1] == []
    # to the end, under a torchrun of the user's
    torchrun = [str(COMMANDS / "torchrun"), "--standalone", "--nproc-per-node=2", "--module", "--", "repose.cli"]
    ((code, said),) = ended(training.start(*torchrun))
    assert code == 0, said
    assert said.count("resuming from step") == 1
    assert files_in(training.run) == files_in(whole[0])
    assert unfinished(tmp_path / "work") == []


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_process_for_each_gpu_trains(data, whole, tmp_path, precision):
    gpus = torch.cuda.device_count()
    changes = {"train__processes": "gpu", "train__device": "cuda", "train__precision": precision}
    training = Training(data, tmp_path, **changes, systems__paper_m__items_per_step=gpus)
    ((code, said),) = ended(training.start())
    assert code == 0, said
    record = read_json(training.run / "run.json")
    assert (record["processes"], record["device"]) == (gpus, "cuda")
    found, expected = (pd.read_csv(folder / "history.csv") for folder in (training.run, whole[0]))
    np.testing.assert_allclose(found["l1"].head(3), expected["l1"].head(3), rtol=0.1 if precision == "bf16" else 1e-2)


def test_processes_that_do_not_fit_are_rejected(data, tmp_path):
    with pytest.raises(
        ReposeError, match=r"^2 processes cannot share the 3 item\(s\) .* of attend evenly\. Set systems\.attend"
    ):
        train_tiny(data, tmp_path / "run", row_changes={"items_per_step": 3}, processes=2)
    with pytest.raises(ReposeError, match=r"processes is 2, and this is one process\. Train with `repose train`"):
        train_tiny(data, tmp_path / "run", row_changes={"items_per_step": 2}, processes=2)
    assert list(tmp_path.iterdir()) == []
