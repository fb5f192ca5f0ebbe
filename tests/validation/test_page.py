import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from repose.validation.expectations import Check, Outcome
from repose.validation.page import PAGE, RECORD, Facts, Picture, Rejected, distribution, write_report


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


def test_a_page_without_failures_says_so_with_its_warnings(tmp_path):
    text = page(tmp_path, Outcome((ALL.checks[0], ALL.checks[2])))
    assert "✓ Passed, with 1 warning</strong>" in text
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


def test_distribution_counts_the_most_frequent_first():
    values = pd.Series(["b", "a", "", "a", "c", ""])
    assert list(distribution(values).items()) == [("a", 2), ("none", 2), ("b", 1), ("c", 1)]
