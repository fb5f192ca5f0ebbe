"""What varies in the items of the surface training."""

from dataclasses import replace

import numpy as np
import pytest

from mannequins.renderer.body import bone_frames, draw_person, joints, standing
from mannequins.renderer.garments import dressed
from mannequins.renderer.posed_person import posed
from mannequins.renderer.render import Camera, Rendering, joints_in, render
from mannequins.renderer.scenes import STUDIO_LIGHT, Studio, in_studio
from mannequins.renderer.wardrobe import Chance, outfit
from mannequins.surface_training import renders
from mannequins.surface_training.renders import _Detector, as_sold, at_ease, render_item
from repose.data.skeleton import JOINT, JOINTS, K

pytestmark = pytest.mark.floats


def test_clothes_as_sold_are_the_same_garments_often_wider_longer_and_of_one_fabric():
    rng = np.random.default_rng(0)
    changed = []
    for _ in range(150):
        worn = outfit("Cardigans", True, Chance(rng, rng))
        sold = as_sold(worn, rng)
        assert (sold.shoes, sold.bag) == (worn.shoes, worn.bag)
        for before, after in ((worn.upper, sold.upper), (worn.outer, sold.outer)):
            assert before is not None
            assert after is not None
            assert (after.sleeve, after.front.pattern) == (before.sleeve, before.front.pattern)
            assert 0 <= after.fit.ease - before.fit.ease <= 0.01
            assert min(before.hem, 0.06 if before.hem < 0.45 else 0.42) <= after.hem <= before.hem
            assert all(10 <= level <= 250 for level in (*after.front.ground, *after.sleeves.second))
            wider, longer, lower = (
                after.fit.ease > before.fit.ease, after.hem < before.hem, after.neckline != before.neckline
            )  # fmt: skip
            changed.append((wider, longer, lower, after.back == after.front))
    np.testing.assert_allclose(np.mean(changed, 0), (0.6, 0.6, 0.25, 0.94), atol=0.15)


def test_garments_of_one_cloth_are_sold_in_one_cloth():
    rng = np.random.default_rng(0)
    changed = []
    for _ in range(100):
        worn = outfit("Suiting", True, Chance(rng, rng))
        sold = as_sold(worn, rng)
        if worn.lower is not None and worn.upper.front == worn.lower.cloth:
            assert sold.lower is not None
            assert sold.upper.front == sold.lower.cloth
            changed.append(sold.lower.cloth != worn.lower.cloth)
    assert any(changed)


def test_training_photos_are_rendered_finer_and_show_the_same(monkeypatch):
    finer = render_item(5, 2, 2, 128, 88)
    monkeypatch.setattr(renders, "_FINER", 1)
    plain = render_item(5, 2, 2, 128, 88)
    one, other = finer.views[0], plain.views[0]
    assert np.mean(one.parts == other.parts) > 0.97
    both = (one.parts == other.parts) & (one.parts != renders.BACKGROUND)
    assert np.abs(one.surface - other.surface)[:, both].mean() < 0.004  # heights of the person: half a px
    assert np.abs(one.alpha.astype(int) - other.alpha).mean() < 3
    middle = np.stack(np.meshgrid(2 * np.arange(44) + 0.5, 2 * np.arange(64) + 0.5))
    for item in (finer, plain):  # each view lies in itself where it is
        flow, sight = item.flow(0, 0)
        np.testing.assert_allclose(flow[:, sight], middle[:, sight], atol=1e-4)
        covered = item.views[0].parts != renders.BACKGROUND
        assert sight[covered].mean() > 0.95
        assert not sight[~covered].any()


def test_at_ease_arms_are_nearer_to_the_body_unless_they_are_raised_and_legs_apart_or_together():
    rng = np.random.default_rng(0)
    shape, _ = draw_person(rng, True)
    before = [standing(rng, shape, 0.0, False) for _ in range(100)]
    after = [at_ease(pose, 20.0, rng) for pose in before]
    for one, other in zip(before, after, strict=True):
        arm, nearer = one.left_arm, other.left_arm
        assert nearer == replace(arm, abduction=nearer.abduction)
        assert 0.2 * arm.abduction <= nearer.abduction <= arm.abduction if 0 < arm.abduction < 35 else nearer == arm
    legs = np.array([[of.left_leg.abduction for of in poses] for poses in (before, after)])
    assert legs[1].min() >= -3
    assert min(of.right_leg.heel for of in after) == 20
    assert legs[1].std() > 1.3 * legs[0].std()


def test_a_larger_head_has_its_face_further_apart_and_the_rest_of_the_body_is_the_same():
    shape, _ = draw_person(np.random.default_rng(0), True)
    pose = standing(np.random.default_rng(0), shape, 30.0, False)
    usual, larger = (joints(of, bone_frames(of, pose)) for of in (shape, replace(shape, head=1.1)))
    face = [JOINT[name] for name in ("nose", "right_eye", "left_eye", "right_ear", "left_ear")]
    apart = [np.linalg.norm(of[face][:, None] - of[face], axis=-1) for of in (usual, larger)]
    np.testing.assert_allclose(apart[1], 1.1 * apart[0])
    rest = [k for k in range(K) if k not in face]
    np.testing.assert_array_equal(usual[rest], larger[rest])


