"""The errors that a user can fix."""


class ReposeError(Exception):
    """A problem that the user can fix. The message says what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with 1 (`repose compare`: 2, as 1 is a regression there).
    Any other exception is a defect of repose or, in Python, an argument of a wrong type (TypeError, ValueError).
    """


class SettingsError(ReposeError):
    """A setting is unknown, missing or invalid, such as a key of params.yaml or an unavailable device."""


class DataError(ReposeError):
    """A data file (photo, keypoints, table, shard) is missing, damaged or of an unexpected format."""


class PoseNotFoundError(ReposeError):
    """A photo's pose is unknown, or too few of its joints were found."""


class CheckpointError(ReposeError):
    """A checkpoint is missing, damaged, or does not fit the networks it is loaded into."""


class RemoteError(ReposeError):
    """A remote, registry or server is unreachable, rejects the request, or lacks an expected file."""
