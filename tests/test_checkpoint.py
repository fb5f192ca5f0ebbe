import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from made_up import made, pairs
from memory import mebibytes
from repose import checkpoint, systems
from repose.checkpoint import FORMAT, About, load, read_about, read_state, restore, save
from repose.config import as_dict
from repose.data.batches import Batch
from repose.data.frame import Frame
from repose.errors import CheckpointError, ReposeError
from repose.systems import Progress, System, SystemSettings, build, paper
from tiny_system import save_system

SMALL = {"steps": 10, "generator": {"width": 4, "blocks": 1}, "discriminators": {"width": 4, "layers": 1}}
PAPER, ATTEND = (systems.row({"kind": kind} | SMALL, kind) for kind in ("paper", "attend"))
CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


def about(row: SystemSettings, step: int = 3) -> About:
    return About("mine", row, Frame(32, 24, (1.0, 2.0, 30.0, 40.0)), 2.0, step, "f" * 64, (48, 32))


def new_system(row: SystemSettings, seed: int = 0, device: torch.device = CPU) -> System:
    torch.manual_seed(seed)
    system = build(row, Frame(32, 24))
    for network in system.networks.values():
        network.to(device=device, memory_format=torch.channels_last)
    return system


def train(system: System, steps: range, device: torch.device = CPU) -> None:
    """Steps on a batch that depends on torch's random state too, as if a network had dropout."""
    batch = Batch(**{key: of if key == "share" else of.to(device) for key, of in vars(pairs(3, 32, 24)).items()})
    for step in steps:
        noise = torch.rand(batch.images.shape, device=device) * 0.1 * (step + 1)
        system.step(replace(batch, images=batch.images * (1 - noise)), None, Progress(0, 10, 5), nullcontext())


def state(system: System) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, network in system.networks.items()
        for key, value in network.state_dict().items()
    }


@pytest.mark.parametrize(("row", "to_resume"), [(PAPER, True), (ATTEND, False)], ids=["paper", "attend"])
def test_what_is_saved_comes_back(tmp_path, row, to_resume):
    system = new_system(row)
    train(system, range(2))
    path = tmp_path / "new" / "a.safetensors"
    save(path, system, about(row), to_resume=to_resume)
    loaded, said = load(path, CPU)
    assert said == about(row) == read_about(path)
    torch.testing.assert_close(state(loaded), state(system), rtol=0, atol=0)
    for network in loaded.networks.values():
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
    for network in system.networks.values():  # a loaded network lies in memory in the usual way: sums round alike
        network.to(memory_format=torch.contiguous_format).eval()
    assert made(loaded, pairs(3, 32, 24)).numpy().tobytes() == made(system, pairs(3, 32, 24)).numpy().tobytes()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    with safe_open(path, "pt") as file:
        parts = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118 (it is no mapping)
    assert parts - {"random"} == ({"network", "optimiser"} if to_resume else {"network"})


def test_a_system_may_compute_with_values_while_it_is_built(tmp_path, monkeypatch):
    """As one of a user's own may, for a grid of coordinates."""
    build_paper = paper.build

    def compute() -> Tensor:
        return torch.full((4,), torch.ones(4).sum().item())

    def build_with_buffer(*given: Any) -> System:
        built = build_paper(*given)
        built.networks["generator"].register_buffer("grid", compute())
        return built

    monkeypatch.setattr(paper, "build", build_with_buffer)
    saved = save_system(tmp_path / "a.safetensors", "paper")
    assert torch.equal(load(saved, CPU)[0].networks["generator"].get_buffer("grid"), compute())


