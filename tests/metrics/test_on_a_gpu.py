"""Each metric gives the same numbers on a GPU as on the CPU."""

import pytest
import torch

from repose.metrics.mask_ssim import mask_ssim
from repose.metrics.psnr import psnr
from repose.metrics.retrieval import nearest
from repose.metrics.ssim import SSIM_PROTOCOLS, ssim
from together import distance, inception_score

RANDOM = torch.Generator().manual_seed(0)
IMAGES, OTHERS = torch.randint(0, 256, (2, 70, 3, 128, 64), generator=RANDOM, dtype=torch.uint8)
KEYPOINTS = torch.rand(70, 18, 2, generator=RANDOM) * torch.tensor([64, 128])
FEATURES, PHOTOS = torch.randn(2, 300, 64, generator=RANDOM)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize(("metric", "given"), [
    *((lambda a, b, name=name: ssim(a, b, name), (IMAGES, OTHERS)) for name in SSIM_PROTOCOLS),
    (psnr, (IMAGES, OTHERS)), (lambda a, b, points: mask_ssim(a, b, points, "pg2"), (IMAGES, OTHERS, KEYPOINTS)),
    (nearest, (FEATURES, PHOTOS)), (distance, (FEATURES, PHOTOS)), (inception_score, (FEATURES,)),
])  # fmt: skip
def test_a_gpu_gives_the_same_numbers(metric, given):
    expected, found = metric(*given), metric(*(part.cuda() for part in given))
    torch.testing.assert_close(torch.as_tensor(found).cpu(), torch.as_tensor(expected), rtol=1e-9, atol=1e-9)
