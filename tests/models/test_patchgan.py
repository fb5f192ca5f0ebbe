"""PatchGAN: its logits, its patch, its size."""

import pytest
import torch

from repose.errors import ReposeError
from repose.models.patchgan import PatchGAN

pytestmark = pytest.mark.floats


@pytest.mark.parametrize(("layers", "patch"), [(3, 70), (1, 16)])
def test_the_patch_that_a_logit_sees(layers, patch):
    x = torch.rand(1, 3, 160, 160, requires_grad=True)
    logits = PatchGAN(3, width=4, layers=layers, norm="none")(x)  # an InstanceNorm sees the whole image
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    seen = x.grad[0].abs().sum(0).nonzero()
    assert ((seen.amax(0) - seen.amin(0)) + 1).tolist() == [patch, patch]


def test_images_that_are_too_small_for_a_logit_are_an_error():
    discriminator = PatchGAN(3, width=1, layers=3)
    assert discriminator(torch.zeros(1, 3, 24, 24)).shape == (1, 1, 1, 1)
    with pytest.raises(ReposeError, match=r"at least 24x24 px, not 128x23 .*Lower its `layers`"):
        discriminator(torch.zeros(1, 3, 128, 23))


def test_channels_double_up_to_eight_times_the_width_and_weights_start_as_pix2pix_has_them():
    body = PatchGAN(3, width=32, layers=5).body
    assert [layer.out_channels for layer in body if hasattr(layer, "out_channels")] == [32, 64, 128, 256, 256, 256, 1]
    assert body[2].weight.std().item() == pytest.approx(0.02, rel=0.03)
