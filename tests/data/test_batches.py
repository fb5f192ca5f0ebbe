"""Batches: who is a target, who its sources, who the other; and that seed and step alone decide."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_photos import HEIGHT, LINE_WIDTH, WIDTH, Small, write_small
from torch.utils.data import DataLoader

from repose.data.augment import AugmentSettings
from repose.data.batches import Batch, Packed, Steps, unpack
from repose.data.images import to_uint8
from repose.data.posemaps import colour, draw
from repose.errors import ReposeError

SIZES = (2, 3, 5, 7, 2)
CPU = torch.device("cpu")
FLIP = AugmentSettings(flip=0.5, rotation=0, crop=1, fill="edge")
ALL = AugmentSettings(flip=0.5, rotation=10, crop=0.8, fill="edge")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return write_small(tmp_path_factory.mktemp("small"), SIZES)


def steps_of(small: Small, **changes: Any) -> Steps:
    settings = {
        "steps": 60, "seed": 0, "items_per_step": 2, "max_photos": 5, "max_sources": 4, "targets": "all", "augment": None,
    }  # fmt: skip
    return Steps(small.photos(1), small.items, **settings | changes)


class Seen:
    """A packed batch with the names of its photos, which their grey levels tell."""

    def __init__(self, small: Small, packed: Packed) -> None:
        levels = packed.pixels[:, 0, 0, 0]
        assert (packed.pixels == levels[:, None, None, None]).all()
        names = [small.names[level] for level in levels]
        own = len(names) - len(packed.target)
        self.packed, self.own, self.others = packed, names[:own], names[own:]
        self.targets = [self.own[row] for row in packed.target]
        self.sources = [
            [self.own[row] for row in rows[mask]] for rows, mask in zip(packed.sources, packed.mask, strict=True)
        ]


def seen(small: Small, **changes: Any) -> list[Seen]:
    steps = steps_of(small, **changes)
    return [Seen(small, steps[step]) for step in range(len(steps))]


def item(name: str) -> str:
    return name.split("-")[0]


CASES: list[dict[str, Any]] = [
    {}, {"targets": "one"}, {"max_sources": 1}, {"max_photos": 2}, {"items_per_step": 1}, {"items_per_step": 5},
    {"augment": FLIP}, {"seed": 3},
]  # fmt: skip


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_what_holds_of_every_batch(small: Small, changes: dict[str, Any]) -> None:
    max_photos, max_sources = changes.get("max_photos", 5), changes.get("max_sources", 4)
    for batch in seen(small, **changes):
        packed, items = batch.packed, {item(name) for name in batch.own}
        assert len(items) == changes.get("items_per_step", 2)
        assert len(set(batch.own)) == len(batch.own)
        for one in items:
            photos = sum(item(name) == one for name in batch.own)
            assert photos == min(SIZES[int(one)], max_photos)
        assert packed.mask.any(1).all()
        assert (np.diff(packed.mask.astype(int), axis=1) <= 0).all()  # what counts comes first
        assert packed.sources.min() >= 0
        assert packed.sources.max() < len(batch.own)
        for target, sources, other in zip(batch.targets, batch.sources, batch.others, strict=True):
            assert target not in sources
            assert {item(name) for name in sources} == {item(target)}
            assert len(set(sources)) == len(sources) <= max_sources
            assert item(other) != item(target)
        if changes.get("targets") == "one":
            assert sorted(map(item, batch.targets)) == sorted(items)
        else:
            assert batch.targets == batch.own


def test_a_step_has_one_number_of_sources_as_far_as_the_photos_reach(small: Small) -> None:
    counts = set()
    for batch in seen(small, steps=200):
        most = max(len(sources) for sources in batch.sources)
        for target, sources in zip(batch.targets, batch.sources, strict=True):
            assert len(sources) == min(most, min(SIZES[int(item(target))], 5) - 1)
        counts.add(most)
    assert counts == {1, 2, 3, 4}


def test_sources_come_in_every_order_and_every_photo_is_drawn(small: Small) -> None:
    drawn = {tuple(sources) for batch in seen(small, steps=300) for sources in batch.sources if len(sources) == 2}
    firsts = {(pair[1], pair[0]) for pair in drawn}
    assert len(drawn & firsts) > 20
    large = [name for batch in seen(small, steps=300) for name in batch.own if item(name) == "3"]
    assert len(set(large)) == 7  # of which a step takes five


def test_one_target_an_item_is_any_of_its_photos(small: Small) -> None:
    targets = {target for batch in seen(small, steps=300, targets="one") for target in batch.targets}
    assert targets == set(small.names)


def test_the_other_is_any_photo_of_any_other_item(small: Small) -> None:
    pairs = {
        (item(target), other) for batch in seen(small, steps=1500)
        for target, other in zip(batch.targets, batch.others, strict=True)
    }  # fmt: skip
    assert pairs == {(str(own), name) for own in range(len(SIZES)) for name in small.names if item(name) != str(own)}


@pytest.mark.parametrize(("items_per_step", "an_epoch"), [(1, 5), (2, 2), (5, 1)])
def test_every_epoch_goes_through_the_items_once_in_an_order_of_its_own(
    small: Small, items_per_step: int, an_epoch: int
) -> None:
    steps = steps_of(small, items_per_step=items_per_step, steps=10 * an_epoch)
    assert steps.steps_per_epoch == an_epoch
    assert len(steps) == 10 * an_epoch
    orders = set()
    for epoch in range(10):
        batches = [Seen(small, steps[epoch * an_epoch + within]) for within in range(an_epoch)]
        items = [one for batch in batches for one in dict.fromkeys(map(item, batch.own))]
        assert len(set(items)) == len(items) == an_epoch * items_per_step
        orders.add(tuple(items))
    assert len(orders) > 5


@pytest.mark.parametrize("steps", [1, 3, 7, 60])
@pytest.mark.parametrize("changes", CASES, ids=str)
def test_the_images_of_all_steps_are_counted_without_loading_any(
    small: Small, changes: dict[str, Any], steps: int
) -> None:
    made = steps_of(small, **changes, steps=steps)
    assert made.images() == sum(len(made[step].target) for step in range(steps))


def test_the_images_counted_are_those_of_all_processes(small: Small) -> None:
    parts = [steps_of(small, rank=rank, processes=2) for rank in range(2)]
    assert parts[0].images() == parts[1].images() == steps_of(small).images()
    assert parts[0].images() == sum(len(part[step].target) for part in parts for step in range(60))


SHARED: list[dict[str, Any]] = [{}, {"targets": "one"}, {"max_photos": 2}, {"max_sources": 1}, {"augment": ALL}]


@pytest.mark.parametrize("changes", SHARED, ids=str)
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_share_a_step_see_together_what_one_sees(
    small: Small, processes: int, changes: dict[str, Any]
) -> None:
    chosen = {"items_per_step": 4, "steps": 12} | changes
    parts = [steps_of(small, rank=rank, processes=processes, **chosen) for rank in range(processes)]
    for number, whole in enumerate(steps_of(small, **chosen)[step] for step in range(12)):
        shared = [part[number] for part in parts]
        for one, all_of_them in zip(rows(whole), zip(*map(rows, shared), strict=True), strict=True):
            assert [row for of_one in all_of_them for row in of_one] == one
        assert [part.share for part in shared] == [len(part.target) / len(whole.target) for part in shared]
        assert whole.share == 1


def rows(packed: Packed) -> tuple[list[Any], list[Any], list[Any]]:
    """What is known of each photo of the items, of each other photo, and of each target: itself, sources, mask."""
    photos = [
        (int(pixels[0, 0, 0]), keypoints.tobytes(), matrix.tobytes())
        for pixels, keypoints, matrix in zip(packed.pixels, packed.keypoints, packed.matrices, strict=True)
    ]
    own = len(photos) - len(packed.target)
    targets = [
        (photos[target], [photos[source] for source in sources], mask.tolist())
        for target, sources, mask in zip(packed.target, packed.sources, packed.mask, strict=True)
    ]
    return photos[:own], photos[own:], targets


def contents(packed: Packed) -> dict[str, bytes | None]:
    values = {field.name: getattr(packed, field.name) for field in fields(packed)}
    return {name: None if value is None else np.asarray(value).tobytes() for name, value in values.items()}


@pytest.mark.parametrize("augment", [None, ALL])
def test_seed_and_step_alone_decide(small: Small, augment: AugmentSettings | None) -> None:
    one, two = steps_of(small, augment=augment), steps_of(small, augment=augment)
    forward = [contents(one[step]) for step in range(8)]
    assert [contents(two[step]) for step in reversed(range(8))] == forward[::-1]
    other = steps_of(small, augment=augment, seed=1)
    assert all(contents(other[step]) != forward[step] for step in range(8))
    assert len({content["pixels"] for content in forward}) == 8


def test_workers_change_nothing(small: Small) -> None:
    loaded = []
    for workers in (0, 2):
        loader: DataLoader[Packed] = DataLoader(
            steps_of(small, augment=ALL), batch_size=None, sampler=range(3, 9), num_workers=workers
        )
        loaded.append([contents(packed) for packed in loader])
    assert loaded[0] == loaded[1]
    assert len(loaded[0]) == 6


@pytest.mark.parametrize(("items", "items_per_step"), [(1, 1), (3, 4), (0, 1)])
def test_too_few_items_are_told(small: Small, items: int, items_per_step: int) -> None:
    some = replace_items(small, items)
    with pytest.raises(ReposeError, match=rf"takes {items_per_step} item\(s\) a step.* has only {items} training item"):
        steps_of(some, items_per_step=items_per_step)


def test_two_items_are_enough(small: Small) -> None:
    assert len({other for batch in seen(replace_items(small, 2)) for other in map(item, batch.others)}) == 2


def replace_items(small: Small, items: int) -> Small:
    return small._replace(items=small.items[small.items["item"].astype(int) < items])


def unpacked(small: Small, packed: Packed, augment: AugmentSettings | None) -> Batch:
    return unpack(packed, line_width=LINE_WIDTH, augment=augment, device=CPU)


@pytest.mark.parametrize("augment", [None, FLIP, ALL])
@pytest.mark.parametrize("targets", ["all", "one"])
def test_a_batch_on_the_device_has_the_shapes_that_it_says(
    small: Small, augment: AugmentSettings | None, targets: str
) -> None:
    steps = steps_of(small, augment=augment, targets=targets)
    batch = unpacked(small, steps[0], augment)
    photos, count = len(batch.images), len(batch.target)
    width = batch.sources.shape[1]
    found = {field.name: getattr(batch, field.name) for field in fields(batch)}
    shapes = {name: tuple(value.shape) for name, value in found.items() if isinstance(value, torch.Tensor)}
    assert shapes == {
        "images": (photos, 3, HEIGHT, WIDTH), "target": (count,), "sources": (count, width), "mask": (count, width),
        "other_image": (count, 3, HEIGHT, WIDTH),
    }  # fmt: skip
    for poses, number in ((batch.poses, photos), (batch.other_pose, count)):
        assert poses.posemaps.shape == (number, 3, HEIGHT, WIDTH)
        assert poses.keypoints.shape == (number, 18, 2)
        assert poses.posemaps.dtype == poses.keypoints.dtype == torch.float32
    assert batch.images.dtype == torch.float32
    assert (batch.target.dtype, batch.sources.dtype, batch.mask.dtype) == (torch.int64, torch.int64, torch.bool)


def test_without_augmentation_photos_keypoints_and_maps_are_those_of_the_stages(small: Small) -> None:
    steps = steps_of(small)
    packed = steps[4]
    names, batch = Seen(small, packed), unpacked(small, packed, None)
    loaded = small.photos().load(names.own + names.others)
    np.testing.assert_array_equal(to_uint8(torch.cat([batch.images, batch.other_image])), loaded.pixels)
    keypoints = torch.cat([batch.poses.keypoints, batch.other_pose.keypoints])
    np.testing.assert_array_equal(keypoints.numpy(), loaded.keypoints)
    maps = torch.cat([batch.poses.posemaps, batch.other_pose.posemaps])
    assert torch.equal(maps, colour(torch.from_numpy(loaded.maps)))
    assert (packed.matrices == np.eye(2, 3)).all()


@pytest.mark.parametrize("augment", [FLIP, ALL])
def test_with_augmentation_the_maps_are_those_of_the_moved_keypoints(small: Small, augment: AugmentSettings) -> None:
    steps, moved = steps_of(small, augment=augment), 0
    for step in range(6):
        packed = steps[step]
        names, batch = Seen(small, packed), unpacked(small, packed, augment)
        assert packed.maps is None
        maps = draw(packed.keypoints, height=HEIGHT, width=WIDTH, line_width=LINE_WIDTH)
        drawn = torch.cat([batch.poses.posemaps, batch.other_pose.posemaps])
        assert torch.equal(drawn, colour(torch.from_numpy(maps)))
        assert np.array_equal(
            torch.cat([batch.poses.keypoints, batch.other_pose.keypoints]), packed.keypoints, equal_nan=True
        )
        before = small.photos().load(names.own + names.others).keypoints
        moved += int((np.nan_to_num(before) != np.nan_to_num(packed.keypoints)).any((1, 2)).sum())
    assert moved > 10


def test_the_photos_of_an_item_flip_together_and_items_by_themselves(small: Small) -> None:
    steps, among = steps_of(small, augment=FLIP, steps=100), set()
    for step in range(100):
        packed = steps[step]
        names = Seen(small, packed)
        flipped = packed.matrices[:, 0, 0] < 0
        by_item = {
            one: {bool(flip) for name, flip in zip(names.own, flipped, strict=False) if item(name) == one}
            for one in map(item, names.own)
        }
        assert all(len(flips) == 1 for flips in by_item.values())
        among.add(tuple(next(iter(flips)) for flips in by_item.values()))
    assert among == {(False, False), (False, True), (True, False), (True, True)}


@pytest.mark.parametrize(("flip", "share"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_so_many_items_and_others_are_flipped_as_the_settings_say(small: Small, flip: float, share: float) -> None:
    steps = steps_of(small, augment=replace(FLIP, flip=flip), steps=200, items_per_step=1)
    firsts, others = [], []
    for step in range(200):
        flipped = steps[step].matrices[:, 0, 0] < 0
        firsts.append(flipped[0])
        others.append(flipped[-1])
    assert abs(np.mean(firsts) - share) < 0.12
    assert abs(np.mean(others) - share) < 0.12


def test_crop_and_rotation_are_drawn_for_each_photo(small: Small) -> None:
    matrices = steps_of(small, augment=ALL, items_per_step=5)[0].matrices
    assert len({matrix.tobytes() for matrix in matrices}) == len(matrices)


def test_a_flipped_photo_is_the_mirror_image(tmp_path: Path) -> None:
    small = write_small(tmp_path, SIZES, grainy=True)
    flip = replace(FLIP, flip=1.0)
    packed = steps_of(small, augment=flip)[0]
    batch = unpacked(small, packed, flip)
    mirrored = packed.pixels[:, :, ::-1]
    np.testing.assert_array_equal(to_uint8(torch.cat([batch.images, batch.other_image])), mirrored)
