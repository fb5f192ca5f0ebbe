import itertools

import pandas as pd
import pytest
from outcomes import failed, named

from repose.validation.expectations import Outcome
from repose.validation.pairs import check_pairs


def split() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs (both directions) of five items of two photos in train, and as many in test."""
    items = pd.DataFrame(itertools.product(("train", "test"), range(5), (1, 2)), columns=["part", "item", "photo"])
    items["item"] = items["part"] + items["item"].astype(str)
    items["name"] = items["item"] + "_" + items["photo"].astype(str) + ".jpg"
    other = items["item"] + "_" + (3 - items["photo"]).astype(str) + ".jpg"
    ends = {"from": items["name"], "to": other, "item_from": items["item"], "item_to": items["item"]}
    return pd.DataFrame({"part": items["part"], **ends}), items.drop(columns="photo")


def judge_pairs(pairs: pd.DataFrame, items: pd.DataFrame, train: int = 10, test: int = 10) -> Outcome:
    return check_pairs(pairs, items, min_train_pairs=train, min_test_pairs=test)


def test_a_good_split_passes():
    outcome = judge_pairs(*split())
    assert failed(outcome) == []
    assert all(found.severity == "critical" for found in outcome.checks)


@pytest.mark.parametrize(("values", "names"), [
    ({"to": "train1_1.jpg", "item_to": "train1"}, ["one item"]),
    ({"to": "train0_1.jpg"}, ["two photos"]),
    ({"from": "train0_2.jpg", "to": "train0_1.jpg"}, ["once"]),
    ({"to": "train0_3.jpg"}, ["listed"]),
    ({"item_from": "other", "item_to": "other"}, ["listed"]),
    ({"part": "test"}, ["train pairs", "listed"]),
    ({"part": "valid"}, ["train pairs", "parts", "listed"]),
])  # fmt: skip
def test_a_bad_pair_is_named(values, names):
    pairs, items = split()
    pairs.loc[0, list(values)] = list(values.values())
    outcome = judge_pairs(pairs, items)
    assert failed(outcome) == names
    if len(names) == 1:
        assert f"{pairs['from'][0]} -> {pairs['to'][0]}" in named(outcome, names[0]).examples


@pytest.mark.parametrize(("row", "name", "example"), [
    (["test", "train3", "train3_9.jpg"], "no item in both", "train3"),
    # what grouping by the wrong part of a name leads to: items look apart, photos are not
    (["test", "another", "train3_1.jpg"], "no photo in both", "train3_1.jpg"),
])  # fmt: skip
def test_an_item_or_a_photo_in_both_parts(row, name, example):
    pairs, items = split()
    items.loc[len(items)] = row
    outcome = judge_pairs(pairs, items)
    assert failed(outcome) == [name]
    assert named(outcome, name).examples == (example,)


def test_too_few_pairs():
    assert failed(judge_pairs(*split(), train=10, test=11)) == ["test pairs"]
