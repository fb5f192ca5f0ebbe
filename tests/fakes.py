"""Weights of the real networks' shapes with random numbers, in files, and networks that are none."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from repose.storage import weight_files
from repose.storage.weight_files import Located


def alexnet_state() -> dict[str, Tensor]:
    """A whole state dict of torchvision's AlexNet; its classifier, which LPIPS leaves out, is small."""
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    random, state = torch.Generator().manual_seed(3), {}
    for number, (out, into, side) in shapes.items():
        scale = (2 / (into * side * side)) ** 0.5
        state[f"features.{number}.weight"] = torch.randn(out, into, side, side, generator=random) * scale
        state[f"features.{number}.bias"] = torch.randn(out, generator=random) * 0.1
    return state | {"classifier.1.weight": torch.zeros(2, 2)}


def inception_state() -> dict[str, Tensor]:
    """A whole state dict of torch-fidelity's Inception, with logits that differ from image to image."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    random = torch.Generator().manual_seed(5)
    with pytest.MonkeyPatch.context() as patched, torch.random.fork_rng():
        patched.setattr(torch, "load", lambda *_, **__: {})
        patched.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        with torch.device("meta"):
            shapes = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path="-").state_dict()
    state = {}
    for name, value in shapes.items():
        if name.endswith("conv.weight"):
            state[name] = torch.randn(value.shape, generator=random) * (2 / value[0].numel()) ** 0.5
        elif name == "fc.weight":
            state[name] = torch.randn(value.shape, generator=random) * 0.3
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = torch.ones(value.shape)
        else:
            state[name] = torch.zeros(value.shape, dtype=value.dtype)
    return state


def written(path: Path, state: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), path)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def known_as(monkeypatch: pytest.MonkeyPatch, name: str, digest: str, url: str = "http://127.0.0.1:1/w.pth") -> None:
    """From now on the file of that network is one with this digest, at this address."""
    monkeypatch.setitem(weight_files.KNOWN, name, weight_files.KNOWN[name]._replace(sha256=digest[:8], url=url))


class ByName:
    """`Weights` that knows where each file is."""

    def __init__(self, **paths: Path) -> None:
        self._paths = {name.replace("_", "-"): path for name, path in paths.items()}

    def of(self, name: str) -> Located:
        return Located(self._paths[name], sha256(self._paths[name]))


class Means:
    """A feature network, a classifier and a keypoint network: of an image's colours."""

    def __init__(self) -> None:
        self.sha256 = {"means": "f" * 64}

    def features(self, images: Tensor) -> Tensor:
        """Mean colour of each quarter: (B, 12)."""
        return torch.nn.functional.adaptive_avg_pool2d(images.double(), 2).flatten(1)

    def logits(self, images: Tensor) -> Tensor:
        return self.features(images) / 32

    def keypoints(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Where the brightest pixel of the image is, for all joints."""
        count, width = len(images), images.shape[-1]
        place = images.float().sum(1).flatten(1).argmax(1)
        points = torch.stack([place % width, place // width], 1).double()
        return points[:, None].expand(count, 18, 2), torch.ones(count, 18)


def load_means(*_: Any) -> Means:
    return Means()


def blurred(generated: Tensor, target: Tensor) -> Tensor:
    """Stands in for VGG19: differences of what is blurred."""
    return (F.avg_pool2d(generated, 4) - F.avg_pool2d(target, 4)).abs().mean()
