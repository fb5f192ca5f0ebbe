from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from repose.data.frame import Frame
from repose.data.images import to_uint8
from repose.data.photos import Loaded, Photos
from repose.data.poses import Poses
from repose.data.records import ITEMS, PAIRS, read_table
from repose.generate import Framed, Job, Request, generate, generate_jobs, jobs_of_pairs
from repose.systems import System, build
from tiny import HEIGHT, SYSTEMS, WIDTH, Data, row

CPU = torch.device("cpu")
ITEM_ROWS = pd.DataFrame({"part": "test", "item": list("aaaab"), "name": ["a1", "a2", "a3", "a4", "b1"]})


@pytest.fixture(scope="module")
def photos(data: Data) -> Photos:
    read = Photos(images=data.images, keypoints=data.keypoints, posemaps=data.posemaps)
    read.split = data.split
    return read


@pytest.fixture(scope="module")
def jobs(photos: Photos) -> list[Job]:
    split: Path = photos.split
    return jobs_of_pairs(read_table(split / "test-pairs.csv", PAIRS), read_table(split / "items.csv", ITEMS), 4)


def system_of(name: str) -> System:
    """With weights of one seed, as for evaluation."""
    torch.manual_seed(0)
    system = build(row(name), Frame(HEIGHT, WIDTH))
    for network in system.networks.values():
        network.eval()
        for weights in network.parameters():  # untrained, attend's last layers are 0 and tell no input from another
            weights.data.add_(0.05 * torch.randn_like(weights))
    return system


class Recorder:
    """A system that keeps what it is given and returns grey images."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def generate(
        self, images: torch.Tensor, poses: Poses, sources: torch.Tensor, mask: torch.Tensor, target_pose: Poses
    ) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        self.calls.append((images, poses, sources, mask, target_pose))
        return torch.zeros(len(sources), *images.shape[1:])


def test_a_job_has_the_pairs_source_first_then_the_items_others_never_the_target():
    pairs = pd.DataFrame({"from": ["a2", "a4"], "to": ["a3", "a1"]})
    assert jobs_of_pairs(pairs, ITEM_ROWS, 2) == [Job(("a2", "a1"), "a3"), Job(("a4", "a2"), "a1")]
    assert jobs_of_pairs(pairs, ITEM_ROWS, 9) == [Job(("a2", "a1", "a4"), "a3"), Job(("a4", "a2", "a3"), "a1")]


def test_a_system_is_given_each_jobs_photos_poses_and_mask(photos, jobs):
    some = [Job(jobs[0].sources[:1], jobs[0].target), jobs[1], Job(jobs[2].sources[:2], jobs[2].target)]
    recorder = Recorder()
    (done,) = generate_jobs(recorder, some, photos, CPU)
    ((images, poses, sources, mask, target_pose),) = recorder.calls
    assert len(images) == len({name for job in some for name in (*job.sources, job.target)})  # each photo once
    for number, job in enumerate(some):
        loaded, wanted = photos.load(job.sources), photos.load([job.target])
        assert int(mask[number].sum()) == len(job.sources)
        there = sources[number][mask[number]]
        np.testing.assert_array_equal(to_uint8(images[there]), loaded.pixels)
        np.testing.assert_array_equal(poses.keypoints[there].numpy(), loaded.keypoints)
        np.testing.assert_array_equal(target_pose.keypoints[number].numpy(), wanted.keypoints[0])
        np.testing.assert_array_equal(done.target[number], wanted.pixels[0])
        np.testing.assert_array_equal(done.keypoints[number], wanted.keypoints[0])
    assert done.jobs == some


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_target_photo_is_not_seen(photos, jobs, name):
    class Blanked:
        """The photos, the target's pixels painted over."""

        def load(self, names: Sequence[str]) -> Loaded:
            loaded = photos.load(names)
            loaded.pixels[list(names).index(jobs[0].target)] = 0
            return loaded

    system = system_of(name)
    (seen,) = generate_jobs(system, jobs[:1], photos, CPU)
    (blind,) = generate_jobs(system, jobs[:1], Blanked(), CPU)
    np.testing.assert_array_equal(seen.generated, blind.generated)
    assert (blind.target == 0).all()


def test_sixteen_targets_are_made_at_once_and_come_as_they_are_made(photos, jobs):
    recorder = Recorder()
    made = generate_jobs(recorder, jobs * 2, photos, CPU)
    first = next(made)
    assert len(recorder.calls) == 1
    assert [job for part in (first, *made) for job in part.jobs] == jobs * 2
    assert [len(call[2]) for call in recorder.calls] == [16, 16, 2 * len(jobs) - 32]


@pytest.mark.parametrize("name", SYSTEMS)
def test_an_image_depends_neither_on_its_neighbours_nor_on_where_its_photos_come_from(photos, jobs, name):
    system = system_of(name)
    (together,) = generate_jobs(system, jobs[:6], photos, CPU)
    for number in (0, 5):
        sources, target = photos.load(jobs[number].sources), photos.load([jobs[number].target])
        framed = tuple(map(Framed, sources.pixels, sources.keypoints, [(HEIGHT, WIDTH)] * len(sources.pixels)))
        (image,) = generate(system, [Request(framed, target.keypoints[0])], photos.line_width, CPU)
        (alone,) = generate_jobs(system, jobs[number : number + 1], photos, CPU)
        assert (image.shape, image.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
        for one in (image, alone.generated[0]):  # sums of a batch are added in another order
            assert np.abs(one.astype(int) - together.generated[number].astype(int)).max() <= 1
