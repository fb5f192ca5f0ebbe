"""`repose weights` and the files of networks: from a path, a web server or S3, by digest, and never unless named."""

import hashlib
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fakes import known_as
from file_server import Server
from repose.errors import ReposeError
from repose.metrics.catalogue import _KINDS
from repose.storage import weight_files
from repose.storage.transfer import s3
from repose.storage.weight_files import KNOWN, WeightsFile, cache_folder, cached, fetch_known, locate, located

BODY = hashlib.shake_256(b"alexnet").digest(3000)
SHA256 = hashlib.sha256(BODY).hexdigest()
OTHER = "0" * 64


@pytest.fixture
def server(server: Server) -> Server:
    server.body = BODY
    return server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, in which AlexNet's file is BODY."""
    monkeypatch.setenv("REPOSE_CACHE", str(tmp_path / "cache"))
    known_as(monkeypatch, "alexnet", SHA256)
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The user's own copy of the file."""
    (tmp_path / "mine.pth").write_bytes(BODY)
    return tmp_path / "mine.pth"


def paths(server: Server) -> list[str]:
    return [asked["path"] for asked in server.asked]


@pytest.fixture
def repose(said_by: Any) -> Any:
    return partial(said_by, "weights")


@pytest.mark.parametrize(("variables", "folder"), [
    ({"REPOSE_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
    ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/repose"),
    ({"REPOSE_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/repose"),
])  # fmt: skip
def test_the_folder_of_the_cache(monkeypatch, variables, folder):
    for name in ("REPOSE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder)


def test_list_shows_every_file_and_whether_it_is_cached(repose, cache):
    cached("alexnet").write_bytes(BODY)
    out, _ = repose("list")
    for name, of in KNOWN.items():
        assert f"{name}: {of.source}\n  file     {of.file}\n  sha256   {of.sha256[:8]}..." in out
        assert f"  license  {of.licence}\n  from     {of.url}\n  used by  {of.used_by}\n" in out
        here = "in the cache" if name == "alexnet" else "not in the cache"
        assert f"  here     {here}: {cached(name)}\n" in out
    assert cached("alexnet") == cache / f"{SHA256[:8]}-alexnet-owt-7be5be79.pth"
    assert set(KNOWN["inception-tf-2015"].used_by.split(", ")) <= set(_KINDS)


def test_fetch_fetches_once_from_the_owner(repose, server, cache, monkeypatch):
    known_as(monkeypatch, "alexnet", SHA256, f"{server.address}/alexnet.pth")
    for _ in range(2):
        out, err = repose("fetch", "alexnet")
        assert out == f"{cached('alexnet')}\n"
        assert f"alexnet: license BSD-3-Clause, SHA-256 {SHA256}\n" in err
    assert cached("alexnet").read_bytes() == BODY
    assert paths(server) == ["/alexnet.pth"]
    known_as(monkeypatch, "alexnet", OTHER, f"{server.address}/alexnet.pth")
    assert f"its SHA-256 should be {OTHER[:8]}, it is {SHA256}" in repose("fetch", "alexnet", code=1)[1]
    assert len(list(cache.iterdir())) == 1


def wheel(folder: Path, members: Mapping[str, bytes]) -> None:
    """A wheel of mediapipe 0.10.21 for any platform, in a folder of wheels."""
    about = b"Metadata-Version: 2.1\nName: mediapipe\nVersion: 0.10.21\nRequires-Dist: numpy<2\n"
    own = {"METADATA": about, "WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n", "RECORD": b""}
    folder.mkdir()
    with zipfile.ZipFile(folder / "mediapipe-0.10.21-py3-none-any.whl", "w") as files:
        for name, content in {**members, **{f"mediapipe-0.10.21.dist-info/{name}": own[name] for name in own}}.items():
            files.writestr(name, content)


def test_blazepose_comes_out_of_a_wheel_from_where_pip_is_set_up_to_look(repose, tmp_path, monkeypatch):
    for name, value in {"CONFIG_FILE": os.devnull, "NO_INDEX": "1", "FIND_LINKS": str(tmp_path / "wheels")}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    detector, landmarks = KNOWN["blazepose"].members
    wheel(tmp_path / "wheels", {landmarks: BODY, detector: BODY[:9], "mediapipe/__init__.py": b""})
    other = re.search(
        "its SHA-256 should be 49081d133c65.*, it is ([0-9a-f]{64})", repose("fetch", "blazepose", code=1)[1]
    )
    assert other is not None
    monkeypatch.setitem(KNOWN, "blazepose", KNOWN["blazepose"]._replace(sha256=other[1]))
    out, err = repose("fetch", "blazepose")
    assert out == f"{cached('blazepose')}\n"
    assert f"blazepose: from pip:mediapipe==0.10.21\nblazepose: license Apache-2.0, SHA-256 {other[1]}\n" in err
    with tarfile.open(cached("blazepose")) as packed:
        assert packed.getnames() == ["pose_detection.tflite", "pose_landmark_full.tflite"]
        assert packed.extractfile("pose_landmark_full.tflite").read() == BODY  # type: ignore[union-attr]
    shutil.rmtree(tmp_path / "wheels")
    assert repose("fetch", "blazepose")[0] == out  # it is there
    cached("blazepose").rename(tmp_path / "packed.tar")
    message = r"pip cannot download mediapipe==0\.10\.21: .*No matching distribution.*--from"
    assert re.search(message, repose("fetch", "blazepose", code=1)[1])
    assert repose("fetch", "blazepose", "--from", str(tmp_path / "packed.tar"))[0] == out


def test_fetch_from_an_address_of_the_user_shows_no_secret(repose, server, mine):
    address = server.address.replace("//", "//ada:secret@")
    for origin in (str(mine), f"{address}/alexnet.pth?signature=hidden"):
        out, err = repose("fetch", "alexnet", "--from", origin)
        assert cached("alexnet").read_bytes() == BODY
        cached("alexnet").unlink()
        assert not any(word in out + err for word in ("secret", "hidden"))
    assert f"alexnet: from {server.address}/alexnet.pth\n" in err


def test_files_of_s3_are_fetched_once(endpoint, cache):
    address, client = "s3://networks/in/alexnet.pth", s3.client(endpoint)
    client.create_bucket(Bucket="networks")
    client.put_object(Bucket="networks", Key="in/alexnet.pth", Body=BODY)
    assert fetch_known("alexnet", address, endpoint=endpoint).sha256 == SHA256
    found = located("alexnet", {"alexnet": WeightsFile(address, SHA256, endpoint)})
    assert found == (cache / f"{SHA256[:16]}-alexnet.pth", SHA256)
    client.delete_object(Bucket="networks", Key="in/alexnet.pth")
    assert locate(address, SHA256, endpoint=endpoint).read_bytes() == BODY
    client.close()


def test_a_stage_takes_a_named_file_or_the_cache_and_downloads_nothing_else(server, mine, monkeypatch):
    known_as(monkeypatch, "alexnet", SHA256, f"{server.address}/alexnet.pth")
    with pytest.raises(ReposeError, match=r"not in the cache .*Run `repose weights fetch alexnet`, or give"):
        located("alexnet", {})
    assert located("alexnet", {"alexnet": WeightsFile(str(mine))}) == (mine, SHA256)
    with pytest.raises(ReposeError, match=rf"should be {OTHER}, it is {SHA256}"):
        located("alexnet", {"alexnet": WeightsFile(str(mine), OTHER)})
    cached("alexnet").write_bytes(BODY[1:])
    with pytest.raises(ReposeError, match=rf"is another file than expected: its SHA-256 should be {SHA256[:8]}"):
        located("alexnet", {})
    cached("alexnet").write_bytes(BODY)
    assert located("alexnet", {}) == (cached("alexnet"), SHA256)
    assert paths(server) == []
    cached("alexnet").unlink()
    found = located("alexnet", {"alexnet": WeightsFile(f"{server.address}/..%2Falex%00net.pth")})
    assert found == (cached("alexnet").with_name(f"{SHA256[:8]}-alex_net.pth"), SHA256)
    assert paths(server) == ["/..%2Falex%00net.pth"]


def test_a_local_file_is_used_where_it_lies(mine, cache, monkeypatch):
    monkeypatch.setenv("HOME", str(mine.parent))
    assert locate(str(mine), SHA256[:8].upper()) == locate("~/mine.pth", SHA256) == mine
    assert list(cache.iterdir()) == []
    with pytest.raises(ReposeError, match=r"mine\.pth have no sha256. Give at least its first 8 digits"):
        locate(str(mine), "")
    with pytest.raises(ReposeError, match=r"There are no weights at gone\.pth\. Correct the path in params\.yaml\."):
        locate("gone.pth", SHA256)


def test_an_unknown_name_is_an_error_with_the_nearest(repose):
    assert "There are no weights called 'alexnets'. Did you mean 'alexnet'?" in repose("fetch", "alexnets", code=1)[1]
    with pytest.raises(
        ValueError, match="weights has 'blazepose', which no metric uses; known: inception-tf-2015, alexnet"
    ):
        weight_files.check_names({"blazepose": WeightsFile("x")})
