import base64

import numpy as np

from repose.data.images import decode
from repose.data.skeleton import COLOURS, JOINT, K
from repose.validation.gallery import PictureSettings, galleries
from repose.validation.page import Picture

NAMES = [f"{number}.jpg" for number in range(6)]
ONE = np.stack([np.linspace(8, 40, K), np.linspace(4, 90, K)], 1).astype(np.float32)
GREY = np.full((96, 48, 3), 128, np.uint8)


def shown(
    found: np.ndarray, confidence: np.ndarray, reference: np.ndarray | None = None, worst: int = 2, random: int = 2
) -> list[tuple[str, list[Picture]]]:
    """The titles and pictures of the galleries."""
    chosen = PictureSettings(worst, random, seed=1)
    return list(galleries(NAMES[: len(found)], lambda _: GREY, found, confidence, reference, chosen).items())


def test_without_a_reference_the_least_sure_are_the_worst():
    found, confidence = np.stack([ONE] * 6), np.full((6, K), 0.9, np.float32)
    confidence[4] = 0.3
    found[2, 5:] = np.nan  # few joints, though sure
    (title, worst), (other, drawn) = shown(found, confidence)
    assert (title, other, len(drawn)) == ("The worst", "At random", 2)
    assert [(picture.name, picture.detail) for picture in worst] == [
        ("2.jpg", "5 joints, mean confidence 0.25"), ("4.jpg", "18 joints, mean confidence 0.30"),
    ]  # fmt: skip


def test_with_a_reference_those_with_the_fewest_joints_in_place_are():
    reference = np.stack([ONE] * 4)
    found, confidence = reference.copy(), np.ones((4, K), np.float32)
    found[1, :9] += 60  # half of them far away
    found[3] = np.nan
    reference[0] = np.nan  # nothing to compare with
    (title, worst), _ = shown(found, confidence, reference, worst=4)
    assert title == "The worst: left what was found, right what is known"
    assert [picture.name for picture in worst] == ["3.jpg", "1.jpg", "2.jpg", "0.jpg"]
    assert [picture.detail for picture in worst[:2]] == [
        "0 of 18 joints, and 0 elsewhere", "9 of 18 joints, and 9 elsewhere",
    ]  # fmt: skip


def test_limbs_lie_in_their_colours_where_the_joints_are():
    keypoints = np.full((1, K, 2), np.nan, np.float32)
    keypoints[0, JOINT["neck"]], keypoints[0, JOINT["right_shoulder"]] = (20, 20), (20, 70)
    ((_, (worst,)),) = shown(keypoints, np.ones((1, K), np.float32), worst=1, random=0)
    image = decode(base64.b64decode(worst.address.removeprefix("data:image/jpeg;base64,"))).astype(int)
    assert image.shape == (96, 48, 3) == (worst.height, worst.width, 3)
    red = COLOURS[0].astype(int)
    assert np.abs(image[45, 20] - red).max() < 60  # JPEG
    assert np.abs(image[45, 40] - 128).max() < 12
    assert image[20, 20].min() > 180  # a joint is a white dot


def test_the_seed_draws_the_photos_at_random():
    found, confidence = np.stack([ONE] * 6), np.ones((6, K), np.float32)
    settings = [PictureSettings(worst=0, random=3, seed=seed) for seed in (*range(8), 0)]
    drawn = [galleries(NAMES, lambda _: GREY, found, confidence, None, one) for one in settings]
    assert drawn[0] == drawn[-1]
    assert len({tuple(picture.name for picture in titled["At random"]) for titled in drawn}) > 1
