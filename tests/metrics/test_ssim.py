import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from repose.errors import ReposeError
from repose.metrics import ssim as ssim_module
from repose.metrics.ssim import SSIM_PROTOCOLS, ssim

pytestmark = [pytest.mark.floats, pytest.mark.usefixtures("one_thread")]


def by_skimage(generated, target, protocol):
    """The call of each protocol's own code (see SSIM_PROTOCOLS), in today's spelling."""
    if protocol == "pg2":
        return structural_similarity(generated, target, channel_axis=-1)
    if protocol == "gaussian11":
        levels = int(generated.max()) - int(generated.min())
        return structural_similarity(
            target, generated, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1,
            data_range=levels,
        )  # fmt: skip
    assert protocol == "win51"
    return structural_similarity(target / 255, generated / 255, win_size=51, data_range=1, channel_axis=-1)


def structured(generator, height, width):
    """A photo of sorts: gradients, flat areas with edges, texture in part of it."""
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / f) * np.cos(columns / f) for f in generator.uniform(3, 20, 3)], -1)
    image = 128 + 100 * waves
    top, left = generator.integers(0, height // 2), generator.integers(0, width // 2)
    image[top : top + height // 3, left : left + width // 3] = generator.integers(0, 256, 3)
    image[: height // 4] += generator.normal(0, 20, (height // 4, width, 3))
    return image.clip(0, 255).astype(np.uint8)


def pairs(height, width, seed):
    """Alike, unlike, shifted, dark, flat in part, of few levels, black and white."""
    generator = np.random.default_rng(seed)
    a, b = (structured(generator, height, width) for _ in range(2))
    noisy = (a + generator.normal(0, 15, a.shape)).clip(0, 255).astype(np.uint8)
    noise = generator.integers(0, 256, a.shape, dtype=np.uint8)
    half = a.copy()
    half[:, : width // 2] = 200
    few = (a // 128 + 100).astype(np.uint8)
    extreme = (noise // 128 * 255).astype(np.uint8)
    several = [(a, a), (a, b), (noisy, a), (np.roll(a, 2, 1), a), (a // 8, a), (noise, a), (half, a), (half, half)]
    several += [(few, a), (extreme, 255 - extreme), (a, np.full_like(a, 90)), (extreme, np.zeros_like(a))]
    generated, target = zip(*several, strict=True)
    return np.stack(generated), np.stack(target)


def tensor(images):
    return torch.from_numpy(images).movedim(-1, 1)


@pytest.mark.parametrize("protocol", SSIM_PROTOCOLS)
@pytest.mark.parametrize(("higher", "wider"), [(0, 1), (24, 2)])
def test_equals_scikit_image_from_the_size_of_the_window_on(higher, wider, protocol):
    window = SSIM_PROTOCOLS[protocol].window
    generated, target = pairs(window + higher, window + wider, seed=75)
    expected = [by_skimage(*pair, protocol) for pair in zip(generated, target, strict=True)]
    scores = ssim(tensor(generated), tensor(target), protocol)
    assert (scores.shape, scores.dtype) == ((len(generated),), torch.float64)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-9)
    assert np.ptp(expected) > 0.5  # pairs good and bad


def test_a_flat_generated_image_has_no_range_and_scores_zero_under_gaussian11():
    generator = np.random.default_rng(3)
    textured = generator.integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)
    flat = np.full_like(textured, 77)
    generated, target = np.concatenate([flat, flat, textured]), np.concatenate([textured, flat, textured])
    scores = ssim(tensor(generated), tensor(target), "gaussian11")
    assert scores.tolist() == [0, 0, pytest.approx(1)]  # and no NaN, nor any effect on the third pair


@pytest.mark.parametrize("protocol", SSIM_PROTOCOLS)
def test_arrays_and_tensors_and_any_batch_give_the_same_numbers(protocol, monkeypatch):
    generated, target = pairs(60, 52, seed=5)
    scores = ssim(tensor(generated), tensor(target), protocol)
    assert torch.equal(ssim(generated, target, protocol), scores)
    assert ssim(generated[3:4], target[3:4], protocol).item() == pytest.approx(scores[3].item(), abs=1e-12)
    monkeypatch.setitem(ssim_module._PIXELS_AT_ONCE, "cpu", 2**24)  # all at once, as on a GPU
    np.testing.assert_allclose(ssim(generated, target, protocol), scores, rtol=0, atol=1e-12)
    assert ssim(generated[:0], target[:0], protocol).shape == (0,)


def test_bad_input_is_rejected():
    image = np.zeros((1, 64, 32, 3), np.uint8)
    with pytest.raises(ReposeError, match=r"no SSIM protocol 'gausian11'\. Did you mean 'gaussian11'"):
        ssim(image, image, "gausian11")
    with pytest.raises(ReposeError, match=r"'pg2\+crop-33' scores the middle 33 columns, but the images only have 32"):
        ssim(image, image, "pg2+crop-33")


@pytest.mark.parametrize("protocol", SSIM_PROTOCOLS)
@pytest.mark.parametrize(
    ("borders", "kept", "white"), [("crop-41+white-10", slice(7, 48), 10), ("white-10+crop-65", slice(0, 55), 5)]
)
def test_borders_are_columns_cut_off_or_added_in_their_order(protocol, borders, kept, white):
    dark = [images // 2 for images in pairs(64, 55, seed=4)]  # white raises the range of gaussian11
    pads = ((0, 0), (0, 0), (white, white), (0, 0))
    changed = [np.pad(images[..., kept, :], pads, constant_values=255) for images in dark]
    found = ssim(*dark, f"{protocol}+{borders}")
    np.testing.assert_allclose(found, ssim(*changed, protocol), rtol=0, atol=1e-12)
