"""The endpoint of Kubeflow Pipelines: requests to it, with error messages that say what to do.

The requests are those of kfp-server-api, the API's published client. kfp.Client around it reads a context file of the user's
home, may look for clusters, prints links, and waits without a limit for a silent server. kfp-server-api makes an empty model
of an answer that is not JSON, so answers are checked before it reads them.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from repose.errors import RemoteError

ENDPOINT, NAMESPACE, TOKEN, CA_CERT = "KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_TOKEN", "KFP_CA_CERT"
_TIMES = (10.0, 60.0)  # seconds to connect, and to wait for a response
_TRANSIENT = (429, 502, 503, 504)  # status codes of a busy or starting server or proxy
_LONGEST = 500  # maximum length of a server's message


class UnansweredError(RemoteError):
    """The endpoint does not answer at the moment; the same request may succeed later."""


@dataclass(frozen=True)
class Endpoint:
    """Address and credentials of Kubeflow Pipelines."""

    address: str  # http(s)://host[:port][/prefix], without a trailing slash
    namespace: str | None = None  # if each user has one
    token: str | None = field(default=None, repr=False)  # bearer token
    ca_cert: Path | None = None  # file of trusted certificates (PEM); None: the default ones

    def page(self, run_id: str) -> str:
        """The address of a run's page."""
        return f"{self.address}/#/runs/details/{run_id}"


def read_endpoint(environment: Mapping[str, str] = os.environ) -> Endpoint:
    """The endpoint given by the variables KFP_ENDPOINT, KFP_NAMESPACE, KFP_TOKEN and KFP_CA_CERT.

    Raises:
        RemoteError: KFP_ENDPOINT is not set, or a variable is malformed.
    """
    address, namespace, token, cert = (
        environment.get(name, "").strip() for name in (ENDPOINT, NAMESPACE, TOKEN, CA_CERT)
    )
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise RemoteError(
            f"The environment variable {TOKEN} is not a bearer token: it contains spaces or special characters."
        )
    if cert and not Path(cert).is_file():
        raise RemoteError(f"The environment variable {CA_CERT} should name a file of certificates (PEM), not {cert}.")
    _check_address(address)
    return Endpoint(address.rstrip("/"), namespace or None, token or None, Path(cert) if cert else None)


def _check_address(text: str) -> None:
    form = "http(s)://host[:port][/prefix]"
    if not text:
        raise RemoteError(
            f"Set the environment variable {ENDPOINT} to the address of Kubeflow Pipelines ({form}), such as "
            "http://localhost:8888 after `kubectl port-forward -n kubeflow svc/ml-pipeline 8888`."
        )
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or any(sign in text for sign in "@?# "):  # the text may hold a password, so it is not shown
        raise RemoteError(
            f"The environment variable {ENDPOINT} should be {form}, without a user, a query or a fragment (#...). Give "
            f"a token as {TOKEN}."
        )


class Api:
    """Requests to the endpoint's pipeline API, version v2beta1.

    Attributes:
        endpoint: The endpoint.
        runs, experiments, pipelines: The services of kfp-server-api, for `ask`.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        import kfp_server_api as api
        from urllib3 import Retry

        self.endpoint = endpoint
        settings = api.Configuration()
        settings.host = endpoint.address
        settings.ssl_ca_cert = str(endpoint.ca_cert) if endpoint.ca_cert else None
        # no retries, which it would log; redirections are not followed, as they lead to a login page
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
        """Make a request; return a model of kfp-server-api.

        Args:
            what: The purpose of the request, after "to" in a message.
            missing: The message if the server responds with "not found".
            ask: A method of one of the services.
            given: Positional arguments of the method.
            named: Keyword arguments of the method.

        Raises:
            UnansweredError: the endpoint does not answer at the moment.
            RemoteError: the request is rejected, or the endpoint is not a pipeline API.
        """
        from kfp_server_api import ApiException

        try:
            return ask(*given, **named)
        except _FailedError as failed:
            raise _explain(failed, self.endpoint, what, missing) from None
        except ApiException as error:  # of a field in a good answer
            raise RemoteError(
                f"The response of {self.endpoint.address} cannot be read (to {what}: {error.reason}). Is it version 2?"
            ) from None

    def _request(self, method: str, url: str, **named: Any) -> Any:
        """Send a request. This replaces the client's own method, which all others call."""
        from kfp_server_api import ApiException
        from urllib3.exceptions import HTTPError

        try:
            response = self._send(method, url, **(named | {"_request_timeout": _TIMES}))
        except ApiException as error:
            raise _FailedError(error.status, error.body, error.headers.get("Location", "")) from None
        except HTTPError as error:
            raise _FailedError(reason=getattr(error, "reason", None) or error) from None
        if not isinstance(_json(response.data), dict):
            raise _FailedError(response.status, response.data)
        return response


