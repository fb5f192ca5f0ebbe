"""The stage report on a made-up run over the tiny data: the page has what the files have, and needs nothing else."""

import base64
import errno
import io
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from made_run import BY_PAIR, ROWS, WHOLE, made_image, made_run, reported
from PIL import Image

import browser
from repose.data.photos import Photos
from repose.data.posemaps import PALETTE
from repose.data.records import read_json, write_json
from repose.errors import ReposeError
from repose.storage import atomic
from tiny import SYSTEMS, Data, files_in

Element = ET.Element


def parsed(text: str) -> Element:
    """The page as XML, so that each tag has to be closed."""
    text = re.sub(r"<!doctype html>|<script>.*</script>|<style>.*</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<(meta|br)([^>]*)>", r"<\1\2/>", text)
    return ET.fromstring(re.sub(r"(<[^>]*) (hidden|data-chooser|data-part)(?=[ >])", r'\1 \2=""', text))  # noqa: S314 (ours)


def every(element: Element, tag: str, **has: str) -> list[Element]:
    """Everything below an element with that tag and those attributes, in the page's order."""
    return [e for e in element.iter(tag) if e is not element and all(e.get(k) == v for k, v in has.items())]


def said(element: Element) -> str:
    return " ".join(" ".join(element.itertext()).split())


def section(page: Element, name: str) -> Element:
    return every(page, "section", id=name)[0]


def rows_of(table: Element) -> dict[str, list[Element]]:
    """The cells of each row, by its name."""
    rows = every(every(table, "tbody")[0], "tr")
    return {said(every(row, "th", scope="row")[0]): every(row, "td") for row in rows}


def heads(table: Element) -> list[str]:
    return [said(head) for head in every(every(table, "thead")[0], "th", scope="col")]


