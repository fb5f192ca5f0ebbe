"""The gains of several sources over one, in the table of made-up results."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_results import OCCLUSION, change_pairs, fails, laid


def add_one_source(results: Path) -> pd.DataFrame:
    """As evaluate.single_source does: SSIM lower by the occlusion, torso-ciede2000 higher by ten times that."""
    path = results / "fashion" / "attend" / "pairs.csv"
    pairs = pd.read_csv(path)
    worse = {"ssim/pg2": pairs["ssim/pg2"] - OCCLUSION, "torso-ciede2000": pairs["torso-ciede2000"] + 10 * OCCLUSION}
    change_pairs(path, lambda p: pd.concat([p, p.assign(system="attend, 1 source", **worse)]))
    return pairs


def gains_of(folder: Path, data: str, more: str) -> pd.DataFrame:
    table = pd.read_csv(
        folder / "multi-source-gains.csv", keep_default_na=False, na_values={"gain": [""], "pairs": [""]}
    )
    return table[(table["data set"] == data) & (table["more"] == more)].set_index(["occlusion", "metric"])


def test_a_gain_grows_with_what_the_first_source_hides(results):
    add_one_source(results)
    folder = laid(results, results.parent / "table")
    found = gains_of(folder, "fashion", "attend")
    bins = {"below 0.1": OCCLUSION[:3], "0.1 to 0.5": OCCLUSION[3:12], "0.5 and more": OCCLUSION[12:]}
    for name, occlusion in bins.items():
        own = found.loc[(name, "ssim/pg2")]
        assert own["gain"] == pytest.approx(occlusion.mean())
        assert float(own["gain low"]) < own["gain"] < float(own["gain high"])
        assert own[["fewer", "pairs", "note"]].tolist() == ["attend, 1 source", len(occlusion), ""]
        assert own[["confidence", "resamples", "bootstrap seed"]].tolist() == [0.9, 300, 5]
    contrast = found.loc["0.5 and more less below 0.1"]
    assert contrast.loc["ssim/pg2", "gain"] == pytest.approx(OCCLUSION[12:].mean() - OCCLUSION[:3].mean())
    assert contrast.loc["ssim/pg2", "pairs"] == 15
    assert found.loc[("0.5 and more", "torso-ciede2000"), "gain"] == pytest.approx(10 * OCCLUSION[12:].mean())
    assert np.isnan(found.loc[("below 0.1", "torso-ciede2000"), "gain"])  # none of the three pairs has a torso
    text = (folder / "table.md").read_text().split("### fashion: gain from more sources by occlusion\n")[1]
    assert "Occlusion is known for 24 of the 24 pairs." in text
    assert "| more | fewer | occlusion | pairs | ssim/pg2 | ssim/win51 | torso-ciede2000 |\n" in text
    assert re.search(r"\| attend \| attend, 1 source \| 0\.5 and more \| 12 \| \*\*\+0\.7\d\d \[", text)


def test_a_row_without_scores_and_a_data_set_without_truth_are_said(results):
    """On street paper-s is not trained and nothing is rendered; attend was nowhere scored with one source."""
    folder = laid(results, results.parent / "table")
    table = pd.read_csv(folder / "multi-source-gains.csv", keep_default_na=False)
    notes = table[table["note"] != ""].set_index(["data set", "more"])["note"].to_dict()
    assert notes == {
        ("fashion", "attend"): "not trained, or not scored: attend, 1 source",
        ("street", "paper-m"): "not trained, or not scored: paper-s",
        ("street", "attend"): "not trained, or not scored: attend, 1 source",
        ("street", "mean of sources"): "occlusion is unknown",
    }
    assert (table.loc[table["note"] != "", ["occlusion", "pairs", "metric", "gain"]] == "").all(axis=None)
    assert set(table.loc[table["note"] == "", "more"]) == {"paper-m", "mean of sources"}
    text = (folder / "table.md").read_text().split("### street: gain from more sources")[1]
    assert "Occlusion is unknown for all pairs of street. Only the renderer of mannequins records it." in text
    assert "| mean of sources | copy source | occlusion is unknown |  |  |  |  |" in text


def test_rows_with_one_source_are_of_the_same_pairs(results):
    pairs = add_one_source(results)
    shuffled = pd.concat([pairs, pairs.iloc[::-1].assign(system="attend, 1 source")])
    change_pairs(results / "fashion" / "attend" / "pairs.csv", lambda _: shuffled)
    fails(results, r"fashion/attend is not comparable with .*: their pairs differ\. Evaluate both again")
