import numpy as np

from repose.data.pictures import grid

GAP, HEADER = 4, 20


def image(level: int, height: int = 6, width: int = 9) -> np.ndarray:
    return np.random.default_rng(level).integers(0, 255, (height, width, 3), np.uint8)


def test_every_image_lies_in_its_row_and_column_enlarged():
    rows = [[image(0), image(1), None], [image(2), None, image(3)]]
    picture, height, width = grid(rows, ["", "", ""], zoom=3), 6 * 3, 9 * 3
    expected = np.full((HEADER + 2 * (height + GAP) + GAP, 3 * (width + GAP) + GAP, 3), 255)
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            if cell is not None:
                top, left = HEADER + GAP + r * (height + GAP), GAP + c * (width + GAP)
                expected[top : top + height, left : left + width] = cell.repeat(3, 0).repeat(3, 1)
    np.testing.assert_array_equal(picture, expected)
