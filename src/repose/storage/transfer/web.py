"""Access to web servers (http(s)://) by requests: a file from any byte on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from repose.errors import ReposeError
from repose.storage.transfer.addresses import base_name, shown
from repose.storage.transfer.replies import CHUNK, TIMEOUT, Changed, Interrupted, Reply, State, unbroken


@contextmanager
def open_http(address: str, have: int, state: State) -> Iterator[Reply]:
    """Request a file from byte `have` on, if it is still in this state (RFC 9110, section 14).

    Raises:
        Changed: the file is in another state, or the server sends another part.
        Interrupted: there is no connection, or the server is busy.
        ReposeError: the server rejects the request.
    """
    import requests

    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": state.validator}
    try:
        response = requests.get(address, headers=headers, stream=True, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise _failure(error, shown(address)) from None
    with response:
        status = response.status_code
        if status not in ((200, 206, 416) if have else (200,)):
            raise _refusal(status, shown(address))
        found = _state(response, state)
        same = have > 0 and found.is_same(state)
        chunks = unbroken(response.iter_content(CHUNK), requests.RequestException)
        if same and found.size == have:  # 416, or a server without support for ranges: nothing is missing
            yield Reply(found, have, iter(()))
        elif same and status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            yield Reply(found, have, chunks)
        elif status == 200:
            _refuse_page(response, address)
            yield Reply(found, 0, chunks)
        else:
            raise Changed


def _state(response: Any, asked: State) -> State:
    headers, status = response.headers, response.status_code
    if headers.get("Content-Encoding", "identity") != "identity":  # decompressed on arrival: not the file's own bytes
        return State()
    etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
    validator = etag if etag and not etag.startswith("W/") else modified
    if status == 416:  # such a response need not repeat the value of If-Range
        validator = validator or asked.validator
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


def _refuse_page(response: Any, address: str) -> None:
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
    if isinstance(error, (requests.ConnectionError, requests.Timeout)):
        unknown = "NameResolutionError" in repr(error)
        return Interrupted("there is no such host, or no network" if unknown else "cannot connect to the server")
    return ReposeError(f"{where} cannot be fetched ({type(error).__name__}). Check the address.")
