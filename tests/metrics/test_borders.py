import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from repose.errors import ReposeError
from repose.metrics.borders import Border, bordered, split_protocol
from repose.metrics.ssim import ssim

pytestmark = [pytest.mark.floats, pytest.mark.usefixtures("one_thread")]


def noise(seed, count, height, width):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def tensor(images):
    return torch.from_numpy(images).movedim(-1, 1)


def test_a_name_is_a_protocol_and_borders_in_their_order():
    assert split_protocol("pg2") == ("pg2", [])
    assert split_protocol("gaussian11+crop-176+white-40") == ("gaussian11", [("crop", 176), ("white", 40)])


@pytest.mark.parametrize("border", ["white", "white-0", "crop--3", "crop-1.5", "black-4", "", "crop-123456"])
def test_an_unknown_border_is_rejected(border):
    with pytest.raises(ReposeError, match=rf"'pg2\+{border}' has the unknown border '{border}'. Use white-N"):
        split_protocol(f"pg2+{border}")


@pytest.mark.parametrize(
    ("columns", "kept"), [(176, slice(40, 216)), (175, slice(40, 215)), (256, slice(None)), (1, slice(127, 128))]
)
def test_a_crop_keeps_the_middle(columns, kept):
    images = noise(1, 2, 3, 256)
    assert torch.equal(bordered(tensor(images), [Border("crop", columns)], "a"), tensor(images)[..., kept])


def test_white_is_added_on_both_sides_and_the_order_counts():
    images = tensor(noise(2, 1, 3, 8))
    there = bordered(images, [Border("crop", 4), Border("white", 2)], "a")
    assert torch.equal(there[..., 2:6], images[..., 2:6])
    assert (there[..., [0, 1, 6, 7]] == 255).all()
    assert torch.equal(bordered(images, [Border("white", 2), Border("crop", 4)], "a"), images[..., 2:6])


@pytest.mark.parametrize("protocol", ["pg2", "gaussian11", "win51"])
def test_ssim_with_borders_is_scikit_images_of_the_bordered_images(protocol):
    generated, target = noise(3, 3, 64, 44) // 3, noise(4, 3, 64, 44) // 2  # white raises the range to 255
    options = {
        "pg2": {}, "win51": {"win_size": 51},
        "gaussian11": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    }[protocol]  # fmt: skip
    expected = []
    for pair in zip(generated, target, strict=True):
        one, other = (np.pad(i[:, 2:42], ((0, 0), (10, 10), (0, 0)), constant_values=255) for i in pair)
        levels = 255 - int(one.min()) if protocol == "gaussian11" else 255
        expected.append(structural_similarity(one, other, channel_axis=-1, data_range=levels, **options))
    np.testing.assert_allclose(ssim(generated, target, f"{protocol}+crop-40+white-10"), expected, rtol=0, atol=1e-9)


def test_a_crop_wider_than_the_images_is_rejected():
    image = noise(9, 1, 64, 88)
    with pytest.raises(
        ReposeError, match=r"'pg2\+crop-176' scores the middle 176 columns, but the images only have 88"
    ):
        ssim(image, image, "pg2+crop-176")


def test_a_window_has_to_fit_the_bordered_images():
    image = noise(10, 1, 60, 30)
    assert ssim(image, image, "win51+white-11").item() == pytest.approx(1)
    with pytest.raises(ReposeError, match=r"'pg2\+crop-6' has a window of 7x7 px, but the images are 6x60"):
        ssim(image, image, "pg2+crop-6")
