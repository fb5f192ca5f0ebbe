"""Images of pairs and of anybody's photos, by untrained systems: what goes in where, and how much at once."""

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
from repose.generate import TARGETS_AT_ONCE, Done, Framed, Job, Request, generate, generate_jobs, jobs_of_pairs
from repose.systems import System, build
from tiny import HEIGHT, SYSTEMS, WIDTH, make, row

CPU = torch.device("cpu")
ITEM_ROWS = pd.DataFrame({"part": "test", "item": list("aaaab"), "name": ["a1", "a2", "a3", "a4", "b1"]})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    data = make(tmp_path_factory.mktemp("tiny"))
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
        self.calls.append((images, poses, sources, mask, target_pose))
        return torch.zeros(len(sources), *images.shape[1:])


@pytest.mark.parametrize(
    ("most", "expected"), [(1, ("a2",)), (2, ("a2", "a1")), (3, ("a2", "a1", "a4")), (9, ("a2", "a1", "a4"))]
)
def test_a_job_has_the_pairs_source_first_then_the_items_others_never_the_target(
    most: int, expected: tuple[str, ...]
) -> None:
    pairs = pd.DataFrame({"from": ["a2"], "to": ["a3"]})
    assert jobs_of_pairs(pairs, ITEM_ROWS, most) == [Job(expected, "a3")]


def test_jobs_are_in_the_order_of_the_pairs() -> None:
    pairs = pd.DataFrame({"from": ["a4", "a1"], "to": ["a1", "a4"]})
    assert [job.target for job in jobs_of_pairs(pairs, ITEM_ROWS, 2)] == ["a1", "a4"]


def test_a_system_is_given_each_jobs_photos_poses_and_mask(photos: Photos, jobs: list[Job]) -> None:
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
    assert (done.generated >= 127).all()
    assert (done.generated <= 128).all()


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_target_photo_is_not_seen(photos: Photos, jobs: list[Job], name: str) -> None:
    class Blanked:
        """The photos, the target's pixels painted over."""

        frame = photos.frame

        def load(self, names: Sequence[str]) -> Loaded:
            loaded = photos.load(names)
            pixels = loaded.pixels.copy()
            pixels[list(names).index(jobs[0].target)] = 0
            return loaded._replace(pixels=pixels)

    system = system_of(name)
    (seen,) = generate_jobs(system, jobs[:1], photos, CPU)
    (blind,) = generate_jobs(system, jobs[:1], Blanked(), CPU)
    np.testing.assert_array_equal(seen.generated, blind.generated)
    assert (blind.target == 0).all()


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_first_source_and_the_pose_matter(photos: Photos, jobs: list[Job], name: str) -> None:
    system, job = system_of(name), jobs[0]
    other = next(
        j for j in jobs if photos.load(j.sources[:1]).pixels.mean() != photos.load(job.sources[:1]).pixels.mean()
    )

    def image(sources: tuple[str, ...], target: str) -> np.ndarray:
        (done,) = generate_jobs(system, [Job(sources, target)], photos, CPU)
        return done.generated

    first = image(job.sources[:1], job.target)
    assert (image(other.sources[:1], job.target) != first).any()
    assert (image(job.sources[:1], jobs[-1].target) != first).any()


def test_no_more_than_some_targets_at_once_and_none_forgotten(photos: Photos, jobs: list[Job]) -> None:
    recorder = Recorder()
    parts = list(generate_jobs(recorder, jobs * 2, photos, CPU))
    assert [len(call[2]) for call in recorder.calls] == [16, 16, 2 * len(jobs) - 32]
    assert TARGETS_AT_ONCE == 16
    assert [job for part in parts for job in part.jobs] == jobs * 2


def test_images_come_as_they_are_made(photos: Photos, jobs: list[Job]) -> None:
    recorder = Recorder()
    made = generate_jobs(recorder, jobs * 2, photos, CPU)
    assert isinstance(next(made), Done)
    assert len(recorder.calls) == 1


@pytest.mark.parametrize("name", SYSTEMS)
def test_an_image_does_not_depend_on_its_neighbours(photos: Photos, jobs: list[Job], name: str) -> None:
    system = system_of(name)
    (together,) = generate_jobs(system, jobs[:6], photos, CPU)
    for number in (0, 5):
        (alone,) = generate_jobs(system, jobs[number : number + 1], photos, CPU)
        difference = alone.generated[0].astype(int) - together.generated[number].astype(int)
        assert np.abs(difference).max() <= 1  # rounding: sums of a batch are added in another order


@pytest.mark.parametrize("name", SYSTEMS)
def test_one_image_is_the_image_of_its_job(photos: Photos, jobs: list[Job], name: str) -> None:
    system, job = system_of(name), max(jobs, key=lambda j: len(j.sources))
    sources, target = photos.load(job.sources), photos.load([job.target])
    framed = tuple(map(Framed, sources.pixels, sources.keypoints, [(HEIGHT, WIDTH)] * len(job.sources)))
    (image,) = generate(system, [Request(framed, target.keypoints[0])], photos.line_width, CPU)
    (done,) = generate_jobs(system, [job], photos, CPU)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - done.generated[0].astype(int)).max() <= 1


def test_no_gradients_are_kept(photos: Photos, jobs: list[Job]) -> None:
    class Watched(Recorder):
        def generate(self, *arguments: Any) -> torch.Tensor:
            assert not torch.is_grad_enabled()
            return super().generate(*arguments)

    assert len(list(generate_jobs(Watched(), jobs[:1], photos, CPU))) == 1
