"""table on made-up results of two data sets: scores that are drawn, images that have one colour each."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_results import (
    BASELINE_ROWS,
    BETTER_RECORDS,
    BLOCK,
    HEIGHT,
    METRICS,
    NO_TORSO,
    PAIRS,
    PRINTED,
    ROOT,
    WIDTH,
    change_json,
    change_pairs,
    fails,
    laid,
    settings,
    training,
    write_results,
)
from PIL import Image

from repose.data.shards import INDEX_COLUMNS
from repose.errors import ReposeError
from repose.metrics.bootstrap import resampled_means
from repose.report.published import read_published
from repose.report.tables.page import NOT_MEASURED, NOT_TRAINED
from repose.stages import table
from tiny import files_in


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `results` and the folder `table` made of it; tests only read them."""
    folder = tmp_path_factory.mktemp("table")
    laid(write_results(folder / "results"), folder / "table")
    return folder


def csv(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "table.csv").set_index(["data set", "system"])


def markdown_rows(text: str, heading: str) -> dict[str, list[str]]:
    """The cells of the first table under a heading, by the first of each row; the head is under its own first cell."""
    table = re.search(r"(?:^\|.*\n)+", text.split(f"{heading}\n", 1)[1], re.MULTILINE)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()]
    return {row[0]: row[1:] for row in cells if set(row[0]) != {"-"}}


def test_every_data_set_has_every_row_in_the_order_of_the_settings(done):
    made = {path.name for path in (done / "table").iterdir()}
    assert made == {
        "table.md", "table.csv", "multi-source-gains.csv", "figure-fashion.png", "figure-street.png",
    }  # fmt: skip
    rows = [*BASELINE_ROWS, *BLOCK["systems"]]
    assert list(csv(done / "table").index) == [(data, row) for data in ("fashion", "street") for row in rows]
    text = (done / "table" / "table.md").read_text()
    for data in ("## fashion", "## street"):
        assert list(markdown_rows(text, data))[1:] == rows


@pytest.mark.parametrize("metric", ["ssim/pg2", "torso-ciede2000"])
def test_means_intervals_and_differences_are_those_of_the_same_draws_of_pairs(done, metric):
    found = csv(done / "table").loc["fashion"]
    pairs = pd.concat([pd.read_csv(path) for path in (done / "results" / "fashion").glob("*/pairs.csv")])
    own = {str(name): scores.to_numpy() for name, scores in pairs.groupby("system")[metric]}
    means = resampled_means(np.stack([*own.values()], 1), resamples=BLOCK["resamples"], seed=BLOCK["seed"])
    drawn = dict(zip(own, means.T, strict=True))
    for name, scores in own.items():
        row = found.loc[name]
        assert row[metric] == pytest.approx(np.nanmean(scores), rel=1e-5)
        ends = row[[f"{metric} low", f"{metric} high"]].astype(float)
        np.testing.assert_allclose(ends, np.quantile(drawn[name], [0.05, 0.95]), rtol=1e-5)
        less = f"{metric} less paper-m"
        if name == "paper-m":
            assert np.isnan(row[less])
        else:
            assert row[less] == pytest.approx(row[metric] - found.loc["paper-m", metric], rel=1e-3, abs=1e-5)
            ends = row[[f"{less} low", f"{less} high"]].astype(float)
            expected = np.quantile(drawn[name] - drawn["paper-m"], [0.05, 0.95])
            np.testing.assert_allclose(ends, expected, rtol=1e-4, atol=1e-9)


