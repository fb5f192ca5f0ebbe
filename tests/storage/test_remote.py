"""DVC's remote as the steps use it: a folder, S3 (moto, through a proxy that fails), and the errors of remotes."""

import errno
import hashlib
import os
import shutil
import ssl
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiobotocore.response import StreamingBody
from botocore import exceptions
from dvc.repo import Repo

from faulty_proxy import Fault
from repose.errors import ReposeError
from repose.storage import remote as module
from repose.storage.remote import Remote
from s3_cases import Storage

SMALL = b"a small object"
LARGE = 3 * module._PART + 17  # bytes: several parts
Made = Callable[..., Remote]


def oid_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def key_of(oid: str) -> str:
    return f"files/md5/{oid[:2]}/{oid[2:]}"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A remote at an address, of a project of its own in the folder `project`."""
    monkeypatch.setattr(module, "_WAIT", 0.01)
    monkeypatch.delenv("AWS_MAX_ATTEMPTS", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    def make(url: str | Path, **options: str | int) -> Remote:
        lines = ["[core]", "no_scm = true", "remote = store", f"site_cache_dir = {tmp_path / 'site'}"]
        lines += ["['remote \"store\"']", *(f"{k} = {v}" for k, v in {"url": url, **options}.items())]
        (tmp_path / "project" / ".dvc").mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / ".dvc" / "config").write_text("\n".join(lines))
        return Remote(Repo(str(tmp_path / "project")))

    return make


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    """DVC's cache of another project, empty."""
    (tmp_path / "other" / ".dvc").mkdir(parents=True)
    (tmp_path / "other" / ".dvc" / "config").write_text(f"[core]\nno_scm = true\nsite_cache_dir = {tmp_path / 'site'}")
    return Repo(str(tmp_path / "other")).cache.local


def cached(cache: Any, content: bytes, ending: str = "") -> str:
    oid = oid_of(content) + ending
    place = Path(cache.oid_to_path(oid))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return oid


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def folder(made: Made, tmp_path: Path) -> Remote:
    return made(tmp_path / "store")


@pytest.fixture
def s3(made: Made, storage: Storage) -> Remote:
    return made(f"s3://{storage.bucket}/a/b", endpointurl=storage.proxy.address)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> Remote:
    store: Remote = request.getfixturevalue(request.param)
    return store


def test_files_are_written_read_listed_and_deleted(store: Remote, tmp_path: Path) -> None:
    assert store.read("x/y.json") is None
    assert store.names("x") == []
    assert store.download("x/y.json", tmp_path / "here") is False
    for name, content in (("x/y.json", b"1"), ("x/z/w", b""), ("xx", b""), ("x/.y.partial", b"")):
        store.write(name, content)
    assert store.read("x/y.json") == b"1"
    assert store.names("x") == ["x/y.json", "x/z/w"]
    assert store.download("x/y.json", tmp_path / "here") is True
    assert (tmp_path / "here").read_bytes() == b"1"
    for _ in range(2):
        store.delete("x/y.json")
    assert store.names("x") == ["x/z/w"]


def test_objects_are_pushed_and_fetched_once(store: Remote, cache: Any) -> None:
    oids = {cached(cache, SMALL), cached(cache, b""), cached(cache, b"[]", ".dir")}
    assert store.has(oids) == set()
    for _ in range(2):
        store.push(oids, cache)
    assert store.has([*oids, "0" * 32]) == oids
    assert (store.moved.pushed, store.moved.pushed_bytes) == (3, len(SMALL) + 2)
    shutil.rmtree(cache.path)
    for _ in range(2):
        store.fetch(oids, cache)
    assert all(oid_of(Path(cache.oid_to_path(oid)).read_bytes()) == oid.removesuffix(".dir") for oid in oids)
    assert store.object(oid_of(SMALL)) == SMALL
    assert (store.moved.fetched, store.moved.fetched_bytes) == (4, 2 * len(SMALL) + 2)


