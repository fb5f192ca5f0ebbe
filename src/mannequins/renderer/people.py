"""People and their poses, drawn by chance."""

import numpy as np

from mannequins.renderer.body import Arm, Leg, Pose, Shape, arm_reaching
from mannequins.renderer.canvas import Colour, darker
from mannequins.renderer.exact import normal, uniform
from mannequins.renderer.head import HairStyle, Look

_SKINS: tuple[Colour, ...] = (
    (244, 212, 188), (236, 196, 166), (228, 182, 150), (210, 160, 124), (190, 138, 102), (160, 110, 78), (124, 82, 58),
    (96, 62, 46),
)  # fmt: skip
_FAIR = 4  # how many of them go with any hair and eyes
_DARK_HAIR: tuple[Colour, ...] = ((34, 26, 24), (46, 34, 28), (62, 42, 30))
_HAIR: tuple[Colour, ...] = (
    *_DARK_HAIR, (104, 66, 40), (140, 94, 54), (196, 152, 90), (222, 190, 132), (150, 66, 38), (120, 116, 112),
)  # fmt: skip
_DARK_EYES: tuple[Colour, ...] = ((70, 48, 34), (92, 64, 40))
_EYES: tuple[Colour, ...] = (*_DARK_EYES, (84, 112, 142), (82, 102, 66))
_STYLES: dict[bool, tuple[HairStyle, ...]] = {
    True: ("bob", "long", "long", "long_front", "long_front", "ponytail", "bun"),
    False: ("crop", "crop", "quiff", "buzz", "beanie"),
}


def draw_person(rng: np.random.Generator, woman: bool) -> tuple[Shape, Look]:
    """A body and a face."""
    return _shape(rng, woman), _look(rng, woman)


def _shape(rng: np.random.Generator, woman: bool) -> Shape:
    height = float(np.clip(normal(rng, 0.975 if woman else 1.03, 0.03), 0.9, 1.1))
    return Shape(
        woman=woman, height=height, girth=uniform(rng, 0.92, 1.14), shoulders=uniform(rng, 0.96, 1.05),
        hips=uniform(rng, 0.95, 1.07), bust=uniform(rng, 0.6, 1.2) if woman else 0.0, muscle=uniform(rng, 0.92, 1.10),
    )  # fmt: skip


def _look(rng: np.random.Generator, woman: bool) -> Look:
    tone = int(rng.integers(len(_SKINS)))
    skin, fair = _SKINS[tone], tone < _FAIR
    hairs, eyes, styles = _HAIR if fair else _DARK_HAIR, _EYES if fair else _DARK_EYES, _STYLES[woman]
    lips = (0.90, 0.58, 0.58) if woman else (0.88, 0.70, 0.68)
    style = styles[int(rng.integers(len(styles)))]
    return Look(
        skin=skin, eyes=eyes[int(rng.integers(len(eyes)))], hair=hairs[int(rng.integers(len(hairs)))],
        lips=(skin[0] * lips[0], skin[1] * lips[1], skin[2] * lips[2]),
        style="afro" if tone > _FAIR and rng.random() < 0.25 else style, parting=float(rng.choice((-0.012, 0.012))),
        length=uniform(rng, 0.70, 0.80), beard=0.0 if woman or rng.random() < 0.5 else uniform(rng, 0.4, 1.0),
        cap=darker((200, 160, 190), uniform(rng, 0.2, 1.0)),
    )  # fmt: skip


# ---- in a studio


def standing(rng: np.random.Generator, shape: Shape, yaw: float, over_shoulder: bool) -> Pose:
    """A model: the weight on one leg, the hands where catalogues show them, the eyes near the camera."""
    weight = float(rng.choice((-1.0, 1.0)))  # on the left leg: 1
    sway = weight * uniform(rng, 0, 5)
    left_leg, right_leg = _straight_leg(rng), _relaxed_leg(rng)
    if weight < 0:
        left_leg, right_leg = right_leg, left_leg
    return Pose(
        yaw=yaw, lean=uniform(rng, -2, 3), hip_tilt=sway, chest_tilt=-0.7 * sway + uniform(rng, -2, 2),
        chest_twist=float(np.clip(normal(rng, 0, 9), -20, 20)), chest_pitch=uniform(rng, -4, 3),
        head_turn=_head_turn(rng, yaw, over_shoulder), head_tilt=uniform(rng, -8, 8), head_pitch=uniform(rng, -6, 10),
        right_arm=_studio_arm(rng, shape, -1), left_arm=_studio_arm(rng, shape, 1), right_leg=right_leg,
        left_leg=left_leg,
    )  # fmt: skip


