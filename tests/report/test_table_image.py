from itertools import pairwise

import numpy as np

from repose.report.table_image import Cell, Group, draw_sheet

GROUPS = [Group("", ["Methods"]), Group("a group", ["one", "two"]), Group("another", ["three"])]
TINT = (222, 236, 247)


def row(*texts: str) -> list[Cell]:
    return [Cell(text) for text in texts]


FIRST, SECOND = row("a", "1", "2", "3"), row("b", "4", "5", "6")


def ink(picture: np.ndarray) -> np.ndarray:
    return (picture < 128).all(-1)


def runs(dark: np.ndarray) -> list[tuple[int, int]]:
    """Where a line of booleans is True: first and one past last of each run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], dark, [False]]).astype(int)))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def rules(picture: np.ndarray) -> list[int]:
    """The first line of pixels of each rule that goes from margin to margin."""
    return [start for start, _ in runs(ink(picture).sum(1) >= picture.shape[1] - 2 * 28)]


def test_every_row_is_as_high_and_rules_stand_where_they_are_asked_for() -> None:
    filled = [FIRST, SECOND, SECOND]
    plain, ruled = draw_sheet(GROUPS, filled, []), draw_sheet(GROUPS, [FIRST, None, SECOND, SECOND], [])
    assert plain.dtype == np.uint8
    assert len(rules(plain)) == 3  # above, under the head, below
    assert ruled.shape == plain.shape
    (middle,) = set(rules(ruled)) - set(rules(plain))
    head, bottom = rules(plain)[1:]
    assert abs(middle - (head + (bottom - head) / 3)) <= 1


def test_a_column_is_as_wide_as_its_longest_text() -> None:
    narrow = draw_sheet(GROUPS, [FIRST], []).shape[1]
    for column in range(4):
        for cell in (Cell("a long text in this place"), Cell("1", "and the same of a line of small print")):
            wide = draw_sheet(GROUPS, [[*FIRST[:column], cell, *FIRST[column + 1 :]]], []).shape[1]
            assert wide > narrow + 50


def test_a_long_title_widens_its_group_and_nothing_overlaps() -> None:
    groups = [Group("", ["m"]), Group("a title that is far longer than its columns", ["x", "y"]), Group("z", ["z"])]
    titles = ink(draw_sheet(groups, [FIRST], []))[34:64]
    found = runs(titles.any(0))
    gaps = [after[0] - before[1] for before, after in pairwise(found)]
    assert max(gaps) >= 26  # between the groups
    assert not titles[:, -20:].any()


def test_a_marked_cell_is_tinted_and_no_other() -> None:
    plain = draw_sheet(GROUPS, [FIRST, SECOND], [])
    picture = draw_sheet(GROUPS, [[*FIRST[:2], Cell("2", marked=True), FIRST[3]], SECOND], [])
    assert not (plain == TINT).all(-1).any()
    tinted = (picture == TINT).all(-1)
    columns, lines = np.flatnonzero(tinted.any(0)), np.flatnonzero(tinted.any(1))
    assert lines.max() - lines.min() < 54
    changed = np.flatnonzero((picture != plain).any(-1).any(0))
    assert (changed.min(), changed.max()) == (columns.min(), columns.max())


def test_soft_text_is_grey() -> None:
    dark = ink(draw_sheet(GROUPS, [row("a", "888", "2", "3")], []))
    soft = ink(draw_sheet(GROUPS, [[Cell("a"), Cell("888", soft=True), *FIRST[2:]]], []))
    assert soft.sum() < dark.sum()
    assert not (soft & ~dark).any()


def test_notes_are_broken_at_the_width_of_the_table_and_no_word_is_lost() -> None:
    without, short, long, one_word = (
        draw_sheet(GROUPS, [FIRST], notes) for notes in ([], ["word"], ["word " * 40], ["a " + "b" * 200 + " c"])
    )
    assert without.shape[1] == short.shape[1] == long.shape[1]
    end = without.shape[0]
    assert [picture.shape[0] - end - 14 for picture in (short, one_word)] == [24, 3 * 24]
    lines, rest = divmod(long.shape[0] - end - 14, 24)
    assert (lines > 2, rest) == (True, 0)
    below, written = ((picture[end - 24 :] < 200).all(-1) for picture in (long, short))
    assert not below[:, :26].any()  # a letter may reach a px over
    assert not below[:, -26:].any()
    assert abs(below.sum() - 40 * written.sum()) < 0.1 * below.sum()
