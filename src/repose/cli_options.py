"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

T = TypeVar("T")


def option(text: str, metavar: str, panel: str | None = None, *names: str) -> Any:
    """An option; help does not show its default."""
    return typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel, show_default=False)


def folder(text: str) -> Any:
    """An option that is a folder."""
    return option(text, "FOLDER")


def file(text: str, panel: str | None = None) -> Any:
    """An option that is a file."""
    return option(text, "FILE", panel)


Params = Annotated[Path, typer.Option(help="The settings.", metavar="FILE", show_default=True)]
PARAMS = Path("params.yaml")


def stage_settings(params: Path, name: str, kind: type[T]) -> T:
    """The settings in block `name` of the params file."""
    from repose.config import block, read_params  # imports pydantic, which `repose --help` does not need

    return block(read_params(params), name, kind, str(params))
