"""The endpoint of Kubeflow Pipelines: requests to it, with error messages that say what to do.

kfp.Client waits without a limit for a silent server, prints links, and makes an empty model of an answer that is not JSON. So
its requests are given a time limit, and their answers are checked.
"""

import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from repose.errors import RemoteError, installed, without_secrets

ENDPOINT, NAMESPACE, TOKEN, CA_CERT = "KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_TOKEN", "KFP_CA_CERT"
_ADDRESS = re.compile(r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?(/[A-Za-z0-9._~%/+-]*)?")
LEAST = (2, 16)  # version of Kubeflow Pipelines, whose driver sets security contexts
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
        RemoteError: KFP_ENDPOINT is not set, a variable is malformed, or a token would go to another machine by http.
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
    _check_address(address, with_token=bool(token))
    return Endpoint(address.rstrip("/"), namespace or None, token or None, Path(cert) if cert else None)


def _check_address(text: str, *, with_token: bool) -> None:
    form = "http(s)://host[:port][/prefix]"
    if not text:
        raise RemoteError(
            f"Set the environment variable {ENDPOINT} to the address of Kubeflow Pipelines ({form}), such as "
            "http://localhost:8888 after `kubectl port-forward -n kubeflow svc/ml-pipeline 8888`."
        )
    parts = _ADDRESS.fullmatch(text)
    if parts is None:  # not shown: it may hold a password
        raise RemoteError(
            f"The environment variable {ENDPOINT} should be {form}, without a user, a query or a fragment (#...). Give "
            f"a token as {TOKEN}."
        )
    if with_token and parts[1] == "http" and parts[2].lower() not in ("localhost", "127.0.0.1", "[::1]"):
        raise RemoteError(
            f"{TOKEN} is not sent to {text} without encryption: others on the way could read it. Use https://, or "
            "http://localhost:8888 after `kubectl port-forward -n kubeflow svc/ml-pipeline 8888`."
        )


def connect(endpoint: Endpoint) -> Any:
    """A kfp.Client for the endpoint. Its requests time out, and raise RemoteError with what to do if they fail.

    Raises:
        UnansweredError: the endpoint does not answer at the moment.
        RemoteError: the endpoint is not a pipeline API, is too old, or needs a namespace.
        ReposeError: kfp is not installed.
    """
    with installed():
        import kfp_server_api as api
        from kfp import Client

    settings = api.Configuration()
    settings.host, settings.ssl_ca_cert = endpoint.address, str(endpoint.ca_cert) if endpoint.ca_cert else None
    if endpoint.token:
        settings.api_key, settings.api_key_prefix = {"authorization": endpoint.token}, {"authorization": "Bearer"}
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it logs each of its own retries
    first = _checked(api.ApiClient(settings), endpoint)
    health = api.HealthzServiceApi(first).healthz_service_get_healthz()
    if health.multi_user and not endpoint.namespace:
        raise RemoteError(f"{endpoint.address} has users: set {NAMESPACE} to your namespace.")
    _check_version(first, endpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that it needs version 2
        client = Client(
            host=endpoint.address, existing_token=endpoint.token, ssl_ca_cert=settings.ssl_ca_cert,
            namespace=endpoint.namespace or "kubeflow",
        )  # fmt: skip
    _checked(client._run_api.api_client, endpoint)
    return client


def _checked(client: Any, endpoint: Endpoint) -> Any:
    """A client of kfp-server-api whose requests time out and only take JSON: it makes an empty model of anything else."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    send, call = client.request, client.call_api

    def request(method: str, url: str, **named: Any) -> Any:
        what = f"{method} {urlsplit(url).path}"
        try:
            response = send(method, url, **(named | {"_request_timeout": _TIMES}))
        except ApiException as error:
            raise _refusal(endpoint, what, error.status, error.body) from None
        except HTTPError as error:
            raise _silence(endpoint, what, getattr(error, "reason", None) or error) from None
        if not isinstance(_json(response.data), dict):
            raise _refusal(endpoint, what, response.status, response.data)
        return response

    def call_api(*given: Any, **named: Any) -> Any:
        with understood(endpoint):
            return call(*given, **named)

    client.request, client.call_api = request, call_api
    return client


@contextmanager
def understood(endpoint: Endpoint) -> Iterator[None]:
    """Turn an error in reading an answer of the endpoint into a RemoteError."""
    from kfp_server_api import ApiException

    try:
        yield
    except (ApiException, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise RemoteError(
            f"{endpoint.address} does not answer as the pipeline API does ({type(error).__name__} in its JSON). Is {ENDPOINT} "
            "right?"
        ) from None


def _check_version(client: Any, endpoint: Endpoint) -> None:
    """Reject a server that is older than the features that are used, if it says its version: only the API's version 1 does."""
    try:
        health, *_ = client.call_api("/apis/v1beta1/healthz", "GET", response_type="object", auth_settings=["Bearer"])
    except RemoteError:
        return
    tag = str(health.get("tag_name"))
    numbers = re.match(r"v?(\d+)\.(\d+)", tag)
    if numbers and tuple(map(int, numbers.groups())) < LEAST:
        raise RemoteError(
            f"{endpoint.address} is Kubeflow Pipelines {tag}; pipelines of repose need {'.'.join(map(str, LEAST))} or later."
        )


def _refusal(endpoint: Endpoint, what: str, status: int, body: bytes) -> RemoteError:
    """The error for a response that is not the expected one, with what to do."""
    address, answer = endpoint.address, _json(body)
    new_token = f"get a new token for this endpoint ({TOKEN})" if endpoint.token else f"set {TOKEN} to a bearer token"
    if status in _TRANSIENT:
        return UnansweredError(f"{address} does not work at the moment ({what}: {status}). Try again later.")
    if not isinstance(answer, dict) or (status == 404 and "code" not in answer):
        return RemoteError(
            f"{address} does not answer as the pipeline API does ({what}: {status}). Set {ENDPOINT} such that "
            f"{ENDPOINT}/apis/v2beta1/healthz answers with JSON. If the answer is a login page, {new_token}."
        )
    text = answer.get("message") or answer.get("error") or answer.get("error_message") or ""  # the last: of an upload
    message = message_of(str(text).replace(endpoint.token, "(the token)") if endpoint.token else text)
    said = f"{address} refuses {what} ({status}: {message})."
    if status in (401, 403):
        return RemoteError(
            f"{said} The token's owner lacks permission, or the token has expired: {new_token}, or correct {NAMESPACE}"
            f"{f' ({endpoint.namespace})' if endpoint.namespace else ''}."
        )
    hint = f" Set {NAMESPACE} only where each user has a namespace, and to yours." if "namespace" in message else ""
    return RemoteError(f"{said}{hint}")


def _silence(endpoint: Endpoint, what: str, reason: BaseException) -> RemoteError:
    """The error for a request without a response."""
    from urllib3.exceptions import SSLError

    why = message_of(reason)
    if isinstance(reason, SSLError):
        return RemoteError(
            f"There is no trusted connection to {endpoint.address} ({why}). If its certificate is your organization's own, "
            f"set {CA_CERT} to the file of the authority's certificate (PEM); if it speaks plain HTTP, write http://."
        )
    return UnansweredError(
        f"{endpoint.address} does not answer ({what}: {why}). Is {ENDPOINT} right, is the server up, does the port-forward "
        "still run?"
    )


def message_of(text: object) -> str:
    """A server's message for one of ours: on one line, without control characters and secrets, at most 500 characters."""
    line = "".join(sign if sign.isprintable() else " " for sign in str(text))
    return without_secrets(" ".join(line.split()))[:_LONGEST]


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
