import base64

import numpy as np

from repose.data.images import decode
from repose.data.skeleton import COLOURS, JOINT, K
from repose.validation.gallery import SIDE, PictureSettings, galleries
from repose.validation.page import Picture

NAMES = [f"{number}.jpg" for number in range(6)]
ONE = np.stack([np.linspace(8, 40, K), np.linspace(4, 90, K)], 1).astype(np.float32)
GREY = np.full((96, 48, 3), 128, np.uint8)


def shown(
    found: np.ndarray, confidence: np.ndarray, reference: np.ndarray | None = None, worst: int = 2, random: int = 2,
    read: list[str] | None = None, pixels: np.ndarray = GREY,
) -> list[tuple[str, list[Picture]]]:  # fmt: skip
    """The titles and pictures of the galleries; `read` gets the names of the photos that are read."""

    def photo(name: str) -> np.ndarray:
        if read is not None:
            read.append(name)
        return pixels

    chosen = PictureSettings(worst, random, seed=1)
    return list(galleries(NAMES[: len(found)], photo, found, confidence, reference, chosen).items())


def names(pictures: list[Picture]) -> list[str]:
    return [picture.name for picture in pictures]


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
    reference = np.stack([ONE] * 6)
    found, confidence = reference.copy(), np.ones((6, K), np.float32)
    found[1, :9] += 60  # half of them far away
    found[3] = np.nan
    reference[5] = np.nan  # nothing to compare with
    found[5] += 30
    (title, worst), _ = shown(found, confidence, reference, worst=6)
    assert title == "The worst: left what was found, right what is known"
    assert names(worst)[:2] == ["3.jpg", "1.jpg"]
    assert names(worst)[-1] == "5.jpg"
    assert [picture.detail for picture in worst[:2]] == [
        "0 of 18 joints, and 0 elsewhere", "9 of 18 joints, and 9 elsewhere",
    ]  # fmt: skip


def test_only_photos_that_are_shown_are_read_and_none_makes_none():
    read: list[str] = []
    found, confidence = np.stack([ONE] * 6), np.ones((6, K), np.float32)
    shown(found, confidence, worst=1, random=1, read=read)
    assert len(read) == 2
    assert shown(found, confidence, worst=0, random=0) == []
    ((_, all_of_them),) = shown(found, confidence, worst=0, random=20)
    assert names(all_of_them) == NAMES


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


def test_large_photos_are_made_smaller():
    large = np.full((800, 500, 3), 90, np.uint8)
    ((_, (one,)),) = shown(np.stack([ONE * 8]), np.ones((1, K), np.float32), np.stack([ONE * 8]), 1, 0, pixels=large)
    assert (one.height, one.width) == (SIDE, 2 * SIDE * 500 // 800)


def test_the_same_photos_give_the_same_bytes_and_another_seed_others():
    found, confidence = np.stack([ONE] * 6), np.ones((6, K), np.float32)
    assert shown(found, confidence) == shown(found, confidence)
    seeds = (PictureSettings(0, 3, seed) for seed in range(8))
    drawn = [galleries(NAMES, lambda _: GREY, found, confidence, None, seed)["At random"] for seed in seeds]
    assert len({tuple(names(pictures)) for pictures in drawn}) > 1
