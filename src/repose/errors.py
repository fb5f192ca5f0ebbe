"""The one error that a user is meant to read."""


class ReposeError(Exception):
    """Something that the person at the terminal can put right: the message says what, where and what to do.

    The command line prints it without a traceback and exits with 1; `repose compare` with 2, as its 1 is a regression.
    Anything else that is raised is a defect of repose.
    """
