"""The stage download with origins in S3, through a proxy that fails; against SeaweedFS, which refuses what is wrong."""

import time

import pytest

from faulty_proxy import Fault
from repose.storage.transfer.partial import CHUNK
from s3_cases import BIG, DownloadCases, stage, undisturbed

__all__ = ["TestDownload", "stage"]


class TestDownload(DownloadCases):
    @pytest.mark.parametrize("kind", ["prefix", "zip"])
    @pytest.mark.parametrize(("variable", "value", "message"), [
        ("AWS_SECRET_ACCESS_KEY", "wrong-s3cret", r"with these credentials \(SignatureDoesNotMatch\)"),
        ("AWS_ACCESS_KEY_ID", "NOBODY", r"with these credentials \(InvalidAccessKeyId\)"),
    ])  # fmt: skip
    def test_wrong_credentials_are_an_error_at_once(
        self, storage, stage, monkeypatch,
        kind, variable, value, message,
    ):  # fmt: skip
        origin = storage.put_all() if kind == "prefix" else storage.put_zip()
        with monkeypatch.context() as wrong:
            wrong.setenv(variable, value)
            stage.fails(origin, message=message)
        assert storage.proxy.count() == 1
        assert stage.waits == []
        assert stage.run(origin) == undisturbed(storage, stage, origin)

    @pytest.mark.parametrize("version", ["s3v4", "s3"])
    def test_an_expired_link_is_an_error_and_a_new_one_works(self, storage, stage, version):
        storage.put("list.csv", BIG)
        expired = storage.link("list.csv", 1, version)
        time.sleep(2.1)
        stage.fails(
            expired, message=r"list.csv may not be read \(HTTP 403\): a signed link has expired.*Get a new link"
        )
        assert storage.proxy.count() == 1
        fresh = storage.link("list.csv")
        assert stage.run(fresh) == undisturbed(storage, stage, fresh)

    def test_a_link_that_expires_between_two_parts_resumes_with_a_new_one(self, storage, stage):
        storage.put("list.csv", BIG)
        link = storage.link("list.csv", seconds=1)
        storage.proxy.fail(Fault(drop_response=CHUNK, times=1))
        stage.waits.meanwhile = lambda: time.sleep(2.1)
        stage.fails(link, message="a signed link has expired")
        assert [request.range for request in storage.proxy.requests] == [None, f"bytes={CHUNK}-"]
        storage.proxy.fail()
        stage.waits.meanwhile = lambda: None
        fresh = storage.link("list.csv")
        written = stage.run(fresh)
        assert [request.range for request in storage.proxy.requests] == [f"bytes={CHUNK}-"]
        assert written == undisturbed(storage, stage, fresh)

    @pytest.mark.parametrize(("version", "part"), [("s3v4", "X-Amz-Signature="), ("s3", "Expires=")])
    def test_a_tampered_link_is_an_error(self, storage, stage, version, part):
        storage.put("list.csv", BIG)
        before, _, after = storage.link("list.csv", version=version).rpartition(part)
        link = before + part + ("1" if after[0] != "1" else "2") + after[1:]
        stage.fails(link, message=r"may not be read \(HTTP 403\)")
        assert storage.proxy.count() == 1
