import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from repose.metrics.psnr import psnr

pytestmark = [pytest.mark.floats, pytest.mark.usefixtures("one_thread")]


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def by_skimage(generated, target):
    with np.errstate(divide="ignore"):
        return np.array([peak_signal_noise_ratio(*pair) for pair in zip(target, generated, strict=True)])


def test_equals_scikit_image_on_noise_also_where_it_is_infinite():
    generated, target = noise(0, 9, 64, 44), noise(1, 9, 64, 44)
    generated[1] = target[1]
    scores = psnr(generated, target)
    assert (scores.shape, scores.dtype) == ((9,), torch.float64)
    np.testing.assert_allclose(scores, by_skimage(generated, target), rtol=0, atol=1e-10)


def test_images_of_a_wrong_kind_are_rejected():
    image = noise(8, 2, 6, 6)
    for wrong in (image / 255, image[0], torch.from_numpy(image)):
        with pytest.raises(ValueError, match=r"generated should be \(B, .*\) uint8, not"):
            psnr(wrong, image)
    with pytest.raises(ValueError, match="they should be equal"):
        psnr(image, image[:, :5])
