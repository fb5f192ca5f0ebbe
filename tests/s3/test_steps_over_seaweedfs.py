"""Steps with a remote in S3, through a proxy that fails; against SeaweedFS, which refuses what is wrong."""

import pytest
from step_cases import StepCases, flowers_made, over_s3

__all__ = ["TestSteps", "flowers_made", "over_s3"]


class TestSteps(StepCases):
    @pytest.mark.parametrize(("variable", "value", "code"), [
        ("AWS_SECRET_ACCESS_KEY", "wrong-s3cret", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "NOBODY", "InvalidAccessKeyId"),
    ])  # fmt: skip
    def test_wrong_credentials_are_an_error_at_once_and_right_ones_work(
        self, over_s3, monkeypatch, variable, value, code
    ):
        over_s3.run("count")
        with monkeypatch.context() as wrong:
            wrong.setenv(variable, value)
            over_s3.storage.proxy.fail()
            over_s3.fails("judge", rf"refuses to read .*\({code}\)\. Check the credentials")
            assert over_s3.storage.proxy.count("GET") == 1
        over_s3.run("judge")
