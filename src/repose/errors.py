"""The errors that a user can fix, and what messages show of addresses: no user, password or query."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

_ADDRESS = re.compile(r"""(?<![\w+.-])[\w+.-]*:/+(?:[^\s/"]*@)?[^\s'"]+""")  # a login may have a '

_SIGNATURE = re.compile(
    r"[?&](?:auth|pass|[\w.-]*(?:sig|token|credential|key|passw|pwd|secret|jwt)[\w.-]*)=", re.IGNORECASE
)


def shown(address: str) -> str:
    """An address without user, password, query and fragment; `...` for a part that might contain them.

    Of a local path and an S3 key, only what looks like a query is left out. Control characters are escaped.
    """
    scheme, separator, rest = address.partition("://")
    if not separator or not re.fullmatch(r"[\w+.-]*", scheme):
        text = _without_query(_without_login(address, ":"))
    elif scheme == "s3":
        text = f"s3://{_without_query(_without_login(rest, '@'))}"
    else:
        text = f"{scheme}://{_host_and_path(rest)}"
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def without_secrets(text: str) -> str:
    """A text with its addresses as `shown`, if they have a user, a password or a query."""

    def without(found: re.Match[str]) -> str:
        address = found[0]
        return shown(address) if "@" in address or ("?" in address and "=" in address) else address

    return _ADDRESS.sub(without, text)


def has_secret(text: str) -> bool:
    """Whether an address in a text has a login or a signature. A query without a signature's name does not count."""
    logins = (at for at in _ADDRESS.findall(text) if "@" in at and shown(at) != re.split("[?#]", at)[0])
    return any(logins) or ("://" in text and _SIGNATURE.search(text) is not None)


def _without_login(path: str, sign: str) -> str:
    """A path without `user:password@`, if its first part has the sign of one; the password may have slashes."""
    first = path.partition("/")[0]
    if sign in first or ":" in first:
        login, _, rest = path.rpartition("@")
        return rest if "@" in first or not login else f"...{rest}"
    return path


def _without_query(rest: str) -> str:
    return re.split(r"\?[^?]*=", rest, maxsplit=1)[0]


def _host_and_path(rest: str) -> str:
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    host = authority.rpartition("@")[2]
    form = re.fullmatch(r"(?:[^:\[\]]+|\[[0-9a-fA-F:.]+\])(:\d*)?", host)
    inside_password = "@" in rest[len(authority) :] and (host != authority or (form and form[1]) or "//" in path)
    return "..." if form is None or inside_password else f"{host}{slash}{path}"


class ReposeError(Exception):
    """A problem that the user can fix. The message says what is wrong, where, and what to do, `without_secrets`.

    The command line prints the message without a traceback and exits with 1 (`repose compare`: 2, as 1 is a regression there).
    Any other exception is a defect of repose or, in Python, an argument of a wrong type (TypeError, ValueError).
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


@contextmanager
def installed() -> Iterator[None]:
    """Turn the error of an import into a ReposeError that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ReposeError(
            f"This needs {error.name}, which is not installed. Install repose with its extra `pipeline`: pip install "
            "'.[pipeline]' in the project's folder."
        ) from None


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
