"""Names of files that come from a bucket."""

import json
from typing import Any

import pytest

from repose.errors import ReposeError
from repose.storage.listing import check_oid, check_path, parse_listing

OID = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("path", [
    "..", "a/../x", "/x", "", "./x", "a//b", "a/", "a\\..\\x", "a\0b", "a\nb", "\x1b[2J", "\ud800", ".git/hooks/post-checkout",
    "a/.GIT/config", ".g\u200cit/config", ".dvc/config", "x" * 256, "a/" * 2048 + "a", None, 1,
], ids=repr)  # fmt: skip
def test_a_path_that_leaves_its_folder_or_is_none(path):
    with pytest.raises(ReposeError, match=r"^here has the path .* is not a plain path") as caught:
        check_path(path, "here")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", ["a/b.png", ".gitignore", "a/..b", "Häuser/日本 1.jpg", "a/.git2", "x" * 255])
def test_a_path_inside(path):
    assert check_path(path, "here") == path


@pytest.mark.parametrize("oid", ["../../x", OID[1:], f"{OID}.dir.dir", f"{OID}\n", f"{OID}/x", "", None])
def test_an_object_s_name_that_is_none(oid):
    with pytest.raises(ReposeError, match=r"^here has .* instead of the MD5 of an object"):
        check_oid(oid, "here")


def entry(path: Any, oid: Any = OID) -> dict[str, Any]:
    return {"md5": oid, "relpath": path}


@pytest.mark.parametrize("listing", [
    {}, None, ["x"], [{"relpath": "a"}], [entry("a") | {"isdir": True}], [entry("b"), entry("../x")], [entry("a", "../../x")],
    [entry("a", f"{OID}.dir")], [entry("a"), entry("a")], [entry("a/b/c"), entry("a.b"), entry("a")],
], ids=repr)  # fmt: skip
def test_a_list_of_a_folder_that_is_none(listing):
    with pytest.raises(ReposeError, match=r"^here .*tampered"):
        parse_listing(json.dumps(listing).encode(), "here")


@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_a_list_of_a_folder_that_cannot_be_read(content):
    with pytest.raises(ReposeError, match=r"^here is not the list of a folder"):
        parse_listing(content, "here")


def test_a_list_of_a_folder():
    paths = ["a.b", "a/b", "a-b"]
    assert parse_listing(json.dumps([entry(path) for path in paths]).encode(), "here") == dict.fromkeys(paths, OID)
