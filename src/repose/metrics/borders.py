"""Borders: columns that papers cut off or added before scoring, given after + in a protocol's name.

`pg2+crop-176` scores the middle 176 columns; `gaussian11+white-40` adds 40 white columns on each side. Borders apply in
order. PATN scored others' 256x256 images, beside its own of 256x176, as `gaussian11+crop-176+white-40` (it crops to columns
40 to 215; tool/getMetrics_fashion.py adds the white columns).
"""

import re
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from repose.errors import ReposeError


class Border(NamedTuple):
    """A change of the images' width before scoring."""

    kind: str  # white or crop
    columns: int  # white: number added on each side; crop: number kept in the middle


def split_protocol(name: str) -> tuple[str, list[Border]]:
    """Split a name such as pg2+crop-176+white-40 into the protocol before the first + and the borders.

    Raises:
        ReposeError: a border is unknown.
    """
    protocol, *borders = name.split("+")
    return protocol, [_parsed(border, name) for border in borders]


def bordered(images: Tensor, borders: list[Border], name: str) -> Tensor:
    """Apply borders in order: (B, C, H, W) uint8 -> (B, C, H, new W).

    A crop that removes an odd number of columns removes one more on the right.

    Raises:
        ReposeError: a crop of the protocol `name` is wider than the images.
    """
    for kind, columns in borders:
        width = images.shape[-1]
        if kind == "white":
            images = F.pad(images, (columns, columns), value=255)
        elif width >= columns:
            images = images.narrow(-1, (width - columns) // 2, columns)
        else:
            raise ReposeError(
                f"The protocol {name!r} scores the middle {columns} columns, but the images only have {width}. Choose a "
                "protocol without the crop, or a larger working size."
            )
    return images


def _parsed(text: str, name: str) -> Border:
    found = re.fullmatch(r"(white|crop)-([1-9]\d{0,4})", text)
    if not found:
        raise ReposeError(
            f"The protocol {name!r} has the unknown border {text!r}. Use white-N (N more white columns on each side) or "
            "crop-N (only the middle N columns), such as pg2+white-40 and pg2+crop-176."
        )
    return Border(found[1], int(found[2]))
