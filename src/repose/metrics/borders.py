"""Columns that papers cut off or added before they scored: a part of a protocol's name, as they move the score.

`pg2+crop-176` is the protocol pg2 on the middle 176 columns, `gaussian11+white-40` is gaussian11 with 40 white columns added on
each side. Several are done in the order in which they stand: `gaussian11+crop-176+white-40` is how PATN scored 256x256 images
of others beside its own of 256x176 (it crops to columns 40 to 215; tool/getMetrics_fashion.py adds the white).
"""

import re
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from repose.errors import ReposeError

WHITE = 255


class Border(NamedTuple):
    """A change of the images' width."""

    kind: str  # white or crop
    columns: int  # white: added on each side; crop: left over, the middle ones


def split_protocol(name: str) -> tuple[str, list[Border]]:
    """A name such as pg2+crop-176+white-40 as what stands before the first + and the borders, in their order.

    Raises:
        ReposeError: there is no such border.
    """
    protocol, *borders = name.split("+")
    return protocol, [_border(border, name) for border in borders]


def bordered(images: Tensor, borders: list[Border], name: str) -> Tensor:
    """Images (B, C, H, W) uint8, each border applied in its turn: (B, C, H, other W).

    Where an odd number of columns is cut off, one more of them is at the right.

    Args:
        images: Of any device.
        borders: As `split_protocol` gives them.
        name: Of the protocol, for the message.

    Raises:
        ReposeError: the images have fewer columns than a crop leaves over.
    """
    for border in borders:
        images = _white(images, border) if border.kind == "white" else _crop(images, border, name)
    return images


def _border(text: str, name: str) -> Border:
    found = re.fullmatch(r"(white|crop)-([1-9]\d{0,4})", text)
    if not found:
        raise ReposeError(
            f"There is no border {text!r}, which the protocol {name!r} names. There are white-N, N white columns more on "
            "each side, and crop-N, the middle N columns only, such as pg2+white-40 and pg2+crop-176."
        )
    return Border(found[1], int(found[2]))


def _white(images: Tensor, border: Border) -> Tensor:
    return F.pad(images, (border.columns, border.columns), value=WHITE)


def _crop(images: Tensor, border: Border, name: str) -> Tensor:
    width = images.shape[-1]
    if width < border.columns:
        raise ReposeError(
            f"The protocol {name!r} takes the middle {border.columns} columns and the images have {width}. Take a protocol "
            "without the crop, or a larger working size."
        )
    return images.narrow(-1, (width - border.columns) // 2, border.columns)
