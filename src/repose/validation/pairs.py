"""The suites of the stage split: the pairs, and that train and test share no item or photo."""

from typing import Any

import pandas as pd

from repose.validation.expectations import BETWEEN, IN_SET, Outcome, expect, validate


def check_pairs(pairs: pd.DataFrame, items: pd.DataFrame, *, min_train_pairs: int, min_test_pairs: int) -> Outcome:
    """Check a split.

    `pairs` has from, to (names of photos), part (train or test), item_from and item_to of each pair, and `items` has part,
    item and name of each photo (`records.ITEMS`).
    """
    known = pd.MultiIndex.from_frame(items[["part", "item", "name"]])
    listed = [pd.MultiIndex.from_frame(pairs[["part", f"item_{end}", end]]).isin(known) for end in ("from", "to")]
    table = pairs.assign(
        listed_photos=listed[0].astype(int) + listed[1],
        other_photo=pairs["to"].where(pairs["to"] != pairs["from"]),
        train=(pairs["part"] == "train").astype(int),
        test=(pairs["part"] == "test").astype(int),
    )
    checks = validate(table, _pair_suite({"train": min_train_pairs, "test": min_test_pairs}), label=["from", "to"])
    for column, what in (("item", "item"), ("name", "photo")):
        parts = items.groupby(column)["part"].nunique().rename("parts").reset_index()
        apart = f"no {what} is both in train and in test"
        suite = [expect(f"no {what} in both", BETWEEN, apart, column="parts", max_value=1)]
        checks += validate(parts, suite, label=[column])
    return Outcome(tuple(checks))


def _pair_suite(least: dict[str, int]) -> list[Any]:
    words, ends = "at least {:,} pairs to {} on", "both photos of a pair show one item"
    counts = [
        expect(f"{part} pairs", "ColumnSumToBeBetween", words.format(pairs, part), column=part, min_value=pairs)
        for part, pairs in least.items()
    ]
    listed, unique = "both photos of a pair are in the items of its part", "CompoundColumnsToBeUnique"
    return [
        *counts,
        expect("parts", IN_SET, "every pair is in train or in test", column="part", value_set=["train", "test"]),
        expect("one item", "ColumnPairValuesToBeEqual", ends, column_A="item_from", column_B="item_to"),
        expect("two photos", "ColumnValuesToNotBeNull", "no pair goes from a photo to itself", column="other_photo"),
        expect("once", unique, "no pair is listed twice", column_list=["part", "from", "to"]),
        expect("listed", IN_SET, listed, column="listed_photos", value_set=[2]),
    ]
