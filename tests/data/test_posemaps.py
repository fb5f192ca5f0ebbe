from pathlib import Path

import numpy as np
import pytest
import torch

from repose.data import images
from repose.data.frame import Frame
from repose.data.posemaps import FARTHEST, MAPS_AT_ONCE, PALETTE, Posemaps, colour, draw, read_posemaps
from repose.data.records import POSEMAPS, read_keypoints, write_json, write_keypoints, write_table
from repose.data.shards import ShardWriter, index_table
from repose.data.skeleton import COLOURS, JOINT, LIMBS, MIRROR, K, mirrored
from repose.errors import ReposeError

NAN = np.float32(np.nan)
pytestmark = pytest.mark.usefixtures("one_thread")


def one_limb(start, end, limb=0):
    """A person with the two joints of one limb."""
    keypoints = np.full((1, K, 2), NAN, np.float32)
    keypoints[0, LIMBS[limb][0]], keypoints[0, LIMBS[limb][1]] = start, end
    return keypoints


def drawn_slowly(keypoints, height, width, line_width):
    """The definition in float64, pixel by pixel centre, and where float32 may decide otherwise (on a rim)."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    drawn, rim = np.zeros((height, width), np.uint8), np.zeros((height, width), bool)
    for limb, (a, b) in enumerate(LIMBS):
        (x0, y0), (x1, y1) = keypoints[a].astype(np.float64), keypoints[b].astype(np.float64)
        if np.isnan([x0, y0, x1, y1]).any():
            continue
        dx, dy = x1 - x0, y1 - y0
        from_line = abs(dx * (y - y0) - dy * (x - x0)) / np.hypot(dx, dy)
        along, low, high = (y, *sorted((y0, y1))) if abs(dy) > abs(dx) else (x, *sorted((x0, x1)))
        beyond = np.maximum(low - along, along - high)
        inside = (from_line <= line_width / 2) & (beyond <= 0.5)
        near = (abs(from_line - line_width / 2) < 1e-3) | (abs(beyond - 0.5) < 1e-3)
        drawn[inside] = limb + 1
        rim |= near & (from_line < line_width / 2 + 1) & (beyond < 1.5)
    return drawn, rim


def random_poses(count, low, high, seed, missing=0.2):
    generator = np.random.default_rng(seed)
    keypoints = generator.uniform(low, high, (count, K, 2)).astype(np.float32)
    keypoints[generator.random((count, K)) < missing] = NAN
    return keypoints


@pytest.mark.parametrize(
    ("height", "width", "line_width", "low", "high"),
    [(48, 40, 4, 0, 40), (40, 48, 1, -10, 60), (64, 32, 2.5, -100, 150), (32, 32, 9, 10, 20), (20, 50, 3, -2000, 2000)],
)
def test_the_pixels_are_those_of_the_definition(height, width, line_width, low, high):
    keypoints = random_poses(40, low, high, seed=height)
    drawn, compared = draw(keypoints, height=height, width=width, line_width=line_width), 0
    for fast, person in zip(drawn, keypoints, strict=True):
        slow, rim = drawn_slowly(person, height, width, line_width)
        np.testing.assert_array_equal(fast[~rim], slow[~rim])
        compared += ((slow > 0) & ~rim).sum()
    assert compared > 400  # the test saw lines


HARD = np.concatenate(
    [
        random_poses(1000, 0, 64, seed=1),
        random_poses(1000, -300, 300, seed=2),
        random_poses(500, -FARTHEST * 1.2, FARTHEST * 1.2, seed=3),  # some of them too far
        random_poses(500, 0, 64, seed=4).round(),  # vertical, horizontal, diagonal, ties on the rim
        (random_poses(500, 0, 64, seed=5) * 2).round() / 2,
        random_poses(500, 30, 32, seed=6),  # limbs of a pixel
        random_poses(300, 0, 4, seed=7).round() * 16,  # limbs of length zero
        random_poses(20, 0, 64, seed=8, missing=1.0),
        np.full((1, K, 2), np.inf, np.float32),
        np.full((1, K, 2), 3e38, np.float32),
    ]
)


@pytest.mark.parametrize(("height", "width", "line_width"), [(64, 64, 1), (64, 32, 2), (37, 53, 4), (64, 64, 7.3)])
def test_numpy_and_torch_agree_to_the_pixel(height, width, line_width):
    of_arrays = draw(HARD, height=height, width=width, line_width=line_width)
    of_tensors = draw(torch.from_numpy(HARD), height=height, width=width, line_width=line_width)
    assert isinstance(of_arrays, np.ndarray)
    assert of_arrays.dtype == np.uint8
    assert of_tensors.dtype == torch.uint8
    assert of_arrays.shape == of_tensors.shape == (len(HARD), height, width)
    np.testing.assert_array_equal(of_arrays, of_tensors.numpy())
    assert of_arrays.any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_draws_the_same_pixels():
    on_gpu = draw(torch.from_numpy(HARD).cuda(), height=64, width=64, line_width=4)
    assert on_gpu.device.type == "cuda"
    np.testing.assert_array_equal(on_gpu.cpu().numpy(), draw(HARD, height=64, width=64, line_width=4))


def test_float64_and_strided_keypoints_give_the_same_pixels():
    keypoints = random_poses(5, 0, 64, seed=9)
    drawn = draw(keypoints, height=64, width=64, line_width=4)
    wide = np.zeros((5, K, 3))
    wide[..., :2] = keypoints
    np.testing.assert_array_equal(draw(wide[..., :2], height=64, width=64, line_width=4), drawn)
    np.testing.assert_array_equal(draw(torch.tensor(wide)[..., :2], height=64, width=64, line_width=4).numpy(), drawn)


def test_a_map_does_not_depend_on_the_others_of_its_batch():
    keypoints = random_poses(2 * MAPS_AT_ONCE + 3, -20, 80, seed=10)
    together = draw(keypoints, height=64, width=64, line_width=4)
    for row in (0, MAPS_AT_ONCE - 1, MAPS_AT_ONCE, 2 * MAPS_AT_ONCE + 2):
        np.testing.assert_array_equal(
            draw(keypoints[row : row + 1], height=64, width=64, line_width=4)[0], together[row]
        )


def test_straight_lines_cover_the_pixels_that_one_counts_by_hand():
    level = draw(one_limb((3, 5), (8, 5)), height=12, width=12, line_width=3)[0]
    np.testing.assert_array_equal(np.argwhere(level), [(y, x) for y in (4, 5, 6) for x in range(3, 9)])
    upright = draw(one_limb((5.5, 8), (5.5, 3)), height=12, width=12, line_width=4)[0]
    np.testing.assert_array_equal(np.argwhere(upright), [(y, x) for y in range(3, 9) for x in (4, 5, 6, 7)])
    diagonal = draw(one_limb((2, 2), (6, 6)), height=12, width=12, line_width=1)[0]
    np.testing.assert_array_equal(np.argwhere(diagonal), [(i, i) for i in range(2, 7)])
    assert set(np.unique(np.stack([level, upright, diagonal]))) == {0, 1}


def test_a_limb_of_length_zero_is_a_dot():
    drawn = draw(one_limb((4, 6), (4, 6), limb=3), height=12, width=12, line_width=3)[0]
    np.testing.assert_array_equal(np.argwhere(drawn), [(5, 4), (6, 4), (7, 4)])
    assert drawn.max() == 4


def test_limbs_are_cut_off_at_the_edge_of_the_image():
    across = draw(one_limb((-1000, 5), (1000, 5)), height=11, width=7, line_width=1)[0]
    np.testing.assert_array_equal(across, np.repeat(np.arange(11) == 5, 7).reshape(11, 7))
    for outside in ((-30, -2, -1, -9), (20, 3, 30, 9), (-20, 30, 3, 31), (0, -100, 100, -5)):
        assert not draw(one_limb(outside[:2], outside[2:]), height=11, width=7, line_width=2).any()


def test_a_missing_joint_skips_its_limbs_and_no_others():
    keypoints = np.stack([np.arange(K) * 13 % 60, np.arange(K) * 29 % 60], -1).astype(np.float32)[None]
    whole = set(np.unique(draw(keypoints, height=64, width=64, line_width=1)))
    for joint in range(K):
        lacking = keypoints.copy()
        lacking[0, joint] = NAN
        of_joint = {limb + 1 for limb, ends in enumerate(LIMBS) if joint in ends}
        left = set(np.unique(draw(lacking, height=64, width=64, line_width=1)))
        assert whole - of_joint <= left
        assert not left & of_joint
    assert not draw(np.full((1, K, 2), NAN), height=8, width=8, line_width=1).any()


def test_a_joint_with_one_coordinate_or_too_far_away_is_missing():
    for end in ((NAN, 3), (3, NAN), (FARTHEST * 2, 3), (3, -np.inf)):
        assert not draw(one_limb((1, 1), end), height=8, width=8, line_width=2).any()
    assert draw(one_limb((1, 1), (FARTHEST, 1)), height=8, width=8, line_width=2).any()


def test_later_limbs_lie_over_earlier_ones():
    keypoints = one_limb((2, 8), (14, 8), limb=2)
    keypoints[0, LIMBS[8][0]], keypoints[0, LIMBS[8][1]] = (8, 2), (8, 14)
    for drawn in (
        draw(keypoints, height=16, width=16, line_width=3),
        draw(torch.tensor(keypoints), height=16, width=16, line_width=3),
    ):
        assert int(drawn[0, 8, 8]) == 9
        assert int(drawn[0, 8, 3]) == 3


@pytest.mark.parametrize("limb", range(len(LIMBS)))
def test_mirrored_keypoints_give_the_mirrored_line(limb):
    generator = np.random.default_rng(limb)
    for _ in range(10):
        start, end = generator.integers(-8, 48 * 4, (2, 2)) / 4  # quarters: their mirror image is exact
        keypoints = one_limb(start, end, limb)
        drawn = draw(keypoints, height=48, width=40, line_width=3)
        image = draw(mirrored(keypoints, 40), height=48, width=40, line_width=3)
        np.testing.assert_array_equal(image > 0, drawn[..., ::-1] > 0)
    partner = {frozenset(ends): number for number, ends in enumerate(LIMBS)}[frozenset(MIRROR[list(LIMBS[limb])])]
    assert image.max() in (0, partner + 1)


def test_thickness_is_in_pixels_across_the_line():
    for end in ((250, 20), (250, 110), (250, 250), (60, 250)):
        drawn = draw(one_limb((4, 5), end), height=256, width=256, line_width=4)[0]
        along = np.hypot(end[0] - 4, end[1] - 5)
        assert (drawn > 0).sum() / along == pytest.approx(4, abs=0.25)


def test_an_empty_batch_gives_no_maps():
    assert draw(np.zeros((0, K, 2), np.float32), height=5, width=6, line_width=2).shape == (0, 5, 6)
    assert draw(torch.zeros(0, K, 2), height=5, width=6, line_width=2).shape == (0, 5, 6)


def test_bad_arguments_are_refused():
    for shape in ((K, 2), (1, 17, 2), (1, K, 3)):
        with pytest.raises(ValueError, match=r"keypoints should be \(B, 18, 2\), not"):
            draw(np.zeros(shape, np.float32), height=8, width=8, line_width=2)
    for line_width in (0.5, -1, float("nan")):
        with pytest.raises(ValueError, match="at least 1 px, not"):
            draw(np.zeros((1, K, 2), np.float32), height=8, width=8, line_width=line_width)


def test_the_palette_is_black_and_openposes_colours():
    assert PALETTE.dtype == np.uint8
    np.testing.assert_array_equal(PALETTE[0], 0)
    np.testing.assert_array_equal(PALETTE[1:], COLOURS[:17])
    assert len(np.unique(PALETTE, axis=0)) == 18


def test_colours_of_arrays_and_tensors_are_the_same_image():
    indices = draw(random_poses(7, 0, 32, seed=11), height=32, width=24, line_width=2)
    pixels, tensors = colour(indices), colour(torch.from_numpy(indices))
    assert (pixels.shape, pixels.dtype) == ((7, 32, 24, 3), np.uint8)
    assert (tuple(tensors.shape), tensors.dtype) == ((7, 3, 32, 24), torch.float32)
    assert torch.equal(tensors, images.to_tensor(pixels))
    np.testing.assert_array_equal(pixels[indices == 0], 0)
    assert (tensors.movedim(1, -1)[torch.from_numpy(indices) == 0] == -1).all()
    limb = JOINT["neck"], JOINT["right_shoulder"]
    assert limb == LIMBS[0]
    np.testing.assert_array_equal(pixels[indices == 1], np.tile([255, 0, 0], ((indices == 1).sum(), 1)))
    np.testing.assert_array_equal(colour(indices[0]), pixels[0])


def test_a_map_survives_its_png_file():
    indices = draw(random_poses(1, 0, 64, seed=12), height=64, width=48, line_width=4)
    np.testing.assert_array_equal(images.decode(images.encode_png(indices[0], PALETTE)), colour(indices)[0])


RECORD = {"height": 8, "width": 8, "crop": [0, 0, 4, 4], "line_width": 2.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two parts, with one map and two."""
    for part, names in (("0", ["a.jpg"]), ("1", ["b.jpg", "c.jpg"])):
        (tmp_path / part).mkdir()
        with ShardWriter(tmp_path / part) as shards:
            indices = draw(one_limb((1, 1), (6, 6)), height=8, width=8, line_width=2)[0]
            places = [(name, shards.add(name, images.encode_png(indices, PALETTE))) for name in names]
        write_table(tmp_path / part / "posemaps.csv", index_table(places), POSEMAPS)
        write_json(tmp_path / part / "posemaps.json", RECORD | {"maps": len(names)})
    return tmp_path


