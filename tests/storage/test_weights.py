"""Weights by digest: from a path, a web server or S3, once."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from repose.errors import ReposeError
from repose.storage.transfer import s3
from repose.storage.weights import cache_folder, locate
from serving import Answer, FileServer, serving

BODY = hashlib.shake_256(b"weights").digest(5000)
SHA256 = hashlib.sha256(BODY).hexdigest()
OTHER = "0" * 64


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "*")
    server = FileServer(dict.fromkeys(("/vgg19.pth", "/vgg19-dcbb9e9d.pth"), Answer(BODY)), Answer(b"", status=404))
    with serving(server):
        yield server


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPOSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"REPOSE_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/repose"),
        ({"REPOSE_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/repose"),
        ({"HOME": "/c"}, "/c/.cache/repose"),
    ],
)
def test_where_fetched_weights_stay(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str) -> None:
    for name in ("REPOSE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder)


@pytest.mark.parametrize("digits", [8, 16, 64])
def test_a_local_file_is_used_where_it_lies(tmp_path: Path, cache: Path, digits: int) -> None:
    path = tmp_path / "vgg19.pth"
    path.write_bytes(BODY)
    assert locate(str(path), SHA256[:digits]) == path
    assert locate(str(path), SHA256[:digits].upper()) == path
    assert files(cache) == {}


def test_a_local_path_may_start_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.pth").write_bytes(BODY)
    assert locate("~/w.pth", SHA256) == tmp_path / "w.pth"


def test_a_local_file_of_another_digest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vgg19.pth"
    path.write_bytes(BODY)
    with pytest.raises(
        ReposeError, match=rf"{path} is not the file that was asked for.*should be 00000000, it is {SHA256}"
    ):
        locate(str(path), OTHER[:8])


@pytest.mark.parametrize("digits", ["dcbb9e9", "not-hexadecimal", "0" * 65])
def test_what_is_no_digest_is_refused(tmp_path: Path, cache: Path, digits: str) -> None:
    (tmp_path / "w.pth").write_bytes(BODY)
    for address in (str(tmp_path / "w.pth"), "http://127.0.0.1:1/w.pth"):
        with pytest.raises(ReposeError, match="A sha256 is 64 hexadecimal digits"):
            locate(address, digits)
    assert files(cache) == {}


def test_a_digest_has_to_be_given(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(BODY)
    with pytest.raises(ReposeError, match=r"w\.pth need a sha256 \(at least its first 8 digits\), which is not given"):
        locate(str(tmp_path / "w.pth"), "")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "w.pth", tmp_path):
        with pytest.raises(ReposeError, match=rf"There are no weights at {path}\. Correct the path in params\.yaml\."):
            locate(str(path), SHA256)


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(ReposeError, match="cannot fetch from ftp://"):
        locate("ftp://example.org/w.pth", SHA256)


def test_weights_of_a_web_server_are_fetched_once(server: FileServer, cache: Path) -> None:
    address = f"{server.address}/vgg19-dcbb9e9d.pth?signature=1"
    path = locate(address, SHA256[:8])
    assert path == cache / f"{SHA256[:8]}-vgg19-dcbb9e9d.pth"
    assert files(cache) == {path.name: BODY}
    assert locate(address, SHA256[:8]) == path
    assert server.asked == ["/vgg19-dcbb9e9d.pth?signature=1"]
    whole = locate(address, SHA256)
    assert whole == cache / f"{SHA256[:16]}-vgg19-dcbb9e9d.pth"
    assert whole.read_bytes() == BODY


def test_weights_that_were_damaged_in_the_cache_are_fetched_again(server: FileServer, cache: Path) -> None:
    path = locate(f"{server.address}/vgg19.pth", SHA256)
    path.write_bytes(b"damaged")
    assert locate(f"{server.address}/vgg19.pth", SHA256).read_bytes() == BODY
    assert len(server.asked) == 2


def test_weights_of_another_digest_never_reach_the_cache(server: FileServer, cache: Path) -> None:
    with pytest.raises(ReposeError, match=rf"/vgg19\.pth is not the file that was asked for.*{OTHER}, it is {SHA256}"):
        locate(f"{server.address}/vgg19.pth", OTHER)
    assert not any(name.startswith("0000") for name in files(cache))


def test_weights_that_a_web_server_does_not_have_are_told(server: FileServer, cache: Path) -> None:
    with pytest.raises(ReposeError, match=rf"There is no {server.address}/other\.pth \(HTTP 404\)"):
        locate(f"{server.address}/other.pth", SHA256)


def test_weights_of_s3_are_fetched_once(endpoint: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = s3.client(endpoint)
    client.create_bucket(Bucket="weights")
    client.put_object(Bucket="weights", Key="in/vgg19.pth", Body=BODY)
    with pytest.raises(ReposeError, match=r"s3://weights/in/vgg19\.pth is not the file that was asked for"):
        locate("s3://weights/in/vgg19.pth", OTHER, endpoint=endpoint)
    path = locate("s3://weights/in/vgg19.pth", SHA256, endpoint=endpoint)
    assert path == cache / f"{SHA256[:16]}-vgg19.pth"
    assert path.read_bytes() == BODY
    client.delete_object(Bucket="weights", Key="in/vgg19.pth")
    assert locate("s3://weights/in/vgg19.pth", SHA256, endpoint=endpoint) == path
    client.close()
