"""Write a mannequin data set as files, in the layout and with the names of DeepFashion (fashion) or Market-1501 (street).

Besides the photos: the owner's lists; `keypoints.csv` in pose-gan's grammar; and `figures.csv`, the renderer's own
truth (columns: see `photo.Truth`). An item depends on the seed and on its own number only, never on how many items
there are or on which process draws it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

import numpy as np

from mannequins.renderer.fashion import fashion_item, status_of
from mannequins.renderer.photo import MannequinPhoto, MannequinSettings
from mannequins.renderer.street import street_item
from repose.data.images import encode_jpeg

_Encoded = tuple[str, bytes, str, str]  # path, JPEG, row of keypoints.csv, row of figures.csv (may be empty)
_KEYPOINTS_HEADER = "name:keypoints_y:keypoints_x"
_TRUTH_HEADER = "name,item,yaw_degrees,front_share,figure_share,visible"
_PARTITION_HEADER = "image_name item_id evaluation_status"


def render_item(settings: MannequinSettings, number: int) -> list[MannequinPhoto]:
    """All photos of item `number` (from 0); in street, with the junk and the distractors that lie beside them."""
    return (fashion_item if settings.flavour == "fashion" else street_item)(settings.seed, number)


def files(settings: MannequinSettings, *, workers: int) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the data set: path in the owner's layout, and content. Photos come first, item by item.

    The same settings give the same bytes on every processor, for any number of worker processes (1: only
    this process). The JPEG files also depend on the version of Pillow's libjpeg.
    """
    paths, keypoints, truths = [], [_KEYPOINTS_HEADER], [_TRUTH_HEADER]
    for item in _items(settings, workers):
        for path, jpeg, keypoints_row, truth_row in item:
            yield path, jpeg
            paths.append(path)
            keypoints.append(keypoints_row)
            truths += [truth_row] if truth_row else []
    if settings.flavour == "fashion":
        yield "Eval/list_eval_partition.txt", _partition(paths)
    yield "keypoints.csv", _lines(keypoints)
    yield "figures.csv", _lines(truths)


def contact_sheet(settings: MannequinSettings, rows: int, columns: int) -> np.ndarray:
    """A picture of the first items with enough photos, a row per item: (H, W, 3) uint8.

    Raises:
        ValueError: fewer than `rows` of the items have `columns` photos.
    """
    photos = (render_item(settings, number)[:columns] for number in range(settings.items))
    full = list(islice((row for row in photos if len(row) == columns), rows))
    if len(full) < rows:
        raise ValueError(f"Only {len(full)} of {settings.items} items have {columns} photos; the sheet needs {rows}.")
    return np.concatenate([np.concatenate([photo.pixels for photo in row], axis=1) for row in full])


def _items(settings: MannequinSettings, workers: int) -> Iterator[list[_Encoded]]:
    """Yield the encoded items in order; at most two items per worker are pending."""
    if workers == 1:
        yield from (_encoded(settings, number) for number in range(settings.items))
        return
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])  # so that imports happen once
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting: deque[Future[list[_Encoded]]] = deque()
        for number in range(settings.items):
            waiting.append(pool.submit(_encoded, settings, number))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _encoded(settings: MannequinSettings, number: int) -> list[_Encoded]:
    return [
        (photo.path, encode_jpeg(photo.pixels, settings.quality), _keypoints_row(photo), _truth_row(photo))
        for photo in render_item(settings, number)
    ]


def _keypoints_row(photo: MannequinPhoto) -> str:
    """A row of pose-gan's table: y before x, whole pixels within the image, -1 where missing."""
    last = np.array(photo.pixels.shape[1::-1]) - 1
    whole = np.where(np.isnan(photo.keypoints), -1, np.clip(np.rint(photo.keypoints), 0, last)).astype(int)
    return f"{photo.name}: {whole[:, 1].tolist()}: {whole[:, 0].tolist()}"


def _truth_row(photo: MannequinPhoto) -> str:
    truth = photo.truth
    if truth is None:
        return ""
    front = "" if np.isnan(truth.front_share) else f"{truth.front_share:.4f}"
    return f"{photo.name},{truth.item},{truth.yaw:.2f},{front},{truth.person_share:.4f},{truth.visible}"


def _partition(paths: Iterable[str]) -> bytes:
    """Eval/list_eval_partition.txt: a count, a header, and a padded row per photo."""
    rows: list[str] = []
    photos: dict[str, int] = {}
    for path in paths:
        garment = path.split("/")[3]
        rows.append(f"{path:<70} {garment} {status_of(int(garment[3:]), photos.get(garment, 0))}")
        photos[garment] = photos.get(garment, 0) + 1
    return _lines([str(len(rows)), _PARTITION_HEADER, *rows])


def _lines(rows: Iterable[str]) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()
