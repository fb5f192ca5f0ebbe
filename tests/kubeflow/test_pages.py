"""Pages for Kubeflow's interface, pointers in files and pages, and entries of the run-cache."""

import re
from pathlib import Path

import pytest

from repose.errors import ReposeError
from repose.kubeflow.artifacts import page_of
from repose.kubeflow.lookup import parse_entry
from repose.kubeflow.pointer import lock_file, lock_texts, read_pointer, write_page, write_pointer

ENTRY = {
    "cmd": "do --it --> now",
    "params": {"params.yaml": {"rate": 1e-05, "note": "1e-05"}},
    "outs": [{"path": "a", "md5": "0" * 32, "size": 1}],
}


def test_html_images_and_text() -> None:
    assert page_of("a/b.html", b"<p>x</p>") == b"<p>x</p>"
    page = page_of("a/b.png", b"\x89PNG").decode()
    assert 'src="data:image/png;base64,iVBORw=="' in page
    assert "http" not in page
    assert b"<pre>&lt;b&gt;</pre>" in page_of("x.md", b"<b>")
    assert b"<polyline" in page_of("x.tsv", b"step\tv\n0\t1\n")


def test_a_table_is_a_curve_for_each_column_of_numbers() -> None:
    page = page_of("history.csv", b"step,l1,none,gap\n1,0.5,,\n2,0.25,,3\n3,0.125,,4\n").decode()
    assert re.findall(r'font-weight="bold">(\w+)<', page) == ["l1", "gap"]
    assert "0.125 to 0.5, last 0.125" in page
    (line,) = re.findall(r'points="([^"]+)"', page.split("gap")[0])
    assert [tuple(map(float, point.split(","))) for point in line.split()] == [(28, 28), (170, 97.3), (312, 132)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"a,b\n1,x\n", "The page x.csv is not csv"), ("x.md", b"\xff", "The page x.md is not md"),
        ("x.csv", b"a,b\n1\n", "The page x.csv is not csv"), ("x.bin", b"", "No page can be made of x.bin"),
    ],
)  # fmt: skip
def test_what_is_no_page(name: str, content: bytes, message: str) -> None:
    with pytest.raises(ReposeError, match=message):
        page_of(name, content)


def test_a_pointer_is_found_in_a_file_and_in_a_page(tmp_path: Path) -> None:
    write_pointer(tmp_path / "a", "train@x", ENTRY)
    write_page(tmp_path / "b", b"<p>x</p>\n", "train@x", ENTRY)
    assert read_pointer(tmp_path / "a") == read_pointer(tmp_path / "b") == {"train@x": ENTRY}
    assert (tmp_path / "b").read_text().count("-->") == 1


@pytest.mark.parametrize("content", ["", "hello", "stages: {count: 3}", "{}", '<!-- dvc.lock {"a": {}} -->'])
def test_an_input_that_is_no_pointer(tmp_path: Path, content: str) -> None:
    (tmp_path / "made").write_text(content)
    with pytest.raises(ReposeError, match="is not a pointer: it should be a stage's entry of"):
        read_pointer(tmp_path / "made")


def test_a_stage_of_a_nested_file_has_its_own_lock() -> None:
    assert lock_file("train@x") == ("dvc.lock", "train@x")
    assert lock_file("a/dvc.yaml:fit") == ("a/dvc.lock", "fit")
    texts = lock_texts([("one", ENTRY), ("a/dvc.yaml:fit", ENTRY)])
    assert list(texts) == ["dvc.lock", "a/dvc.lock"]
    assert texts["a/dvc.lock"].startswith(
        "schema: '2.0'\nstages:\n  fit:\n    cmd: do --it --> now\n    params:\n      params.yaml:\n        rate: 1e-05\n"
        "        note: '1e-05'\n    outs:\n    - path: a\n"
    )


CACHED = b"cmd: x\nouts:\n- path: made\n  md5: abc\n"


def test_an_entry_of_the_run_cache(capfd: pytest.CaptureFixture[str]) -> None:
    params = b"params:\n  params.yaml:\n    rate: 1e-05\n    note: '1e-05'\n"  # as DVC writes a number and a text
    assert parse_entry(params + CACHED, "runs/x in s3://b") == {
        "params": {"params.yaml": {"rate": 1e-05, "note": "1e-05"}}, "cmd": "x", "outs": [{"path": "made", "md5": "abc"}],
    }  # fmt: skip
    assert parse_entry(None, "runs/x in s3://b") is None  # it was deleted meanwhile
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", [
    b"", b"\xff\xfe\x00", b"a: [", b"3", b"[1]", b"cmd: x", b"outs: 3", b"outs: [x]", b"outs: [{path: made}]",
    b"outs: [{md5: 3, path: made}]", CACHED[:-6],
])  # fmt: skip
def test_a_damaged_entry_is_not_used(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "repose"):
        assert parse_entry(content, "runs/x in s3://b") is None
    assert caplog.messages == ["runs/x in s3://b is not an entry of a run-cache; it is not used."]
