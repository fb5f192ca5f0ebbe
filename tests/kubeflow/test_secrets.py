"""A password or signature in an address, planted in every place that takes one, comes out nowhere."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import steps
from compiled import edit, environment
from typer.testing import CliRunner

from repose.cli import app
from repose.config import build, parse_yaml
from repose.data.origins import Origin, check_origins
from repose.errors import ReposeError, SettingsError, has_secret, shown, without_secrets
from repose.kubeflow.endpoint import read_endpoint
from repose.kubeflow.params import check_type, from_text, parse_overrides
from repose.kubeflow.project import open_repo
from repose.storage import transfer
from repose.storage.remote import Remote
from repose.storage.transfer import partial
from repose.storage.weight_files import WeightsFile
from repose.terminal import say

ADDRESSES = (
    "https://anna:s3kr3t@127.0.0.1:1/a.zip", "https://anna:s3/kr3t@127.0.0.1:1/a.zip", "https://anna:12/s3kr3t@127.0.0.1:1/a",
    "https://anna:@s3kr3t@127.0.0.1:1/a", "https://anna:s3?kr3t=@127.0.0.1:1/a.zip", "https:/anna:s3kr3t@127.0.0.1:1/a.zip",
    "https://127.0.0.1:1/a.zip?X-Amz-Signature=s3kr3t", "s3://anna:s3/kr3t@bucket/a/", "ftp://anna:s3kr3t@127.0.0.1:1/a.zip",
    "s3://bucket/a.zip?X-Amz-Signature=s3kr3t", "https://s3kr3t@127.0.0.1:1/a.zip",
    "https://p.org/https://anna:s3kr3t@127.0.0.1:1/a.zip", "https://127.0.0.1:1/?auth=s3kr3t",
    "https://127.0.0.1:1/?a=1&pwd=s3kr3t",
)  # fmt: skip
IN_PLACES = ADDRESSES[1], ADDRESSES[5], ADDRESSES[6], ADDRESSES[7]  # as a place hands on all of them in the same way
QUOTED = "https://anna:s3'kr3t@127.0.0.1:1/a.zip"  # RFC 3986 allows the quote there; YAML and shells need it escaped
WITHOUT_SCHEME = "anna:s3kr3t@127.0.0.1:1/a.zip"  # an address only where nothing else is possible
PLAIN = (
    "https://example.org/@scope/a", "s3://bucket/a@2x.png", "data/a@b?.zip", "https://[::1]:80/a", "C:\\photos", "/data/a:b@c",
    "http(s)://host[:port][/prefix]", "https://kfp.org/#/runs/details/1",
)  # fmt: skip


def repose(*words: str) -> None:
    """Run a command of the command line."""
    result = CliRunner().invoke(app, words)
    print(result.output)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception


def in_environment(line: str, *words: str) -> Callable[[str, Path], None]:
    """Compile with a line in an environment."""

    def run(address: str, folder: Path) -> None:
        repose("kfp", *(words or ("compile",)), "-e", environment(folder, line.replace("ADDRESS", f"'{address}'")))

    return run


def in_params(address: str, folder: Path) -> None:
    edit(folder / "params.yaml", "precise: false", f"precise: false\nsource: [{{at: '{address}'}}]")
    repose("kfp", "compile")


def in_meta(address: str, folder: Path) -> None:
    edit(folder / "dvc.yaml", 'cpu: "1"', f"env: {{PROXY: '{address}'}}")
    repose("kfp", "compile")


def configured(address: str, folder: Path) -> None:
    (folder / ".dvc" / "config").write_text(
        f"[core]\n    no_scm = true\n    remote = store\n['remote \"store\"']\n    url = {address}\n"
    )


def in_config(address: str, folder: Path) -> None:
    configured(address, folder)
    repose("kfp", "compile")


def opened(address: str, folder: Path) -> None:
    if not address.startswith("https://"):  # see tests/storage/test_remote.py
        configured(address, folder)
        Remote(open_repo(folder)).read("x")


AT = ("--remote", "s3://a/b")
SECRET = "give credentials as a Kubernetes secret"
# What takes an address, and the message if all of them are refused.
PLACES: dict[str, tuple[Callable[[str, Path], object], str | None]] = {
    "a log line": (lambda at, _: say(f"from '{at}' to {at}."), None),
    "an error": (lambda at, _: parse_yaml(f"a: 1\na: '{at}'"), None),
    "a setting that is none": (lambda at, _: build(WeightsFile, {"address": "x", at: 1}, "here"), ""),
    "a setting of another type": (lambda at, _: build(WeightsFile, {"address": [f"{at} s3kr3t"]}, "here"), ""),
    "a setting's value": (lambda at, _: build(WeightsFile, {"address": "x", "sha256": at}, "here"), ""),
    "a param's text": (lambda at, _: from_text(f"{at} s3kr3t", 1, "here"), ""),
    "a param's value": (lambda at, _: check_type({"a": f"{at} s3kr3t"}, 1, "here"), ""),
    "the parameter overrides": (lambda at, _: parse_overrides(f"{at} s3kr3t"), ""),
    "an origin": (lambda at, _: check_origins([Origin(at, sha256="x")]), None),
    "a password instead of its variable": (lambda _, f: check_origins([Origin(str(f), password_variable="s3kr3t")]), ""),
    "a transfer": (lambda at, f: transfer.fetch(at, f / "x"), ""),
    "repose weights": (lambda at, _: repose("weights", "fetch", "vgg19", "--from", at), ""),
    "the endpoint of S3": (lambda at, f: transfer.fetch("s3://b/a", f / "x", endpoint=at), ""),
    "a remote of DVC": (opened, None),
    "KFP_ENDPOINT": (lambda at, _: read_endpoint({"KFP_ENDPOINT": at}), ""),
    "KFP_TOKEN": (lambda at, _: read_endpoint({"KFP_ENDPOINT": "http://h", "KFP_TOKEN": f"{at} s3kr3t"}), ""),
    "an environment's remote": (in_environment("remote: ADDRESS"), SECRET),
    "an environment's variable": (in_environment("defaults: {env: {PROXY: ADDRESS}}"), "show.yaml: defaults.env.PROXY is an"),
    "a stage's annotation": (in_environment("stages: {count: {annotations: {at: ADDRESS}}}"), SECRET),
    "a param's description": (in_environment("expose: {scale: ADDRESS}"), SECRET),
    "a list in an environment": (in_environment("image_pull: ADDRESS\nimage: [ADDRESS]"), ""),
    "a param of the project": (in_params, SECRET),
    "meta in dvc.yaml": (in_meta, SECRET),
    ".dvc/config": (in_config, ""),
    "--remote": (lambda at, _: repose("kfp", "submit", "--remote", at), SECRET),
    "--endpoint": (lambda at, _: repose("kfp", "submit", *AT, "--endpoint", at), SECRET),
    "--param": (lambda at, _: repose("kfp", "submit", *AT, "-P", f"labels=['{at}']"), SECRET),
    "run-local --remote": (lambda at, _: repose("kfp", "run-local", "--runner", "subprocess", "--remote", at), SECRET),
    "fetch --remote": (lambda at, _: repose("kfp", "fetch", "run-1", "--remote", at), SECRET),
    "the pipeline's parameter": (lambda at, f: steps.run("count", f, at, ["made"]), SECRET),
}  # fmt: skip


FREE = {
    "a log line", "an error", "a setting that is none", "an environment's variable", "a stage's annotation",
    "a param's description", "a param of the project", "meta in dvc.yaml", "--param", "a setting's value", ".dvc/config",
}  # fmt: skip


@pytest.mark.usefixtures("s3_credentials")
@pytest.mark.parametrize("place", PLACES)
def test_a_secret_comes_out_nowhere(flowers, tmp_path, monkeypatch, capfd, caplog, place):
    monkeypatch.chdir(flowers)
    monkeypatch.setattr(partial, "sleep", lambda _: None)
    monkeypatch.setenv("KFP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("REPOSE_CACHE", str(tmp_path / "cache"))
    use, refused = PLACES[place]
    addresses = IN_PLACES if place in FREE else (*IN_PLACES, WITHOUT_SCHEME)
    planted = {flowers / name: (flowers / name).read_bytes() for name in ("params.yaml", "dvc.yaml", ".dvc/config")}
    ended = []
    with caplog.at_level(logging.INFO):
        for address in addresses:
            try:
                use(address, flowers)
            except (ReposeError, ValueError) as error:
                ended.append(str(error) if isinstance(error, ReposeError) else str(SettingsError(str(error))))
            for path, content in planted.items():
                path.write_bytes(content)
            environment(flowers, "{}")
    said = capfd.readouterr()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for text in (*ended, *said, caplog.text, *(path.read_bytes().decode(errors="replace") for path in files)):
        assert "kr3t" not in text
    assert not any("kr3t" in str(path) for path in tmp_path.rglob("*"))
    if refused is not None:
        assert [refused in message for message in ended] == [True] * len(addresses), ended


@pytest.mark.parametrize("address", [*ADDRESSES, QUOTED, WITHOUT_SCHEME])
def test_a_secret_is_known_and_not_shown(address):
    assert "kr3t" not in shown(address)
    assert shown(shown(address)) == shown(address)
    if address != WITHOUT_SCHEME:
        assert "kr3t" not in without_secrets(f"at '{address}'.")
        assert has_secret(address)


@pytest.mark.parametrize("address", PLAIN)
def test_an_address_without_a_secret_is_shown_as_it_is(address):
    assert without_secrets(f"Give {address}: now.") == f"Give {address}: now."
    assert not has_secret(address)
    assert not has_secret("https://example.org/?version=3")
