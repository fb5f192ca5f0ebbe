"""DVC's remote as the steps use it: a folder, S3 (moto, through a proxy that fails), and what every error is told as."""

import errno
import hashlib
import os
import shutil
import ssl
import threading
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


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, made: Made, tmp_path: Path) -> Remote:
    if request.param == "folder":
        return made(tmp_path / "store")
    storage: Storage = request.getfixturevalue("storage")
    return made(f"s3://{storage.bucket}/a/b", endpointurl=storage.proxy.address)


@pytest.fixture
def s3(made: Made, storage: Storage) -> Remote:
    return made(f"s3://{storage.bucket}/a/b", endpointurl=storage.proxy.address)


def test_what_is_written_is_read_listed_and_deleted(store: Remote, tmp_path: Path) -> None:
    store.read("any")
    assert store.read("x/y.json") is None
    assert store.names("x") == []
    assert store.download("x/y.json", tmp_path / "here") is False
    store.write("x/y.json", b"1")
    store.write("x/z/w", b"")
    store.write("xx", b"")
    assert store.read("x/y.json") == b"1"
    assert store.names("x") == ["x/y.json", "x/z/w"]
    assert store.download("x/y.json", tmp_path / "here") is True
    assert (tmp_path / "here").read_bytes() == b"1"
    store.delete("x/y.json")
    store.delete("x/y.json")
    assert store.names("x") == ["x/z/w"]


def test_objects_go_there_and_come_back(store: Remote, cache: Any) -> None:
    oids = {cached(cache, SMALL), cached(cache, b""), cached(cache, b"[]", ".dir")}
    assert store.has(oids) == set()
    store.push(oids, cache)
    assert store.has([*oids, "0" * 32]) == oids
    store.push(oids, cache)
    assert (store.moved.pushed, store.moved.pushed_bytes) == (3, len(SMALL) + 2)
    shutil.rmtree(cache.path)
    store.fetch(oids, cache)
    store.fetch(oids, cache)
    assert all(oid_of(Path(cache.oid_to_path(oid)).read_bytes()) == oid.removesuffix(".dir") for oid in oids)
    assert store.object(oid_of(SMALL)) == SMALL
    assert (store.moved.fetched, store.moved.fetched_bytes) == (4, 2 * len(SMALL) + 2)


