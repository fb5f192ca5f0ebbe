"""Where Kubeflow Pipelines answers, and requests to it whose failures say what to do.

The requests are those of kfp-server-api, the API's published client. kfp.Client around it reads a context file of the user's
home, may look for clusters, prints links, and waits without a limit for a server that does not answer; none of that happens
here. What kfp-server-api makes of an answer that is no JSON is an empty model, so answers are checked before it reads them.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from repose.errors import RemoteError

T = TypeVar("T")
ENDPOINT, NAMESPACE, TOKEN, CA_CERT = "KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_TOKEN", "KFP_CA_CERT"
_TIMES = (10.0, 60.0)  # seconds to connect, and to wait for an answer
_PASSING = (429, 502, 503, 504)  # of a server that is busy, starting or behind a proxy that is
_LONGEST = 500  # characters of what a server says
_WRONG_ADDRESS = (
    f"Set {ENDPOINT} to the address of Kubeflow Pipelines, so that {ENDPOINT}/apis/v2beta1/healthz answers with JSON"
)


class UnansweredError(RemoteError):
    """The endpoint does not answer at the moment; the same request may succeed later."""


@dataclass(frozen=True)
class Endpoint:
    """Where Kubeflow Pipelines answers, and how it lets us in."""

    address: str  # http(s)://host[:port][/prefix], no slash at its end
    namespace: str | None = None  # where each user has one
    token: str | None = field(default=None, repr=False)  # bearer
    ca_cert: Path | None = None  # certificates to trust, PEM; None: the usual ones

    def page(self, run_id: str) -> str:
        """The address of a run's page."""
        return f"{self.address}/#/runs/details/{run_id}"


def read_endpoint(environment: Mapping[str, str] = os.environ) -> Endpoint:
    """The endpoint that the environment names: KFP_ENDPOINT, and if set KFP_NAMESPACE, KFP_TOKEN and KFP_CA_CERT.

    Raises:
        RemoteError: there is none, or a variable cannot be what it should be.
    """
    given = {name: environment.get(name, "").strip() for name in (ENDPOINT, NAMESPACE, TOKEN, CA_CERT)}
    token, ca_cert = given[TOKEN] or None, Path(given[CA_CERT]) if given[CA_CERT] else None
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise RemoteError(
            f"The environment variable {TOKEN} is no bearer token: it holds blanks or characters that none has."
        )
    if ca_cert and not ca_cert.is_file():
        raise RemoteError(
            f"The environment variable {CA_CERT} names no file: {ca_cert}. It should hold certificates (PEM)."
        )
    return Endpoint(_address(given[ENDPOINT]), given[NAMESPACE] or None, token, ca_cert)


def _address(text: str) -> str:
    form = "http(s)://host[:port][/prefix]"
    if not text:
        raise RemoteError(
            f"Where is Kubeflow Pipelines? Set the environment variable {ENDPOINT} to its address ({form}), such as "
            f"http://localhost:8888 after `kubectl port-forward -n kubeflow svc/ml-pipeline 8888`."
        )
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or any(sign in text for sign in "@?# "):  # the text may hold a password, so it is not shown
        raise RemoteError(
            f"The environment variable {ENDPOINT} should be {form}, without a user, a query or a page (#...); a token "
            f"is given as {TOKEN}."
        )
    return text.rstrip("/")


class Api:
    """Requests to the endpoint's pipeline API, version v2beta1.

    Attributes:
        endpoint: whom they ask.
        runs, experiments, pipelines: the services of kfp-server-api, for `ask`.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        import kfp_server_api as api
        from urllib3 import Retry

        self.endpoint = endpoint
        settings = api.Configuration()
        settings.host = endpoint.address
        settings.ssl_ca_cert = str(endpoint.ca_cert) if endpoint.ca_cert else None
        # No tries of its own, which it would log; a redirection is an answer, and a login page is where it would lead.
        settings.retries = Retry(connect=0, read=0, status=0, other=0, redirect=False)
        if endpoint.token:
            settings.api_key = {"authorization": endpoint.token}
            settings.api_key_prefix = {"authorization": "Bearer"}
        self._client = api.ApiClient(settings)
        self._send, self._client.request = self._client.request, self._request
        self.runs = api.RunServiceApi(self._client)
        self.experiments = api.ExperimentServiceApi(self._client)
        self.pipelines = api.PipelineServiceApi(self._client)

    def ask(self, what: str, missing: str, ask: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Make a request.

        Args:
            what: it is for, after "to" in a message.
            missing: the message where the server does not know what is asked for.
            ask: a method of one of the services.
            given: its arguments.
            named: its named arguments.

        Returns:
            A model of kfp-server-api.

        Raises:
            UnansweredError: there is no answer at the moment.
            RemoteError: the request is refused, or the endpoint is no pipeline API.
        """
        from kfp_server_api import ApiException

        try:
            return ask(*given, **named)
        except _FailedError as failed:
            raise _told(failed, self.endpoint, what, missing) from None
        except ApiException as error:  # of a field in a good answer
            raise RemoteError(
                f"The answer of {self.endpoint.address} cannot be read (to {what}: {error.reason}). Is it version 2?"
            ) from None

    def plain(self, model: Any) -> Any:
        """A model as JSON has it."""
        return self._client.sanitize_for_serialization(model)

    def _request(self, method: str, url: str, **named: Any) -> Any:
        """In place of the client's own method of this name, below all that reads answers."""
        from kfp_server_api import ApiException
        from urllib3.exceptions import HTTPError

        try:
            response = self._send(method, url, **(named | {"_request_timeout": _TIMES}))
        except ApiException as error:
            raise _FailedError(error.status, error.body, error.headers.get("Location", ""), None) from None
        except HTTPError as error:
            raise _FailedError(0, b"", "", getattr(error, "reason", None) or error) from None
        if not isinstance(_json(response.data), dict):
            raise _FailedError(response.status, response.data, "", None)
        return response


