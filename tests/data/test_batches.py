from dataclasses import fields, replace
from operator import attrgetter
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
    """A packed batch with the names of its photos, recognised by their grey levels."""

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
    {},
    {"targets": "one", "max_sources": 1},
    {"max_photos": 2, "items_per_step": 5, "steps": 3},
]


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_every_batch_keeps_the_rules(small, changes):
    max_photos, max_sources = changes.get("max_photos", 5), changes.get("max_sources", 4)
    batches = seen(small, **changes)
    assert steps_of(small, **changes).images() == sum(len(batch.targets) for batch in batches)
    for batch in batches:
        packed, items = batch.packed, {item(name) for name in batch.own}
        assert len(items) == changes.get("items_per_step", 2)
        assert len(set(batch.own)) == len(batch.own)
        for one in items:
            assert sum(item(name) == one for name in batch.own) == min(SIZES[int(one)], max_photos)
        assert (np.diff(packed.mask.astype(int), axis=1) <= 0).all()  # what counts comes first
        assert 0 <= packed.sources.min() <= packed.sources.max() < len(batch.own)
        most = max(map(len, batch.sources))
        for target, sources, other in zip(batch.targets, batch.sources, batch.others, strict=True):
            assert target not in sources
            assert {item(name) for name in sources} == {item(target)}
            of_item = min(SIZES[int(item(target))], max_photos)
            assert len(set(sources)) == len(sources) == min(most, of_item - 1) <= max_sources
            assert item(other) != item(target)
        if changes.get("targets") == "one":
            assert sorted(map(item, batch.targets)) == sorted(items)
        else:
            assert batch.targets == batch.own


def test_everything_allowed_is_drawn(small):
    batches = seen(small, steps=800, targets="one")
    assert {max(map(len, batch.sources)) for batch in batches} == {1, 2, 3, 4}
    assert {target for batch in batches for target in batch.targets} == set(small.names)
    drawn = {tuple(sources) for batch in batches for sources in batch.sources if len(sources) == 2}
    assert len(drawn & {pair[::-1] for pair in drawn}) > 20
    pairs = {
        (item(target), other) for batch in batches for target, other in zip(batch.targets, batch.others, strict=True)
    }
    assert pairs == {(str(own), name) for own in range(len(SIZES)) for name in small.names if item(name) != str(own)}


@pytest.mark.parametrize(("items_per_step", "an_epoch"), [(1, 5), (2, 2)])
def test_every_epoch_visits_the_items_once_in_another_order(small, items_per_step, an_epoch):
    steps = steps_of(small, items_per_step=items_per_step, steps=6 * an_epoch)
    assert steps.steps_per_epoch == an_epoch
    orders = set()
    for epoch in range(6):
        batches = [Seen(small, steps[epoch * an_epoch + within]) for within in range(an_epoch)]
        items = [one for batch in batches for one in dict.fromkeys(map(item, batch.own))]
        assert len(set(items)) == len(items) == an_epoch * items_per_step
        orders.add(tuple(items))
    assert len(orders) > 3


@pytest.mark.parametrize(("processes", "changes"), [
    (4, {"augment": ALL}), (2, {"targets": "one", "max_photos": 2}),
])  # fmt: skip
def test_processes_together_see_the_batch_of_one(small, processes, changes):
    chosen = {"items_per_step": 4, "steps": 12} | changes
    whole = steps_of(small, **chosen)
    parts = [steps_of(small, rank=rank, processes=processes, **chosen) for rank in range(processes)]
    assert {part.images() for part in parts} == {whole.images()}
    for step in range(12):
        one, shared = whole[step], [part[step] for part in parts]
        for expected, found in zip(rows(one), zip(*map(rows, shared), strict=True), strict=True):
            assert [row for of_part in found for row in of_part] == expected
        assert [part.share for part in shared] == [len(part.target) / len(one.target) for part in shared]
        assert one.share == 1


def rows(packed: Packed) -> tuple[list[Any], list[Any], list[Any]]:
    """Each photo of the items, each other photo, and each target with its sources and mask."""
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


def contents(packed: Packed) -> dict[str, bytes]:
    return {field.name: np.asarray(getattr(packed, field.name)).tobytes() for field in fields(packed)}


