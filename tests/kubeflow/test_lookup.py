"""Entries of the run-cache that are damaged."""

import pytest

from repose.kubeflow.lookup import _entry_in

ENTRY = b"cmd: x\nouts:\n- path: made\n  md5: abc\n"
PARAMS = b"params:\n  params.yaml:\n    rate: 1e-05\n    note: '1e-05'\n"  # as DVC writes a number and a text


def test_an_entry_is_read(capfd: pytest.CaptureFixture[str]) -> None:
    assert _entry_in(ENTRY, "runs/x in s3://b") == {"cmd": "x", "outs": [{"path": "made", "md5": "abc"}]}
    entry = _entry_in(PARAMS + ENTRY, "runs/x in s3://b")
    assert entry is not None
    assert entry["params"] == {"params.yaml": {"rate": 1e-05, "note": "1e-05"}}
    assert _entry_in(None, "runs/x in s3://b") is None  # it was deleted meanwhile
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", [
    b"", b"\xff\xfe\x00", b"a: [", b"3", b"[1]", b"cmd: x", b"outs: 3", b"outs: [x]", b"outs: [{path: made}]",
    b"outs: [{md5: 3, path: made}]", ENTRY[:-6],
])  # fmt: skip
def test_a_damaged_entry_is_told_and_not_used(content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    assert _entry_in(content, "runs/x in s3://b") is None
    assert "runs/x in s3://b is no entry of a run-cache; it is not used." in capfd.readouterr().err