class _FailedError(Exception):
    """A request without a proper answer.

    Args:
        status: of the answer; 0: there was none.
        body: of the answer.
        location: where a redirection leads.
        reason: why there was no answer.
    """

    def __init__(self, status: int, body: bytes, location: str, reason: BaseException | None) -> None:
        super().__init__()
        self.status, self.body, self.location, self.reason = status, body, location, reason


def _told(failed: _FailedError, endpoint: Endpoint, what: str, missing: str) -> RemoteError:
    """What to tell, and what to do."""
    address, status = endpoint.address, failed.status
    if failed.reason is not None:
        return _unreachable(failed.reason, address, what)
    answer = _json(failed.body)
    said = _said(answer, endpoint.token)
    refused = f"{address} refuses to {what} ({status}{said and f': {said}'})"
    if status in _PASSING:
        return UnansweredError(
            f"{address} does not work at the moment (to {what}: {status}{said and f': {said}'}). Try again later."
        )
    if status == 401:
        return RemoteError(f"{refused}: {_new_token(endpoint)}")
    if status == 403:
        namespace = f" in the namespace {endpoint.namespace}" if endpoint.namespace else ""
        return RemoteError(
            f"{refused}. Whoever the token belongs to may not do this{namespace}, or the token has expired: get a new one "
            f"({TOKEN}), correct {NAMESPACE}, or ask for the right."
        )
    if 300 <= status < 400:
        to = failed.location.split("?")[0].split("#")[0]
        return RemoteError(
            f"{address} redirects to {to or 'another page'} instead of answering. If that is a login page (Dex, IAP): "
            f"{_new_token(endpoint)} Otherwise, set {ENDPOINT} to the address that it leads to."
        )
    if status == 404 and said and said != "Not Found":
        return RemoteError(f"{missing} ({address}: {said})")
    if status == 404 or not isinstance(answer, dict):
        page = b"<html" in failed.body[:2000].lower()
        kind = "a web page, such as a login" if page else "something else"
        return RemoteError(
            f"{address} is not the pipeline API: it answers with {kind} ({status}). {_WRONG_ADDRESS}. If it wants a login "
            f"first: {_new_token(endpoint)}"
        )
    if "namespace" in said.lower():
        refused += f". Set {NAMESPACE} to your namespace where each user has one, and nowhere else"
    return RemoteError(f"{refused}.")


def _new_token(endpoint: Endpoint) -> str:
    if endpoint.token:
        return f"the token in {TOKEN} has expired or is not for this endpoint; get a new one."
    return f"set {TOKEN} to a bearer token."


def _unreachable(reason: BaseException, address: str, what: str) -> RemoteError:
    from urllib3.exceptions import NameResolutionError, SSLError

    first = list(_chain(reason))[-1]
    why = getattr(first, "strerror", None) or str(first)
    if isinstance(reason, SSLError):
        return RemoteError(
            f"There is no trusted connection to {address} ({why}). If its certificate is your organisation's own, set "
            f"{CA_CERT} to the file of the authority's certificate (PEM); if it speaks plain HTTP, write http://."
        )
    if isinstance(reason, NameResolutionError):
        return UnansweredError(
            f"The host {urlsplit(address).hostname} is not known here ({why}). Correct {ENDPOINT}, or join its network."
        )
    return UnansweredError(
        f"{address} does not answer (to {what}: {why}). Is {ENDPOINT} right, is the server up, "
        f"does the port-forward still run?"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it stems from; urllib3 hands some on as an argument."""
    while error is not None:
        yield error
        within = (argument for argument in error.args if isinstance(argument, BaseException))
        error = error.__cause__ or error.__context__ or next(within, None)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _said(answer: Any, token: str | None) -> str:
    """The message in an answer, in one line."""
    if not isinstance(answer, dict):
        return ""
    text = " ".join(str(answer.get("message") or answer.get("error") or "").split())
    text = text.replace(token, "(the token)") if token else text
    return f"{text[:_LONGEST]}..." if len(text) > _LONGEST else text
