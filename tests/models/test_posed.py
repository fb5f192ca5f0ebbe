"""posed: the paper's generator sees the poses of its sources, and has their features brought into the target's pose."""

from typing import Any

import pytest
import torch
from torch import Tensor

from made_up import all_of, people, person, photos, poses_of
from repose.data.poses import Poses
from repose.data.skeleton import JOINT
from repose.models.posed import Code, PosedGenerator, PosedSettings, _places, align

pytestmark = pytest.mark.floats

HEIGHT, WIDTH = 64, 48


def generator(**settings: Any) -> PosedGenerator:
    return PosedGenerator(PosedSettings(**{"width": 4, "blocks": 1} | settings))


def code_of(features: Tensor, poses: Poses, sources: list[list[int]]) -> Code:
    return Code(features, _places(poses), *all_of(sources))


def test_each_choice_sees_what_it_names_alone():
    images, poses = photos()
    maps, joints = Poses(-poses.posemaps, poses.keypoints), Poses(poses.posemaps, poses.keypoints.flip(0))
    for choice, seen, unseen in (("source_pose", maps, joints), ("align", joints, maps)):
        network = generator(**{"source_pose": False, "align": False, choice: True})
        with torch.no_grad():
            codes = [network.encode(images, p, *all_of([[0, 1]])) for p in (poses, unseen, seen)]
            made = [network.decode(code, poses[4:]).image for code in codes]
        assert torch.equal(made[0], made[1])
        assert not torch.equal(made[0], made[2])


def test_features_in_the_targets_pose_stay_as_they_are():
    _, poses = photos()
    features = torch.randn(5, 6, HEIGHT // 4, WIDTH // 4)
    aligned = align(code_of(features, poses, [[0, 2], [4, 4]]), poses[torch.tensor([0, 4])])
    assert torch.equal(aligned[0], features[0])
    assert not torch.equal(aligned[1], features[2])
    assert torch.equal(aligned[2:], features[[4, 4]])


@pytest.mark.parametrize("unknown", [[0], [1]], ids=["source", "target"])
def test_where_no_joint_is_known(unknown):
    keypoints = people(2, HEIGHT, WIDTH)
    keypoints[unknown] = torch.nan
    poses = poses_of(keypoints, HEIGHT, WIDTH)
    features = torch.randn(2, 6, HEIGHT // 4, WIDTH // 4)
    aligned = align(code_of(features, poses, [[0]]), poses[1:])
    assert torch.equal(aligned[0], features[0])


def test_a_moved_person_is_moved_back():
    """The target stands two places to the right and one down: what is aligned is shifted so, wherever it was in the photo."""
    keypoints = person(HEIGHT, WIDTH, torso=0.2, at=(0.4, 0.25))
    both = torch.stack([keypoints, keypoints + torch.tensor([8.0, 4.0])])
    poses, features = poses_of(both, HEIGHT, WIDTH), torch.randn(2, 6, HEIGHT // 4, WIDTH // 4)
    aligned = align(code_of(features, poses, [[0]]), poses[1:])
    same = (aligned[0, :, 1:, 2:] == features[0, :, :-1, :-2]).all(0)
    near = _places(poses).unflatten(1, (HEIGHT // 4, WIDTH // 4))[1, 1:, 2:, 2] * 0.07 < 0.3  # torso lengths
    assert same[near].float().mean() > 0.95


def test_a_raised_wrist_has_the_features_of_the_lowered_one():
    down, up = person(HEIGHT, WIDTH, arms=(0.2, 0.2)), person(HEIGHT, WIDTH, arms=(1.4, 2.2))
    poses = poses_of(torch.stack([down, up]), HEIGHT, WIDTH)
    y, x = torch.meshgrid(torch.arange(HEIGHT // 4), torch.arange(WIDTH // 4), indexing="ij")
    place = torch.stack([x, y]).float() * 4 + 1.5  # px of the middle of each place
    aligned = align(code_of(place.expand(2, -1, -1, -1), poses, [[0]]), poses[1:])[0]
    for joint in ("right_wrist", "left_wrist", "left_elbow", "left_knee", "neck"):
        column, row = (up[JOINT[joint]] / 4).long().tolist()
        assert (aligned[:, row, column] - down[JOINT[joint]]).norm() < 6, joint  # px
