"""Write a mannequin data set as files, in the layout and with the names of DeepFashion (fashion) or Market-1501 (street).

Besides the photos: the owner's lists; `keypoints.csv` in pose-gan's grammar; and `figures.csv`, the renderer's own
truth (columns: see `items.Truth`). An item depends on the seed and on its own number only, never on how many items
there are or on which process draws it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context

import numpy as np

from mannequins.renderer.items import MannequinSettings, render_item, status_of
from repose.data.images import encode_jpeg
from repose.storage.processes import end_with_parent, starting_workers

_Encoded = tuple[str, bytes, str, str]  # path, JPEG, row of keypoints.csv, row of figures.csv (may be empty)


def files(settings: MannequinSettings, *, workers: int) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the data set: path in the owner's layout, and content. Photos come first, item by item.

    The same settings give the same bytes on every processor, for any number of worker processes (1: only
    this process). The JPEG files also depend on the version of Pillow's libjpeg.
    """
    paths, keypoints = list[str](), ["name:keypoints_y:keypoints_x"]
    truths = ["name,item,yaw_degrees,front_share,figure_share,visible"]
    for item in _items(settings, workers):
        for path, jpeg, keypoints_row, truth_row in item:
            yield path, jpeg
            paths.append(path)
            keypoints.append(keypoints_row)
            truths += [truth_row] if truth_row else []
    if settings.flavour == "fashion":
        yield "Eval/list_eval_partition.txt", _lines(_partition(paths))
    yield "keypoints.csv", _lines(keypoints)
    yield "figures.csv", _lines(truths)


def _items(settings: MannequinSettings, workers: int) -> Iterator[list[_Encoded]]:
    """Yield the encoded items in order."""
    encoded, numbers = partial(_encoded, settings), range(settings.items)
    if workers == 1:
        yield from map(encoded, numbers)
        return
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])  # so that imports happen once
    with ExitStack() as stack:
        with starting_workers("workers to 1"):
            pool = ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)
            items = stack.enter_context(pool).map(encoded, numbers)
        yield from items


def _encoded(settings: MannequinSettings, number: int) -> list[_Encoded]:
    encoded = []
    for photo in render_item(settings, number):
        # A row of pose-gan's table: y before x, whole pixels within the image, -1 where missing.
        last = np.array(photo.pixels.shape[1::-1]) - 1
        whole = np.where(np.isnan(photo.keypoints), -1, np.clip(np.rint(photo.keypoints), 0, last)).astype(int)
        keypoints, row = f"{photo.name}: {whole[:, 1].tolist()}: {whole[:, 0].tolist()}", ""
        if truth := photo.truth:
            front = "" if np.isnan(truth.front_share) else f"{truth.front_share:.4f}"
            row = f"{photo.name},{truth.item},{truth.yaw:.2f},{front},{truth.person_share:.4f},{truth.visible}"
        encoded.append((photo.path, encode_jpeg(photo.pixels, settings.quality), keypoints, row))
    return encoded


def _partition(paths: Sequence[str]) -> Iterator[str]:
    """Eval/list_eval_partition.txt: a count, a header, and a padded row per photo."""
    yield from (str(len(paths)), "image_name item_id evaluation_status")
    photos = Counter[str]()
    for path in paths:
        garment = path.split("/")[3]
        yield f"{path:<70} {garment} {status_of(int(garment[3:]), photos[garment])}"
        photos[garment] += 1


def _lines(rows: Iterable[str]) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()
