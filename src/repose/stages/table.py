"""table: all systems in one table, in the layout of the paper's Table 1.

The folder `table` has, for each data set, the published numbers and ours, differences to one row, and how each row was trained
(table.md; table.csv with the provenance of each number); for pairs of rows, the gain from more sources by occlusion in the
first source (multi-source-gains.csv); and the paper's Figure 3 (figure-DATA.png).

Published numbers are from other photos, another split and an unnamed protocol, so they are in separate columns and never
compared with ours. SSIM barely notices whether the garment is right, so a table needs torso-ciede2000. Each of our numbers is
the mean over the test pairs with its bootstrap interval. All rows of a data set are scored on the same pairs.
"""

from pathlib import Path

import numpy as np

from repose.config import nearest
from repose.data.images import encode_png
from repose.errors import ReposeError
from repose.evaluation.examples import figure, read_examples
from repose.evaluation.results import BASELINES, spread
from repose.evaluation.table_text import csv
from repose.report.published import Published, read_published
from repose.report.tables.page import gains_table, page, scores_table
from repose.report.tables.settings import TableSettings
from repose.report.tables.side_by_side import Comparison, compare
from repose.storage.atomic import whole_folder, write_bytes, write_text
from repose.terminal import say


def run(*, results: Path, published: Path | None, table: Path, settings: TableSettings) -> None:
    """Compare the results in `results`/DATA/SYSTEM and the published numbers, and write the folder `table`.

    Raises:
        ReposeError: results are missing, damaged, without torso-ciede2000 or on different pairs, or the disk is full.
    """
    printed = {} if published is None else _printed(published, settings)
    comparisons = [compare(results, data, settings) for data in settings.data_sets]
    with whole_folder(table, ("table.csv", "table.md", "multi-source-gains.csv", "figure-*.png")) as folder:
        write_text(folder / "table.csv", csv(scores_table(comparisons, printed, settings)))
        write_text(folder / "multi-source-gains.csv", csv(gains_table(comparisons, settings)))
        write_text(folder / "table.md", page(comparisons, printed, settings))
        for comparison in comparisons:
            images = _images(results / comparison.data, comparison, settings.figure_pairs)
            write_bytes(folder / f"figure-{comparison.data}.png", encode_png(images))
    say(f"The table: {table / 'table.md'}")
    say(f"Images of the systems: {', '.join(str(table / f'figure-{data}.png') for data in settings.data_sets)}")


def _printed(path: Path, settings: TableSettings) -> Published:
    """The paper's own table, after a check that it has the data sets of the settings."""
    printed = read_published(path)
    known = list(dict.fromkeys(data for data, _ in printed))
    for data, beside in settings.data_sets.items():
        if beside not in known:
            raise ReposeError(f"table.data_sets.{data}: {path} has no data set {beside!r}{nearest(beside, known)}")
    return printed


def _images(folder: Path, comparison: Comparison, pairs: int) -> np.ndarray:
    """The figure of at most `pairs` pairs, (h, w, 3) uint8."""
    examples = read_examples(folder / BASELINES / "examples")
    generated = {line.system: folder / line.system / "generated" / line.system for line in comparison.trained}
    return figure([examples[place] for place in spread(len(examples), pairs)], generated)
