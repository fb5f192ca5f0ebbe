"""The stage report on a made-up run over the tiny data: the page has what the files have, and needs nothing else."""

import base64
import errno
import io
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

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

VOID = {"meta", "br", "use", "image", "polyline"}


@dataclass
class Element:
    """A part of a page."""

    tag: str
    has: dict[str, str | None]
    above: "Element | None"
    children: list["Element | str"] = field(default_factory=list)

    def all(self, tag: str, **has: str) -> list["Element"]:
        """Everything below it with that tag and those attributes, in the page's order."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                fits = child.tag == tag and all(child.has.get(key) == value for key, value in has.items())
                found += [*([child] if fits else []), *child.all(tag, **has)]
        return found

    @property
    def text(self) -> str:
        return " ".join("".join(c if isinstance(c, str) else f" {c.text} " for c in self.children).split())


class Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self.here = Element("", {}, None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), self.here)
        self.here.children.append(element)
        if tag not in VOID:
            self.here = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.here.children.append(Element(tag, dict(attrs), self.here))

    def handle_endtag(self, tag: str) -> None:
        assert self.here.tag == tag, f"</{tag}> closes <{self.here.tag}>"
        assert self.here.above is not None
        self.here = self.here.above

    def handle_data(self, data: str) -> None:
        self.here.children.append(data)


def parsed(text: str) -> Element:
    parser = Parser()
    parser.feed(text)
    assert parser.here is parser.root, f"<{parser.here.tag}> is not closed"
    return parser.root


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


@pytest.fixture(scope="module")
def altered(data: Data, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Element:
    """The page of a run with pairs of unknown occlusion, a failed check, and a system that was extended."""
    folder = tmp_path_factory.mktemp("altered")
    shutil.copytree(run, folder / "run")
    table = pd.read_csv(folder / "run" / "results" / "pairs.csv")
    table.loc[table["from"] == table["from"][0], "occlusion"] = np.nan
    table.to_csv(folder / "run" / "results" / "pairs.csv", index=False)
    path = folder / "run" / "reports" / "split" / "validation.json"
    record = read_json(path)
    record["checks"][0] |= {"passed": False, "severity": "warning", "observed": "<b>7</b> do not"}
    write_json(path, record | {"rejected": {"too small": 1234}})
    path = folder / "run" / "runs" / "attend" / "run.json"
    init = {"sha256": "ab" * 32, "system": "paper-m", "step": 1500, "networks": ["generator"]}
    write_json(path, read_json(path) | {"init": init, "extended": [{"step": 400, "planned": 800}]})
    return parsed(reported(data, folder / "run", folder / "report"))


def section(page: Element, name: str) -> Element:
    return page.all("section", id=name)[0]


def rows_of(table: Element) -> dict[str, list[Element]]:
    """The cells of each row, by its name."""
    rows = table.all("tbody")[0].all("tr")
    return {row.all("th", scope="row")[0].text: row.all("td") for row in rows}


def heads(table: Element) -> list[str]:
    return [head.text for head in table.all("thead")[0].all("th", scope="col")]


# Scores


def test_the_scores_are_the_means_with_their_protocol_and_the_best_is_marked(page: Element, run: Path) -> None:
    cards = section(page, "scores").all("div", **{"class": "card"})
    assert {card.all("dt")[0].text: card.all("dd")[0].text for card in cards} == {
        "split": "pg2-like", "pairs": "20", "size": "64x56", "crop": "16, 0, 240, 256", "pairs sha256": "0123456789ab",
    }  # fmt: skip
    table = section(page, "scores").all("table")[0]
    assert heads(table) == [
        "row", "ssim/pg2 higher is better", "torso-ciede2000 lower is better", "frechet/figure lower is better",
    ]  # fmt: skip
    scores, rows = read_json(run / "metrics.json")["scores"], rows_of(table)
    assert list(rows) == list(ROWS)
    best = {"ssim/pg2": max(ROWS, key=lambda r: scores[r]["ssim/pg2"]),
            "torso-ciede2000": min(ROWS, key=lambda r: scores[r]["torso-ciede2000"]),
            WHOLE: min(ROWS, key=lambda r: scores[r][WHOLE])}  # fmt: skip
    for row, cells in rows.items():
        for metric, cell in zip((*BY_PAIR, WHOLE), cells, strict=True):
            digits = 2 if metric in ("torso-ciede2000", WHOLE) else 3
            assert cell.text.split()[0] == f"{scores[row][metric]:.{digits}f}"
            assert bool(cell.all("b")) == (best[metric] == row)
    mean, low, high = (float(word) for word in re.findall(r"-?[\d.]+", rows["attend"][0].text))
    assert low < mean < high
    assert rows["attend"][1].text.endswith(", of 19 pairs")
    assert rows["attend"][2].text == "44.00"
    assert "all images together, so without an interval: frechet/figure." in section(page, "scores").text


def test_the_published_numbers_are_a_table_of_their_own(page: Element) -> None:
    part = section(page, "scores")
    rows = rows_of(part.all("table")[1])
    of_ours = rows["(G + D_I + D_P)-M paper-m, in this run"]
    assert [cell.text for cell in of_ours] == ["0.789", "3.006", "0.344", "3.291"]
    assert "pix2pix pix2pix" in rows
    assert len(rows) == 9
    assert "Market-1501, split of PG2 (no list was published), protocol not named" in part.text


# Pictures


def image(page: Element, place: Element) -> np.ndarray:
    """The pixels that stand in a place of a figure."""
    (used,) = place.all("use")
    (stored,) = page.all("image", id=str(used.has["href"])[1:])
    content = base64.b64decode(str(stored.has["href"]).split(",", 1)[1])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def figures(part: Element) -> list[Element]:
    return part.all("table", **{"class": "figure"})


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.abs(a - b.astype(int)).mean() < 4)


def test_a_row_shows_sources_pose_target_and_what_each_system_made(
    page: Element, data: Data, pairs: pd.DataFrame
) -> None:
    photos = Photos(images=data.images, keypoints=data.keypoints, posemaps=data.posemaps)
    first, figure = pairs.iloc[0], figures(section(page, "pictures"))[0]
    assert heads(figure)[-4:] == ["target pose", "target", *SYSTEMS]
    places = figure.all("tbody")[0].all("td")
    source, target = photos.load([first["from"]]), photos.load([first["to"]])
    assert close(image(page, places[0]), source.pixels[0])
    pose, real, *made = places[-4:]
    np.testing.assert_array_equal(image(page, pose), PALETTE[target.maps[0]])
    assert close(image(page, real), target.pixels[0])
    assert all(close(image(page, place), made_image(number, 0)) for number, place in enumerate(made))
    title = figure.all("th", scope="rowgroup")[0].text
    ends = (re.sub(r".*_\d([a-z]+)\.jpg", r"\1", first[end]) for end in ("from", "to"))
    assert title.startswith(f"{' to '.join(ends)} ")
    assert title.endswith(f"/01, {100 * first['occlusion']:.0f} % of the garment hidden in the first source")


def test_spread_and_drawn_pairs_are_others_and_the_draw_follows_its_seed(
    data: Data, run: Path, tmp_path: Path, page: Element
) -> None:
    def pairs_of(page: Element) -> list[list[int]]:
        made = [
            figure.all("svg", **{"aria-label": "Generated by attend"}) for figure in figures(section(page, "pictures"))
        ]
        return [[round(image(page, svg)[..., 1].mean() / 10) for svg in figure] for figure in made]

    spread, drawn = pairs_of(page)
    assert spread == [0, 4, 8, 11, 15, 19]
    assert len(drawn) == 6
    assert not set(spread) & set(drawn)
    other = pairs_of(parsed(reported(data, run, tmp_path / "other", seed=1)))
    assert other[0] == spread
    assert other[1] != drawn


def test_best_and_worst_are_those_of_the_table_with_their_scores(page: Element, pairs: pd.DataFrame) -> None:
    parts = section(page, "extremes").all("div", **{"class": "card panel"})
    assert [(part.has["data-metric"], part.has["data-system"]) for part in parts] == [
        (metric, system) for metric in ("ssim/pg2", "torso-ciede2000") for system in SYSTEMS
    ]
    for part in parts:
        metric, system = str(part.has["data-metric"]), str(part.has["data-system"])
        own = pairs.loc[pairs["system"] == system, metric].reset_index(drop=True).dropna().sort_values()
        lowest, highest = list(own[:3]), list(own[::-1][:3])
        expected = (highest, lowest) if metric == "ssim/pg2" else (lowest, highest)
        digits = 3 if metric == "ssim/pg2" else 2
        for figure, values in zip(figures(part), expected, strict=True):
            below = [row.all("td")[-2 + SYSTEMS.index(system)].text.split()[-1] for row in figure.all("tbody")]
            assert below == [f"{value:.{digits}f}" for value in values]


def test_an_image_lies_in_the_page_once(page: Element) -> None:
    stored = page.all("image")
    assert len({one.has["href"] for one in stored}) == len(stored)
    used = [one.has["href"] for one in page.all("use")]
    assert {f"#{one.has['id']}" for one in stored} == set(used)
    assert len(used) > 2 * len(stored)


# Kinds of pairs


def test_kinds_of_pairs_have_their_number_and_their_means(page: Element, pairs: pd.DataFrame) -> None:
    parts = section(page, "kinds").all("div", **{"data-metric": "torso-ciede2000"})
    by_view, by_sources, by_hidden = parts[0].all("table")
    whole = pairs.groupby(["from", "to"], sort=False)["sources"].transform("max")
    for sources, cells in rows_of(by_sources).items():
        of = pairs[whole == int(sources)]
        assert cells[0].text == str(len(of) // len(ROWS))
        means = of.groupby("system", sort=False)["torso-ciede2000"].mean()
        assert [cell.text for cell in cells[1:]] == [f"{mean:.2f}" for mean in means]
        assert [bool(cell.all("b")) for cell in cells[1:]] == [mean == means.min() for mean in means]
    for table in (by_view, by_sources, by_hidden):
        assert sum(int(cells[0].text) for cells in rows_of(table).values()) == 20
    own = pairs[pairs["system"] == "attend"]
    low = own[own["occlusion"].between(0.1, 0.5, inclusive="left")]
    cells = rows_of(by_hidden)["0.1 to 0.5"]
    assert (cells[0].text, cells[5].text) == (str(len(low)), f"{low['torso-ciede2000'].mean():.2f}")
    assert "front to back" in rows_of(by_view)


def test_an_altered_run_tells_what_is_not_known_what_failed_and_where_training_started(
    altered: Element, pairs: pd.DataFrame
) -> None:
    unknown = int(((pairs["from"] == pairs["from"][0]) & (pairs["system"] == "attend")).sum())
    kinds = section(altered, "kinds")
    assert rows_of(kinds.all("table")[2])["unknown"][0].text == str(unknown)
    assert f"The hidden share is known for {20 - unknown} of the 20 pairs." in kinds.text
    card = section(altered, "checks").all("div", **{"class": "card panel"})[3]
    for text in ("! 1 warning", "Found: <b>7</b> do not.", "Set aside: too small 1,234."):
        assert text in card.text
    assert "attend: Started from the weights of generator in a checkpoint of" in section(altered, "costs").text


# Training, checks, costs


def test_each_term_of_each_system_has_a_curve(page: Element) -> None:
    curves = section(page, "curves").all("svg")
    assert [curve.has["aria-label"] for curve in curves] == [
        "l1: 0.2 to 0.5, last 0.2", "copied: 0.1 to 0.25, last 0.1",
    ] * 2  # fmt: skip


def test_the_checks_are_those_of_every_stage_and_part(page: Element, run: Path) -> None:
    cards = section(page, "checks").all("div", **{"class": "card panel"})
    stages = [card.all("h3")[0].text.split(":")[0] for card in cards]
    assert stages == ["validate", "keypoints 0", "keypoints 1", "split"]
    record = read_json(run / "reports" / "validate" / "validation.json")
    assert f"{len(record['checks'])} of {len(record['checks'])} checks passed." in cards[0].text
    assert "photos in the source 32" in cards[0].text
    assert "✓ passed" in cards[0].text


def test_costs_are_what_is_recorded(page: Element) -> None:
    part = section(page, "costs")
    cells = [cell.text for cell in rows_of(part.all("table")[0])["attend"]]
    assert cells == ["1,200", "4,800", "generator 123,456 judge 789", "2.5", "cpu, fp32, 1 process", "none", "0"]
    for module in re.findall(r"python -m (benchmarks\.\w+)", part.text):
        assert (Path(__file__).parents[2] / f"{module.replace('.', '/')}.py").exists()


# One file, for everybody


def test_nothing_comes_from_elsewhere(text: str, page: Element) -> None:
    assert "://" not in text
    assert not re.search(r"@import|url\(", text)
    for tag in ("a", "use", "image", "link", "img", "script", "iframe"):
        for one in page.all(tag):
            assert "src" not in one.has
            assert str(one.has.get("href", "#")).startswith(("#", "data:image/"))
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert str(policy.has["content"]).startswith("default-src 'none'; img-src data:;")


def test_those_who_do_not_see_are_told(page: Element) -> None:
    assert page.all("html")[0].has["lang"] == "en"
    for svg in page.all("svg"):
        assert svg.has.get("aria-hidden") == "true" or (svg.has["role"] == "img" and svg.has["aria-label"])
    for head in page.all("th"):
        assert head.has["scope"] in ("col", "row", "colgroup", "rowgroup")
    for table in page.all("table"):
        assert table.all("caption") or (table.above is not None and table.above.has["aria-label"])
    ids = {one.has["id"] for tag in ("section", "image") for one in page.all(tag)}
    assert all(str(link.has["href"])[1:] in ids for link in page.all("a"))


def test_same_inputs_give_the_same_bytes(data: Data, run: Path, tmp_path: Path, text: str) -> None:
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


def _with(**values: Any) -> Callable[[Path], None]:
    return lambda path: pd.read_csv(path).assign(**values).to_csv(path, index=False)


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("metrics.json", _replaced('"attend"', '"tend"'), "has no pairs for tend, which .* are not from the same run"),
        ("results/pairs.csv", _replaced("attend,fashion", "attend,fashions"), "has different pairs for attend"),
        ("metrics.json", _replaced('"lower"', '"less"'), r"does not say which torso-ciede2000 is better"),
        ("results/pairs.csv", _with(sources="x"), "is damaged in sources"),
        ("results/pairs.csv", _replaced(".jpg", ".jpeg"), "has 8 photo.* that .*items.csv lacks"),
        ("results/generated/attend/generated.csv", _replaced("--", "-"), r"attend lacks the image of 20 pair\(s\), such as"),
        ("runs/attend/run.json", _without("images"), r"run\.json lacks images: another version .* Train attend again"),
        ("runs/attend/model.safetensors", Path.unlink, r"There is no .*model\.safetensors\. Run `dvc repro train@attend`"),
        ("runs/attend/history.csv", _replaced("0.25", "much"), r"history\.csv is damaged .* train attend again"),
        ("reports/split/validation.json", _without("counts"), r"lacks counts: another version .*Run `dvc repro split` again"),
    ],
)  # fmt: skip
def test_what_is_missing_or_damaged_is_named(
    data: Data, before: tuple[Path, Path], name: str, edit: Callable[[Path], Any], message: str
) -> None:
    edit(before[0] / name)
    fails(data, before, message)


def test_a_full_disk_leaves_the_earlier_page(
    data: Data, before: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_a_browser_asks_for_nothing_complains_of_nothing_and_fits_the_window(
    file: Path, tmp_path: Path, width: int, dark: bool
) -> None:
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
def test_without_scripts_everything_is_there(file: Path, tmp_path: Path) -> None:
    with browser.opened(file, tmp_path / "profile", width=800, height=800, scripts=False) as shown:
        text = shown.dom()
    assert not re.search(r"<div[^>]*data-part[^>]* hidden", text)
    assert 'class="choices" hidden' in text
    assert text.count("data-part") > 6
