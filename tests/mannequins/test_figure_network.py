"""The network that ships with repose, on mannequins of a seed that it was neither trained nor scored on."""

import hashlib
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

import mannequins.figure
from mannequins.figure import network as module
from mannequins.figure.network import THRESHOLD, FigureNetwork, read
from mannequins.renderer import MannequinSettings, render_item
from repose.data.frame import Frame
from repose.data.skeleton import present
from repose.errors import ReposeError
from repose.pose.agreement import agreement

pytestmark = [pytest.mark.floats, pytest.mark.usefixtures("one_thread")]


class Photos(NamedTuple):
    images: torch.Tensor  # (B,3,H,W) uint8
    keypoints: np.ndarray  # (B,K,2)
    items: np.ndarray  # (B,)


def photos(flavour: str, items: int, each: int) -> Photos:
    settings = MannequinSettings(flavour, items=items, seed=7, quality=90)
    of_items = [[p for p in render_item(settings, number) if p.truth is not None][:each] for number in range(items)]
    found = [photo for of_item in of_items for photo in of_item]
    pixels = torch.from_numpy(np.stack([photo.pixels for photo in found])).movedim(3, 1)
    numbers = np.repeat(np.arange(items), [len(of_item) for of_item in of_items])
    return Photos(pixels, np.stack([photo.keypoints for photo in found]), numbers)


@pytest.fixture(scope="module")
def fashion() -> Photos:
    return photos("fashion", items=5, each=3)


@pytest.fixture(scope="module")
def street() -> Photos:
    return photos("street", items=3, each=4)


@pytest.fixture(scope="module")
def network() -> FigureNetwork:
    return mannequins.figure.load("cpu")


def check_joints(network: FigureNetwork, images: torch.Tensor, truth: np.ndarray) -> None:
    found = network.find(images).points.numpy()
    assert agreement(found, truth)["pck@0.1"] >= 0.9
    assert np.abs(np.nanmedian(found - truth, axis=(0, 1))).max() < 1  # px: the middle of its cell


def test_it_finds_the_joints_of_unseen_mannequins_also_in_the_demos_frame(network, fashion, street):
    check_joints(network, fashion.images, fashion.keypoints)
    check_joints(network, street.images, street.keypoints)
    frame = Frame(128, 88, (40, 0, 216, 256))
    images = np.stack([frame.image(image) for image in fashion.images.movedim(1, 3).numpy()])
    truth = frame.keypoints(fashion.keypoints, 256, 256)
    inside = ((truth >= 0) & (truth <= (87, 127))).all(2)
    check_joints(network, torch.from_numpy(images).movedim(3, 1), np.where(inside[..., None], truth, np.nan))


def test_photos_of_an_item_are_near_each_other(network, fashion, street):
    for of, chance in ((fashion, 2 / 14), (street, 3 / 11)):
        features = network.find(of.images).features
        distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
        right = (of.items[distances.argmin(1).numpy()] == of.items).mean()
        assert right >= min(3 * chance, 0.75)


def test_what_it_returns(network, street):
    images = street.images[:4]
    points, confidence, features = network.find(images)
    np.testing.assert_array_equal(present(points.numpy()), (confidence >= THRESHOLD).numpy())
    known = points[confidence >= THRESHOLD]
    assert bool(((known >= 0) & (known <= torch.tensor([63, 127]))).all())
    assert present(network.find(images, threshold=0.0).points.numpy()).all()
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4))
    alone = network.find(images[1:2]).features
    torch.testing.assert_close(alone, features[1:2], atol=1e-4, rtol=0)  # others change nothing
    with pytest.raises(ValueError, match=r"images should be \(B, 3, H, W\) uint8"):
        network.find(images.movedim(1, 3))


def test_half_precision_finds_the_same(network, street):
    whole, half = network.find(street.images[:2]), mannequins.figure.load("cpu").half().find(street.images[:2])
    torch.testing.assert_close(half.points, whole.points, atol=2.0, rtol=0, equal_nan=True)  # half a cell


def test_nobody_is_found_where_nobody_is(network):
    points = network.find(torch.full((2, 3, 128, 64), 200, dtype=torch.uint8)).points
    assert present(points.numpy()).mean() < 0.2


def test_the_weights_are_small_and_have_the_digest_beside_them():
    assert module.WEIGHTS.stat().st_size <= 3_000_000
    digest = hashlib.sha256(module.WEIGHTS.read_bytes()).hexdigest()
    assert module.DIGEST.read_text() == f"{digest}  {module.WEIGHTS.name}\n"


def test_it_rejects_damaged_and_other_weights(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(module.WEIGHTS.read_bytes()[:-100])
    with pytest.raises(ReposeError, match=r"is damaged or was replaced: its SHA-256 is \w{64}, not"):
        read(path, mannequins.figure.weights_sha256())
    tensors = load_file(module.WEIGHTS)
    del tensors["embed.bias"]
    path.write_bytes(save(tensors))
    with pytest.raises(ReposeError, match="does not hold this version's figure network"):
        read(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_the_network_for_single_photos_finds_the_same(network, street):
    changed = mannequins.figure.for_single_photos(mannequins.figure.load("cpu"))
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in changed.modules())
    for image in street.images[:3]:
        plain, fast = network.find(image[None]), changed.find(image[None])
        torch.testing.assert_close(fast.points, plain.points, rtol=0, atol=2e-3, equal_nan=True)  # px
        torch.testing.assert_close(fast.confidence, plain.confidence, rtol=0, atol=1e-4)
        torch.testing.assert_close(fast.features, plain.features, rtol=0, atol=1e-4)
