import numpy as np

from repose.report.table_image import Cell, Group, draw_sheet

GROUPS = [Group("", ["Methods"]), Group("a group", ["one", "two"]), Group("another", ["three"])]
TINT = (222, 236, 247)


def row(*texts: str) -> list[Cell]:
    return [Cell(text) for text in texts]


def ink(picture: np.ndarray) -> np.ndarray:
    return (picture < 128).all(-1)


def runs(dark: np.ndarray) -> list[tuple[int, int]]:
    """Where a line of booleans is True: first and one past last of each run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], dark, [False]]).astype(int)))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def rules(picture: np.ndarray) -> list[int]:
    """The first line of pixels of each rule that goes from margin to margin."""
    dark = ink(picture)
    return [start for start, _ in runs(dark.sum(1) >= picture.shape[1] - 2 * 28)]


def test_every_row_is_as_high_and_rules_stand_where_they_are_asked_for() -> None:
    filled = [row("a", "1", "2", "3"), row("b", "1", "2", "3"), row("c", "1", "2", "3")]
    plain = draw_sheet(GROUPS, filled, [])
    assert plain.dtype == np.uint8
    assert len(rules(plain)) == 3  # above, under the head, below
    ruled = draw_sheet(GROUPS, [filled[0], None, *filled[1:]], [])
    assert ruled.shape == plain.shape
    (middle,) = set(rules(ruled)) - set(rules(plain))
    head, bottom = rules(plain)[1:]
    assert abs(middle - (head + (bottom - head) / 3)) <= 1


def test_a_column_is_as_wide_as_its_longest_text() -> None:
    narrow = draw_sheet(GROUPS, [row("a", "1", "2", "3")], [])
    for column in range(4):
        cells = row("a", "1", "2", "3")
        cells[column] = Cell("a long text in this place")
        wide = draw_sheet(GROUPS, [cells], [])
        small = draw_sheet(
            GROUPS, [[*cells[:column], Cell("1", "and the same of a line of small print"), *cells[column + 1 :]]], []
        )
        assert wide.shape[1] > narrow.shape[1] + 50
        assert small.shape[1] > narrow.shape[1] + 50


def test_a_long_title_widens_its_group_and_nothing_overlaps() -> None:
    groups = [Group("", ["m"]), Group("a title that is far longer than its columns", ["x", "y"]), Group("z", ["z"])]
    picture = draw_sheet(groups, [row("m", "1", "2", "3")], [])
    titles = ink(picture)[34:64].any(0)
    gaps = [after[0] - before[1] for before, after in zip(runs(titles), runs(titles)[1:], strict=False)]
    assert max(gaps) >= 26  # between the groups
    assert titles[28:].any()
    assert not ink(picture)[34:64, -20:].any()


def test_a_marked_cell_is_tinted_and_no_other() -> None:
    cells = row("a", "1", "2", "3")
    tinted = (draw_sheet(GROUPS, [cells], []) == TINT).all(-1)
    assert not tinted.any()
    cells[2] = Cell("2", marked=True)
    picture = draw_sheet(GROUPS, [cells, row("b", "4", "5", "6")], [])
    columns, lines = np.flatnonzero((picture == TINT).all(-1).any(0)), np.flatnonzero((picture == TINT).all(-1).any(1))
    assert lines.max() - lines.min() < 54
    plain = draw_sheet(GROUPS, [row("a", "1", "2", "3"), row("b", "4", "5", "6")], [])
    changed = np.flatnonzero((picture != plain).any(-1).any(0))
    assert (changed.min(), changed.max()) == (columns.min(), columns.max())


def test_soft_text_is_grey() -> None:
    dark = ink(draw_sheet(GROUPS, [row("a", "888", "2", "3")], []))
    soft = ink(draw_sheet(GROUPS, [[Cell("a"), Cell("888", soft=True), Cell("2"), Cell("3")]], []))
    assert soft.sum() < dark.sum()
    assert not (soft & ~dark).any()


def test_notes_are_broken_at_the_width_of_the_table_and_all_of_them_are_there() -> None:
    rows = [row("a", "1", "2", "3")]
    without, short = draw_sheet(GROUPS, rows, []), draw_sheet(GROUPS, rows, ["word"])
    long = draw_sheet(GROUPS, rows, ["word " * 40])
    assert without.shape[1] == short.shape[1] == long.shape[1]
    assert short.shape[0] == without.shape[0] + 14 + 24
    lines, rest = divmod(long.shape[0] - without.shape[0] - 14, 24)
    assert rest == 0
    below = (long[without.shape[0] - 24 :] < 200).all(-1)
    assert below.any()
    assert not below[:, :26].any()  # a letter may reach a px over
    assert not below[:, -26:].any()
    written = draw_sheet(GROUPS, rows, ["word"])[without.shape[0] - 24 :]
    assert abs(below.sum() - 40 * (written < 200).all(-1).sum()) < 0.1 * below.sum()
    assert lines > 2


def test_a_word_longer_than_a_line_is_not_lost() -> None:
    picture = draw_sheet(GROUPS, [row("a", "1", "2", "3")], ["a " + "b" * 200 + " c"])
    without = draw_sheet(GROUPS, [row("a", "1", "2", "3")], [])
    assert picture.shape[0] == without.shape[0] + 14 + 3 * 24


def test_the_same_table_gives_the_same_picture() -> None:
    rows = [row("a", "1", "2", "3"), None, row("b", "4", "5", "6")]
    np.testing.assert_array_equal(draw_sheet(GROUPS, rows, ["n"]), draw_sheet(GROUPS, rows, ["n"]))
