"""The errors that a user is meant to read, by kind."""


class ReposeError(Exception):
    """A problem that the user can solve: the message says what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with 1 (`repose compare`: 2, as 1 is a regression there).
    Any other exception is a defect of repose or, in Python, an argument of a wrong type (TypeError, ValueError).
    """


class SettingsError(ReposeError):
    """A setting is unknown, missing or wrong, such as a key of params.yaml or a device that is unavailable."""


class DataError(ReposeError):
    """A data file is missing, damaged or of another form than expected: photos, keypoints, tables, shards."""


class PoseNotFoundError(ReposeError):
    """A photo's pose is in no keypoint file, or too few of its joints were found."""


class CheckpointError(ReposeError):
    """A checkpoint is missing or damaged, or does not fit what it is loaded into."""


class RemoteError(ReposeError):
    """A remote, a registry or a server is unreachable, rejects the request, or lacks what it should have."""
