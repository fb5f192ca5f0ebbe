"""The body under the clothes: its measures, its bones, and the joint angles that pose it.

Units: one standing height. Axes: x to the person's left, y up from the floor, z forward. At rest the person stands
straight, arms hanging straight down. A bone turns rigidly about its pivot; surfaces follow the bones by weights.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from mannequins.renderer.exact import arctan2, cos, dot, hypot, norm, sin, turned
from repose.data.skeleton import JOINT, K

SIDES = (("right", -1.0), ("left", 1.0))
BONES = (
    "pelvis", "chest", "neck", "head",
    "right_upper_arm", "right_forearm", "right_hand", "right_thigh", "right_shin", "right_foot",
    "left_upper_arm", "left_forearm", "left_hand", "left_thigh", "left_shin", "left_foot",
)  # fmt: skip
BONE = {name: index for index, name in enumerate(BONES)}

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
    where = np.empty((len(BONES), 3))
    where[0] = at[0]
    bones, parents = zip(*_PARENTS, strict=True)
    ways = turned(turns[list(parents)], at[list(bones)] - at[list(parents)])
    for bone, parent, way in zip(bones, parents, ways, strict=True):
        where[bone] = where[parent] + way
    shift = where - turned(turns, at)
    shift[:, 1] -= _lowest(turns, shift)
    return np.concatenate([turns, shift[..., None]], -1)


def joints(shape: Shape, frames: np.ndarray) -> np.ndarray:
    """The 18 keypoints of a posed body: (K, 3)."""
    points, bones = _rest_joints(shape)
    posed: np.ndarray = turned(frames[bones, :, :3], points) + frames[bones, :, 3]
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


def _parents() -> list[tuple[int, int]]:
    """Each bone but the pelvis with the bone that carries it, carriers first."""
    chains: list[tuple[str, ...]] = [("pelvis", "chest", "neck", "head")]
    for side, _ in SIDES:
        chains += [("chest", *(f"{side}_{bone}" for bone in ("upper_arm", "forearm", "hand")))]
        chains += [("pelvis", *(f"{side}_{bone}" for bone in ("thigh", "shin", "foot")))]
    return [(BONE[bone], BONE[parent]) for chain in chains for parent, bone in pairwise(chain)]


_PARENTS = _parents()


def _turns(pose: Pose) -> np.ndarray:
    """The turn of each bone: (16, 3, 3)."""
    steps = _steps(pose)
    angles = np.radians([degrees for _, *then in steps.values() for _, degrees in then])
    waves = zip(cos(angles).tolist(), sin(angles).tolist(), strict=True)
    columns: dict[str, list[list[float]]] = {"": np.eye(3).tolist()}
    for bone, (start, *then) in steps.items():
        turn = list(columns[start])
        for axis, _ in then:
            (c, s), (one, two) = next(waves), {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
            pairs = list(zip(turn[one], turn[two], strict=True))
            turn[one], turn[two] = [c * u + s * v for u, v in pairs], [c * v - s * u for u, v in pairs]
        columns[bone] = turn
    return np.array([columns[bone] for bone in BONES]).transpose(0, 2, 1)


_Step = tuple[str, float]  # an axis, and degrees about it


def _steps(pose: Pose) -> dict[str, tuple[str, *tuple[_Step, ...]]]:
    """For each bone and the whole body: the bone it starts from ("": upright) and its turns."""
    turn, tilt, pitch = pose.head_turn, pose.head_tilt, pose.head_pitch
    steps: dict[str, tuple[str, *tuple[_Step, ...]]] = {
        "body": ("", ("y", pose.yaw), ("x", pose.lean)),
        "pelvis": ("body", ("z", pose.hip_tilt)),
        "chest": ("body", ("y", pose.chest_twist), ("z", pose.chest_tilt), ("x", pose.chest_pitch)),
        "neck": ("chest", ("y", turn * 0.4), ("z", tilt * 0.5), ("x", pitch * 0.4)),
        "head": ("neck", ("y", turn * 0.6), ("z", tilt * 0.5), ("x", pitch * 0.6)),
    }
    for side, sign in SIDES:
        arm, leg = getattr(pose, f"{side}_arm"), getattr(pose, f"{side}_leg")
        steps |= {
            f"{side}_upper_arm": ("chest", ("z", sign * arm.abduction), ("x", -arm.flexion), ("y", -sign * arm.twist)),
            f"{side}_forearm": (f"{side}_upper_arm", ("x", -arm.elbow)),
            f"{side}_hand": (f"{side}_forearm",),
            f"{side}_thigh": ("body", ("z", sign * leg.abduction), ("x", -leg.flexion), ("y", sign * leg.twist)),
            f"{side}_shin": (f"{side}_thigh", ("x", leg.knee)),
            f"{side}_foot": ("", ("y", pose.yaw + sign * leg.twist), ("x", leg.heel)),
        }
    return steps


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
    return _angles(elbow / a, (reach * ahead - elbow) / b, sign)


def _angles(upper: np.ndarray, fore: np.ndarray, sign: float) -> Arm:
    """The arm angles of an upper arm and a forearm that point in these directions (unit vectors)."""
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


def _lowest(turns: np.ndarray, shift: np.ndarray) -> float:
    """The height of the lower sole: heel and ball of both feet."""
    feet = [BONE[f"{side}_foot"] for side, _ in SIDES]
    return float(min(turns[foot, 1, 2] * z + shift[foot, 1] for foot in feet for z in (-0.035, 0.07)))
