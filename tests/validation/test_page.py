import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from repose.validation.expectations import Check, Outcome
from repose.validation.page import BARS, PAGE, RECORD, Facts, Picture, Rejected, distribution, write_report


def check(name: str, *, passed: bool, severity: Any = "critical") -> Check:
    return Check(name, f"what {name} expects", f"what {name} found", severity, passed, ("one & only/<b>.jpg",))


ALL = Outcome(
    (check("first", passed=True), check("second", passed=False), check("third", passed=False, severity="warning"))
)
FACTS = Facts(
    counts={"photos": 52_712, "items": 7_982},
    distributions={"View": {"front": 30, "back": 10, "none": 0}},
    rejected=(Rejected("does not decode", 1_234, (("img/<script>x</script>\u202e\x1b.jpg", "0 bytes"),)),),
    rejected_list="set-aside.csv",
    galleries={"Some <b>": [Picture("a & b.jpg", "1 of 2 < 3", "data:image/jpeg;base64,AAE=", 64, 32)]},
)


def page(folder: Path, outcome: Outcome = ALL, facts: Facts = FACTS, title: str = "Photos <of> mine") -> str:
    write_report(folder, title, outcome, facts)
    return (folder / PAGE).read_text("utf-8")


def test_the_record_has_all_of_it(tmp_path):
    page(tmp_path)
    record = json.loads((tmp_path / RECORD).read_bytes())
    assert [entry["name"] for entry in record["checks"]] == ["first", "second", "third"]
    assert record | {"checks": record["checks"][2]} == {
        "title": "Photos <of> mine", "passed": False, "counts": FACTS.counts, "distributions": FACTS.distributions,
        "rejected": {"does not decode": 1_234},
        "checks": {
            "name": "third", "severity": "warning", "passed": False, "expected": "what third expects",
            "observed": "what third found", "examples": ["one & only/<b>.jpg"],
        },
    }  # fmt: skip


def test_the_page_tells_what_failed_first(tmp_path):
    text = page(tmp_path)
    verdict = text.index("✕ Failed")
    assert verdict < text.index("what second found") < text.index("what third found") < text.index("what first found")
    for told in ("52,712", "1,234", "and 1,233 more", "set-aside.csv", "0 bytes", "does not decode".capitalize()):
        assert told in text


@pytest.mark.parametrize(("outcome", "verdict"), [
    (Outcome(ALL.checks[:1]), "✓ Passed</strong>"),
    (Outcome((ALL.checks[0], ALL.checks[2])), "✓ Passed, with 1 warning</strong>"),
])  # fmt: skip
def test_verdicts(tmp_path, outcome, verdict):
    text = page(tmp_path, outcome)
    assert verdict in text
    assert "Failed" not in text


def test_names_of_files_are_text_and_no_markup(tmp_path):
    text = page(tmp_path)
    assert "<script" not in text
    assert r"&lt;script&gt;x&lt;/<wbr>script&gt;\u202e\x1b.jpg" in text
    assert not set(text) & set("\u202e\x1b")
    assert "one &amp; only/<wbr>&lt;b&gt;.jpg" in text
    assert "<h1>Photos &lt;of&gt; mine</h1>" in text
    assert "<h2>Some &lt;b&gt;</h2>" in text
    assert "a &amp; b.jpg" in text
    assert "1 of 2 &lt; 3" in text


def test_the_page_asks_for_nothing_from_elsewhere(tmp_path):
    text = page(tmp_path)
    assert not re.findall(r"https?:|//[a-z]|\bsrc=\"(?!data:image/jpeg;base64,)|\bhref=|url\(|@import", text)
    assert text.count('src="data:image/jpeg;base64,AAE="') == 1
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_bars_are_shares_of_the_longest(tmp_path):
    assert re.findall(r"width:([\d.]+)%", page(tmp_path).partition("</head>")[2]) == ["100.0", "33.3"]


def test_a_long_tail_is_summed_up(tmp_path):
    text = page(tmp_path, facts=Facts({}, {"Category": {f"category {n}": 2 for n in range(BARS + 3)}}))
    assert "and 3 more kinds: 6" in text
    assert f"category {BARS}" not in text


def test_a_report_without_facts(tmp_path):
    text = page(tmp_path, facts=Facts({}))
    assert "Set aside" not in text
    assert "What is in it" not in text


def test_distribution_counts_the_most_frequent_first():
    values = pd.Series(["b", "a", "", "a", "c", ""])
    assert list(distribution(values).items()) == [("a", 2), ("none", 2), ("b", 1), ("c", 1)]
