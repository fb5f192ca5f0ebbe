"""The stage download with origins in S3, through a proxy that fails; against moto."""

from s3_cases import DownloadCases, stage

__all__ = ["TestDownload", "stage"]


class TestDownload(DownloadCases):
    pass
