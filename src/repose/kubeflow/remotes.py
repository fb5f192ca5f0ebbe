"""DVC's remote of a project: where it is, and how it is opened."""

import re
from collections.abc import Mapping
from typing import Any

from repose.errors import ReposeError, SettingsError, has_secret, shown
from repose.kubeflow.needs import Environment
from repose.storage.remote import NAME, Remote


def remote_of(
    repo: Any, environment: Environment, remote: str | None = None, endpoint: str = "", *, committed: bool = False
) -> tuple[str | None, str]:
    """The address and S3 endpoint of DVC's remote: the given one, else the environment's, else the project's default.

    Args:
        repo: The DVC repository.
        environment: Its endpoint is that of its own remote, or of the project's default.
        remote: A name in DVC's configuration or an address.
        endpoint: URL of an S3 server other than Amazon's; replaces the remote's own.
        committed: Ignore .dvc/config.local and the user's configuration, which belong to one machine.

    Raises:
        ReposeError: the remote is neither a name nor an address, or keeps versions of files instead of objects; an
            address has a login or a query; or the endpoint is no http address.
    """
    config = repo.config.load_one("repo") if committed else repo.config
    chosen = remote or environment.remote
    name = _name_of(config, chosen)
    own = config["remote"][name] if name else {}
    if kept := [key for key in ("version_aware", "worktree") if str(own.get(key)).lower() == "true"]:
        raise ReposeError(
            f"The remote {name} has {kept[0]}, with which DVC does not name objects by their MD5, as pods do. Remove that "
            "setting and `dvc push`, or give another remote."
        )
    address = own.get("url") or chosen
    endpoint = endpoint or ("" if remote else environment.endpoint) or own.get("endpointurl") or ""
    for where, text in (("remote", address or ""), ("endpoint", endpoint)):
        check_address_is_public(text, f"The {where} {shown(text)}")
    if endpoint and not re.match("https?://[^/]", endpoint):
        raise SettingsError(f"The endpoint {endpoint!r} should read like http://host:port.")
    return address, endpoint


def open_remote(repo: Any, remote: str | None, endpoint: str) -> Remote:
    """DVC's remote by name or address; None: the project's default. `endpoint` overrides the configured one.

    Raises:
        ReposeError: it is neither a name nor an address, or an address that is not configured has a login or a query.
    """
    known, name = repo.config["remote"], _name_of(repo.config, remote)
    if name is None and remote:
        check_address_is_public(remote, f"The remote {shown(remote)}")
        name, known[NAME] = NAME, {"url": remote}
    if name is not None:  # `verify`: check the content of what is fetched
        known[name] |= {"verify": True} | ({"endpointurl": endpoint} if endpoint else {})
    return Remote(repo, name)


def check_address_is_public(address: str, where: str) -> None:
    """Raise a ReposeError about `where` if an address has a login or a query, which a run would show."""
    if shown(address) != address or has_secret(address):
        raise _secret(where)


def check_public(value: Any, where: str) -> None:
    """Raise a ReposeError about `where` and the key if a text is an address with a login or a signature, which runs show."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            check_public(child, f"{where}{'' if where.endswith(' ') else '.'}{key}")
    elif isinstance(value, list | tuple):
        for number, child in enumerate(value):
            check_public(child, f"{where}[{number}]")
    elif isinstance(value, str) and has_secret(value):
        raise _secret(where)


def _secret(where: str) -> SettingsError:
    return SettingsError(
        f"{where} is an address with a login, a signature or a query, which all who see the run would read. Leave that out, "
        "and give credentials as a Kubernetes secret (`secrets` or `secret_files` in the environment); on this machine, by "
        "`dvc remote modify --local` or AWS's environment variables."
    )


def _name_of(config: Mapping[str, Any], remote: str | None) -> str | None:
    """The name in DVC's configuration of a remote, given by name or address, or of the default; None: an unknown address."""
    known = config["remote"]
    if remote is None or remote in known:
        return remote or config["core"].get("remote")
    if "/" not in remote:
        raise ReposeError(
            f"There is no remote {remote!r} in DVC's configuration; there are: {', '.join(known) or 'none'}. Name one, or "
            f"an address such as s3://bucket/path or ./{remote}."
        )
    return next((name for name in known if known[name].get("url") == remote), None)