@pytest.fixture(scope="module")
def run(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(data, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def text(data: Data, run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return reported(data, run, tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def page(text: str) -> Element:
    return parsed(text)


@pytest.fixture(scope="module")
def pairs(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "results" / "pairs.csv")


def test_the_scores_are_the_means_with_their_protocol_and_the_best_is_marked(page, run):
    part = section(page, "scores")
    cards = every(part, "div", **{"class": "card"})
    assert {said(every(card, "dt")[0]): said(every(card, "dd")[0]) for card in cards} == {
        "split": "pg2-like", "pairs": "20", "size": "64x56", "crop": "16, 0, 240, 256", "pairs sha256": "0123456789ab",
    }  # fmt: skip
    table = every(part, "table")[0]
    assert heads(table) == [
        "row", "ssim/pg2 higher is better", "torso-ciede2000 lower is better", "frechet/figure lower is better",
    ]  # fmt: skip
    scores, rows = read_json(run / "metrics.json")["scores"], rows_of(table)
    assert list(rows) == list(ROWS)
    for row, cells in rows.items():
        for metric, cell in zip((*BY_PAIR, WHOLE), cells, strict=True):
            best = (max if metric == "ssim/pg2" else min)(of[metric] for of in scores.values())
            digits = 3 if metric == "ssim/pg2" else 2
            assert said(cell).split()[0] == f"{scores[row][metric]:.{digits}f}"
            assert bool(every(cell, "b")) == (scores[row][metric] == best)
    mean, low, high = (float(word) for word in re.findall(r"-?[\d.]+", said(rows["attend"][0])))
    assert low < mean < high
    assert said(rows["attend"][1]).endswith(", of 19 pairs")
    assert said(rows["attend"][2]) == "44.00"
    assert "all images together, so without an interval: frechet/figure." in said(part)


def test_the_published_numbers_are_a_table_of_their_own(page):
    part = section(page, "scores")
    rows = rows_of(every(part, "table")[1])
    of_ours = rows["(G + D_I + D_P)-M paper-m, in this run"]
    assert [said(cell) for cell in of_ours] == ["0.789", "3.006", "0.344", "3.291"]
    assert "pix2pix pix2pix" in rows
    assert len(rows) == 9
    assert "Market-1501, split of PG2 (no list was published), protocol not named" in said(part)


def image(page: Element, place: Element) -> np.ndarray:
    """The pixels that stand in a place of a figure."""
    (used,) = every(place, "use")
    (stored,) = every(page, "image", id=str(used.get("href"))[1:])
    content = base64.b64decode(str(stored.get("href")).split(",", 1)[1])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def figures(part: Element) -> list[Element]:
    return every(part, "table", **{"class": "figure"})


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.abs(a - b.astype(int)).mean() < 4)


def test_a_row_shows_sources_pose_target_and_what_each_system_made(page, data, pairs):
    photos = Photos(images=data.images, keypoints=data.keypoints, posemaps=data.posemaps)
    first, figure = pairs.iloc[0], figures(section(page, "pictures"))[0]
    assert heads(figure)[-4:] == ["target pose", "target", *SYSTEMS]
    places = every(every(figure, "tbody")[0], "td")
    source, target = photos.load([first["from"]]), photos.load([first["to"]])
    assert close(image(page, places[0]), source.pixels[0])
    pose, real, *made = places[-4:]
    np.testing.assert_array_equal(image(page, pose), PALETTE[target.maps[0]])
    assert close(image(page, real), target.pixels[0])
    assert all(close(image(page, place), made_image(number, 0)) for number, place in enumerate(made))
    title = said(every(figure, "th", scope="rowgroup")[0])
    ends = (re.sub(r".*_\d([a-z]+)\.jpg", r"\1", first[end]) for end in ("from", "to"))
    assert title.startswith(f"{' to '.join(ends)} ")
    assert title.endswith(f"/01, {100 * first['occlusion']:.0f} % of the garment hidden in the first source")


def test_spread_and_drawn_pairs_are_others_and_the_draw_follows_its_seed(data, run, tmp_path, page):
    def pairs_of(page: Element) -> list[list[int]]:
        shown = [every(figure, "svg", **{"aria-label": "Generated by attend"}) for figure in figures(page)[:2]]
        return [[round(image(page, svg)[..., 1].mean() / 10) for svg in figure] for figure in shown]

    spread, drawn = pairs_of(page)
    assert spread == [0, 4, 8, 11, 15, 19]
    assert len(set(drawn) - set(spread)) == 6
    other = pairs_of(parsed(reported(data, run, tmp_path / "other", seed=1)))
    assert other[0] == spread
    assert other[1] != drawn


def test_best_and_worst_are_those_of_the_table_with_their_scores(page, pairs):
    parts = every(section(page, "extremes"), "div", **{"class": "card panel"})
    assert [(part.get("data-metric"), part.get("data-system")) for part in parts] == [
        (metric, system) for metric in BY_PAIR for system in SYSTEMS
    ]
    for part in parts:
        metric, system = str(part.get("data-metric")), str(part.get("data-system"))
        own = pairs.loc[pairs["system"] == system, metric].dropna().sort_values()
        lowest, highest = list(own[:3]), list(own[::-1][:3])
        digits, expected = (3, (highest, lowest)) if metric == "ssim/pg2" else (2, (lowest, highest))
        for figure, values in zip(figures(part), expected, strict=True):
            below = [said(every(row, "td")[-2 + SYSTEMS.index(system)]).split()[-1] for row in every(figure, "tbody")]
            assert below == [f"{value:.{digits}f}" for value in values]


def test_an_image_lies_in_the_page_once(page):
    stored, used = every(page, "image"), [one.get("href") for one in every(page, "use")]
    assert len({one.get("href") for one in stored}) == len(stored)
    assert {f"#{one.get('id')}" for one in stored} == set(used)
    assert len(used) > 2 * len(stored)


def test_kinds_of_pairs_have_their_number_and_their_means(page, pairs):
    (part,) = every(section(page, "kinds"), "div", **{"data-metric": "torso-ciede2000"})
    by_view, by_sources, by_hidden = map(rows_of, every(part, "table"))
    whole = pairs.groupby(["from", "to"], sort=False)["sources"].transform("max")
    for sources, cells in by_sources.items():
        of = pairs[whole == int(sources)]
        assert said(cells[0]) == str(len(of) // len(ROWS))
        means = of.groupby("system", sort=False)["torso-ciede2000"].mean()
        assert [said(cell) for cell in cells[1:]] == [f"{mean:.2f}" for mean in means]
        assert [bool(every(cell, "b")) for cell in cells[1:]] == [mean == means.min() for mean in means]
    for rows in (by_view, by_sources, by_hidden):
        assert sum(int(said(cells[0])) for cells in rows.values()) == 20
    own = pairs[(pairs["system"] == "attend") & pairs["occlusion"].between(0.1, 0.5, inclusive="left")]
    cells = by_hidden["0.1 to 0.5"]
    assert (said(cells[0]), said(cells[5])) == (str(len(own)), f"{own['torso-ciede2000'].mean():.2f}")
    assert "front to back" in by_view


def test_an_altered_run_tells_what_is_not_known_what_failed_and_where_training_started(data, run, tmp_path, pairs):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    hides = pairs["from"] == pairs["from"][0]
    pairs.assign(occlusion=pairs["occlusion"].mask(hides)).to_csv(folder / "results" / "pairs.csv", index=False)
    path = folder / "reports" / "split" / "validation.json"
    record = read_json(path)
    record["checks"][0] |= {"passed": False, "severity": "warning", "observed": "<b>7</b> do not"}
    write_json(path, record | {"rejected": {"too small": 1234}})
    path = folder / "runs" / "attend" / "run.json"
    init = {"sha256": "ab" * 32, "system": "paper-m", "step": 1500, "networks": ["generator"]}
    write_json(path, read_json(path) | {"init": init, "extended": [{"step": 400, "planned": 800}]})
    _replaced("1200,", "1234567,")(folder / "runs" / "attend" / "history.csv")
    page = parsed(reported(data, folder, tmp_path / "report"))
    assert "1234567" in said(section(page, "curves")).split()
    kinds, unknown = section(page, "kinds"), int((hides & (pairs["system"] == "attend")).sum())
    assert said(rows_of(every(kinds, "table")[2])["unknown"][0]) == str(unknown)
    assert f"The hidden share is known for {20 - unknown} of the 20 pairs." in said(kinds)
    card = said(every(section(page, "checks"), "div", **{"class": "card panel"})[3])
    for text in ("! 1 warning", "Found: <b>7</b> do not.", "Set aside: too small 1,234."):
        assert text in card
    assert "attend: Started from the weights of generator in a checkpoint of" in said(section(page, "costs"))


def test_curves_checks_and_costs_are_what_is_recorded(page, run):
    curves = every(section(page, "curves"), "svg")
    assert [curve.get("aria-label") for curve in curves] == [
        "l1: 0.2 to 0.5, last 0.2", "copied: 0.1 to 0.25, last 0.1",
    ] * 2  # fmt: skip
    cards = every(section(page, "checks"), "div", **{"class": "card panel"})
    stages = [said(every(card, "h3")[0]).split(":")[0] for card in cards]
    assert stages == ["validate", "keypoints 0", "keypoints 1", "split"]
    count = len(read_json(run / "reports" / "validate" / "validation.json")["checks"])
    for fact in (f"{count} of {count} checks passed.", "photos in the source 32", "✓ passed"):
        assert fact in said(cards[0])
    costs = section(page, "costs")
    cells = [said(cell) for cell in rows_of(every(costs, "table")[0])["attend"]]
    assert cells == ["1,200", "4,800", "generator 123,456 judge 789", "2.5", "cpu, fp32, 1 process", "none", "0"]
    for module in re.findall(r"python -m (benchmarks\.\w+)", said(costs)):
        assert (Path(__file__).parents[2] / f"{module.replace('.', '/')}.py").exists()
    assert "Started from" not in said(costs)


def test_the_deviation_of_an_inception_score_is_no_metric(data, run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    record = read_json(copy / "metrics.json")
    record["metrics"]["is/tf-2015"] = {"better": "higher"}
    for scores in record["scores"].values():
        scores |= {"is/tf-2015": 3.25, "is/tf-2015 deviation": 0.5}
    write_json(copy / "metrics.json", record)
    table = every(section(parsed(reported(data, copy, tmp_path / "report")), "scores"), "table")[0]
    assert heads(table)[-1] == "is/tf-2015 higher is better"
    assert said(rows_of(table)["attend"][-1]) == "3.250"


# One file, for everybody


def test_nothing_comes_from_elsewhere(text, page):
    assert "://" not in text
    assert not re.search(r"@import|url\(|\bsrc=|<link|<iframe", text)
    for tag in ("a", "use", "image"):
        assert all(str(one.get("href")).startswith(("#", "data:image/")) for one in every(page, tag))
    (policy,) = every(page, "meta", **{"http-equiv": "Content-Security-Policy"})
    assert str(policy.get("content")).startswith("default-src 'none'; img-src data:;")


def test_those_who_do_not_see_are_told(page):
    assert page.get("lang") == "en"
    for svg in every(page, "svg"):
        assert svg.get("aria-hidden") == "true" or (svg.get("role") == "img" and svg.get("aria-label"))
    for head in every(page, "th"):
        assert head.get("scope") in ("col", "row", "colgroup", "rowgroup")
    for above in page.iter():
        assert above.get("aria-label") or all(every(table, "caption") for table in above.findall("table"))
    ids = {one.get("id") for one in every(page, "section")}
    assert all(str(link.get("href"))[1:] in ids for link in every(page, "a"))


def test_same_inputs_give_the_same_bytes(data, run, tmp_path, text):
    assert reported(data, run, tmp_path / "again") == text


# What cannot be shown


@pytest.fixture
def before(run: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the run, and an earlier report."""
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("earlier")
    return Path(shutil.copytree(run, tmp_path / "run")), tmp_path / "report"


def fails(data: Data, before: tuple[Path, Path], message: str) -> None:
    with pytest.raises(ReposeError, match=message):
        reported(data, *before)
    assert files_in(before[1]) == {"report.html": b"earlier"}


def _without(key: str) -> Callable[[Path], None]:
    return lambda path: write_json(path, {name: value for name, value in read_json(path).items() if name != key})


def _replaced(old: str, new: str) -> Callable[[Path], Any]:
    return lambda path: path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(("name", "edit", "message"), [
    ("metrics.json", _replaced('"attend"', '"tend"'), "has no pairs for tend, which .* are not from the same run"),
    ("metrics.json", _replaced('"lower"', '"less"'), r"does not say which torso-ciede2000 is better"),
    ("results/pairs.csv", _replaced("attend,fashion", "attend,fashions"), "has different pairs for attend"),
    ("results/pairs.csv", _replaced(",pg2-like", "x,pg2-like"), "is damaged in torso-ciede2000"),
    ("results/pairs.csv", _replaced(".jpg", ".jpeg"), "has 8 photo.* that .*items.csv lacks"),
    ("results/generated/attend/generated.csv", _replaced("--", "-"), r"attend lacks the image of 20 pair\(s\), such as"),
    ("results/generated/attend", shutil.rmtree, r"There is no .*generated/attend/generated\.csv\. Run the stage"),
    ("runs/attend/run.json", _without("images"), r"run\.json lacks images: another version .* Train attend again"),
    ("runs/attend/model.safetensors", Path.unlink, r"model\.safetensors cannot be read: No such file .* train@attend`"),
    ("runs/attend/history.csv", lambda path: (path.unlink(), path.mkdir()), r"history\.csv cannot be read: Is a directory"),
    ("runs/attend/history.csv", _replaced("0.25", "much"), r"history\.csv is damaged .* train attend again"),
    ("reports/split/validation.json", _without("counts"), r"lacks counts: another version .*Run `dvc repro split` again"),
])  # fmt: skip
def test_what_is_missing_or_damaged_is_named(data, before, name, edit, message):
    edit(before[0] / name)
    fails(data, before, message)


def test_a_full_disk_leaves_the_earlier_page(data, before, monkeypatch):
    def full(file: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "_flush_to_disk", full)
    fails(data, before, "No space left on the disk while writing")


# In a browser

in_browser = pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no chromium here")


@pytest.fixture(scope="module")
def file(text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(text, "utf-8")
    return path


@in_browser
@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_a_browser_asks_for_nothing_complains_of_nothing_and_fits_the_window(file, tmp_path, width, dark):
    with browser.opened(file, tmp_path / "profile", width=width, height=800, dark=dark) as shown:
        assert shown.value("document.documentElement.scrollWidth") <= width
        ground = shown.value("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(20, 21, 23)" if dark else "rgb(246, 246, 244)")
        unseen = "[...document.querySelectorAll('.photo')].filter(p => p.checkVisibility() && !p.getBBox().width)"
        assert shown.value(f"{unseen}.length") == 0
        visible = (
            "[...document.querySelectorAll('#extremes [data-part]')].filter(p => !p.hidden)"
            ".map(p => p.dataset.metric + ' ' + p.dataset.system)"
        )
        assert shown.value(visible) == ["ssim/pg2 paper-m"]
        for name, value in (("metric", "torso-ciede2000"), ("system", "attend")):
            shown.value(
                f"{{const s = document.querySelector('#extremes select[name={name}]'); s.value = '{value}'; "
                "s.dispatchEvent(new Event('change'))}"
            )
        assert shown.value(visible) == ["torso-ciede2000 attend"]
        assert shown.requests == [file.as_uri()]
        assert shown.complaints == []


@in_browser
def test_without_scripts_everything_is_there(file, tmp_path):
    with browser.opened(file, tmp_path / "profile", width=800, height=800, scripts=False) as shown:
        text = shown.dom()
    assert not re.search(r"<div[^>]*data-part[^>]* hidden", text)
    assert 'class="choices" hidden' in text
    assert text.count("data-part") > 6
