"""A bucket of an S3 server: moto, or SeaweedFS (`make test-s3`)."""

import hashlib
import io
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from faulty_proxy import FaultyProxy
from repose.storage.transfer import s3
from repose.storage.transfer.partial import CHUNK

BIG = hashlib.shake_256(b"big").digest(5 * CHUNK + 17)
OTHER = hashlib.shake_256(b"other").digest(len(BIG))  # the same size, so that only the ETag tells
FILES = {f"img/WOMEN/Tees/id_{n:08d}/02_1_front.jpg": BIG if n == 9 else bytes([n]) * 3000 for n in (1, 2, 3, 4, 5, 9)}


class Storage(NamedTuple):
    """A bucket of one test's own; `proxy` stands between it and what is tested, `client` goes past the proxy."""

    client: Any
    bucket: str
    proxy: FaultyProxy

    @classmethod
    @contextmanager
    def behind_proxy(cls, server: str) -> Iterator["Storage"]:
        client, bucket = s3.client(server), f"test-{uuid.uuid4().hex}"
        client.create_bucket(Bucket=bucket)
        with FaultyProxy(server).listening() as proxy:
            yield cls(client, bucket, proxy)

    def put(self, key: str, body: bytes) -> str:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)
        return f"s3://{self.bucket}/{key}"

    def put_all(self) -> str:
        for name, body in FILES.items():
            self.put(f"in/{name}", body)
        return f"s3://{self.bucket}/in/"

    def put_zip(self) -> str:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, body in FILES.items():
                archive.writestr(zipfile.ZipInfo(name), body)
        return self.put("all.zip", packed.getvalue())

    def link(self, key: str, seconds: int = 600, version: str = "s3v4") -> str:
        """A signed http:// link through the proxy."""
        client = boto3.client("s3", endpoint_url=self.proxy.address, config=Config(signature_version=version))
        asked = {"Bucket": self.bucket, "Key": key}
        signed: str = client.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds)
        return signed

    def bodies(self, prefix: str = "") -> dict[str, bytes]:
        listed = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        keys = [entry["Key"] for entry in listed]
        return {key: self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}
