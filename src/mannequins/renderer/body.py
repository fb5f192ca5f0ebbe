"""The body under the clothes: its measures, its bones, and the joint angles that pose it; people and poses by chance.

Units: one standing height. Axes: x to the person's left, y up from the floor, z forward. At rest the person stands
straight, arms hanging straight down. A bone turns rigidly about its pivot; surfaces follow the bones by weights.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mannequins.renderer.canvas import Colour, darker
from mannequins.renderer.exact import arctan2, cos, dot, hypot, norm, normal, sin, uniform
from repose.data.skeleton import JOINT, K

SIDES = (("right", -1.0), ("left", 1.0))
BONES = (
    "pelvis", "chest", "neck", "head",
    "right_upper_arm", "right_forearm", "right_hand", "right_thigh", "right_shin", "right_foot",
    "left_upper_arm", "left_forearm", "left_hand", "left_thigh", "left_shin", "left_foot",
)  # fmt: skip
BONE = {name: index for index, name in enumerate(BONES)}

_PARENTS = [0, 1, 2, 1, 4, 5, 0, 7, 8, 1, 10, 11, 0, 13, 14]  # the bone that carries each of BONES[1:]
# The joint at the pivot of a bone; nose, eyes and ears lie on the head, the neck between the shoulders.
_PIVOT_JOINT = {
    "upper_arm": "shoulder", "forearm": "elbow", "hand": "wrist", "thigh": "hip", "shin": "knee", "foot": "ankle",
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """The measures of one person; 1 is the average of the sex."""

    woman: bool
    height: float  # against an average adult
    girth: float  # widths and depths of torso and limbs
    shoulders: float  # width between the shoulder joints
    hips: float  # width of the pelvis
    bust: float  # 0: flat
    muscle: float  # thickness of the arms and the calves
    head: float = 1.0  # size of the head


@dataclass(frozen=True)
class Look:
    """Face and hair of one person."""

    skin: Colour
    eyes: Colour
    lips: Colour
    hair: Colour
    style: str  # of the hair, see head
    parting: float  # where the hair parts, in heights to the left of the middle
    length: float  # how far down loose hair falls: a height
    beard: float  # 0: shaven, 1: full
    cap: Colour  # of a beanie
    volume: float = 0.0  # how far loose hair stands off, 0 to 1.5


@dataclass(frozen=True)
class Arm:
    """Angles of one arm in degrees; all 0: hanging straight."""

    abduction: float  # away from the body
    flexion: float  # forward
    twist: float  # turned inwards about its own axis
    elbow: float  # bent, the forearm to the front


@dataclass(frozen=True)
class Leg:
    """Angles of one leg in degrees; all 0: standing straight."""

    abduction: float  # away from the other
    flexion: float  # forward
    twist: float  # toes outwards
    knee: float  # bent, the shin to the back
    heel: float  # foot pointed: the heel off the floor


@dataclass(frozen=True)
class Pose:
    """Joint angles in degrees. Positive turns are to the person's left, positive tilts raise the left side."""

    yaw: float  # of the whole person: 0 faces the camera, 90 shows the right side, 180 the back
    lean: float  # of the whole person to the front
    hip_tilt: float
    chest_tilt: float
    chest_twist: float
    chest_pitch: float  # to the front
    head_turn: float
    head_tilt: float
    head_pitch: float  # chin down
    right_arm: Arm
    left_arm: Arm
    right_leg: Leg
    left_leg: Leg


@lru_cache(maxsize=64)
def pivots(shape: Shape) -> np.ndarray:
    """Where each bone turns, at rest: (16, 3) float64."""
    shoulder = (0.091 if shape.woman else 0.104) * shape.shoulders
    hip = (0.051 if shape.woman else 0.049) * (0.5 + 0.5 * shape.hips)
    at: dict[str, tuple[float, float, float]]
    at = {"pelvis": (0, 0.53, 0), "chest": (0, 0.63, -0.004), "neck": (0, 0.84, -0.014), "head": (0, 0.885, -0.006)}
    for side, sign in SIDES:
        at |= {
            f"{side}_upper_arm": (sign * shoulder, 0.803, -0.008),
            f"{side}_forearm": (sign * shoulder, 0.637, -0.008),
            f"{side}_hand": (sign * shoulder, 0.492, -0.008),
            f"{side}_thigh": (sign * hip, 0.508, 0.0),
            f"{side}_shin": (sign * hip * 0.96, 0.277, 0.004),
            f"{side}_foot": (sign * hip * 0.92, 0.043, -0.008),
        }
    places = np.array([at[bone] for bone in BONES], dtype=np.float64)
    places.setflags(write=False)  # all callers share it
    return places


