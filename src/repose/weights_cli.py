"""`repose weights`: files of networks that repose did not train. Only `fetch` downloads."""

from typing import Annotated

import typer

from repose.cli_options import option
from repose.terminal import say

app = typer.Typer(no_args_is_help=True, help="List and fetch the weights of networks that repose did not train.")
Name = Annotated[str, typer.Argument(help="The network; see `repose weights list`.", metavar="NAME")]
From = Annotated[
    str | None,
    option("A path, s3:// or https://. Default: the owner's address, or pip's index.", "ADDRESS", None, "--from"),
]
Endpoint = Annotated[str | None, option("For s3://, a server other than Amazon's: http(s)://host:port.", "ADDRESS")]


@app.command("list")
def list_files() -> None:
    """List the networks: file, SHA-256, license, source, and whether the file is in the cache."""
    from repose.storage.weight_files import KNOWN, cached, is_cached

    for name, of in KNOWN.items():
        typer.echo(f"{name}: {of.source}")
        here = f"{'in the cache' if is_cached(name) else 'not in the cache'}: {cached(name)}"
        for label, fact in (
            ("file", of.file), ("sha256", f"{of.sha256[:8]}..."), ("license", of.licence), ("from", of.url),
            ("used by", of.used_by), ("here", here),
        ):  # fmt: skip
            typer.echo(f"  {label:8} {fact}")


@app.command()
def fetch(name: Name, address: From = None, endpoint: Endpoint = None) -> None:
    """Download a network's file into the cache and check its SHA-256. Only checks a file that is already there.

    repose weights fetch alexnet

    repose weights fetch inception-tf-2015 --from s3://bucket/inception.pth
    """
    from repose.storage.transfer import shown
    from repose.storage.weight_files import fetch_known, known

    say(f"{name}: from {shown(address or known(name).url)}")
    path, sha256 = fetch_known(name, address, endpoint=endpoint)
    say(f"{name}: license {known(name).licence}, SHA-256 {sha256}")
    typer.echo(path)