def test_a_shadow_falls_on_the_wall_on_the_side_where_it_is_asked_for():
    coverage = np.zeros((128, 88), np.float32)
    coverage[30:100, 40:48] = 1
    black, none = np.zeros((3, 128, 88), np.float32), np.zeros(0)
    picture = Rendering(black, coverage, none, 1.0, none, lambda: pytest.fail("no surface is needed"))
    camera = Camera(128, 88, 110.0, 43.5, 64.0, 0.5, 6.0, 0.0)
    wall = Studio(200.0, 0.0, 0.0, 255.0, shadow=0.2, aside=4.0, spot=0.0)
    plain, dark = (in_studio(picture, camera, of)[0] for of in (replace(wall, shadow=0.0), wall))
    shadow = (plain - dark) / np.maximum(plain, 1)
    assert shadow[:, 48:].max() == pytest.approx(0.2, abs=0.02)
    assert shadow[:, :40].max() == 0


def test_hair_with_volume_covers_more_than_flat_hair():
    shape, look = draw_person(np.random.default_rng(1), True)
    worn = outfit("Tees_Tanks", True, Chance(np.random.default_rng(1), np.random.default_rng(1)))
    camera, covered = Camera(128, 88, 110.0, 44.0, 64.0, 0.5, 6.0, 0.0), []
    for volume in (0.0, 1.0):
        full = replace(look, style="long_front", length=0.7, volume=volume)
        person = dressed(shape, full, worn, 1.0, np.random.default_rng(1))
        pose = standing(np.random.default_rng(1), shape, 0.0, False)
        picture = render(person, posed(person, pose), camera, STUDIO_LIGHT)
        covered.append(float(picture.coverage[:40].sum()))
    assert covered[1] > 1.1 * covered[0]


def test_detectors_err_by_some_thousandths_of_the_height_each_in_its_way_and_miss_a_few_joints():
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 500, (K, 2)).astype(np.float32)
    true[5] = np.nan  # the left shoulder
    detectors = [_Detector(rng) for _ in range(60)]
    found = np.stack([[of.found(true, true, 500.0, rng) for _ in range(10)] for of in detectors])
    assert np.isnan(found[:, :, 5]).all()
    known = np.delete(found, 5, 2)
    assert 0.01 < np.isnan(known[..., 0]).mean() < 0.03
    errors = np.abs(found - true) / 500
    face, body = [0, 14, 15, 16, 17], [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13]
    assert np.nanmedian(errors[:, :, face, 0]) < 0.003 < np.nanmedian(errors[:, :, body, 0]) < 0.008
    own = np.nanmean((found - true)[:, :, body, 1] / 500, 1).std(0)  # its own idea of where a joint is
    assert 0.004 < own.min() < own.max() < 0.016


def test_detectors_guess_joints_under_clothes_and_hair_and_some_of_them_all_that_is_hidden():
    rng = np.random.default_rng(0)
    hidden = rng.uniform(0, 500, (K, 2)).astype(np.float32)
    hidden[JOINT["left_ankle"]] = np.nan  # outside the image
    detectors = [_Detector(rng) for _ in range(50)]
    found = np.stack([[of.found(np.full((K, 2), np.nan), hidden, 500.0, rng) for _ in range(20)] for of in detectors])
    share = 1 - np.isnan(found[..., 0]).mean(1)  # of each detector and joint
    assert not share[:, JOINT["left_ankle"]].any()
    often = [JOINT[name] for name in ("right_hip", "right_knee", "left_knee", "nose", "right_ear", "left_ear")]
    assert share[:, often].mean() == pytest.approx(0.9 * 0.98, abs=0.02)
    elbow = share[:, JOINT["left_elbow"]]
    assert elbow.min() == 0
    assert elbow.max() > 0.8


def test_joints_in_an_image_are_also_those_that_clothes_and_limbs_hide_but_not_the_far_side_of_the_head():
    shape, look = draw_person(np.random.default_rng(1), True)
    worn = outfit("Dresses", True, Chance(np.random.default_rng(3), np.random.default_rng(1)))
    worn = replace(worn, upper=replace(worn.upper, hem=0.1))
    person = dressed(shape, replace(look, style="long"), worn, 1.0, np.random.default_rng(1))
    camera, legs = Camera(128, 88, 110.0, 44.0, 10.0, 0.918, 4.0, 0.0), [JOINT["right_knee"], JOINT["left_knee"]]
    for yaw, turned_away in ((0.0, ()), (90.0, ("left_eye", "left_ear")), (180.0, ("nose", "right_eye", "left_eye"))):
        pose = replace(standing(np.random.default_rng(1), shape, yaw, False), head_turn=0.0, head_tilt=0.0)
        body = posed(person, pose)
        seen, everything = render(person, body, camera, STUDIO_LIGHT).keypoints, joints_in(body, camera)
        known = ~np.isnan(seen[:, 0])
        np.testing.assert_allclose(everything[known], seen[known], atol=1e-3)
        assert not known[legs].any()
        assert np.isfinite(everything[legs]).all()
        assert {JOINTS[k] for k in np.flatnonzero(np.isnan(everything[:, 0]))} == set(turned_away)