@pytest.mark.parametrize(("parts", "names"), [
    (["0", "1"], ["a.jpg", "b.jpg", "c.jpg"]), (["1"], ["b.jpg", "c.jpg"]),
])  # fmt: skip
def test_the_maps_of_all_parts_are_read(folder, parts, names):
    maps = read_posemaps(folder, parts)
    assert isinstance(maps, Posemaps)
    assert maps.frame == Frame(8, 8, (0.0, 0.0, 4.0, 4.0))
    assert maps.line_width == 2
    assert list(maps.files) == names
    for name in names:
        assert images.decode(maps.files[name]).shape == (8, 8, 3)


@pytest.mark.parametrize(
    "record",
    [{"height": 8}, [], {"height": 0, "width": 8, "crop": None, "line_width": 2}, {"height": "x", "crop": None}],
)
def test_a_folder_that_does_not_say_how_it_was_drawn_is_refused(folder, record):
    write_json(folder / "1" / "posemaps.json", record)
    with pytest.raises(ReposeError, match=r"1/posemaps\.json does not say how the maps were drawn.*dvc repro posemaps"):
        read_posemaps(folder, ["0", "1"])


@pytest.mark.parametrize(("change", "words"), [
    ({"height": 16}, r"16x8 px \(height x width\), crop 0, 0, 4, 4, limbs of 2 px"),
    ({"crop": None}, r"8x8 px \(height x width\), crop null, limbs of 2 px"),
    ({"line_width": 2.5}, r"8x8 px \(height x width\), crop 0, 0, 4, 4, limbs of 2.5 px"),
])  # fmt: skip
def test_parts_that_were_drawn_in_two_ways_are_refused(folder, change, words):
    write_json(folder / "1" / "posemaps.json", RECORD | change)
    with pytest.raises(
        ReposeError,
        match=rf"0/posemaps\.json and .*1/posemaps\.json say .* two ways: 8x8 px \(height x width\), crop 0, 0, 4, 4, "
        rf"limbs of 2 px, and {words}\. Run `dvc repro posemaps`",
    ):
        read_posemaps(folder, ["0", "1"])
    read_posemaps(folder, ["0"])  # a part that is left over is not looked at


@pytest.mark.parametrize("file", ["posemaps.json", "posemaps.csv"])
def test_a_part_without_maps_is_refused(folder, file):
    (folder / "1" / file).unlink()
    with pytest.raises(ReposeError, match=rf"There is no .*1/{file}, and the photos have a part 1.*repro posemaps@1`"):
        read_posemaps(folder, ["0", "1"])


def test_keypoints_from_a_table_are_drawn_like_those_in_memory(tmp_path):
    keypoints = random_poses(3, 0, 64, seed=13).round(3)
    write_keypoints(tmp_path / "keypoints.csv", ["a", "b", "c"], keypoints, np.ones((3, K)))
    _, read, _ = read_keypoints(tmp_path / "keypoints.csv")
    both = [draw(points, height=64, width=64, line_width=4) for points in (keypoints, read)]
    np.testing.assert_array_equal(*both)
