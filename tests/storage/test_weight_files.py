"""`repose weights` and where the files of networks are: a local server, small files, no download that nobody asked for."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fakes import known_as
from repose.errors import ReposeError
from repose.storage import weight_files
from repose.storage.transfer import fetching, s3
from repose.storage.weight_files import KNOWN, State, WeightsFile, cached, fetch_known, known, located, state
from serving import Answer, FileServer, serving

BODY = hashlib.shake_256(b"alexnet").digest(3000)
SHA256 = hashlib.sha256(BODY).hexdigest()
OTHER = "0" * 64


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "*")
    page = b"<!doctype html><title>Please log in</title>"
    answers = {
        "/alexnet.pth": Answer(BODY), "/page.pth": Answer(page, "text/html"), "/cut.pth": Answer(BODY, sent=len(BODY) // 2),
    }  # fmt: skip
    server = FileServer(answers, Answer(page, "text/html", 404))
    with serving(server):
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, in which AlexNet's file is BODY."""
    monkeypatch.setenv("REPOSE_CACHE", str(tmp_path / "cache"))
    known_as(monkeypatch, "alexnet", SHA256)
    return tmp_path / "cache"


@pytest.fixture
def repose(said_by: Any) -> Any:
    return partial(said_by, "weights")


@pytest.mark.parametrize("name", KNOWN)
def test_a_published_file_has_its_digest_in_its_name_and_address(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    of = known(name)
    assert of.file.endswith(f"-{of.sha256}.pth")
    assert of.url.startswith("https://")
    assert of.url.endswith(f"/{of.file}")
    assert of.licence
    assert of.source


def test_the_list_names_every_file_and_whether_it_is_here(repose: Any, cache: Path) -> None:
    out, _ = repose("list")
    blocks = out.split("\n  here     ")
    assert len(blocks) == len(KNOWN) + 1
    for name, of in KNOWN.items():
        assert f"{name}: {of.source}\n  file     {of.file}\n  sha256   {of.sha256}..." in out
        assert f"  licence  {of.licence}\n  from     {of.url}\n  used by  {of.used_by}\n" in out
        assert f"  here     not in the cache: {cached(name)}\n" in out
    cached("alexnet").parent.mkdir()
    cached("alexnet").write_bytes(BODY)
    out, _ = repose("list")
    assert out.count("  here     in the cache: ") == 1
    assert f"  here     in the cache: {cache / f'{SHA256[:8]}-alexnet-owt-7be5be79.pth'}\n" in out


def test_a_file_is_fetched_once_from_its_owner(
    repose: Any, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_as(monkeypatch, "alexnet", SHA256, f"{server.address}/alexnet.pth")
    for _ in range(2):
        out, err = repose("fetch", "alexnet")
        assert out == f"{cached('alexnet')}\n"
        assert f"alexnet: licence BSD-3-Clause, SHA-256 {SHA256}\n" in err
    assert cached("alexnet").read_bytes() == BODY
    assert server.asked == ["/alexnet.pth"]


def test_a_file_comes_from_where_the_user_has_it_and_secrets_are_not_shown(
    repose: Any, server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "mine.pth").write_bytes(BODY)
    repose("fetch", "alexnet", "--from", str(tmp_path / "mine.pth"))
    assert cached("alexnet").read_bytes() == BODY
    cached("alexnet").unlink()
    address = server.address.replace("//", "//ada:secret@")
    out, err = repose("fetch", "alexnet", "--from", f"{address}/alexnet.pth?signature=hidden")
    assert cached("alexnet").read_bytes() == BODY
    assert f"alexnet: from {server.address}/alexnet.pth\n" in err
    assert not any(word in out + err for word in ("secret", "hidden"))


def test_a_file_comes_from_a_bucket(endpoint: str, cache: Path) -> None:
    client = s3.client(endpoint)
    client.create_bucket(Bucket="networks")
    client.put_object(Bucket="networks", Key="alexnet.pth", Body=BODY)
    client.close()
    assert fetch_known("alexnet", "s3://networks/alexnet.pth", endpoint=endpoint).sha256 == SHA256
    shelf = {"alexnet": WeightsFile("s3://networks/alexnet.pth", SHA256, endpoint)}
    path, sha256 = located("alexnet", shelf)
    assert (path.read_bytes(), sha256) == (BODY, SHA256)


@pytest.mark.parametrize(("path", "said"), [
    ("/nothing.pth", r"There is no {address}/nothing\.pth \(HTTP 404\)"),
    ("/page.pth", r"{address}/page\.pth .*page"),
])  # fmt: skip
def test_a_server_without_the_file_is_told(repose: Any, server: FileServer, cache: Path, path: str, said: str) -> None:
    with pytest.raises(ReposeError, match=said.format(address=server.address)):
        fetch_known("alexnet", server.address + path)
    out, err = repose("fetch", "alexnet", "--from", server.address + path, code=1)
    assert out == ""
    assert "repose: " in err
    assert not cached("alexnet").exists()


def test_another_file_never_gets_into_the_cache(
    repose: Any, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_as(monkeypatch, "alexnet", OTHER, f"{server.address}/alexnet.pth")
    _, err = repose("fetch", "alexnet", code=1)
    assert f"/alexnet.pth is not the file that was asked for: its SHA-256 should be {OTHER[:8]}, it is {SHA256}" in err
    assert not cached("alexnet").exists()


def test_a_file_that_is_cut_on_the_way_never_gets_into_the_cache(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(fetching, "ATTEMPTS", 1)
    with pytest.raises(ReposeError, match=r"/cut\.pth: .*gave up after 1 attempts"):
        fetch_known("alexnet", f"{server.address}/cut.pth")
    assert not cached("alexnet").exists()


def test_verify_tells_right_damaged_and_missing_files(repose: Any) -> None:
    assert state("alexnet") == (State.MISSING, "")
    out, _ = repose("verify")
    assert out.count(": not in the cache\n") == len(KNOWN)
    assert "A file is damaged or missing" in repose("verify", "alexnet", code=1)[1]
    cached("alexnet").parent.mkdir()
    cached("alexnet").write_bytes(BODY)
    assert repose("verify", "alexnet")[0] == f"alexnet: right, SHA-256 {SHA256}\n"
    cached("alexnet").write_bytes(BODY[:-1])
    out, err = repose("verify", code=1)
    assert "alexnet: another file, or damaged, SHA-256 " in out
    assert "Fetch it with `repose weights fetch NAME`" in err


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_a_name_that_there_is_not_is_told_with_the_nearest(repose: Any, command: str) -> None:
    assert "There are no weights called 'alexnets'. Did you mean 'alexnet'?" in repose(command, "alexnets", code=1)[1]


def test_a_stage_takes_a_named_file_or_the_cache_and_downloads_nothing(server: FileServer, tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    known_as(monkeypatch, "alexnet", SHA256, f"{server.address}/alexnet.pth")
    with pytest.raises(
        ReposeError, match=r"alexnet are not in the cache .*Run `repose weights fetch alexnet`, or name"
    ):
        located("alexnet", {})
    (tmp_path / "mine.pth").write_bytes(BODY)
    assert located("alexnet", {"alexnet": WeightsFile(str(tmp_path / "mine.pth"))}) == (tmp_path / "mine.pth", SHA256)
    cached("alexnet").parent.mkdir()
    cached("alexnet").write_bytes(BODY[1:])
    with pytest.raises(ReposeError, match=rf"is not the file that was asked for: its SHA-256 should be {SHA256[:8]}"):
        located("alexnet", {})
    cached("alexnet").write_bytes(BODY)
    assert located("alexnet", {}) == (cached("alexnet"), SHA256)
    assert server.asked == []
    named = {"alexnet": WeightsFile(f"{server.address}/alexnet.pth")}
    cached("alexnet").unlink()
    assert located("alexnet", named).sha256 == SHA256
    assert server.asked == ["/alexnet.pth"]  # this address the user named


def test_a_digest_of_ones_own_goes_before_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(BODY)
    with pytest.raises(ReposeError, match=rf"should be {OTHER}, it is {SHA256}"):
        located("alexnet", {"alexnet": WeightsFile(str(tmp_path / "mine.pth"), OTHER)})


@pytest.mark.parametrize(("given", "said"), [
    ({"alexnets": WeightsFile("x")}, r"weights names 'alexnets', which is no network\. Did you mean 'alexnet'\?"),
    ({"alexnet": WeightsFile("x", "xyz")}, "weights.alexnet: A sha256 is 64 hexadecimal digits"),
])  # fmt: skip
def test_settings_that_name_no_network_or_no_digest(given: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        weight_files.check_names(given)
