"""Proportions and poses of rendered people beside those of people in photos, by their joints.

python -m benchmarks.proportions [--items N]

The photos are the 4,038 test images of PATN's DeepFashion list, their joints by OpenPose (../shared/data/lists). Without that
file there is nothing to do. Each row has the 10th, 50th and 90th percentile: of people rendered without the variety of the
training, of those that the surface model trains on, and of photos. All but the heights are shares of the torso's length, from
the neck to the middle of the hips.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np

from mannequins.surface_training.renders import render_item
from repose.data.skeleton import JOINT
from repose.pose.keypoint_files import read_posegan_csv

LIST = Path(__file__).parents[2] / "shared" / "data" / "lists" / "fasion-annotation-test.csv"
HEIGHT, WIDTH, SEED = 256, 176, 991  # px; no training uses the seed
PERCENTILES = (10, 50, 90)


def main() -> None:
    """Render, measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--items", type=int, default=200, help="rendered people, four photos each")
    given = arguments.parse_args()
    if not LIST.is_file():
        print(f"There is no {LIST}.")
        return
    all_found = [measured(rendered(given.items, plain)) for plain in (True, False)]
    all_found.append(measured(read_posegan_csv(LIST.read_bytes(), LIST.name).keypoints))
    print("| | plain | trained on | photos |\n|---|---|---|---|")
    for name in all_found[0]:
        cells = (" / ".join(f"{value:.2f}" for value in found[name]) for found in all_found)
        print(f"| {name} | {' | '.join(cells)} |")


def rendered(items: int, plain: bool) -> np.ndarray:
    """The joints (4 items,18,2) of rendered people, in px."""
    drawn = (render_item(SEED, number, 4, HEIGHT, WIDTH, plain=plain) for number in range(items))
    return np.stack([view.keypoints for item in drawn for view in item.views])


def measured(keypoints: np.ndarray) -> dict[str, np.ndarray]:
    """Percentiles of each measure over the photos (n,18,2) that show it."""

    def joint(name: str) -> np.ndarray:
        return keypoints[:, JOINT[name]]

    hips = (joint("right_hip") + joint("left_hip")) / 2
    torso = np.hypot(*(hips - joint("neck")).T)

    def between(one: str, other: str) -> np.ndarray:
        return np.asarray(np.hypot(*(joint(one) - joint(other)).T) / torso)

    def of_both_sides(one: str, other: str) -> np.ndarray:
        return np.concatenate([between(f"{side}_{one}", f"{side}_{other}") for side in ("right", "left")])

    aside = [joint(f"{side}_elbow")[:, 0] - joint(f"{side}_shoulder")[:, 0] for side in ("right", "left")]
    measures = {
        "height of the nose": joint("nose")[:, 1] / HEIGHT, "height of the hips": hips[:, 1] / HEIGHT,
        "between the ears": between("right_ear", "left_ear"), "between the eyes": between("right_eye", "left_eye"),
        "neck to nose": between("neck", "nose"), "between the shoulders": between("right_shoulder", "left_shoulder"),
        "between the hips": between("right_hip", "left_hip"), "upper arm": of_both_sides("shoulder", "elbow"),
        "forearm": of_both_sides("elbow", "wrist"), "thigh": of_both_sides("hip", "knee"),
        "shin": of_both_sides("knee", "ankle"), "elbow beside the shoulder": np.abs(np.concatenate(aside)) / np.tile(torso, 2),
        "between the knees": between("right_knee", "left_knee"), "between the ankles": between("right_ankle", "left_ankle"),
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a measure that no photo shows
        return {name: np.nanpercentile(values, PERCENTILES) for name, values in measures.items()}


if __name__ == "__main__":
    main()
