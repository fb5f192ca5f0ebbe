"""A training step on a GPU is queued without waiting for it: with tensors that only have a device, no value can be read."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from repose import systems
from repose.data import posemaps
from repose.data.augment import AugmentSettings
from repose.data.batches import Packed, unpack
from repose.data.skeleton import K
from repose.models import body
from repose.systems import Progress
from tiny_system import FRAME, small_row

GPU = torch.device("cuda", 0)


class Copies(TorchDispatchMode):
    """Notes every operation that moves numbers between the CPU and the GPU and makes the CPU wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [some for some in tree_leaves((args, kwargs)) if isinstance(some, Tensor) and some.dim()]
        devices = {some.device.type for some in tensors} | {torch.device(kwargs.get("device") or "meta").type}
        if len(devices - {"meta"}) > 1 and not kwargs.get("non_blocking"):
            self.waited.append(str(func))
        return func(*args, **kwargs)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Copies]:
    """A GPU whose tensors have no values: reading one, or a shape that depends on one, is an error."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)  # needs a driver
    cached = posemaps._channels, body._limbs_at_rest
    copies = Copies()
    with FakeTensorMode(allow_non_fake_inputs=True):
        for constants in cached:
            constants.cache_clear()
            constants(GPU)  # copied once, in the first step
        with copies:
            yield copies
    for constants in cached:
        constants.cache_clear()


@pytest.mark.parametrize("kind", ["attend", "paper"])
def test_neither_a_batch_nor_a_step_waits(kind, gpu, monkeypatch):
    monkeypatch.setattr(Tensor, "backward", lambda *_: None)  # needs a driver; it reads no values
    with torch.device(GPU):
        system = systems.build(small_row(kind, losses={}, discriminators={"width": 4, "layers": 1}), FRAME)
    size, index = (FRAME.height, FRAME.width), np.zeros((2, 3), np.int64)
    packed = Packed(
        np.zeros((6, *size, 3), np.uint8), np.zeros((6, K, 2), np.float32), np.zeros((6, *size), np.uint8),
        np.tile(np.eye(2, 3), (6, 1, 1)), index[:, 0], index, index == 0, 1.0, 4,
    )  # fmt: skip
    gpu.waited.clear()
    batch = unpack(packed, augment=AugmentSettings(0.5, 10.0, 0.9, "white"), device=GPU)
    terms = system.step(batch, None, Progress(1, 2, 1), nullcontext())
    assert {batch.images.device, *(term.device for term in terms.values())} == {GPU}
    assert gpu.waited == []