def test_lists_of_folders_come_after_their_files(folder: Remote, cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    oids = {cached(cache, bytes([n])) for n in range(20)} | {cached(cache, b"[]", ".dir")}
    order: list[str] = []
    monkeypatch.setattr(folder, "upload", lambda _, key: order.append(key))
    folder.push(oids, cache)
    assert [key.endswith(".dir") for key in order] == [False] * 20 + [True]


def test_missing_and_changed_objects_are_errors(store: Remote, cache: Any) -> None:
    oid = oid_of(SMALL)
    missing = f"The object {oid} is not in the remote .*Run its stage again"
    changed = f"has changed: .* MD5 {oid_of(b'other')}.*Delete {key_of(oid)}"
    for message in (missing, changed):
        for get in (lambda: store.object(oid), lambda: store.fetch([oid], cache)):
            with pytest.raises(ReposeError, match=message):
                get()
        store.write(key_of(oid), b"other")
    assert files(Path(cache.path).parent) == []


def test_files_that_others_write_meanwhile_are_seen(s3: Remote, storage: Storage) -> None:
    s3.write("x/1", b"")
    assert s3.names("x") == ["x/1"]
    storage.put("a/b/x/2", b"")
    assert s3.names("x") == ["x/1", "x/2"]
    oid = oid_of(SMALL)
    assert s3.has([oid]) == set()
    storage.put(f"a/b/{key_of(oid)}", SMALL)
    assert s3.has([oid]) == {oid}


@pytest.mark.parametrize("prefix", ["", "/", "/a/b"])
def test_a_missing_bucket_is_an_error_and_an_empty_folder_is_not(
    made: Made, storage: Storage, prefix: str, tmp_path: Path
) -> None:
    store = made(f"s3://{storage.bucket}{prefix}", endpointurl=storage.proxy.address)
    store.read("any")
    assert store.read("x") is None
    assert storage.proxy.count("GET", "list-type=2") == 1  # asked once
    gone = made(f"s3://{storage.bucket}-gone{prefix}", endpointurl=storage.proxy.address)
    place = tmp_path / "here"
    for use in (lambda: gone.read("x"), lambda: gone.download("x", place), lambda: gone.write("x", b"")):
        with pytest.raises(ReposeError, match=f"There is no s3://{storage.bucket}-gone.* create the bucket"):
            use()
    assert not place.exists()


@pytest.mark.parametrize("lasts", [False, True])
def test_a_download_that_is_cut_resumes_or_leaves_nothing(
    s3: Remote, storage: Storage, cache: Any, lasts: bool
) -> None:
    content = os.urandom(200_000)
    oid = oid_of(content)
    storage.put(f"a/b/{key_of(oid)}", content)
    storage.proxy.fail(
        Fault(drop_response=1 if lasts else 70_000, methods="GET", paths="md5", times=30 if lasts else 3)
    )
    if lasts:
        for get in (lambda: s3.fetch([oid], cache), lambda: s3.download(key_of(oid), Path(cache.path) / "here")):
            with pytest.raises(ReposeError, match=r"does not answer .*run the step again"):
                get()
        assert files(Path(cache.path)) == []
    else:
        s3.fetch([oid], cache)
        assert files(Path(cache.path)) == [f"{oid[:2]}/{oid[2:]}"]
        assert any(request.range for request in storage.proxy.requests)


@pytest.mark.parametrize("size", [1000, LARGE])
def test_an_upload_that_is_cut_leaves_nothing(
    s3: Remote, storage: Storage, cache: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(size)
    oid = cached(cache, content)
    with monkeypatch.context() as once:
        once.setattr(module, "_TRIES", 1)
        storage.proxy.fail(Fault(drop_request=500, methods="PUT"))
        with pytest.raises(ReposeError, match=r"does not answer \(to write files/md5/"):
            s3.push([oid], cache)
    assert storage.bodies() == {}
    assert s3.moved.pushed == 0
    storage.proxy.fail(Fault(drop_request=500, methods="PUT", times=1))
    s3.push([oid], cache)
    assert storage.bodies() == {f"a/b/{key_of(oid)}": content}
    assert storage.client.list_multipart_uploads(Bucket=storage.bucket).get("Uploads", []) == []


def test_transfers_with_s3_hold_no_more_than_parts_in_memory(
    s3: Remote, storage: Storage, cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto keeps objects in this process, so the sizes that are handled stand in for the memory."""
    sent: list[int] = []
    call = s3._fs.fs._call_s3

    async def noted_call(method: str, *arguments: Any, **more: Any) -> Any:
        sent.append(len(more.get("Body", b"")))
        return await call(method, *arguments, **more)

    s3._fs.fs._call_s3 = noted_call
    oid = cached(cache, bytes(60_000_000))  # s3fs by itself fetches more than 50 MiB in parts at once
    s3.push([oid], cache)
    assert max(sent) == module._PART
    assert sum(sent) == 60_000_000
    read = StreamingBody.read
    received: list[int] = []

    async def noted_read(body: StreamingBody, amt: int | None = None) -> bytes:
        block: bytes = await read(body, amt)
        received.append(len(block))
        return block

    monkeypatch.setattr(StreamingBody, "read", noted_read)
    shutil.rmtree(cache.path)
    storage.proxy.fail()
    s3.fetch([oid], cache)
    assert sum(received) == 60_000_000
    assert max(received) <= 2**16
    assert storage.proxy.count("GET") == 1


def test_transfers_with_a_folder_hold_no_more_than_blocks_in_memory(folder: Remote, cache: Any) -> None:
    oid = cached(cache, bytes(40_000_000))
    tracemalloc.start()
    try:
        folder.push([oid], cache)
        shutil.rmtree(cache.path)
        folder.fetch([oid], cache)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_large_upload_has_no_more_parts_than_s3_takes(s3: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, int] = {}
    monkeypatch.setattr(s3._fs, "put_file", lambda *_, **how: asked.update(how))
    s3._put(Path("x"), 10**12, "x")
    assert asked == {"chunksize": 10**8, "max_concurrency": 2}


def test_several_processes_may_fetch_into_one_cache(made: Made, cache: Any, tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    oid, stores = oid_of(content), [made(tmp_path / "store") for _ in range(4)]
    stores[0].write(key_of(oid), content)
    for _ in range(10):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda store: store.fetch([oid], cache), stores))
        assert files(Path(cache.path)) == [f"{oid[:2]}/{oid[2:]}"]
        assert Path(cache.oid_to_path(oid)).read_bytes() == content
        shutil.rmtree(cache.path)


@pytest.mark.parametrize(("seconds", "tries"), [(30, 2), (0, module._TRIES)])
def test_a_lost_remote_is_given_up_in_time(
    folder: Remote, monkeypatch: pytest.MonkeyPatch, seconds: int, tries: int
) -> None:
    times: list[float] = [0]

    def lost() -> None:
        times.append(times[-1] + seconds)
        raise ConnectionResetError("gone")

    monkeypatch.setattr(time, "monotonic", lambda: times[-1])
    with pytest.raises(ReposeError, match=r"does not answer \(to look\): gone\. Is it up"):
        folder._retry(lost, "look")
    assert len(times) == 1 + tries


def test_one_try_is_one_request(s3: Remote, storage: Storage, monkeypatch: pytest.MonkeyPatch, made: Made) -> None:
    storage.proxy.fail(Fault(status=503, code="InternalError"))
    with pytest.raises(ReposeError, match="does not answer"):
        s3.names("x")
    assert storage.proxy.count() == module._TRIES
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")  # unless the user asks for more
    store = made(f"s3://{storage.bucket}/a", endpointurl=storage.proxy.address)
    monkeypatch.setattr(module, "_TRIES", 1)
    storage.proxy.fail(Fault(status=503, code="InternalError"))
    with pytest.raises(ReposeError, match="does not answer"):
        store.names("x")
    assert storage.proxy.count() == 3


def test_a_folder_that_cannot_be_written_to_keeps_no_half_file(
    folder: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_: Path, place: Path) -> None:
        place.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(shutil, "copyfile", half)
        with pytest.raises(ReposeError, match=r"No space left on the disk while writing .*store/x/y"):
            folder.write("x/y", b"whole")
    assert files(tmp_path / "store") == []
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "store").write_text("")
    with pytest.raises(ReposeError, match=r"Cannot write .*store/x: File exists"):
        folder.write("x", b"")
    with pytest.raises(ReposeError, match=r"cannot read x: .*Not a directory"):
        folder.read("x")


@pytest.mark.parametrize(("code", "message"), [
    (errno.ENOSPC, "No space left on the disk while writing {place}"),
    (errno.EACCES, "Cannot write {place}: Permission denied"),
])  # fmt: skip
def test_a_full_or_closed_disk_here_is_no_error_of_the_remote(
    folder: Remote, cache: Any, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    def fail(_: str, here: str, **__: Any) -> None:
        raise OSError(code, os.strerror(code), here)

    folder.write(key_of(oid := oid_of(SMALL)), SMALL)
    monkeypatch.setattr(folder._fs, "get_file", fail)
    place = Path(cache.path) / "here"
    with pytest.raises(ReposeError, match=message.format(place=place)):
        folder.download(key_of(oid), place)
    with pytest.raises(ReposeError, match=message.format(place=cache.oid_to_path(oid))):
        folder.fetch([oid], cache)
    assert files(Path(cache.path)) == []


def test_a_remote_that_dvc_cannot_use_is_an_error(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match="DVC's remote cannot be used: gs is supported, but requires 'dvc-gs'"):
        made("gs://bucket/x")
    made(tmp_path / "store")
    with pytest.raises(ReposeError, match=r"DVC's remote cannot be used: .*remote 'none' doesn't exist"):
        Remote(Repo(str(tmp_path / "project")), "none")


def test_addresses_and_errors_show_no_password(made: Made) -> None:
    store = made("http://me:s3cret@127.0.0.1:1/store?token=t0ken")
    assert store.address == "http://127.0.0.1:1/store"
    with pytest.raises(ReposeError, match="cannot list x: NotImplementedError") as caught:
        store.names("x")
    with pytest.raises(ReposeError, match="does not answer") as caught_too:
        store.read("x")
    assert not any(secret in f"{caught.value}{caught_too.value}" for secret in ("s3cret", "t0ken"))
    url = "http://me:s3cret@host/b?X-Amz-Signature=s1gnature&x=1"
    for error in (exceptions.ReadTimeoutError(endpoint_url=url, error="slow"), OSError(f"no {url} there")):
        _, message = module._explain(error, "s3://b", "look")
        assert "http://host/b" in message
        assert not any(secret in message for secret in ("s3cret", "s1gnature"))


def answer(status: int, code: str) -> exceptions.ClientError:
    response = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(response, "GetObject")


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(("error", "again", "message"), [
    (exceptions.NoCredentialsError(), False, "There are no credentials .*Unable to locate credentials"),
    (exceptions.ProfileNotFound(profile="me"), False, "There are no credentials .*me"),
    (answer(403, "RequestTimeTooSkewed"), False, "correct this machine's clock"),
    (answer(401, "Unauthorized"), False, r"refuses to look \(Unauthorized\)\. Check the credentials"),
    (caused(PermissionError("Forbidden"), answer(403, "403")), False, r"refuses to look \(403\)"),
    (caused(OSError(errno.EINVAL, "Bad Request"), answer(400, "400")), False, r"refuses to look \(400\)"),
    (answer(400, "ExpiredToken"), False, r"refuses to look \(ExpiredToken\)"),
    (PermissionError(errno.EACCES, "Permission denied"), False, "cannot look: .*Permission denied"),
    (caused(FileNotFoundError("x"), answer(404, "NoSuchBucket")), False, "There is no s3://b .*create the bucket"),
    (FileNotFoundError("x"), False, "There is no s3://b"),
    (ssl.SSLCertVerificationError("self-signed"), False, "cannot look: .*self-signed"),
    (exceptions.EndpointConnectionError(endpoint_url="u", error="e"), True, "does not answer"),
    (exceptions.ConnectionClosedError(endpoint_url="u"), True, "does not answer"),
    (exceptions.SSLError(endpoint_url="u", error="self-signed"), True, "self-signed.* trust its certificate"),
    (aiohttp.ClientPayloadError("cut"), True, r"does not answer \(to look\): cut\. Is it up"),
    (TimeoutError(), True, r"does not answer \(to look\): TimeoutError\."),
    (caused(OSError(errno.EBUSY, "Service Unavailable"), answer(503, "503")), True, "does not answer"),
    (answer(400, "RequestTimeout"), True, "does not answer"),
    (answer(429, "TooManyRequests"), True, "does not answer"),
    (answer(301, "PermanentRedirect"), False, "cannot look: .*PermanentRedirect"),
    (exceptions.ParamValidationError(report="bad"), False, "cannot look: .*bad"),
    (OSError(errno.EIO, "Input/output error\nmore."), False, r"cannot look: .*Input/output error more\.$"),
])  # fmt: skip
def test_errors_of_a_remote_are_explained(error: Exception, again: bool, message: str) -> None:
    found = module._explain(error, "s3://b", "look")
    assert found[0] is again
    with pytest.raises(ReposeError, match=message):
        raise ReposeError(found[1])


def test_a_defect_of_repose_is_not_hidden(folder: Remote) -> None:
    def defect() -> None:
        try:
            raise ConnectionResetError
        except ConnectionResetError:
            raise ValueError("a defect") from None

    with pytest.raises(ValueError, match="a defect"):
        folder._retry(defect, "look")
