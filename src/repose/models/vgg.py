"""VGG19 for the perceptual term of Eq. 1.

The paper gives neither the layers nor their weights lambda_k. This module has the published choices by name. `viton` is the
default, as the paper cites it, with the same form of loss for a related task. The weights are for features of pixels from 0 to
255 (Caffe's VGG19). torchvision's VGG19 sees pixels divided by 255 and by a standard deviation of about 0.225, so its features
are multiplied by 57.4. That would be exact without biases; with them it is an approximation, and our reading.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from repose.errors import ReposeError
from repose.models.losses import PerceptualLoss

LayersName = Literal["viton", "crn", "vunet", "patn"]


# lambda_k of the features after relu1_2, relu2_2, ..., relu5_2; patn's are for pixels from 0 to 1, the others from 0 to 255.
LAYERS: Mapping[LayersName, tuple[float, ...]] = {
    "viton": (0.002211, 0.001447, 0.001509, 0.000853, 0.029297),
    "crn": (1 / 1.6, 1 / 2.3, 1 / 1.8, 1 / 2.8, 10 / 0.8),
    "vunet": (5.0, 5.0, 5.0, 5.0, 5.0),
    "patn": (1.0,),
}
_RELUS = (3, 8, 13, 22, 31)  # relu1_2, ..., relu5_2 in torchvision's vgg19.features
_CAFFE_SCALE = 255 * 0.225
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of RGB in [0,1]


class VGG19Maps(nn.Module):
    """VGG19's feature maps after the chosen layers, scaled for the layers' weights."""

    def __init__(self, weights: Path, layers: LayersName) -> None:
        super().__init__()
        self.scale = 1.0 if layers == "patn" else _CAFFE_SCALE
        self.wanted = _RELUS[: len(LAYERS[layers])]
        self.features = load_vgg19(weights)[: self.wanted[-1] + 1]
        self.mean, self.std = (nn.Buffer(torch.tensor(of)[:, None, None]) for of in (_MEAN, _STD))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (Q,3,H,W) in [-1,1], at least 16 px per side -> a feature map for each layer."""
        x = ((images + 1) / 2 - self.mean) / self.std
        found = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.wanted:
                found.append(x * self.scale)
        return found


def vgg19_loss(weights: Path, layers: LayersName) -> PerceptualLoss:
    """The perceptual term of VGG19; see `load_vgg19` for the file."""
    return PerceptualLoss(VGG19Maps(weights, layers), LAYERS[layers])


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
