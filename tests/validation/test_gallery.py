from collections.abc import Sequence

import numpy as np

from repose.data.images import decode
from repose.data.skeleton import COLOURS, JOINT, K
from repose.validation.gallery import SIDE, PictureSettings, galleries
from repose.validation.page import Gallery

NAMES = [f"{number}.jpg" for number in range(6)]
ONE = np.stack([np.linspace(8, 40, K), np.linspace(4, 90, K)], 1).astype(np.float32)
GREY = np.full((96, 48, 3), 128, np.uint8)


def shown(
    found: np.ndarray, confidence: np.ndarray, reference: np.ndarray | None = None, worst: int = 2, random: int = 2,
    read: list[str] | None = None, pixels: np.ndarray = GREY,
) -> tuple[Gallery, ...]:  # fmt: skip
    def photo(name: str) -> np.ndarray:
        if read is not None:
            read.append(name)
        return pixels

    return galleries(NAMES[: len(found)], photo, found, confidence, reference, PictureSettings(worst, random, seed=1))


def names(gallery: Gallery) -> Sequence[str]:
    return [picture.name for picture in gallery.pictures]


def test_without_a_reference_the_least_sure_are_the_worst() -> None:
    found, confidence = np.stack([ONE] * 6), np.full((6, K), 0.9, np.float32)
    confidence[4] = 0.3
    found[2, 5:] = np.nan  # few joints, though sure
    worst, drawn = shown(found, confidence)
    assert worst.title == "The worst"
    assert names(worst) == ["2.jpg", "4.jpg"]
    assert [picture.detail for picture in worst.pictures] == [
        "5 joints, mean confidence 0.25", "18 joints, mean confidence 0.30",
    ]  # fmt: skip
    assert drawn.title == "At random"
    assert len(names(drawn)) == 2


def test_with_a_reference_those_with_the_fewest_joints_in_place_are() -> None:
    reference = np.stack([ONE] * 6)
    found, confidence = reference.copy(), np.ones((6, K), np.float32)
    found[1, :9] += 60  # half of them far away
    found[3] = np.nan
    reference[5] = np.nan  # nothing to compare with
    found[5] += 30
    worst, _ = shown(found, confidence, reference, worst=6)
    assert worst.title == "The worst: left what was found, right what is known"
    assert names(worst)[:2] == ["3.jpg", "1.jpg"]
    assert names(worst)[-1] == "5.jpg"
    assert worst.pictures[0].detail == "0 of 18 joints, and 0 elsewhere"
    assert worst.pictures[1].detail == "9 of 18 joints, and 9 elsewhere"


def test_only_photos_that_are_shown_are_read_and_none_makes_none() -> None:
    read: list[str] = []
    found, confidence = np.stack([ONE] * 6), np.ones((6, K), np.float32)
    shown(found, confidence, worst=1, random=1, read=read)
    assert len(read) == 2
    assert shown(found, confidence, worst=0, random=0) == ()
    (all_of_them,) = shown(found, confidence, worst=0, random=20)
    assert names(all_of_them) == NAMES


def test_limbs_lie_in_their_colours_where_the_joints_are() -> None:
    keypoints = np.full((1, K, 2), np.nan, np.float32)
    keypoints[0, JOINT["neck"]], keypoints[0, JOINT["right_shoulder"]] = (20, 20), (20, 70)
    (worst,) = shown(keypoints, np.ones((1, K), np.float32), worst=1, random=0)
    image = decode(worst.pictures[0].jpeg).astype(int)
    assert image.shape == (96, 48, 3) == (worst.pictures[0].height, worst.pictures[0].width, 3)
    red = COLOURS[0].astype(int)
    assert np.abs(image[45, 20] - red).max() < 60  # JPEG
    assert np.abs(image[45, 40] - 128).max() < 12
    assert image[20, 20].min() > 180  # a joint is a white dot


def test_large_photos_are_made_smaller() -> None:
    large = np.full((800, 500, 3), 90, np.uint8)
    (worst,) = shown(np.stack([ONE * 8]), np.ones((1, K), np.float32), np.stack([ONE * 8]), 1, 0, pixels=large)
    assert (worst.pictures[0].height, worst.pictures[0].width) == (SIDE, 2 * SIDE * 500 // 800)
    assert worst.pictures[0].address.startswith("data:image/jpeg;base64,/9j/")


def test_the_same_photos_give_the_same_bytes_and_another_seed_others() -> None:
    found, confidence = np.stack([ONE] * 6), np.ones((6, K), np.float32)
    assert shown(found, confidence) == shown(found, confidence)
    drawn = {
        tuple(names(galleries(NAMES, lambda _: GREY, found, confidence, None, PictureSettings(0, 3, seed))[0]))
        for seed in range(8)
    }
    assert len(drawn) > 1
