"""Steps with a remote in S3, through a proxy that fails; against moto."""

from step_cases import StepCases, flowers_made, over_s3

__all__ = ["TestSteps", "flowers_made", "over_s3"]


class TestSteps(StepCases):
    pass