def bone_frames(shape: Shape, pose: Pose) -> np.ndarray:
    """The rigid motion of each bone from rest: (16, 3, 4) float64, turn beside shift; the lower foot on the floor."""
    at, turns = pivots(shape), _turns(pose)
    turns[BONE["head"]] *= shape.head
    where = np.empty((len(BONES), 3))
    where[0] = at[0]
    ways = dot(turns[_PARENTS], (at[1:] - at[_PARENTS])[:, None])
    for bone, (parent, way) in enumerate(zip(_PARENTS, ways, strict=True), 1):
        where[bone] = where[parent] + way
    shift = where - dot(turns, at[:, None])
    feet = [BONE[f"{side}_foot"] for side, _ in SIDES]
    soles = [turns[foot, 1, 2] * z + shift[foot, 1] for foot in feet for z in (-0.035, 0.07)]  # heel and ball
    shift[:, 1] -= float(min(soles))
    return np.concatenate([turns, shift[..., None]], -1)


def joints(shape: Shape, frames: np.ndarray) -> np.ndarray:
    """The 18 keypoints of a posed body: (K, 3)."""
    points, bones = _rest_joints(shape)
    posed = dot(frames[bones, :, :3], points[:, None]) + frames[bones, :, 3]
    posed[JOINT["neck"]] = (posed[JOINT["right_shoulder"]] + posed[JOINT["left_shoulder"]]) / 2
    return posed