def test_lists_come_after_what_they_list(store: Remote, cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    oids = {cached(cache, bytes([n])) for n in range(20)} | {cached(cache, b"[]", ".dir")}
    order: list[str] = []
    monkeypatch.setattr(store, "upload", lambda _, key: order.append(key))
    store.push(oids, cache)
    assert order[-1].endswith(".dir")
    assert len(order) == 21


def test_missing_and_changed_objects(store: Remote, cache: Any) -> None:
    oid = oid_of(SMALL)
    for get in (lambda: store.object(oid), lambda: store.fetch([oid], cache)):
        with pytest.raises(
            ReposeError, match=f"The object {oid} is not in the remote .*Run the stage that made it again"
        ):
            get()
    store.write(f"files/md5/{oid[:2]}/{oid[2:]}", b"other")
    for get in (lambda: store.object(oid), lambda: store.fetch([oid], cache)):
        with pytest.raises(
            ReposeError, match=f"has changed: .* MD5 {oid_of(b'other')}.*Delete files/md5/{oid[:2]}/{oid[2:]}"
        ):
            get()
    assert files(Path(cache.path).parent) == []


def test_what_others_wrote_meanwhile_is_seen(s3: Remote, storage: Storage) -> None:
    s3.write("x/1", b"")
    assert s3.names("x") == ["x/1"]
    storage.put("a/b/x/2", b"")
    assert s3.names("x") == ["x/1", "x/2"]
    oid = oid_of(SMALL)
    assert s3.names("files") == []
    assert s3.has([oid]) == set()
    storage.put(f"a/b/files/md5/{oid[:2]}/{oid[2:]}", SMALL)
    assert s3.has([oid]) == {oid}


@pytest.mark.parametrize("prefix", ["", "/", "/a", "/a/b"])
def test_a_bucket_that_is_missing_is_told_and_an_empty_folder_is_not(
    made: Made, storage: Storage, prefix: str, tmp_path: Path
) -> None:
    store = made(f"s3://{storage.bucket}{prefix}", endpointurl=storage.proxy.address)
    store.read("any")
    assert store.read("x") is None
    assert storage.proxy.count("GET", "list-type=2") == 1  # asked once
    gone = made(f"s3://{storage.bucket}-gone{prefix}", endpointurl=storage.proxy.address)
    place = tmp_path / "here"
    for use in (lambda: gone.read("x"), lambda: gone.download("x", place), lambda: gone.write("x", b"")):
        with pytest.raises(ReposeError, match=f"There is no s3://{storage.bucket}-gone.* make the bucket"):
            use()
    assert not place.exists()


@pytest.mark.parametrize("lasts", [False, True])
def test_a_download_that_is_cut(s3: Remote, storage: Storage, cache: Any, lasts: bool) -> None:
    content = os.urandom(200_000)
    oid = oid_of(content)
    storage.put(f"a/b/files/md5/{oid[:2]}/{oid[2:]}", content)
    storage.proxy.fail(
        Fault(drop_response=1 if lasts else 70_000, methods="GET", paths="md5", times=30 if lasts else 3)
    )
    if lasts:
        with pytest.raises(ReposeError, match=r"does not answer .*run the step again"):
            s3.fetch([oid], cache)
        with pytest.raises(ReposeError, match="does not answer"):
            s3.download(f"files/md5/{oid[:2]}/{oid[2:]}", Path(cache.path) / "here")
        assert files(Path(cache.path)) == []
    else:
        s3.fetch([oid], cache)
        assert files(Path(cache.path)) == [f"{oid[:2]}/{oid[2:]}"]
        assert any(request.range for request in storage.proxy.requests)  # it went on where it was cut


@pytest.mark.parametrize("size", [1000, LARGE])
def test_an_upload_that_is_cut_leaves_nothing_and_goes_on(
    s3: Remote, storage: Storage, cache: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(size)
    oid = cached(cache, content)
    monkeypatch.setattr(module, "_TRIES", 1)
    storage.proxy.fail(Fault(drop_request=500, methods="PUT"))
    with pytest.raises(ReposeError, match=r"does not answer \(to write files/md5/"):
        s3.push([oid], cache)
    assert storage.bodies() == {}
    assert s3.moved.pushed == 0
    storage.proxy.fail(Fault(drop_request=500, methods="PUT", times=1))
    s3.push([oid], cache)
    assert storage.bodies() == {f"a/b/files/md5/{oid[:2]}/{oid[2:]}": content}
    uploads = storage.client.list_multipart_uploads(Bucket=storage.bucket).get("Uploads", [])
    assert uploads == []


def test_an_upload_holds_no_more_than_parts(s3: Remote, cache: Any) -> None:
    """moto keeps objects in this process, so the sizes that are handled stand in for the memory."""
    sizes: list[int] = []
    real = s3._fs.fs._call_s3

    async def noted(method: str, *arguments: Any, **more: Any) -> Any:
        sizes.append(len(more.get("Body", b"")))
        return await real(method, *arguments, **more)

    s3._fs.fs._call_s3 = noted
    s3.push([cached(cache, bytes(LARGE))], cache)
    assert max(sizes) == module._PART
    assert sum(sizes) == LARGE


@pytest.mark.parametrize("how", ["fetch", "download"])
def test_a_download_holds_no_more_than_blocks(
    s3: Remote, storage: Storage, cache: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    content = os.urandom(1000) * 60_000  # s3fs by itself takes more than 50 MiB in parts
    oid, sizes = oid_of(content), []
    key = f"files/md5/{oid[:2]}/{oid[2:]}"
    storage.put(f"a/b/{key}", content)
    real = StreamingBody.read

    async def noted(body: StreamingBody, amt: int | None = None) -> bytes:
        block: bytes = await real(body, amt)
        sizes.append(len(block))
        return block

    monkeypatch.setattr(StreamingBody, "read", noted)
    if how == "fetch":
        s3.fetch([oid], cache)
    else:
        s3.download(key, tmp_path / "here")
    assert sum(sizes) == len(content)
    assert max(sizes) <= 2**16
    assert storage.proxy.count("GET") == 1


def test_a_folder_is_copied_in_blocks(made: Made, cache: Any, tmp_path: Path) -> None:
    store = made(tmp_path / "store")
    oid = cached(cache, bytes(40_000_000))
    tracemalloc.start()
    try:
        store.push([oid], cache)
        shutil.rmtree(cache.path)
        store.fetch([oid], cache)
        store.download(f"files/md5/{oid[:2]}/{oid[2:]}", tmp_path / "here")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_parts_of_an_upload_are_no_more_than_s3_takes(
    s3: Remote, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, int] = {}
    monkeypatch.setattr(s3._fs, "put_file", lambda *_, **how: asked.update(how))
    s3._put(tmp_path, 10**12, "x")
    assert asked == {"chunksize": 10**8, "max_concurrency": 2}


def test_counts_of_many_threads_add_up(made: Made, tmp_path: Path) -> None:
    store = made(tmp_path / "store")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: [store._count_fetched(3) for _ in range(2000)], range(16)))
    assert (store.moved.fetched, store.moved.fetched_bytes) == (32_000, 96_000)


def test_two_processes_may_fetch_into_one_cache(made: Made, cache: Any, tmp_path: Path) -> None:
    """Each writes to a file of its own until it is whole."""
    content = os.urandom(1_000_000)
    oid = oid_of(content)
    made(tmp_path / "store").write(f"files/md5/{oid[:2]}/{oid[2:]}", content)
    stores = [made(tmp_path / "store") for _ in range(4)]
    place = Path(cache.oid_to_path(oid))
    for _ in range(10):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda store: store._fetch(oid, place), stores))
        assert files(Path(cache.path)) == [f"{oid[:2]}/{oid[2:]}"]
        assert place.read_bytes() == content


