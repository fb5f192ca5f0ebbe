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


@pytest.mark.parametrize(
    ("name", "base", "borders"),
    [
        ("pg2", "pg2", []),
        ("pg2+white-40", "pg2", [("white", 40)]),
        ("win51+crop-176", "win51", [("crop", 176)]),
        ("gaussian11+crop-176+white-40", "gaussian11", [("crop", 176), ("white", 40)]),
    ],
)
def test_a_name_is_a_protocol_and_borders_in_their_order(name, base, borders):
    assert split_protocol(name) == (base, borders)


@pytest.mark.parametrize(
    "border", ["white", "white40", "white-0", "white-", "crop--3", "crop-1.5", "black-4", "", "crop-123456"]
)
def test_an_unknown_border_is_refused(border):
    with pytest.raises(
        ReposeError, match=rf"no border '{border}', which the protocol 'pg2\+{border}' names. There are white-N"
    ):
        split_protocol(f"pg2+{border}")


def test_white_is_added_on_both_sides_as_patn_does():
    images = noise(0, 2, 5, 7)
    expected = np.full((2, 5, 13, 3), 255, np.uint8)
    expected[:, :, 3:10] = images
    assert torch.equal(bordered(tensor(images), [Border("white", 3)], "pg2+white-3"), tensor(expected))


@pytest.mark.parametrize(
    ("columns", "kept"), [(176, slice(40, 216)), (175, slice(40, 215)), (256, slice(None)), (1, slice(127, 128))]
)
def test_a_crop_keeps_the_middle(columns, kept):
    images = noise(1, 2, 3, 256)
    assert torch.equal(bordered(tensor(images), [Border("crop", columns)], "a"), tensor(images)[..., kept])


def test_the_order_counts():
    image = tensor(noise(2, 1, 3, 8))
    there = bordered(image, [Border("crop", 4), Border("white", 2)], "a")
    back = bordered(image, [Border("white", 2), Border("crop", 4)], "a")
    assert (there.shape[-1], back.shape[-1]) == (8, 4)
    assert (there[..., :2] == 255).all()
    assert torch.equal(back, image[..., 2:6])


def test_ssim_with_white_columns_is_scikit_images_of_the_padded_images():
    generated, target = noise(3, 3, 64, 44), noise(4, 3, 64, 44) // 2
    generated //= 3  # its own range ends far below white, which the columns raise to 255
    white = [np.pad(images, ((0, 0), (0, 0), (10, 10), (0, 0)), constant_values=255) for images in (generated, target)]
    expected = {
        "pg2": [structural_similarity(*pair, channel_axis=-1) for pair in zip(*white, strict=True)],
        "gaussian11": [
            structural_similarity(
                *pair, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1,
                data_range=int(pair[0].max()) - int(pair[0].min()),
            )
            for pair in zip(*white, strict=True)
        ],
        "win51": [structural_similarity(*pair, win_size=51, channel_axis=-1) for pair in zip(*white, strict=True)],
    }  # fmt: skip
    for protocol, scores in expected.items():
        found = ssim(generated, target, f"{protocol}+white-10")
        np.testing.assert_allclose(found, scores, rtol=0, atol=1e-9)
        np.testing.assert_allclose(ssim(tensor(generated), tensor(target), f"{protocol}+white-10"), found, atol=1e-12)


def test_ssim_of_the_middle_is_scikit_images_of_the_middle():
    generated, target = noise(5, 3, 30, 40), noise(6, 3, 30, 40)
    expected = [
        structural_similarity(a[:, 10:30], b[:, 10:30], channel_axis=-1) for a, b in zip(generated, target, strict=True)
    ]
    np.testing.assert_allclose(ssim(generated, target, "pg2+crop-20"), expected, rtol=0, atol=1e-9)
    assert not np.allclose(ssim(generated, target, "pg2"), expected)


def test_patns_way_with_images_of_others_is_what_white_around_its_own_size_gives():
    generated, target = noise(7, 2, 60, 60), noise(8, 2, 60, 60)
    whole = ssim(generated, target, "gaussian11+crop-40+white-10")
    assert torch.equal(whole, ssim(generated[:, :, 10:50], target[:, :, 10:50], "gaussian11+white-10"))


def test_a_crop_wider_than_the_images_is_refused():
    image = noise(9, 1, 64, 88)
    with pytest.raises(ReposeError, match=r"'pg2\+crop-176' takes the middle 176 columns and the images have 88"):
        ssim(image, image, "pg2+crop-176")


def test_a_window_may_fit_only_after_the_border_and_the_message_has_the_size_that_counts():
    image = noise(10, 1, 60, 30)
    assert ssim(image, image, "win51+white-11").item() == pytest.approx(1)
    with pytest.raises(ReposeError, match=r"'pg2\+crop-6' has a window of 7x7 px and the images are 6x60"):
        ssim(image, image, "pg2+crop-6")


def test_an_unknown_protocol_before_a_border_is_refused():
    image = noise(11, 1, 60, 60)
    with pytest.raises(ReposeError, match=r"no SSIM protocol 'gausian11'; .* Did you mean 'gaussian11'"):
        ssim(image, image, "gausian11+white-4")
