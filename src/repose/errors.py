"""The errors that a user is meant to read, by kind."""


class ReposeError(Exception):
    """Something that the user can put right: the message says what, where and what to do.

    The command line prints it without a traceback and exits with 1; `repose compare` with 2, as its 1 is a regression.
    Anything else that is raised is a defect of repose, or, in Python, an argument of a wrong type (TypeError, ValueError).
    """


class SettingsError(ReposeError):
    """A setting is unknown, missing or has a wrong value, such as a key of params.yaml or a device that is not there."""


class DataError(ReposeError):
    """A file of data is missing, damaged or not of the form that is expected: photos, keypoints, tables, shards."""


class PoseNotFoundError(ReposeError):
    """The pose of a photo is needed, but no file has it, or the joints that were found are too few."""


class CheckpointError(ReposeError):
    """A checkpoint is missing or damaged, or it does not fit what it is loaded into."""


class RemoteError(ReposeError):
    """A remote, a registry or a server is unreachable, refuses, or lacks what it should have."""