def test_after_a_failure_no_other_transfer_begins(made: Made, tmp_path: Path) -> None:
    begun: list[str] = []

    def work(name: str) -> None:
        begun.append(name)
        time.sleep(0.01)
        raise ReposeError("lost")

    with pytest.raises(ReposeError, match="lost"):
        made(tmp_path / "store")._at_once(work, [str(n) for n in range(1000)])
    assert len(begun) <= module._AT_ONCE


def test_a_transfer_that_was_not_begun_says_so(made: Made, tmp_path: Path) -> None:
    """It is told only where all the threads that began it were stopped."""
    store, go = made(tmp_path / "store"), threading.Event()

    def work(name: str) -> str:
        if name == "0":  # ends well, after the others
            go.wait(10)
            return name
        if name == "1":
            raise ReposeError("lost")
        return name

    threading.Timer(0.2, go.set).start()
    with pytest.raises(ReposeError, match=r"lost|was not begun"):
        store._at_once(work, [str(n) for n in range(100)])


def test_a_remote_that_stays_lost_is_given_up_in_time(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, tries = made(tmp_path / "store"), []
    now = 0.0

    def lost() -> None:
        nonlocal now
        now += 30
        tries.append(now)
        raise ConnectionResetError("gone")

    monkeypatch.setattr(time, "monotonic", lambda: now)
    with pytest.raises(ReposeError, match=r"does not answer \(to look\): gone\. Is it up"):
        store._tried(lost, "look")
    assert tries == [30, 60]
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    tries.clear()
    with pytest.raises(ReposeError, match="does not answer"):
        store._tried(lost, "look")
    assert len(tries) == module._TRIES


def test_one_request_for_one_try(s3: Remote, storage: Storage, monkeypatch: pytest.MonkeyPatch, made: Made) -> None:
    storage.proxy.fail(Fault(status=503, code="InternalError"))
    with pytest.raises(ReposeError, match="does not answer"):
        s3.names("x")
    assert storage.proxy.count() == module._TRIES
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")  # who says so gets it
    store = made(f"s3://{storage.bucket}/a", endpointurl=storage.proxy.address)
    monkeypatch.setattr(module, "_TRIES", 1)
    storage.proxy.fail(Fault(status=503, code="InternalError"))
    with pytest.raises(ReposeError, match="does not answer"):
        store.names("x")
    assert storage.proxy.count() == 3


def test_hidden_files_of_a_folder_are_no_names(made: Made, tmp_path: Path) -> None:
    store = made(tmp_path / "store")
    store.write("runs/ab/x", b"")
    (tmp_path / "store" / "runs" / "ab" / ".x.partial").write_text("half")
    assert store.names("runs") == ["runs/ab/x"]


def test_a_file_in_the_place_of_a_folder(made: Made, tmp_path: Path, cache: Any) -> None:
    (tmp_path / "store").write_text("")
    store = made(tmp_path / "store")
    with pytest.raises(ReposeError, match=f"The remote {tmp_path / 'store'} cannot write x: .*"):
        store.write("x", b"")
    with pytest.raises(ReposeError, match=r"cannot read x: .*Not a directory"):
        store.read("x")


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_on_a_full_disk_keeps_no_half_file(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made(tmp_path / "store")

    def half(source: Path, place: Path) -> None:
        place.write_bytes(b"half")
        full()

    monkeypatch.setattr(shutil, "copyfile", half)
    with pytest.raises(ReposeError, match=r"The remote .*store cannot write x/y: .*No space left on device\."):
        store.write("x/y", b"whole")
    assert files(tmp_path / "store") == []


def test_a_folder_without_permission(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: root may write everywhere."""

    def denied(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/store/x")

    monkeypatch.setattr(shutil, "copyfile", denied)
    with pytest.raises(ReposeError, match=r"refuses to write x: .*Permission denied.*Check its permissions\.$"):
        made(tmp_path / "store").write("x", b"")


def test_a_full_disk_here_is_no_error_of_the_remote(store: Remote, cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("files/md5/ab/c", b"1")
    monkeypatch.setattr(store._fs, "get_file", full)
    place = Path(cache.path) / "here"
    with pytest.raises(ReposeError, match=f"No space left on the disk while writing {place}"):
        store.download("x", place)
    with pytest.raises(ReposeError, match=r"No space left on the disk while writing .*Free some"):
        store.fetch(["ab" + "c" * 30], cache)

    def denied(source: str, here: str, **_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", here)

    monkeypatch.setattr(store._fs, "get_file", denied)
    with pytest.raises(ReposeError, match=f"Cannot write {place}: Permission denied"):
        store.download("x", place)
    assert files(Path(cache.path)) == []


def test_an_error_of_our_own_is_not_hidden(made: Made, tmp_path: Path) -> None:
    def wrong() -> None:
        raise ValueError("a mistake of ours")

    with pytest.raises(ValueError, match="a mistake of ours"):
        made(tmp_path / "store")._tried(wrong, "look")


def test_a_name_that_the_configuration_does_not_know(tmp_path: Path, made: Made) -> None:
    made(tmp_path / "store")
    with pytest.raises(ReposeError, match=r"DVC's remote cannot be used: .*remote 'none' doesn't exist"):
        Remote(Repo(str(tmp_path / "project")), "none")


@pytest.mark.parametrize(("url", "options", "said"), [
    ("gs://bucket/x", {}, "DVC's remote cannot be used: gs is supported, but requires 'dvc-gs'"),
    ("s3://b/x", {"acl": "private", "grant_read": "id=1"}, "DVC's remote cannot be used: .*mutually exclusive"),
])  # fmt: skip
def test_a_remote_that_dvc_cannot_use(made: Made, url: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(ReposeError, match=said):
        made(url, **options)


def test_addresses_and_errors_show_no_password(made: Made, tmp_path: Path) -> None:
    store = made("http://me:s3cret@127.0.0.1:1/store?token=t0ken")
    assert store.address == "http://127.0.0.1:1/store"
    with pytest.raises(ReposeError, match="knows no such thing") as caught:
        store.names("x")
    with pytest.raises(ReposeError, match=r"does not answer|cannot") as caught_too:
        store.read("x")
    assert not any(secret in f"{caught.value}{caught_too.value}" for secret in ("s3cret", "t0ken"))
    url = "http://me:s3cret@host/b?X-Amz-Signature=s1gnature&x=1"
    for error in (
        exceptions.ReadTimeoutError(endpoint_url=url, error="slow"), exceptions.ConnectionClosedError(endpoint_url=url),
        exceptions.EndpointConnectionError(endpoint_url=url, error="me"), exceptions.BotoCoreError(),
        OSError(f"no {url} there"),
    ):  # fmt: skip
        told = module._told(error, "s3://b", "look")
        assert told is not None
        assert not any(secret in told[1] for secret in ("s3cret", "s1gnature"))
    assert "http://host/b" in str(module._told(OSError(f"no {url} there"), "s3://b", "look"))


def answer(status: int, code: str) -> exceptions.ClientError:
    response = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(response, "GetObject")


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(("error", "again", "said"), [
    (exceptions.NoCredentialsError(), False, "There are no credentials .*Unable to locate credentials"),
    (exceptions.PartialCredentialsError(provider="env", cred_var="X"), False, "There are no credentials"),
    (exceptions.ProfileNotFound(profile="me"), False, "There are no credentials .*me"),
    (exceptions.CredentialRetrievalError(provider="x", error_msg="y"), False, "There are no credentials"),
    (answer(403, "RequestTimeTooSkewed"), False, "set this machine's clock right"),
    (answer(403, "SignatureDoesNotMatch"), False, r"refuses to look \(SignatureDoesNotMatch\)\. Check the credentials"),
    (answer(401, "Unauthorized"), False, r"refuses to look \(Unauthorized\)"),
    (caused(PermissionError("Forbidden"), answer(403, "403")), False, r"refuses to look \(403\)\. Check the credentials"),
    (caused(OSError(errno.EINVAL, "Bad Request"), answer(400, "400")), False, r"refuses to look \(400\)"),
    (answer(400, "ExpiredToken"), False, r"refuses to look \(ExpiredToken\)"),
    (answer(400, "InvalidToken"), False, r"refuses to look \(InvalidToken\)"),
    (PermissionError(errno.EACCES, "Permission denied"), False, "refuses to look: .*Check its permissions"),
    (answer(404, "NoSuchBucket"), False, "There is no s3://b .*make the bucket"),
    (caused(FileNotFoundError("x"), answer(404, "NoSuchBucket")), False, "There is no s3://b"),
    (FileNotFoundError("x"), False, "There is no s3://b"),
    (ssl.SSLCertVerificationError("self-signed"), False, "certificate .* is not trusted .*self-signed.*AWS_CA_BUNDLE"),
    (caused(exceptions.SSLError(endpoint_url="u", error="e"), ssl.SSLCertVerificationError("x")), False, "certificate"),
    (exceptions.EndpointConnectionError(endpoint_url="u", error="e"), True, "does not answer"),
    (exceptions.ReadTimeoutError(endpoint_url="u", error="e"), True, "does not answer"),
    (exceptions.ConnectTimeoutError(endpoint_url="u", error="e"), True, "does not answer"),
    (exceptions.ConnectionClosedError(endpoint_url="u"), True, "does not answer"),
    (aiohttp.ClientPayloadError("cut"), True, r"does not answer \(to look\): cut\. Is it up"),
    (ConnectionResetError("reset"), True, r"does not answer \(to look\): reset\."),
    (TimeoutError(), True, r"does not answer \(to look\): TimeoutError\."),
    (answer(500, "InternalError"), True, "does not answer"),
    (caused(OSError(errno.EBUSY, "Service Unavailable"), answer(503, "503")), True, "does not answer"),
    (answer(400, "RequestTimeout"), True, "does not answer"),
    (answer(429, "TooManyRequests"), True, "does not answer"),
    (NotImplementedError(), False, "cannot look, as its kind knows no such thing"),
    (answer(400, "EntityTooLarge"), False, "cannot look: .*EntityTooLarge"),
    (answer(301, "PermanentRedirect"), False, "cannot look: .*PermanentRedirect"),
    (exceptions.ParamValidationError(report="bad"), False, "cannot look: .*bad"),
    (OSError(errno.EIO, "Input/output error\nmore."), False, r"cannot look: .*Input/output error more\.$"),
])  # fmt: skip
def test_errors_are_told_apart(error: Exception, again: bool, said: str) -> None:
    told = module._told(error, "s3://b", "look")
    assert told is not None
    assert told[0] is again
    with pytest.raises(ReposeError, match=said):
        raise ReposeError(told[1])


def test_what_is_no_error_of_a_remote_is_not_told() -> None:
    assert module._told(ValueError("x"), "s3://b", "look") is None
    with pytest.raises(ValueError) as caught:  # noqa: PT012
        try:
            raise ConnectionResetError
        except ConnectionResetError:
            raise ValueError("x") from None
    assert module._told(caught.value, "s3://b", "look") is None
