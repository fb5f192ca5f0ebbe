"""The endpoint of Kubeflow Pipelines: requests to it, with error messages that say what to do.

kfp.Client waits without a limit for a silent server, prints links, and makes an empty model of an answer that is not JSON. So
its requests are given a time limit, and their answers are checked.
"""

import io
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from repose.errors import RemoteError

ENDPOINT, NAMESPACE, TOKEN, CA_CERT = "KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_TOKEN", "KFP_CA_CERT"
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


def connect(endpoint: Endpoint) -> Any:
    """A kfp.Client for the endpoint, whose requests time out, and fail if the answer is not the pipeline API's.

    Raises:
        RemoteError: the endpoint does not answer, is not a pipeline API, is too old, or needs a namespace.
    """
    import kfp_server_api as api
    from kfp import Client

    settings = api.Configuration()
    settings.host, settings.ssl_ca_cert = endpoint.address, str(endpoint.ca_cert) if endpoint.ca_cert else None
    if endpoint.token:
        settings.api_key, settings.api_key_prefix = {"authorization": endpoint.token}, {"authorization": "Bearer"}
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it logs each of its own retries
    with asking(endpoint, "connect", "There is no pipeline API."):
        checked = _checked(api.ApiClient(settings))
        health = api.HealthzServiceApi(checked).healthz_service_get_healthz()
        _check_version(endpoint, checked)
    if health.multi_user and not endpoint.namespace:
        raise RemoteError(f"{endpoint.address} has users: set {NAMESPACE} to your namespace.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that it needs version 2
        client = Client(
            host=endpoint.address, existing_token=endpoint.token, ssl_ca_cert=settings.ssl_ca_cert,
            namespace=endpoint.namespace or "kubeflow",
        )  # fmt: skip
    _checked(client._run_api.api_client)
    return client


@contextmanager
def asking(endpoint: Endpoint, what: str, missing: str) -> Iterator[None]:
    """Turn a failed request in the block into a RemoteError; what kfp.Client prints is not shown.

    Args:
        endpoint: The endpoint.
        what: The purpose of the request, after "to" in a message.
        missing: The message if the server responds with "not found".

    Raises:
        UnansweredError: the endpoint does not answer at the moment.
        RemoteError: the request is rejected, or the endpoint is not a pipeline API.
    """
    from kfp_server_api import ApiException

    try:
        with redirect_stdout(io.StringIO()):  # it prints links
            yield
    except _FailedError as failed:
        raise _explain(failed, endpoint, what, missing) from None
    except (ApiException, ValueError) as error:  # of a field in a good answer
        why = getattr(error, "reason", None) or error
        raise RemoteError(f"The response of {endpoint.address} cannot be read (to {what}: {why}).") from None


def _checked(client: Any) -> Any:
    """A client of kfp-server-api whose requests time out and only take JSON: it makes an empty model of anything else."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    send = client.request

    def request(method: str, url: str, **named: Any) -> Any:
        try:
            response = send(method, url, **(named | {"_request_timeout": _TIMES}))
        except ApiException as error:
            raise _FailedError(error.status, error.body) from None
        except HTTPError as error:
            raise _FailedError(reason=getattr(error, "reason", None) or error) from None
        if not isinstance(_json(response.data), dict):
            raise _FailedError(response.status, response.data)
        return response

    client.request = request
    return client


def _check_version(endpoint: Endpoint, client: Any) -> None:
    """Reject a server that is older than the features that are used, if it says its version; only the API's version 1 does."""
    try:
        tag = str(
            client.call_api("/apis/v1beta1/healthz", "GET", response_type="object", auth_settings=["Bearer"])[0][
                "tag_name"
            ]
        )
    except (_FailedError, KeyError, TypeError):
        return
    numbers = re.match(r"v?(\d+)\.(\d+)", tag)
    if numbers and tuple(map(int, numbers.groups())) < LEAST:
        raise RemoteError(
            f"{endpoint.address} is Kubeflow Pipelines {tag}; pipelines of repose need {'.'.join(map(str, LEAST))} or later."
        )


@dataclass
class _FailedError(Exception):
    """A request without a valid response."""

    status: int = 0  # of the response
    body: bytes = b""
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