@dataclass
class _FailedError(Exception):
    """A request without a valid response."""

    status: int = 0  # of the response
    body: bytes = b""
    location: str = ""  # target of a redirection
    reason: BaseException | None = None  # why there was no response


def _explain(failed: _FailedError, endpoint: Endpoint, what: str, missing: str) -> RemoteError:
    """The error with a message that says what went wrong and what to do."""
    if failed.reason is not None:
        return _explain_silence(failed.reason, endpoint.address, what)
    address, status, answer = endpoint.address, failed.status, _json(failed.body)
    message = _message(answer, endpoint.token)
    answered = f"{status}: {message}" if message else f"{status}"
    new_token = f"get a new token for this endpoint ({TOKEN})" if endpoint.token else f"set {TOKEN} to a bearer token"
    if status in _TRANSIENT:
        return UnansweredError(f"{address} does not work at the moment (to {what}: {answered}). Try again later.")
    if status == 401:
        return RemoteError(f"{address} refuses to {what} ({answered}): {new_token}.")
    if status == 403:
        return RemoteError(
            f"{address} refuses to {what} ({answered}). The token's owner lacks permission, or the token has expired: "
            f"{new_token}, or correct {NAMESPACE}{f' ({endpoint.namespace})' if endpoint.namespace else ''}."
        )
    if 300 <= status < 400:
        to = failed.location.split("?")[0].split("#")[0]
        return RemoteError(
            f"{address} redirects to {to or 'another page'} instead of answering. If that is a login (Dex, IAP), "
            f"{new_token}; otherwise set {ENDPOINT} to the address that it leads to."
        )
    if status == 404 and message and message != "Not Found":
        return RemoteError(f"{missing} ({address}: {message})")
    if status == 404 or not isinstance(answer, dict):
        return RemoteError(
            f"{address} does not answer as the pipeline API does ({status}). Set {ENDPOINT} such that "
            f"{ENDPOINT}/apis/v2beta1/healthz answers with JSON. If the answer is a login page, {new_token}."
        )
    hint = f" Set {NAMESPACE} only where each user has a namespace, and to yours." if "namespace" in message else ""
    return RemoteError(f"{address} refuses to {what} ({answered}).{hint}")


def _explain_silence(reason: BaseException, address: str, what: str) -> RemoteError:
    from urllib3.exceptions import SSLError

    first = list(_chain(reason))[-1]
    why = getattr(first, "strerror", None) or str(first)
    if isinstance(reason, SSLError):
        return RemoteError(
            f"There is no trusted connection to {address} ({why}). If its certificate is your organization's own, set "
            f"{CA_CERT} to the file of the authority's certificate (PEM); if it speaks plain HTTP, write http://."
        )
    return UnansweredError(
        f"{address} does not answer (to {what}: {why}). Is {ENDPOINT} right, is the server up, "
        f"does the port-forward still run?"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes; urllib3 passes some as arguments."""
    while error is not None:
        yield error
        within = (argument for argument in error.args if isinstance(argument, BaseException))
        error = error.__cause__ or error.__context__ or next(within, None)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _message(answer: Any, token: str | None) -> str:
    """The message in a response, in one line."""
    if not isinstance(answer, dict):
        return ""
    text = " ".join(str(answer.get("message") or answer.get("error") or "").split())
    text = text.replace(token, "(the token)") if token else text
    return f"{text[:_LONGEST]}..." if len(text) > _LONGEST else text