def test_the_markdown_has_the_numbers_of_the_csv(done):
    found, text = csv(done / "table"), (done / "table" / "table.md").read_text()
    for data in ("fashion", "street"):
        for name, cells in list(markdown_rows(text, f"## {data}").items())[1:]:
            own = found.loc[(data, name)]
            if name == "paper-s" and data == "street":  # is not trained, rather than dropped
                assert own[[*METRICS, "steps", "images", "ssim/pg2 less paper-m"]].isna().all()
                assert cells[3:] == [NOT_TRAINED, "", ""]
                continue
            for metric, cell in zip(METRICS, cells[3:], strict=True):
                digits = 2 if metric == "torso-ciede2000" else 3
                ends = ", ".join(f"{own[f'{metric} {end}']:.{digits}f}" for end in ("low", "high"))
                assert cell == f"{own[metric]:.{digits}f} [{ends}]"


def test_a_difference_is_bold_where_0_lies_outside_its_interval(results):
    def alike(pairs: pd.DataFrame) -> pd.DataFrame:
        reference = pd.read_csv(results / "fashion" / "paper-m" / "pairs.csv")
        return pairs.assign(**{"ssim/pg2": reference["ssim/pg2"] + 0.01 * (-1) ** np.arange(PAIRS)})

    change_pairs(results / "fashion" / "paper-s" / "pairs.csv", alike)
    text = (laid(results, results.parent / "table") / "table.md").read_text()
    rows = markdown_rows(text, "### fashion: difference to paper-m")
    assert "paper-m" not in rows
    assert rows["attend"][0].startswith("**+0.1")
    assert rows["attend"][2].startswith("**-")
    assert "**" not in rows["paper-s"][0]


def test_a_difference_is_over_the_pairs_that_have_both_scores(results):
    def lacking(pairs: pd.DataFrame) -> pd.DataFrame:  # as PSNR, which equal images have none of
        reference = pd.read_csv(results / "fashion" / "paper-m" / "pairs.csv")["ssim/pg2"]
        return pairs.assign(**{"ssim/pg2": reference.where(reference < reference.median())})

    change_pairs(results / "fashion" / "paper-s" / "pairs.csv", lacking)
    text = (laid(results, results.parent / "table") / "table.md").read_text()
    assert markdown_rows(text, "### fashion: difference to paper-m")["paper-s"][0] == "+0.000 [+0.000, +0.000]"


def test_published_numbers_have_columns_of_their_own(done):
    found, text = csv(done / "table"), (done / "table" / "table.md").read_text()
    assert tuple(found.loc[("fashion", "paper-m"), ["published ssim", "published is"]]) == (0.789, 3.006)
    assert tuple(found.loc[("street", "pix2pix"), ["published ssim", "published is"]]) == (0.166, 2.289)
    assert found.loc[("street", "attend"), ["published ssim", "published is"]].isna().all()
    rows = markdown_rows(text, "## street")
    assert rows["row"] == ["in the paper", "published SSIM", "published IS", *METRICS]
    assert rows["paper-s"] == ["(G + D_I + D_P)-S", "0.313", "3.390", NOT_TRAINED, "", ""]
    assert rows["copy source"][:3] == ["", "", ""]
    assert "Published: Market-1501, split of PG2 (no list was published), protocol not named." in text


def test_without_a_published_table_ours_stands_alone(results, tmp_path):
    table.run(results=results, published=None, table=tmp_path / "table", settings=settings(data_sets={"fashion": ""}))
    text = (tmp_path / "table" / "table.md").read_text()
    assert text.startswith("# Side by side, budget demo\n")
    assert "| row | ssim/pg2 |" in text
    assert "ublished" not in text
    assert not [name for name in pd.read_csv(tmp_path / "table" / "table.csv").columns if name.startswith("published")]


def test_the_published_file_is_the_papers_table():
    printed = read_published(PRINTED)
    page = (ROOT / "docs" / "paper.md").read_text().split("## Table 1\n")[1]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")
    ]
    names = {row["name"]: system for (_, system), row in printed.items()}
    same = {"VUNet": "Variational U-Net", "Real data": "Real Data"}
    for name, *numbers in (line[:5] for line in lines[2:]):
        rows = [printed[data, names[same.get(name, name)]] for data in ("DeepFashion", "Market-1501")]
        assert [f"{row[key]:.3f}" for row in rows for key in ("ssim", "is")] == numbers
    assert (len(lines), len(printed)) == (2 + 9, 18)


