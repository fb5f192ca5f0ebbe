"""`repose weights`: the files of networks that repose did not train. This command alone fetches one that nobody named."""

from typing import Annotated

import typer

from repose.errors import ReposeError
from repose.storage.transfer import shown
from repose.storage.weight_files import KNOWN, State, cached, fetch_known, known, state
from repose.terminal import say

app = typer.Typer(
    no_args_is_help=True, help="The files of networks that repose did not train: which there are, fetch, verify."
)
NAMES = ", ".join(KNOWN)
Name = Annotated[str, typer.Argument(help=f"Of which network: {NAMES}.", metavar="NAME", show_default=False)]
Names = Annotated[
    list[str] | None, typer.Argument(help="Of which networks; default: all whose file is there.", metavar="NAME")
]
From = Annotated[
    str | None,
    typer.Option(
        "--from", help="Where you have the file: a path, s3:// or https://. Default: its owner's address.", metavar="ADDRESS"
    ),
]  # fmt: skip
Endpoint = Annotated[
    str | None, typer.Option(help="For s3://, a server other than Amazon's: http(s)://host:port.", metavar="ADDRESS")
]


@app.command("list")
def list_files() -> None:
    """Every network that repose can use: its file, SHA-256, licence, source, and whether the file is in the cache."""
    for name, of in KNOWN.items():
        here = "in the cache" if cached(name).is_file() else "not in the cache"
        facts = {
            "file": of.file,
            "sha256": f"{of.sha256}... (what its owner publishes of it)",
            "licence": of.licence,
            "from": of.url,
            "used by": of.used_by,
            "here": f"{here}: {cached(name)}",
        }
        typer.echo(f"{name}: {of.source}")
        for fact, said in facts.items():
            typer.echo(f"  {fact:8} {said}")


@app.command()
def fetch(name: Name, address: From = None, endpoint: Endpoint = None) -> None:
    """Bring a network's file into the cache, once its SHA-256 is right; what is there already is not fetched again.

    repose weights fetch alexnet

    repose weights fetch inception-tf-2015 --from s3://bucket/inception.pth
    """
    say(f"{name}: from {shown(address or known(name).url)}")
    path, sha256 = fetch_known(name, address, endpoint=endpoint)
    say(f"{name}: licence {known(name).licence}, SHA-256 {sha256}")
    typer.echo(path)


@app.command()
def verify(names: Names = None) -> None:
    """Compute the SHA-256 of files in the cache; ends with 1 if one is another file, or one that was named is not there."""
    failed = False
    for name in names or KNOWN:
        found, sha256 = state(name)
        typer.echo(f"{name}: {found}" + (f", SHA-256 {sha256}" if sha256 else ""))
        failed = failed or found is State.DAMAGED or (bool(names) and found is State.MISSING)
    if failed:
        raise ReposeError("A file is damaged, or is not there: bring it with `repose weights fetch NAME`.")
