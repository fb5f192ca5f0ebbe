"""VGG19 for the perceptual term of Eq. 1.

The paper gives neither the layers nor their weights lambda_k. This module has the published choices by name. `viton` is the
default, as the paper cites it for the same task with the same form of loss. The weights are for features of pixels from 0 to
255 (Caffe's VGG19). torchvision's VGG19 sees pixels divided by 255 and by a standard deviation of about 0.225, so its features
are multiplied by 57.4. That would be exact without biases; with them it is an approximation, and our reading.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from repose.errors import ReposeError
from repose.models.perceptual import PerceptualLoss

LayersName = Literal["viton", "crn", "vunet", "patn"]


@dataclass(frozen=True)
class Layers:
    """The compared layers (after their ReLU) with their lambda_k, and whether these are for pixels from 0 to 255."""

    weights: Mapping[str, float]
    caffe_scale: bool = True


LAYERS: Mapping[LayersName, Layers] = {
    "viton": Layers(
        {"conv1_2": 0.002211, "conv2_2": 0.001447, "conv3_2": 0.001509, "conv4_2": 0.000853, "conv5_2": 0.029297}
    ),
    "crn": Layers(
        {"conv1_2": 1 / 1.6, "conv2_2": 1 / 2.3, "conv3_2": 1 / 1.8, "conv4_2": 1 / 2.8, "conv5_2": 10 / 0.8}
    ),
    "vunet": Layers({f"conv{block}_2": 5.0 for block in range(1, 6)}),
    "patn": Layers({"conv1_2": 1.0}, caffe_scale=False),
}
# The index in torchvision's vgg19.features.
_RELU_AFTER = {"conv1_2": 3, "conv2_2": 8, "conv3_2": 13, "conv4_2": 22, "conv5_2": 31}
_CAFFE_SCALE = 255 * 0.225
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of RGB in [0,1]


class VGG19Maps(nn.Module):
    """VGG19's feature maps after the chosen layers, scaled for the layers' weights."""

    def __init__(self, weights: Path, layers: LayersName) -> None:
        super().__init__()
        chosen = LAYERS[layers]
        self.names = list(chosen.weights)
        self.scale = _CAFFE_SCALE if chosen.caffe_scale else 1.0
        self.features = load_vgg19(weights)[: _RELU_AFTER[self.names[-1]] + 1]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(_STD)[:, None, None])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (Q,3,H,W) in [-1,1], at least 16 px per side -> a feature map for each layer."""
        wanted = {_RELU_AFTER[name] for name in self.names}
        x = ((images + 1) / 2 - self.mean) / self.std
        found = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in wanted:
                found.append(x * self.scale)
        return found


def vgg19_loss(weights: Path, layers: LayersName) -> PerceptualLoss:
    """The perceptual term of VGG19; see `load_vgg19` for the file."""
    return PerceptualLoss(VGG19Maps(weights, layers), list(LAYERS[layers].weights.values()))


def load_vgg19(path: Path) -> nn.Sequential:
    """torchvision's vgg19.features with the weights in a file: a state dict as .pth, or .safetensors.

    Raises:
        ReposeError: the file is truncated, is not a state dict, or is of another network.
    """
    from safetensors.torch import load_file
    from torchvision.models import vgg19

    with torch.device("meta"):  # weights that are replaced need no memory and no random numbers
        network = vgg19(weights=None)
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        of_features = {k.removeprefix("features."): v for k, v in state.items() if "features" in k}
        network.features.load_state_dict(of_features, assign=True)
    except Exception as error:  # each library has its own errors for an unusable file
        raise ReposeError(
            f"{path} does not hold the weights of torchvision's VGG19 ({type(error).__name__}: {str(error)[:200]}). "
            "Get the file again (torchvision's vgg19-dcbb9e9d.pth) or set train.perceptual to none."
        ) from None
    features: nn.Sequential = network.features.float()
    return features
