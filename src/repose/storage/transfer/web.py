"""Fetch a file from a web server by requests."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

from repose.errors import ReposeError, shown
from repose.storage.transfer.addresses import base_name
from repose.storage.transfer.partial import TIMEOUT, Interrupted, Partial, State
from repose.storage.transfer.stream import chunks, promptly

REDIRECTS = 10  # maximum number of consecutive redirects


def receive_http(address: str, came: Partial, *, sha256: str | None = None) -> None:
    """Fetch the missing bytes, or start over if they are of another state (RFC 9110, section 14).

    The login is that of the address, else of ~/.netrc, and is sent to no other server. Cookies are not kept.

    Raises:
        Interrupted: there is no connection, or the server is busy.
        ReposeError: the server rejects the request; it redirects from https to http, and `sha256` does not have all 64
            digits; or see `Partial.append`.
    """
    noted = came.state()
    have = came.size if noted.validator else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": noted.validator}
    with _answer(address, headers, came.where, verified=len(sha256 or "") == 64) as response:
        status = response.status_code
        if status not in ((200, 206, 416) if have else (200,)):
            raise _refusal(status, came.where)
        found = _state(response, noted)
        same = have > 0 and found.validator == noted.validator and noted.size in (None, found.size)
        if same and found.size == have:  # 416, or a server without support for ranges: nothing is missing
            return
        if status == 200:
            _reject_page(response, address)
            came.start_over(found)
        elif not (same and response.headers.get("Content-Range") == _rest(have, found.size)):
            came.forget()
            raise Interrupted("the file has changed, or the server sent another part of it")
        came.append(chunks(response.raw, came.where), found.size)


@contextmanager
def _answer(address: str, headers: Mapping[str, str], where: str, *, verified: bool) -> Iterator[Any]:
    """The response to a request, after all redirects, whose bodies are not read.

    requests itself reads those bodies, follows redirects from https to http, and sends the logins of ~/.netrc to any server.
    """
    from urllib3.exceptions import HTTPError

    at = address
    for _ in range(REDIRECTS + 1):
        try:
            response = promptly(partial(_get, at, headers, _login(at, address)))
        except (OSError, HTTPError, ValueError) as error:  # ValueError: a host name that is none
            raise _failure(error, where) from None
        with response:
            if not response.is_redirect:
                yield response
                return
            at = _next(at, response.headers["Location"], where, verified=verified)
    raise ReposeError(f"{where} cannot be fetched: more than {REDIRECTS} redirects. Check the address.")


def _next(at: str, location: str, where: str, *, verified: bool) -> str:
    """The address that a redirect leads to."""
    try:
        to = urljoin(at, location.encode("latin-1").decode("utf-8", "replace"))
    except ValueError:
        raise ReposeError(f"{where} cannot be fetched: it redirects to an address that is none.") from None
    if not to.startswith(("http://", "https://")):
        raise ReposeError(
            f"{where} cannot be fetched: it redirects to {shown(to)[:200]}, which is not https:// or http://."
        )
    if at.startswith("https://") and to.startswith("http://") and not verified:
        raise ReposeError(
            f"{where} redirects from https to {shown(to)[:200]}, so others on the way could change the file. Give all 64 "
            "digits of its sha256, or another address."
        )
    return to


def _get(address: str, headers: Mapping[str, str], login: Any) -> Any:
    import requests

    with requests.Session() as session:
        # Otherwise requests reads the body of each redirect, however long.
        session.get_redirect_target = lambda resp: None  # type: ignore[method-assign] # noqa: ARG005
        return session.get(address, headers=headers, auth=login, stream=True, timeout=TIMEOUT)


def _login(at: str, address: str) -> Any:
    """The `auth` of a request to `at` for the file at `address`; None: that of ~/.netrc, if it has one."""
    from requests.utils import get_auth_from_url

    def server(address: str) -> tuple[str, str]:
        parts = urlsplit(address)
        return parts.scheme, parts.netloc.rpartition("@")[2].lower()

    if server(at) != server(address):
        return lambda request: request
    login = get_auth_from_url(address)
    return login if any(login) else None


def _state(response: Any, noted: State) -> State:
    headers, status = response.headers, response.status_code
    etag = headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else _strong_date(headers)
    if not (validator.isascii() and validator.isprintable()):  # it could not be sent back
        validator = ""
    if status == 416:  # such a response need not repeat the value of If-Range
        validator = validator or noted.validator
    size = headers.get("Content-Length", "") if status == 200 else headers.get("Content-Range", "").rpartition("/")[2]
    known = re.fullmatch("[0-9]{1,18}", size) and (status != 200 or "Transfer-Encoding" not in headers)
    return State(validator, int(size) if known else None)


def _strong_date(headers: Mapping[str, str]) -> str:
    """Last-Modified; empty if the file may have changed again within that second (RFC 9110, 8.8.2.2)."""
    modified = headers.get("Last-Modified", "")
    try:
        age = parsedate_to_datetime(headers.get("Date", "")) - parsedate_to_datetime(modified)
    except (TypeError, ValueError, OverflowError):  # a date is missing or is none
        return ""
    return modified if age.total_seconds() >= 1 else ""


def _rest(have: int, size: int | None) -> str:
    """The Content-Range of all bytes from `have` on."""
    return f"bytes {have}-{(size or 0) - 1}/{size}"


def _refusal(status: int, where: str) -> Exception:
    if status >= 500 or status == 429:
        return Interrupted(f"the server answers {status}")
    if status in (401, 403):
        return ReposeError(
            f"{where} may not be read (HTTP {status}): a signed link has expired, or the server requires a login. Get a "
            "new link from the data's owner, or fetch the file with a browser and give its path."
        )
    if status in (404, 410):
        return ReposeError(f"There is no {where} (HTTP {status}). Check the address.")
    return ReposeError(f"{where} cannot be fetched: the server answers {status}. Check the address.")


def _reject_page(response: Any, address: str) -> None:
    kind = response.headers.get("Content-Type", "")
    if kind.startswith("text/html") and not base_name(address).endswith((".html", ".htm")):
        raise ReposeError(
            f"{shown(address)} is a web page, not a file: the link has expired, or leads to a login or a confirmation. "
            "Fetch the file with a browser and give its path, or get a direct link."
        )


def _failure(error: Exception, where: str) -> Exception:
    """The exception to raise for an error of requests, without its text, which contains the whole address."""
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        return ReposeError(f"{where}: the server's certificate is not trusted. Check the address and the clock.")
    if isinstance(error, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)):
        return Interrupted("cannot connect to the server, or the connection broke")
    return ReposeError(
        f"{where} cannot be fetched ({type(error).__name__}). Check the address, and REQUESTS_CA_BUNDLE "
        "and the proxy if they are set."
    )