def _head_turn(rng: np.random.Generator, yaw: float, over_shoulder: bool) -> float:
    """Some way to the camera; from behind only where the model looks over a shoulder."""
    folded = (yaw + 180) % 360 - 180
    if over_shoulder:
        return float(uniform(rng, 45, 72) * (-1 if folded > 0 else 1))
    towards = -0.35 * folded if abs(folded) < 110 else 0.0
    return float(np.clip(normal(rng, towards, 14), -55, 55))


def _straight_leg(rng: np.random.Generator) -> Leg:
    return Leg(uniform(rng, 0, 4), uniform(rng, -2, 3), uniform(rng, 4, 14), uniform(rng, 0, 4), 0)


def _relaxed_leg(rng: np.random.Generator) -> Leg:
    knee = uniform(rng, 4, 22)
    return Leg(
        uniform(rng, 1, 8), 0.75 * knee + uniform(rng, -3, 4), uniform(rng, 4, 24), knee, uniform(rng, 0, 0.8) * knee
    )


def _studio_arm(rng: np.random.Generator, shape: Shape, sign: float) -> Arm:
    """Hanging, a little away, bent; or the hand on the hip, by the pocket, before the waist."""
    kind = str(rng.choice(("hang", "away", "bent", "hip", "pocket", "waist"), p=(0.46, 0.16, 0.07, 0.16, 0.12, 0.03)))
    if kind == "hang":
        return Arm(uniform(rng, 7, 13), uniform(rng, -14, 8), uniform(rng, 0, 35), uniform(rng, 6, 24))
    if kind == "away":
        return Arm(uniform(rng, 14, 32), uniform(rng, -12, 12), uniform(rng, 0, 40), uniform(rng, 8, 40))
    if kind == "bent":
        return Arm(uniform(rng, 6, 14), uniform(rng, -8, 20), uniform(rng, 15, 50), uniform(rng, 60, 100))
    hip = 0.105 * shape.girth * (0.5 + 0.5 * shape.hips)
    wrist, elbow = {
        "hip": ((hip + 0.012, uniform(rng, 0.555, 0.60), uniform(rng, -0.01, 0.03)), (1, 0, -0.75)),
        "pocket": ((hip + 0.004, uniform(rng, 0.52, 0.545), uniform(rng, 0.02, 0.045)), (1, 0, -1.2)),
        "waist": ((0.035, uniform(rng, 0.62, 0.70), 0.085), (1, -0.3, -0.6)),
    }[kind]
    mirror = np.array((sign, 1, 1))
    return arm_reaching(shape, sign, mirror * wrist, mirror * elbow)


# ---- on the street


def walking(rng: np.random.Generator, yaw: float) -> Pose:
    """A person on the way: one leg ahead, the arms swinging against the legs."""
    stride, left_ahead = uniform(rng, 0.15, 1.0), bool(rng.random() < 0.5)
    twist = 6 * stride * (1 if left_ahead else -1)  # the shoulders against the hips
    return Pose(
        yaw=yaw, lean=uniform(rng, 1, 6), hip_tilt=uniform(rng, -3, 3), chest_tilt=uniform(rng, -3, 3), chest_twist=twist,
        chest_pitch=uniform(rng, -1, 6), head_turn=float(np.clip(normal(rng, 0, 16), -60, 60)),
        head_tilt=uniform(rng, -6, 6), head_pitch=uniform(rng, -2, 18),
        right_arm=_swinging_arm(rng, stride, left_ahead), left_arm=_swinging_arm(rng, stride, not left_ahead),
        right_leg=_striding_leg(rng, stride, not left_ahead), left_leg=_striding_leg(rng, stride, left_ahead),
    )  # fmt: skip


def _striding_leg(rng: np.random.Generator, stride: float, ahead: bool) -> Leg:
    if ahead:
        return Leg(uniform(rng, 0, 4), 24 * stride, uniform(rng, 2, 10), uniform(rng, 2, 10), 0)
    return Leg(
        uniform(rng, 0, 4), -17 * stride, uniform(rng, 2, 10), 8 + 30 * stride * uniform(rng, 0.5, 1), 22 * stride
    )


def _swinging_arm(rng: np.random.Generator, stride: float, ahead: bool) -> Arm:
    if rng.random() < 0.2:  # a phone or a strap in the hand
        return Arm(uniform(rng, 4, 14), uniform(rng, 0, 20), uniform(rng, 20, 50), uniform(rng, 60, 110))
    swing = (26 if ahead else -24) * stride
    return Arm(uniform(rng, 5, 13), swing, uniform(rng, 5, 30), uniform(rng, 10, 25) + (14 * stride if ahead else 0))
