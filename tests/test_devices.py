from collections.abc import Iterator

import pytest
import torch

from repose.devices import set_up
from repose.errors import ReposeError


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def test_an_unavailable_or_unknown_device_is_a_message(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ReposeError, match=r"The device is cuda, but torch sees no GPU\. Use auto or cpu"):
        set_up("cuda", 1, 0)
    with pytest.raises(ReposeError, match="There is no device 'tpuu'"):
        set_up("tpuu", 1, 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ReposeError, match=r"There is no device 'cuda:1': torch sees 1 GPU"):
        set_up("cuda:1", 1, 0)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_cuda_the_cpu_is_taken_and_made_repeatable(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    drawn = []
    for threads, seed in ((1, 7), (2, 7), (2, 8)):
        assert set_up(device, threads, seed) == torch.device("cpu")
        assert torch.get_num_threads() == threads
        assert torch.are_deterministic_algorithms_enabled()
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(("device", "taken"), [("auto", "cuda"), ("cuda", "cuda"), ("cpu", "cpu")])
def test_with_cuda_it_is_taken_unless_the_cpu_is_asked_for(monkeypatch, device, taken):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "manual_seed", lambda _: None)  # which would look for the GPU
    assert set_up(device, 1, 0) == torch.device(taken)
    assert torch.are_deterministic_algorithms_enabled() == (taken == "cpu")
