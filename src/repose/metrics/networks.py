"""The networks behind metrics; each loads from files whose digests were checked, and `sha256` is of these files."""

import io
import re
import warnings
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

import mannequins.figure
from repose.storage.networks import Weights, exact, holding, read_state
from repose.storage.transfer import check

FIGURE, INCEPTION, ALEXNET = "figure", "inception-tf-2015", "alexnet"
LINEAR = "lpips v0.1 alex"  # the linear layers of LPIPS


def on(device: torch.device, network: nn.Module) -> nn.Module:
    """Move a network to the device; on a CPU, its convolutions are a fifth to a third faster in this layout."""
    network.to(device)
    if device.type == "cpu":
        network.to(memory_format=torch.channels_last)
    return network


class Once:
    """A network that looks once at a batch of images, for all metrics: its output is kept as long as their tensor exists."""

    def __init__(self, network: Callable[[Tensor], Any]) -> None:
        self._network, self._kept = network, WeakTensorKeyDictionary()

    def __call__(self, images: Tensor) -> Any:
        """(B, 3, H, W) uint8 -> the network's output, computed in float32 without gradients."""
        if images not in self._kept:
            with exact():
                self._kept[images] = self._network(images)
        return self._kept[images]


class Figure:
    """Computes features of images by the figure network, which ships with repose (docs/figure.md)."""

    def __init__(self, _: Weights, device: torch.device) -> None:
        self.sha256 = {FIGURE: mannequins.figure.weights_sha256()}
        self._network = Once(mannequins.figure.load(device).find)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 of any size -> (B, 64) float32 of length 1."""
        return self._network(images).features


class Inception:
    """Computes features and logits by TensorFlow's Inception of 2015 from torch-fidelity, which resizes as TensorFlow 1 does.

    It is the network of the field's Inception Scores and FIDs. One pass computes both.

    Raises:
        ReposeError: its file is missing, has another digest, or does not hold the network.
    """

    def __init__(self, weights: Weights, device: torch.device) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        path, sha256 = weights.of(INCEPTION)
        # torch-fidelity loads files in a way that can run code, so it gets tensors that were read safely
        with holding(path, "torch-fidelity's Inception", INCEPTION):
            safe = io.BytesIO()
            torch.save(read_state(path), safe)
            safe.seek(0)
            outputs = ["2048", "logits_unbiased"]
            network = FeatureExtractorInceptionV3(INCEPTION, outputs, feature_extractor_weights_path=safe)
        self.sha256 = {INCEPTION: sha256}
        self._network = Once(on(device, network))

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 of any size -> (B, 2048) float32, of pool3."""
        return self._network(images)[0]

    def logits(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 of any size -> (B, 1008) float32, without bias."""
        return self._network(images)[1]


class Lpips:
    """Computes LPIPS (Zhang et al. 2018) by the package lpips: version 0.1, with linear layers on AlexNet's features.

    The linear layers are in the package. It would download AlexNet; here AlexNet comes from a local file.

    Raises:
        ReposeError: AlexNet's file is missing, has another digest, or does not hold the network.
    """

    least = 31  # px per side; AlexNet's second pooling leaves nothing of smaller images

    def __init__(self, weights: Weights, device: torch.device) -> None:
        path, sha256 = weights.of(ALEXNET)
        linear = Path(str(files("lpips") / "weights" / "v0.1" / "alex.pth"))
        self.sha256 = {ALEXNET: sha256, LINEAR: check(linear, sha256=None, size=None, where=str(linear))}
        self._network = on(device, _lpips(path, linear))

    def distance(self, generated: Tensor, target: Tensor) -> Tensor:
        """Two batches (B, 3, H, W) uint8 -> (B,) float32, at least 0."""
        with exact():
            found: Tensor = self._network(generated.float() / 127.5 - 1, target.float() / 127.5 - 1)
        return found.flatten()


def _lpips(path: Path, linear: Path) -> nn.Module:
    import lpips

    with warnings.catch_warnings(action="ignore"):  # lpips calls torchvision's old interface
        # pnet_rand: random weights, so that AlexNet is not downloaded; the actual weights are loaded below
        network: Any = lpips.LPIPS(net="alex", pnet_rand=True, model_path=str(linear), verbose=False)
    with holding(path, "torchvision's AlexNet", ALEXNET):
        state = {name: value for name, value in read_state(path).items() if name.startswith("features.")}
        slices = {re.sub(r"^slice\d+\.", "features.", name): name for name in network.net.state_dict()}
        network.net.load_state_dict({slices.get(name, name): value for name, value in state.items()})
    loaded: nn.Module = network.requires_grad_(False)
    return loaded