def test_networks_may_share_tensors(tmp_path):
    system = new_system(PAPER)
    system.networks["half"] = system.networks["generator"].get_submodule("image_encoder")
    save(tmp_path / "a.safetensors", system, about(PAPER), to_resume=False)
    restored = new_system(PAPER, seed=1)
    checkpoint.load_weights(tmp_path / "a.safetensors", restored, PAPER)
    assert all(torch.equal(value, state(system)[name]) for name, value in state(restored).items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_resumes_with_its_state_on_a_gpu(tmp_path):
    device = torch.device("cuda")
    whole = new_system(PAPER, device=device)
    train(whole, range(2), device)
    save(tmp_path / "a", whole, about(PAPER, step=2), to_resume=True)
    train(whole, range(2, 3), device)
    system = new_system(PAPER, seed=9, device=device)
    torch.manual_seed(123)
    saved = read_state(tmp_path / "a", about(PAPER))
    assert saved.step == 2
    restore(saved, system)
    train(system, range(2, 3), device)
    for name, value in state(whole).items():  # kernels of a GPU may sum in another order
        torch.testing.assert_close(state(system)[name], value, rtol=1e-2, atol=1e-3)


def test_the_optimisers_state_lies_in_memory_as_it_did(tmp_path):
    system = new_system(PAPER)
    train(system, range(1))
    save(tmp_path / "a", system, about(PAPER), to_resume=True)
    again = new_system(PAPER, seed=1)
    restore(read_state(tmp_path / "a", about(PAPER)), again)
    for name, optimiser in system.optimisers.items():
        for values, others in zip(optimiser.state.values(), again.optimisers[name].state.values(), strict=True):
            assert {key: value.stride() for key, value in values.items()} == {k: v.stride() for k, v in others.items()}


def test_another_run_and_a_finished_model_are_not_resumed(tmp_path):
    save(tmp_path / "a", new_system(PAPER), about(PAPER), to_resume=False)
    with pytest.raises(ReposeError, match=r"a is a checkpoint of another run: its settings, data or version differ\."):
        read_state(tmp_path / "a", replace(about(PAPER), fingerprint="e" * 64))
    with pytest.raises(ReposeError, match=r"a is a finished model, without the state to resume from\. Delete it\."):
        read_state(tmp_path / "a", about(PAPER))


def test_a_missing_or_cut_checkpoint_is_named(tmp_path):
    path = tmp_path / "a"
    readers = (read_about, lambda path: load(path, CPU), lambda path: read_state(path, about(PAPER)))
    for read in readers:
        with pytest.raises(ReposeError, match=rf"There is no checkpoint {path}\. Train one \(`dvc repro`\)"):
            read(path)
    save(path, new_system(PAPER), about(PAPER), to_resume=True)
    whole = path.read_bytes()
    for share in (0, 1e-4, 0.5, 0.999999):
        path.write_bytes(whole[: int(share * len(whole))])
        for read in (*readers, checkpoint._read_tensors):
            with pytest.raises(
                ReposeError,
                match=r"a is not a checkpoint, or a truncated or damaged one \(.*\)\. Give the model.safetensors",
            ):
                read(path)


RECORD = {"format": FORMAT, **as_dict(about(PAPER))}


@pytest.mark.parametrize(("record", "message"), [
    (None, "a is a safetensors file, but not a checkpoint of repose"),
    ({k: v for k, v in RECORD.items() if k != "row"}, "does not have the facts that this version of repose reads .*'row'"),
    (RECORD | {"row": {"kind": "gan"}}, "a: settings.kind should be one of attend, "),
    (RECORD, "a does not fit the network 'generator' in its settings"),
])  # fmt: skip
def test_a_safetensors_file_that_is_no_checkpoint_is_named(tmp_path, record, message):
    save_file({"weight": torch.zeros(2)}, tmp_path / "a", {"repose": json.dumps(record)} if record else None)
    with pytest.raises(ReposeError, match=f"(?s){message}"):
        load(tmp_path / "a", CPU)


LARGE = systems.row(
    {"kind": "paper", "steps": 1, "generator": {"width": 2048}, "discriminators": {"width": 2048}}, "row"
)


@pytest.mark.parametrize(("change", "message"), [
    ({"row": as_dict(LARGE)}, r"does not fit the network 'generator' in its settings: .* should have the shape \[2048"),
    ({"row": as_dict(LARGE) | {"generator": {"width": 2**62}}}, "describe no network that can be built"),
    ({"row": as_dict(LARGE) | {"generator": {"blocks": 10**9}}}, "blocks should be at most 256"),
    ({"row": as_dict(LARGE) | {"discriminators": {"layers": 10**9}}}, "layers should be at most 16"),
    ({"frame": {"height": 10**6, "width": 8}}, "height should be at most 4096"),
    ({"line_width": float("nan")}, "line_width"),
    ({"step": []}, "step"),
])  # fmt: skip
def test_a_small_checkpoint_makes_no_large_network(tmp_path, change, message):
    save_file({"weight": torch.zeros(2)}, tmp_path / "a", {"repose": json.dumps(RECORD | change)})
    with pytest.raises(CheckpointError, match=f"(?s)a.*{message}"):
        load(tmp_path / "a", CPU)


def test_a_checkpoint_is_judged_before_its_networks_use_memory(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "a", {"repose": json.dumps(RECORD | {"row": as_dict(LARGE)})})
    setup = (
        "import torch; from pathlib import Path; from repose.checkpoint import load; "
        "from repose.errors import CheckpointError; from repose.systems import paper"
    )
    code = "try: load(Path(sys.argv[1]), torch.device('cpu'))\nexcept CheckpointError: pass"
    assert mebibytes(setup, code, str(tmp_path / "a")) < 200


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000])
def test_a_record_that_is_no_json_is_damage(tmp_path, text):
    save_file({"weight": torch.zeros(2)}, tmp_path / "a", {"repose": text})
    with pytest.raises(CheckpointError, match="a is not a checkpoint, or a truncated or damaged one"):
        load(tmp_path / "a", CPU)


def test_a_damaged_random_state_is_named():
    system, random = new_system(PAPER), torch.zeros(3, dtype=torch.uint8)
    tensors = {f"network.{name}": value for name, value in state(system).items()}
    with pytest.raises(CheckpointError, match="a has no random state of torch"):
        restore(checkpoint.State(Path("a"), 1, tensors | {"random": random}), system)