def test_every_number_says_what_it_is_of(done):
    own = csv(done / "table").loc[("fashion", "attend")]
    expected = {
        "budget": "demo", "split": "pg2-like", "size": "20x12", "crop": "[1, 2, 13, 22]", "pairs": PAIRS, "seed": 0,
        "torso-ciede2000 pairs": PAIRS - NO_TORSO, "steps": 800, "confidence": 0.9, "resamples": 300,
        "bootstrap seed": 5, "kind": "attend", "parameters": "generator 1,234,567, image 89",
    }  # fmt: skip
    assert {name: own[name] for name in expected} == expected
    text = (done / "table" / "table.md").read_text()
    for part in (
        "# Table 1, budget demo\n", "; budget demo, training seeds: 0; ",
        "Split pg2-like, 24 test pairs, 20x12 px (height x width), cropped to 1, 2, 13, 22 (left, top, right, ",
        "the 90 % bootstrap interval over test pairs (300 resamples, seed 5)",
        f"; {NO_TORSO} pairs without a whole torso are left out of torso-ciede2000.",
    ):  # fmt: skip
        assert part in text


def test_equal_footing_says_what_each_row_had_to_learn_from(results):
    change_json(results / "fashion" / "attend" / "facts.json", images=4800, seed=3, perceptual="viton", steps=1200)
    text = (laid(results, results.parent / "table") / "table.md").read_text()
    rows = markdown_rows(text, "### fashion: equal footing")
    assert rows["attend"] == [
        "attend", "4,800", "1,200", "2", "4", training()["optimiser"], training()["loss"], "viton",
        "generator 1,234,567, image 89", "3", "cpu, fp32",
    ]  # fmt: skip
    assert (rows["pix2pix"][1], rows["pix2pix"][7]) == ("3,200", "none")
    assert "copy source" not in rows
    assert "Trained rows saw 3,200 to 4,800 images" in text
    assert "Trained rows saw 3,200 images" in text.split("\n## street\n")[1]
    assert "; budget demo, training seeds: 0, 3; " in text


@pytest.mark.parametrize(("data", "systems"), [
    ("fashion", ["pix2pix", "paper-s", "paper-m", "attend"]), ("street", ["pix2pix", "paper-m", "attend"]),
])  # fmt: skip
def test_the_figure_shows_sources_pose_target_and_what_each_system_made(done, data, systems):
    picture = np.asarray(Image.open(done / "table" / f"figure-{data}.png"))
    height, width = 8 * HEIGHT, 8 * WIDTH  # enlarged so that a title fits
    columns = 2 + 2 + len(systems)  # two sources are the most that one of them has
    assert picture.shape == (20 + 3 * (height + 4) + 4, columns * (width + 4) + 4, 3)
    shades = {"pix2pix": 30, "paper-s": 60, "paper-m": 90, "attend": 120}
    for row, (number, sources) in enumerate(((0, 1), (16, 2), (23, 1))):  # three of the four examples, spread
        given = [200 + 10 * place + number % 10 for place in range(sources + 2)]
        made = [number + shades[name] for name in systems]
        for column, level in enumerate([*given[:sources], *[255] * (2 - sources), *given[sources:], *made]):
            top, left = 24 + row * (height + 4), 4 + column * (width + 4)
            assert (picture[top : top + height, left : left + width] == level).all(), (row, column)


def test_the_same_results_give_the_same_bytes(done, tmp_path):
    again = laid(write_results(tmp_path / "results"), tmp_path / "table")
    assert files_in(again) == files_in(done / "table")


# Without the reference; without any system.


