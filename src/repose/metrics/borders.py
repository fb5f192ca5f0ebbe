"""Columns that papers cut off or added before scoring: the part of a protocol's name after +, as they change the score.

`pg2+crop-176` scores the middle 176 columns; `gaussian11+white-40` adds 40 white columns on each side. Borders apply in
order: `gaussian11+crop-176+white-40` is how PATN scored 256x256 images of others beside its own of 256x176 (it crops to
columns 40 to 215; tool/getMetrics_fashion.py adds the white).
"""

import re
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from repose.errors import ReposeError


class Border(NamedTuple):
    """A change of the images' width."""

    kind: str  # white or crop
    columns: int  # white: added on each side; crop: kept in the middle


def split_protocol(name: str) -> tuple[str, list[Border]]:
    """Split a name such as pg2+crop-176+white-40 into the protocol before the first + and the borders.

    Raises:
        ReposeError: there is no such border.
    """
    protocol, *borders = name.split("+")
    return protocol, [_parsed(border, name) for border in borders]


def bordered(images: Tensor, borders: list[Border], name: str) -> Tensor:
    """Apply borders in order: (B, C, H, W) uint8 -> (B, C, H, other W).

    A crop that removes an odd number of columns removes one more at the right.

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
                f"The protocol {name!r} takes the middle {columns} columns and the images have {width}. Choose a protocol "
                "without the crop, or a larger working size."
            )
    return images


def _parsed(text: str, name: str) -> Border:
    found = re.fullmatch(r"(white|crop)-([1-9]\d{0,4})", text)
    if not found:
        raise ReposeError(
            f"There is no border {text!r}, which the protocol {name!r} names. Use white-N (N more white columns on each "
            "side) or crop-N (the middle N columns alone), such as pg2+white-40 and pg2+crop-176."
        )
    return Border(found[1], int(found[2]))
