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


# T is Path, or Path | None if the default is the path in dvc.yaml.
Raw = Annotated[Path, folder("The source's files, as written by download.")]
Lists = Annotated[Path, folder("The source's files other than photos: download's folder lists.")]
Images = Annotated[T, folder("The photos of all parts, as written by validate.")]
Keypoints = Annotated[T, folder("The keypoints tables of all parts.")]
Posemaps = Annotated[T, folder("The pose maps of all parts.")]
Split = Annotated[T, folder("Items and pairs for training and testing.")]
Runs = Annotated[T, folder("Folder with a folder for each trained system.")]
Run = Annotated[T, folder("The trained system.")]
Results = Annotated[T, folder("Scores, pictures and generated images, as written by evaluate.")]
ImagesOfPart = Annotated[Path, folder("The photos of one part, as written by validate.")]
KeypointsOfPart = Annotated[Path, folder("The keypoints table of that part.")]
PosemapsOfPart = Annotated[Path, folder("The pose maps of that part.")]
Scores = Annotated[Path, file("The mean scores, as written by evaluate.")]
Published = Annotated[T, file("The paper's own Table 1 as a CSV, for comparison.")]
Report = Annotated[Path, folder("The stage's report: JSON and an HTML page.")]
Params = Annotated[Path, typer.Option(help="The settings.", metavar="FILE", show_default=True)]
PARAMS = Path("params.yaml")


def stage_settings(params: Path, name: str, kind: type[T]) -> T:
    """The settings in block `name` of the params file."""
    from repose.config import block, read_params  # imports pydantic, which `repose --help` does not need

    return block(read_params(params), name, kind, str(params))
