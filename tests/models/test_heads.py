"""Heads that are copied as rigid bodies."""

import pytest
import torch

from repose.data.skeleton import JOINT, K
from repose.models.heads import _FACE, _POINTS, _heads, moved_heads, on_face, placed_heads

SIZE, STRIDE = (128, 88), 2
POINTS = torch.tensor(_POINTS)


def turned(yaw, pitch=0.0):
    yaw, pitch = (torch.tensor(float(angle)).deg2rad() for angle in (yaw, pitch))
    about_y = torch.tensor([[yaw.cos(), 0, yaw.sin()], [0, 1, 0], [-yaw.sin(), 0, yaw.cos()]])
    about_x = torch.tensor([[1, 0, 0], [0, pitch.cos(), -pitch.sin()], [0, pitch.sin(), pitch.cos()]])
    return about_x @ about_y


def shown(points, yaw, at, px_per_cm, pitch=0.0):
    """Where a camera shows points of a head, in px."""
    flat = points @ turned(yaw, pitch).T
    return torch.stack([at[0] + px_per_cm * flat[:, 0], at[1] - px_per_cm * flat[:, 1]], 1)


def person(yaw, at=(44.0, 30.0), px_per_cm=1.0, pitch=0.0, hidden=()):
    """Keypoints (1,K,2): a face, and a torso of 50 cm below it."""
    joints = torch.full((K, 2), torch.nan)
    joints[list(_FACE)] = shown(POINTS, yaw, at, px_per_cm, pitch)
    for name, (x, y) in {"neck": (0, 22), "right_hip": (-11, 72), "left_hip": (11, 72)}.items():
        joints[JOINT[name]] = torch.tensor(at) + px_per_cm * torch.tensor([float(x), float(y)])
    for name in hidden:
        joints[JOINT[name]] = torch.nan
    return joints[None]


def moved(source, target, used=(True,)):
    count = len(used)
    sources, mask = torch.arange(count)[None], torch.tensor([used])
    placed = placed_heads(target, SIZE, STRIDE)
    return moved_heads(placed, source, sources, mask, torch.ones(count, 1, 32, 22), SIZE)


def there(found, at, source=0):
    """The position in px of the source, and the share, at a place in px of the target."""
    row, column = (round((float(value) - (STRIDE - 1) / 2) / STRIDE) for value in (at[1], at[0]))
    x, y = (found.position[0, source, :, row, column] + 1) * torch.tensor([SIZE[1], SIZE[0]]) / 2 - 0.5
    return float(x), float(y), float(found.share[0, source, 0, row, column])


@pytest.mark.parametrize(
    ("yaw", "hidden"), [(25, ()), (-40, ("right_ear",)), (60, ("left_ear",)), (-90, ("right_ear", "right_eye"))]
)
def test_a_head_is_turned_as_its_joints_are(yaw, hidden):
    found = _heads(person(yaw, hidden=hidden))
    assert found.known
    off = (found.turn[0] @ turned(yaw).T).trace()
    assert float(((off - 1) / 2).clamp(-1, 1).acos().rad2deg()) < 8


def test_heads_seen_from_one_side_move_and_grow_as_a_whole():
    source, target = person(20, at=(30, 40), px_per_cm=0.8), person(20, at=(50, 24), px_per_cm=1.2)
    direct, mirrored = moved(source, target)
    for point in ((0.0, 4.0, 9.0), (3.0, -4.0, 8.0), (-5.0, 3.0, 6.0)):
        at = shown(torch.tensor([point]), 20, (50, 24), 1.2)[0]
        column, row = ((at - 0.5) / STRIDE).round() * STRIDE + 0.5  # the middle of the place
        x, y, share = there(direct, at)
        assert (x, y) == pytest.approx((30 + (float(column) - 50) / 1.5, 40 + (float(row) - 24) / 1.5), abs=0.1)
        assert share > 0.95
    assert there(direct, (80, 100))[2] == there(mirrored, (80, 100))[2] == 0  # far from the head


def test_a_cheek_is_followed_when_the_head_turns():
    """The point lies on the average head, at another depth than the ears, so a flat head would be 3 px off."""
    source, target = person(-20), person(20)
    x = torch.tensor(3.0)
    cheek = torch.stack([x, torch.tensor(1.0), 10.2 * (1 - (x / 7.9) ** 2).sqrt()])[None]
    expected, at = shown(cheek, -20, (44, 30), 1.0)[0], shown(cheek, 20, (44, 30), 1.0)[0]
    x, y, share = there(moved(source, target)[0], at)
    assert (x, y) == pytest.approx(tuple(expected.tolist()), abs=1.2)
    assert share > 0.9


def test_the_hidden_half_of_a_face_is_the_mirrored_one():
    profile = person(-80, hidden=("right_ear", "right_eye"))  # shows the left half
    direct, mirrored = moved(profile, person(0, at=(43.5, 30)))
    right, left = (43.5 - 5, 32.5), (43.5 + 5, 32.5)
    assert there(direct, left)[2] > 0.9 > 0.1 > there(mirrored, left)[2]
    assert there(mirrored, right)[2] > 0.9 > 0.1 > there(direct, right)[2]
    assert there(mirrored, right)[:2] == pytest.approx(there(direct, left)[:2], abs=1)


def test_the_source_that_shows_the_head_from_the_same_side_counts_most():
    direct, _ = moved(torch.cat([person(35), person(0)]), person(5), (True, True))
    assert direct.share[0, 1].amax() > 0.6
    assert direct.share.sum(1).amax() <= 1 + 1e-6


def test_the_face_lies_in_its_texture_however_the_head_is_turned():
    placed = placed_heads(person(40), SIZE, STRIDE)
    x, y = on_face(placed.points)[0]
    for point, (across, down) in {(0.0, 1.0, 10.2): (-1, 0), (4.5, -3.0, 8.2): (-0.46, 0.25)}.items():
        at = shown(torch.tensor([point]), 40, (44, 30), 1.0)[0]
        row, column = (round((float(value) - (STRIDE - 1) / 2) / STRIDE) for value in (at[1], at[0]))
        assert float(placed.near[0, row, column]) == 1
        assert float(x[row, column]) == pytest.approx(across, abs=0.25)
        assert float(y[row, column]) == pytest.approx(down, abs=0.1)
    assert not placed.near[0, 45:].any()  # far below the head


@pytest.mark.parametrize("unknown", ["source", "target", "mask"])
def test_a_head_that_is_not_known_has_no_share(unknown):
    known, two = person(10), person(10, hidden=("nose", "right_eye", "left_eye"))
    source, target = (two if unknown == which else known for which in ("source", "target"))
    for found in moved(source, target, (unknown != "mask",)):
        assert not found.share.any()
        assert found.position.isfinite().all()