@lru_cache(maxsize=64)
def _rest_joints(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    points, bones = np.zeros((K, 3)), np.zeros(K, np.intp)
    bones[[JOINT["nose"], JOINT["right_eye"], JOINT["left_eye"], JOINT["right_ear"], JOINT["left_ear"]]] = BONE["head"]
    points[JOINT["nose"]] = (0, 0.916, 0.066)
    for side, sign in SIDES:
        points[JOINT[f"{side}_eye"]] = (sign * 0.0175, 0.937, 0.050)
        points[JOINT[f"{side}_ear"]] = (sign * 0.044, 0.927, -0.004)
        for bone, joint in _PIVOT_JOINT.items():
            bones[JOINT[f"{side}_{joint}"]] = BONE[f"{side}_{bone}"]
            points[JOINT[f"{side}_{joint}"]] = pivots(shape)[BONE[f"{side}_{bone}"]]
    return points, bones


def _turns(pose: Pose) -> np.ndarray:
    """The turn of each bone: (16, 3, 3)."""
    turn, tilt, pitch = pose.head_turn, pose.head_tilt, pose.head_pitch
    # For each bone and the whole body: the bone it starts from ("": upright), and its turns about axes in degrees.
    steps: dict[str, tuple[str, str, tuple[float, ...]]] = {
        "body": ("", "yx", (pose.yaw, pose.lean)),
        "pelvis": ("body", "z", (pose.hip_tilt,)),
        "chest": ("body", "yzx", (pose.chest_twist, pose.chest_tilt, pose.chest_pitch)),
        "neck": ("chest", "yzx", (turn * 0.4, tilt * 0.5, pitch * 0.4)),
        "head": ("neck", "yzx", (turn * 0.6, tilt * 0.5, pitch * 0.6)),
    }
    for side, sign in SIDES:
        arm, leg = getattr(pose, f"{side}_arm"), getattr(pose, f"{side}_leg")
        steps |= {
            f"{side}_upper_arm": ("chest", "zxy", (sign * arm.abduction, -arm.flexion, -sign * arm.twist)),
            f"{side}_forearm": (f"{side}_upper_arm", "x", (-arm.elbow,)),
            f"{side}_hand": (f"{side}_forearm", "", ()),
            f"{side}_thigh": ("body", "zxy", (sign * leg.abduction, -leg.flexion, sign * leg.twist)),
            f"{side}_shin": (f"{side}_thigh", "x", (leg.knee,)),
            f"{side}_foot": ("", "yx", (pose.yaw + sign * leg.twist, leg.heel)),
        }
    angles = np.radians([angle for *_, degrees in steps.values() for angle in degrees])
    waves = zip(cos(angles).tolist(), sin(angles).tolist(), strict=True)
    columns: dict[str, list[list[float]]] = {"": np.eye(3).tolist()}
    for bone, (start, axes, _) in steps.items():
        frame = list(columns[start])
        for axis in axes:
            (c, s), (one, two) = next(waves), {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
            pairs = list(zip(frame[one], frame[two], strict=True))
            frame[one], frame[two] = [c * u + s * v for u, v in pairs], [c * v - s * u for u, v in pairs]
        columns[bone] = frame
    return np.array([columns[bone] for bone in BONES]).transpose(0, 2, 1)


def arm_reaching(shape: Shape, sign: float, wrist: np.ndarray, pole: np.ndarray) -> Arm:
    """The angles that bring a wrist to a place, the elbow towards `pole`; both (3,), in the chest's axes at rest.

    What is out of reach is approached as far as the arm goes.
    """
    upper, fore, hand = (pivots(shape)[BONE[f"left_{bone}"]] for bone in ("upper_arm", "forearm", "hand"))
    shoulder = upper * (sign, 1, 1)
    a, b = float(norm(fore - upper)), float(norm(hand - fore))
    way = wrist - shoulder
    reach = min(float(norm(way)), 0.995 * (a + b))
    ahead = way / norm(way)
    aside = pole - ahead * dot(pole, ahead)
    aside /= norm(aside)
    along = (reach * reach + a * a - b * b) / (2 * reach)
    elbow = along * ahead + np.sqrt(max(a * a - along * along, 0.0)) * aside
    upper, fore = elbow / a, (reach * ahead - elbow) / b
    forward = fore - upper * dot(upper, fore)
    bend = arctan2(norm(forward), dot(upper, fore))
    turn = np.stack([np.cross(-upper, forward), -upper, forward], 1)
    turn /= norm(turn.T)
    # turn = Rz(a) Rx(f) Ry(t): its second column is (-sin a cos f, cos a cos f, sin f), its third row
    # (-cos f sin t, sin f, cos f cos t).
    flexion = -arctan2(turn[2, 1], hypot(turn[0, 1], turn[1, 1]))
    abduction, twist = arctan2(-turn[0, 1], turn[1, 1]), arctan2(-turn[2, 0], turn[2, 2])
    degrees = [float(np.degrees(angle)) for angle in (sign * abduction, flexion, -sign * twist, bend)]
    return Arm(*degrees)


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
_STYLES: dict[bool, tuple[str, ...]] = {
    True: ("bob", "long", "long", "long_front", "long_front", "ponytail", "bun"),
    False: ("crop", "crop", "quiff", "buzz", "beanie"),
}


def draw_person(rng: np.random.Generator, woman: bool) -> tuple[Shape, Look]:
    """A body and a face."""
    height = float(np.clip(normal(rng, 0.975 if woman else 1.03, 0.03), 0.9, 1.1))
    shape = Shape(
        woman=woman, height=height, girth=uniform(rng, 0.92, 1.14), shoulders=uniform(rng, 0.96, 1.05),
        hips=uniform(rng, 0.95, 1.07), bust=uniform(rng, 0.6, 1.2) if woman else 0.0, muscle=uniform(rng, 0.92, 1.10),
    )  # fmt: skip
    tone = int(rng.integers(len(_SKINS)))
    skin, fair = _SKINS[tone], tone < _FAIR
    hairs, eyes, styles = _HAIR if fair else _DARK_HAIR, _EYES if fair else _DARK_EYES, _STYLES[woman]
    lips = (0.90, 0.58, 0.58) if woman else (0.88, 0.70, 0.68)
    style = styles[int(rng.integers(len(styles)))]
    return shape, Look(
        skin=skin, eyes=eyes[int(rng.integers(len(eyes)))], hair=hairs[int(rng.integers(len(hairs)))],
        lips=(skin[0] * lips[0], skin[1] * lips[1], skin[2] * lips[2]),
        style="afro" if tone > _FAIR and rng.random() < 0.25 else style, parting=float(rng.choice((-0.012, 0.012))),
        length=uniform(rng, 0.70, 0.80), beard=0.0 if woman or rng.random() < 0.5 else uniform(rng, 0.4, 1.0),
        cap=darker((200, 160, 190), uniform(rng, 0.2, 1.0)),
    )  # fmt: skip


def standing(rng: np.random.Generator, shape: Shape, yaw: float, over_shoulder: bool) -> Pose:
    """A model: the weight on one leg, the hands where catalogues show them, the eyes near the camera."""
    weight = float(rng.choice((-1.0, 1.0)))  # on the left leg: 1
    sway = weight * uniform(rng, 0, 5)
    straight = Leg(uniform(rng, 0, 4), uniform(rng, -2, 3), uniform(rng, 4, 14), uniform(rng, 0, 4), 0)
    knee = uniform(rng, 4, 22)
    relaxed = Leg(
        uniform(rng, 1, 8), 0.75 * knee + uniform(rng, -3, 4), uniform(rng, 4, 24), knee, uniform(rng, 0, 0.8) * knee
    )
    left_leg, right_leg = (straight, relaxed) if weight > 0 else (relaxed, straight)
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