def test_without_the_reference_there_are_no_differences(results):
    text = (laid(results, results.parent / "table", reference="paper-s") / "table.md").read_text()
    assert "paper-s is not trained on street, so there is nothing to compare with." in text
    assert "attend" in markdown_rows(text, "### fashion: difference to paper-s")
    assert csv(results.parent / "table").loc["street", "ssim/pg2 less paper-s"].isna().all()


def test_baselines_alone_are_a_table_too(results):
    folder = laid(results, results.parent / "table", systems=["vunet"], reference="vunet", multi_source_gains=[])
    text = (folder / "table.md").read_text()
    assert markdown_rows(text, "## fashion")["vunet"][3] == NOT_TRAINED
    assert "; budget demo, training seeds: none; " in text
    assert "Trained rows saw no images" in text
    assert "gain from more sources" not in text
    assert len((folder / "multi-source-gains.csv").read_text().splitlines()) == 1


# What is refused.


def in_pairs(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    return lambda folder: change_pairs(folder / "pairs.csv", change)


def in_facts(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / "facts.json", **changes)


OTHER_PAIRS = r"fashion/paper-m is not comparable with .*: their pairs differ\. Evaluate both again"


@pytest.mark.parametrize(("folder", "change", "message"), [
    ("fashion/attend", in_pairs(lambda pairs: pairs.drop(columns="ssim/win51")),
     r"fashion/attend has no ssim/win51; it has ssim/pg2, ssim/gaussian11, torso-ciede2000\. Change table"),
    ("fashion/attend", in_facts(metrics=BETTER_RECORDS | {"ssim/pg2": {"better": "higher", "networks": {"x": "f"}}}),
     r"fashion/attend is not comparable with .*: its ssim/pg2 is .*'f'.*, not "),
    ("street/attend", in_facts(split="patn"), "street/attend is not comparable with .*/baselines: its split is patn, not "),
    ("fashion/paper-m", in_pairs(lambda pairs: pairs.iloc[::-1]), OTHER_PAIRS),
    ("fashion/attend/generated/attend", lambda folder: (folder / "generated.csv").write_text(",".join(INDEX_COLUMNS)),
     r"attend lacks the image of 3 pair\(s\), such as a0\.jpg--b0\.jpg\.png\. Run `dvc repro evaluate`"),
])  # fmt: skip
def test_rows_that_cannot_stand_side_by_side_are_refused(results, folder, change, message):
    change(results / folder)
    fails(results, message)


def test_an_optional_metric_is_a_column_and_not_measured_where_evaluate_did_not_score_it(results, tmp_path):
    score_all_together(results)  # on fashion alone
    laid(results, tmp_path / "table", optional_metrics=["fid/inception"])
    text, own = (tmp_path / "table" / "table.md").read_text(), csv(tmp_path / "table")
    fashion, street = markdown_rows(text, "## fashion"), markdown_rows(text, "## street")
    assert [fashion[row][-1] for row in ("row", "attend")] == ["fid/inception", "11.000"]
    assert [street[row][-1] for row in ("row", "attend", "paper-s")] == ["fid/inception", NOT_MEASURED, ""]
    assert own["fid/inception"].loc[["fashion"]].notna().all()
    assert own["fid/inception"].loc[["street"]].isna().all()
    assert markdown_rows(text, "### street: difference to paper-m")["row"] == METRICS
    note = "Not measured: fid/inception. To measure them, add them to evaluate.metrics of this budget"
    assert [note in part for part in text.split("\n## street\n")] == [False, True]


def test_an_optional_metric_of_some_rows_alone_is_refused(results):
    change_json(results / "fashion" / "attend" / "facts.json", metrics=BETTER_RECORDS | {"fid/inception": NETWORK},
                scores={"attend": {"fid/inception": 11.0}})  # fmt: skip
    fails(results, r"fashion/baselines has no fid/inception; it has ssim/pg2", optional_metrics=["fid/inception"])


NETWORK = {"better": "lower", "networks": {"inception": "e" * 64}, "real": "train", "photos": 1000, "chance": 0.05}
FID = {"real data": 0.5, "copy source": 20.25, "mean of sources": 30.0, "pix2pix": 19, "paper-m": 12.5, "attend": 11}


def score_all_together(results: Path) -> None:
    """As evaluate does with fid/inception, which has one number for all images of a row."""
    for folder in (results / "fashion").iterdir():
        facts = json.loads((folder / "facts.json").read_text())
        rows = BASELINE_ROWS if folder.name == "baselines" else [folder.name]
        scores = {row: {"fid/inception": FID.get(row, 40.0)} for row in rows}
        change_json(folder / "facts.json", scores=scores, metrics=facts["metrics"] | {"fid/inception": NETWORK})


def test_a_score_of_all_images_together_has_no_interval_and_names_its_network(results, tmp_path):
    score_all_together(results)
    laid(results, tmp_path / "table", metrics=[*METRICS, "fid/inception"], data_sets={"fashion": "DeepFashion"})
    text, own = (tmp_path / "table" / "table.md").read_text(), csv(tmp_path / "table").loc["fashion"]
    rows = markdown_rows(text, "## fashion")
    assert (rows["row"][-1], rows["attend"][-1], rows["paper-s"][-1]) == ("fid/inception", "11.000", "40.000")
    assert markdown_rows(text, "### fashion: difference to paper-m")["attend"][-1] == "-1.500"
    assert f"Networks: inception {'e' * 64}. Real photos: fid/inception 1,000 of the part train, chance 0.05." in text
    assert own.loc["attend", "fid/inception"] == 11
    assert own.loc["attend", "fid/inception less paper-m"] == -1.5
    assert own[["fid/inception low", "fid/inception high"]].isna().all(axis=None)
    assert own.loc["attend", ["networks", "checkpoint sha256", "photos sha256"]].tolist() == [
        f"inception {'e' * 64}", "of attend", "b" * 64,
    ]  # fmt: skip
    assert pd.isna(own.loc["copy source", "checkpoint sha256"])


def test_a_published_data_set_that_is_not_there_names_the_nearest(results):
    message = r"table\.data_sets\.fashion: .*published\.csv has no data set 'DeepFashon'\. Did you mean 'DeepFashion'\?"
    fails(results, message, data_sets={"fashion": "DeepFashon"})


@pytest.mark.parametrize(("old", "new", "message"), [
    ("0.789", "high", "ssim and is should be numbers"),
    ("paper-s,", "paper-m,", r"has two rows for paper-m on DeepFashion\. Remove one"),
])  # fmt: skip
def test_a_published_table_that_is_none_is_named(results, old, new, message):
    other = results.parent / "other.csv"
    other.write_text(PRINTED.read_text().replace(old, new))
    fails(results, message, published=other)


@pytest.mark.parametrize(("changes", "message"), [
    ({"systems": []}, r"systems is empty\. Add at least one entry\."),
    ({"metrics": ["ssim/pg2"]}, r"metrics lacks torso-ciede2000\. Add it, because SSIM"),
    ({"systems": ["paper-m", "attend", "paper-m"]}, "systems has duplicates: paper-m, attend, paper-m"),
    ({"optional_metrics": ["ssim/pg2"]}, "metrics has duplicates: .*ssim/pg2"),
    ({"reference": "vunet"}, "reference should be one of the systems, not 'vunet'"),
    ({"multi_source_gains": [["paper-m", "papers"]]},
     r"multi_source_gains names 'papers', which is not a row\. Did you mean 'paper-s'\?"),
    ({"multi_source_gains": [["attend", "attend"]]}, "multi_source_gains compares attend with itself"),
])  # fmt: skip
def test_settings_that_do_not_fit(changes, message):
    with pytest.raises(ReposeError, match=rf"params.yaml: table[:.] ?{message}"):
        settings(**changes)
