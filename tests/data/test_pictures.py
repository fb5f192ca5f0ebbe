import numpy as np
import pytest

from repose.data.pictures import grid

GAP, HEADER = 4, 20


def image(level: int, height: int = 6, width: int = 9) -> np.ndarray:
    return np.random.default_rng(level).integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize("zoom", [1, 3])
def test_every_image_lies_in_its_row_and_column(zoom):
    rows = [[image(0), image(1), None], [image(2), None, image(3)]]
    picture = grid(rows, ["", "", ""], zoom)
    height, width = 6 * zoom, 9 * zoom
    assert picture.dtype == np.uint8
    assert picture.shape == (HEADER + 2 * (height + GAP) + GAP, 3 * (width + GAP) + GAP, 3)
    expected = np.full_like(picture, 255)
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            if cell is not None:
                top, left = HEADER + GAP + r * (height + GAP), GAP + c * (width + GAP)
                expected[top : top + height, left : left + width] = cell.repeat(zoom, 0).repeat(zoom, 1)
    np.testing.assert_array_equal(picture, expected)


def test_titles_stand_in_the_header_over_the_middle_of_their_columns():
    rows = [[image(0, 40, 80), image(1, 40, 80)]]
    dark = (grid(rows, ["", "target"])[:HEADER] < 128).all(-1)
    columns = np.flatnonzero(dark.any(0))
    assert columns.min() > 80 + GAP
    assert abs((columns.min() + columns.max()) / 2 - (GAP + 84 + 40)) < 2
    rows_of_ink = np.flatnonzero(dark.any(1))
    assert abs((rows_of_ink.min() + rows_of_ink.max()) / 2 - HEADER / 2) < 4
    assert not (grid(rows, ["", ""])[:HEADER] < 255).any()


@pytest.mark.parametrize(("titles", "lines"), [
    (["source 1", "attend"], 1), (["attend, 1 source", "one-two-three-four-five-six"], 3),
    (["adversarialsystem", ""], 1),  # one word cannot be wrapped
])  # fmt: skip
def test_a_title_wider_than_its_column_is_wrapped(titles, lines):
    width, header = 64, 6 + 14 * lines
    picture = grid([[image(0, 40, width), image(1, 40, width)]], titles)
    assert picture.shape == (header + 40 + 2 * GAP, 2 * (width + GAP) + GAP, 3)
    dark = (picture[:header] < 128).all(-1)
    if lines > 1:
        assert not dark[:, GAP + width : 2 * GAP + width].any()  # the titles do not touch
    for line in range(lines):
        assert dark[3 + 14 * line : 3 + 14 * (line + 1)].any()