def test_only_seed_and_step_decide(small):
    one, two, other = (steps_of(small, augment=ALL, seed=seed) for seed in (0, 0, 1))
    forward = [contents(one[step]) for step in range(8)]
    assert [contents(two[step]) for step in reversed(range(8))] == forward[::-1]
    assert all(contents(other[step]) != forward[step] for step in range(8))
    assert len({content["pixels"] for content in forward}) == 8
    loader: DataLoader[Packed] = DataLoader(two, batch_size=None, sampler=range(3, 8), num_workers=2)
    assert [contents(packed) for packed in loader] == forward[3:]


def test_photos_of_other_items_are_only_loaded_if_they_are_needed(small):
    whole, packed = (steps_of(small, augment=ALL, others=others)[0] for others in (True, False))
    assert len(packed.pixels) == packed.own == len(whole.pixels) - len(whole.target)
    expected, batch = unpacked(whole, ALL), unpacked(packed, ALL)
    assert len(batch.other_image) == len(batch.other_pose.posemaps) == 0
    for name in ("images", "poses.posemaps", "poses.keypoints", "target", "sources", "mask"):
        of = attrgetter(name)
        torch.testing.assert_close(of(batch), of(expected), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("items", "items_per_step"), [(1, 1), (3, 4)])
def test_training_needs_two_items_and_those_of_a_step(small, items, items_per_step):
    few = small._replace(items=small.items[small.items["item"].astype(int) < items])
    message = rf"needs {items_per_step} item\(s\) per step.* only has {items} training item"
    with pytest.raises(ReposeError, match=message):
        steps_of(few, items_per_step=items_per_step)


def unpacked(packed: Packed, augment: AugmentSettings | None) -> Batch:
    return unpack(packed, augment=augment, device=torch.device("cpu"))


def joined(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, keypoints and maps of all photos of a batch."""
    return (
        torch.cat([batch.images, batch.other_image]),
        torch.cat([batch.poses.keypoints, batch.other_pose.keypoints]),
        torch.cat([batch.poses.posemaps, batch.other_pose.posemaps]),
    )


def test_without_augmentation_photos_keypoints_and_maps_are_those_of_the_stages(small):
    packed = steps_of(small)[4]
    names, batch = Seen(small, packed), unpacked(packed, None)
    loaded = small.photos().load(names.own + names.others)
    images, keypoints, maps = joined(batch)
    np.testing.assert_array_equal(to_uint8(images), loaded.pixels)
    np.testing.assert_array_equal(keypoints, loaded.keypoints)
    assert torch.equal(maps, colour(torch.from_numpy(loaded.maps)))
    assert (batch.target.dtype, batch.sources.dtype, batch.mask.dtype) == (torch.int64, torch.int64, torch.bool)


def test_with_augmentation_the_maps_are_those_of_the_moved_keypoints(small):
    steps, moved = steps_of(small, augment=ALL), 0
    for step in range(3):
        packed = steps[step]
        names, (_, keypoints, maps) = Seen(small, packed), joined(unpacked(packed, ALL))
        drawn = draw(packed.keypoints, height=HEIGHT, width=WIDTH, line_width=LINE_WIDTH)
        assert torch.equal(maps, colour(torch.from_numpy(drawn)))
        assert np.array_equal(keypoints, packed.keypoints, equal_nan=True)
        before = small.photos().load(names.own + names.others).keypoints
        moved += int((np.nan_to_num(before) != np.nan_to_num(packed.keypoints)).any((1, 2)).sum())
    assert moved > 10


def test_the_photos_of_an_item_flip_together_in_the_share_of_the_settings(small):
    together = []
    for batch in seen(small, augment=replace(FLIP, flip=0.3), steps=100):
        by_item: dict[str, set[bool]] = {}
        for name, matrix in zip(batch.own, batch.packed.matrices, strict=False):
            by_item.setdefault(item(name), set()).add(bool(matrix[0, 0] < 0))
        assert all(len(flips) == 1 for flips in by_item.values())
        together.append([next(iter(flips)) for flips in by_item.values()])
    assert {tuple(flips) for flips in together} == {(False, False), (False, True), (True, False), (True, True)}
    assert np.mean(together) == pytest.approx(0.3, abs=0.12)


def test_a_flipped_photo_is_the_mirror_image(tmp_path):
    flip = replace(FLIP, flip=1.0)
    packed = steps_of(write_small(tmp_path, SIZES, grainy=True), augment=flip)[0]
    np.testing.assert_array_equal(to_uint8(joined(unpacked(packed, flip))[0]), packed.pixels[:, :, ::-1])
