"""DVC's remote as the steps use it: a folder, S3 (moto, through a proxy that fails), and the errors of remotes."""

import errno
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from botocore import exceptions
from dvc.repo import Repo

from faulty_proxy import Fault
from repose.errors import ReposeError
from repose.storage import remote as module
from repose.storage.remote import Remote
from s3_storage import Storage

SMALL = b"a small object"
Made = Callable[..., Remote]


def oid_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def key_of(oid: str) -> str:
    return f"files/md5/{oid[:2]}/{oid[2:]}"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A remote at an address, of a project of its own in the folder `project`."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    def make(url: str | Path, **options: str) -> Remote:
        lines = ["[core]", "no_scm = true", "remote = store", f"site_cache_dir = {tmp_path / 'site'}"]
        lines += ["['remote \"store\"']", f"url = {url}", "verify = true"]
        lines += [f"{name} = {value}" for name, value in options.items()]
        (tmp_path / "project" / ".dvc").mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / ".dvc" / "config").write_text("\n".join(lines))
        return Remote(Repo(str(tmp_path / "project")))

    return make


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


def cached(store: Remote, content: bytes, ending: str = "") -> str:
    """Put an object into DVC's cache."""
    oid = oid_of(content) + ending
    place = Path(store._repo.cache.local.oid_to_path(oid))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return oid


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_are_written_read_listed_and_deleted(store, tmp_path):
    assert store.read("x/y.json") is None
    assert store.names("x") == []
    assert store.download("x/y.json", tmp_path / "here") is False
    assert not (tmp_path / "here").exists()
    for name, content in (("x/y.json", b"1"), ("x/z/w", b""), ("xx", b""), ("x/.y.partial", b"")):
        store.write(name, content)
    assert store.read("x/y.json") == b"1"
    assert store.names("x") == ["x/y.json", "x/z/w"]
    for _ in range(2):
        store.delete("x/y.json")
    assert store.names("x") == ["x/z/w"]


def test_objects_and_the_files_of_folders_are_pushed_and_fetched(store):
    oids = [cached(store, SMALL), cached(store, b"")]
    listed = cached(store, json.dumps([{"md5": oid, "relpath": oid} for oid in oids]).encode(), ".dir")
    assert not store.has([listed])
    for _ in range(2):
        store.push([listed])
    assert store.has([listed, *oids])
    assert not store.has([*oids, "0" * 32])
    shutil.rmtree(store._repo.cache.local.path)
    assert store.object(oids[0]) == SMALL
    for _ in range(2):
        store.pull([listed])
    assert len(files(Path(store._repo.cache.local.path))) == 3


def test_missing_and_changed_objects_are_errors(store):
    oid = oid_of(SMALL)
    for _ in ("missing", "changed"):
        for get in (lambda: store.object(oid), lambda: store.pull([oid])):
            with pytest.raises(ReposeError, match=f"cannot read objects: 1 failed, first {oid}.*damaged, run its"):
                get()
        store.write(key_of(oid), b"other")
    assert files(Path(store._repo.cache.local.path)) == []


def test_files_that_others_write_meanwhile_are_seen(s3, storage):
    s3.write("x/1", b"")
    assert s3.names("x") == ["x/1"]
    storage.put("a/b/x/2", b"")
    assert s3.names("x") == ["x/1", "x/2"]


def test_a_missing_bucket_is_an_error_and_an_empty_folder_is_not(made, storage, tmp_path):
    store = made(f"s3://{storage.bucket}", endpointurl=storage.proxy.address)
    assert store.read("x") is None
    gone = made(f"s3://{storage.bucket}-gone/a/b", endpointurl=storage.proxy.address)
    for use in (lambda: gone.read("x"), lambda: gone.write("x", b""), lambda: gone.names("x")):
        with pytest.raises(ReposeError, match=f"There is no s3://{storage.bucket}-gone.* create the bucket"):
            use()


def test_a_transfer_that_is_cut_leaves_nothing_and_the_next_one_works(s3, storage):
    content = bytes(200_000)
    oid = cached(s3, content)
    storage.proxy.fail(Fault(drop_request=500, methods="PUT"))
    for push in (lambda: s3.push([oid]), lambda: s3.write("x", content)):
        with pytest.raises(ReposeError, match=r"does not answer \(to write x\)|cannot write objects: 1 failed"):
            push()
    assert storage.bodies() == {}
    storage.proxy.fail()
    s3.push([oid])
    assert storage.bodies() == {f"a/b/{key_of(oid)}": content}
    shutil.rmtree(s3._repo.cache.local.path)
    storage.proxy.fail(Fault(drop_response=0, methods="GET", paths="md5"))
    for pull in (lambda: s3.pull([oid]), lambda: s3.read(key_of(oid))):
        with pytest.raises(ReposeError, match=r"does not answer \(to read files|cannot read objects: 1 failed"):
            pull()
    assert files(Path(s3._repo.cache.local.path)) == []
    storage.proxy.fail()
    assert s3.object(oid) == content


def test_a_remote_that_dvc_cannot_use_is_an_error(made):
    with pytest.raises(ReposeError, match="The remote of the project cannot be opened: gs is supported, but requires"):
        made("gs://bucket/x")


def test_what_is_read_into_memory_has_a_limit(folder, monkeypatch):
    folder.write("x", b"12345")
    monkeypatch.setattr(module, "_LARGEST", 4)
    with pytest.raises(ReposeError, match=r"x in the remote .* has 5 bytes, and what is read"):
        folder.read("x")


def test_addresses_and_errors_show_no_password(made):
    store = made("http://me:s3cret@127.0.0.1:1/store?token=t0ken")
    assert store.address == "http://127.0.0.1:1/store"
    with pytest.raises(ReposeError, match="does not answer") as caught:
        store.read("x")
    assert not any(secret in str(caught.value) for secret in ("s3cret", "t0ken"))


SIGNED = "http://me:s3cret@host/b?X-Amz-Signature=s1gnature&x=1"


def answer(status: int, code: str) -> exceptions.ClientError:
    response = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(response, "GetObject")


@pytest.mark.parametrize(("error", "message"), [
    (exceptions.NoCredentialsError(), "There are no credentials .*Unable to locate credentials"),
    (answer(403, "RequestTimeTooSkewed"), "correct this machine's clock"),
    (answer(400, "ExpiredToken"), r"refuses to look \(ExpiredToken\).*when they expire"),
    (exceptions.SSLError(endpoint_url="u", error="self-signed"), "self-signed.* trust its certificate"),
    (exceptions.ReadTimeoutError(endpoint_url=SIGNED, error="slow"), r'does not answer .*"http://host/b"'),
    (OSError(f"no {SIGNED} there"), r"no http://host/b there\.$"),
    (aiohttp.ClientPayloadError("cut"), r"does not answer \(to look\): cut\. Is it up"),
    (answer(503, "503"), "does not answer"),
    (answer(301, "PermanentRedirect"), "cannot look: .*PermanentRedirect"),
    (OSError(errno.EIO, "Input/output error\nmore."), r"cannot look: .*Input/output error more\.$"),
    (ValueError("a defect"), "^None$"),
])  # fmt: skip
def test_errors_of_a_remote_are_explained_and_defects_of_repose_are_not_hidden(error, message):
    with pytest.raises(ReposeError, match=message):
        raise ReposeError(str(module._explain(error, "s3://b", "look")))
