"""Files that are read whole are refused by their size, before they are read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repose.checkpoint import read_about
from repose.data.photo_files import read_photo
from repose.data.records import PAIRS, read_json, read_keypoints, read_table
from repose.errors import ReposeError
from repose.inference.jobs import read_jobs
from repose.pose.keypoint_lookup import KnownPoses, read_pose
from repose.report.published import read_published
from repose.report.scores_file import read_file
from repose.storage.limits import LIMITS, Kind

READERS: list[tuple[str, Kind, Callable[[Path], Any]]] = [
    ("a.jpg", "photo", read_photo),
    ("jobs.csv", "CSV", lambda path: read_jobs(path, path.parent)),
    ("poses.csv", "CSV", lambda path: KnownPoses([path])),
    ("published.csv", "CSV", read_published),
    ("pairs.csv", "table", lambda path: read_table(path, PAIRS)),
    ("keypoints.csv", "table", read_keypoints),
    ("run.json", "JSON", read_json),
    ("scores.json", "JSON", read_file),
    ("a_keypoints.json", "JSON", lambda path: read_pose(path, None, 9, 9)),
    ("model.safetensors", "checkpoint", read_about),
]


@pytest.mark.parametrize(("name", "kind", "read"), READERS, ids=[name for name, _, _ in READERS])
def test_a_file_beyond_the_limit_of_its_kind_is_not_read(tmp_path, monkeypatch, name, kind, read):
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(LIMITS[kind] * 10**6 + 1)  # without blocks on the disk
    monkeypatch.setattr(Path, "read_bytes", None)
    with pytest.raises(
        ReposeError, match=rf"{name} has .* MB, more than the {LIMITS[kind]:,} MB that a {kind} may have"
    ):
        read(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(ReposeError, match=r"run\.json is a device or a pipe\. Give a file\."):
        read_json(tmp_path / "run.json")
