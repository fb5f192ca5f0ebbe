"""Fetch a file from a web server by requests."""

from typing import Any

from repose.errors import ReposeError
from repose.storage.transfer.addresses import base_name, shown
from repose.storage.transfer.partial import CHUNK, TIMEOUT, Interrupted, Partial, State


def receive_http(address: str, came: Partial) -> None:
    """Fetch the missing bytes, or start over if they are of another state (RFC 9110, section 14).

    Raises:
        Interrupted: there is no connection, or the server is busy.
        ReposeError: the server rejects the request, or see `Partial.append`.
    """
    import requests

    noted = came.state()
    have = came.size if noted.validator else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": noted.validator}
    try:
        with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as response:
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
            elif not (same and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")):
                came.forget()
                raise Interrupted("the file has changed, or the server sent another part of it")
            came.append(response.iter_content(CHUNK), found.size)
    except requests.RequestException as error:
        raise _failure(error, came.where) from None


def _state(response: Any, noted: State) -> State:
    headers, status = response.headers, response.status_code
    etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
    validator = etag if etag and not etag.startswith("W/") else modified
    if status == 416:  # such a response need not repeat the value of If-Range
        validator = validator or noted.validator
    size = headers.get("Content-Length", "") if status == 200 else headers.get("Content-Range", "").rpartition("/")[2]
    return State(validator, int(size) if size.isdigit() else None)


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
    return ReposeError(f"{where} cannot be fetched ({type(error).__name__}). Check the address.")
