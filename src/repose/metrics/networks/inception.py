"""TensorFlow's Inception of 2015 from torch-fidelity, the network of the field's Inception Scores and FIDs.

torch-fidelity resizes as TensorFlow 1 does. The 1,008 logits have no bias; the features are the 2,048 of pool3.
"""

import io

import torch
from torch import Tensor, nn

from repose.storage.networks import Weights, exact, holding, read_state

NAME = "inception-tf-2015"


class Inception:
    """Computes features and logits of images; `sha256` is of its file.

    One pass computes both, which are cached for the next metric of the same images.
    """

    def __init__(self, network: nn.Module, sha256: str) -> None:
        self.sha256 = {NAME: sha256}
        self._network, self._kept = network, (torch.empty(0), torch.empty(0), torch.empty(0))

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 of any size -> (B, 2048) float32."""
        return self._both(images)[0]

    def logits(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 of any size -> (B, 1008) float32, without bias."""
        return self._both(images)[1]

    def _both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if images is not self._kept[0]:
            with exact():
                self._kept = (images, *self._network(images))
        return self._kept[1:]


def load(weights: Weights, device: torch.device) -> Inception:
    """Return the network on a device.

    Raises:
        ReposeError: its file is missing, has another digest, or does not hold the network.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path, sha256 = weights.of(NAME)
    # torch-fidelity loads files in a way that can run code (weights_only=False), so it gets tensors that were read safely
    with holding(path, "torch-fidelity's Inception", NAME):
        safe = io.BytesIO()
        torch.save(read_state(path), safe)
        safe.seek(0)
        network = FeatureExtractorInceptionV3(NAME, ["2048", "logits_unbiased"], feature_extractor_weights_path=safe)
    return Inception(network.to(device), sha256)
