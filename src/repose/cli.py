"""The command line: the seven stages as dvc.yaml calls them, and `repose generate`.

Only here is params.yaml opened. Stages are imported when they run, so that `repose --help` is quick and a machine needs
only the packages of the stage that it runs.
"""

import sys
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from repose import __version__
from repose.errors import ReposeError
from repose.settings import block, nearest, read_params
from repose.terminal import say

T = TypeVar("T")
app = typer.Typer(
    help="Photos of a garment in, the same garment in any other pose out.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
STAGES, USE = "The pipeline's stages, as dvc.yaml calls them", "Use"


def _folder(text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=text, metavar="FOLDER")
    return option


Raw = Annotated[Path, _folder("The source's files, as download wrote them.")]
Images = Annotated[Path, _folder("The photos that passed, as validate wrote them.")]
Keypoints = Annotated[Path, _folder("The keypoints table.")]
Posemaps = Annotated[Path, _folder("The pose maps.")]
Split = Annotated[Path, _folder("Items and pairs to train and to test on.")]
Report = Annotated[Path, _folder("The stage's report: JSON, and a page to read.")]
Params = Annotated[Path, typer.Option(help="The settings.", metavar="FILE", show_default=True)]
PARAMS = Path("params.yaml")


@app.command(rich_help_panel=STAGES)
def download(
    raw: Raw, transfers: Annotated[Path, _folder("Where interrupted transfers wait.")], params: Params = PARAMS
) -> None:
    """Bring the source in: rendered mannequins, or your own copy of a data set."""
    from repose.stages import download as stage

    stage.run(raw=raw, transfers=transfers, settings=_settings(params, "download", stage.DownloadSettings))


@app.command(rich_help_panel=STAGES)
def validate(raw: Raw, images: Images, report: Report, params: Params = PARAMS) -> None:
    """Check every photo; pack those that pass, set the others aside."""
    from repose.stages import validate as stage

    stage.run(raw=raw, images=images, report=report, settings=_settings(params, "validate", stage.ValidateSettings))


@app.command(rich_help_panel=STAGES)
def keypoints(raw: Raw, images: Images, keypoints: Keypoints, report: Report, params: Params = PARAMS) -> None:
    """Read (or find) the 18 keypoints of each photo."""
    from repose.stages import keypoints as stage

    settings = _settings(params, "keypoints", stage.KeypointsSettings)
    stage.run(raw=raw, images=images, keypoints=keypoints, report=report, settings=settings)


@app.command(rich_help_panel=STAGES)
def posemaps(images: Images, keypoints: Keypoints, posemaps: Posemaps, params: Params = PARAMS) -> None:
    """Draw each photo's pose map."""
    from repose.stages import posemaps as stage

    settings = _settings(params, "posemaps", stage.PosemapsSettings)
    stage.run(images=images, keypoints=keypoints, posemaps=posemaps, settings=settings)


@app.command(rich_help_panel=STAGES)
def split(
    raw: Raw, images: Images, keypoints: Keypoints, split: Split, report: Report, params: Params = PARAMS
) -> None:
    """Choose what to train and what to test on, as a published split does."""
    from repose.stages import split as stage

    settings = _settings(params, "split", stage.SplitSettings)
    stage.run(raw=raw, images=images, keypoints=keypoints, split=split, report=report, settings=settings)


@app.command(rich_help_panel=STAGES)
def train(
    system: Annotated[str, typer.Option(help="The row under systems in the params.", metavar="NAME")],
    images: Images, keypoints: Keypoints, posemaps: Posemaps, split: Split,
    run: Annotated[Path, _folder("The trained system.")],
    work: Annotated[Path, _folder("Where unfinished runs wait.")],
    params: Params = PARAMS,
) -> None:  # fmt: skip
    """Train one system; killed and started again, it goes on."""
    from repose.models import systems
    from repose.stages import train as stage

    everything = read_params(params)
    rows = everything.get("systems")
    if not isinstance(rows, dict) or system not in rows:
        raise ReposeError(f"{params} has no row {system!r} under systems{nearest(system, list(rows or []))}")
    stage.run(
        system=system, row=systems.row(rows[system], f"{params}: systems.{system}"),
        settings=block(everything, "train", stage.TrainSettings, str(params)),
        folders=stage.Folders(images, keypoints, posemaps, split), run=run, work=work,
    )  # fmt: skip


@app.command(rich_help_panel=STAGES)
def evaluate(
    images: Images, keypoints: Keypoints, posemaps: Posemaps, split: Split,
    runs: Annotated[Path, _folder("Holds a folder for each trained system.")],
    results: Annotated[Path, _folder("Scores, pictures and generated images.")],
    metrics: Annotated[Path, typer.Option(help="The mean scores, as JSON.", metavar="FILE")],
    params: Params = PARAMS,
) -> None:  # fmt: skip
    """Score the trained systems beside the baselines on the test pairs."""
    from repose.stages import evaluate as stage

    settings = _settings(params, "evaluate", stage.EvaluateSettings)
    folders = stage.Folders(images, keypoints, posemaps, split, runs)
    stage.run(folders=folders, results=results, metrics=metrics, settings=settings)


def _settings(params: Path, name: str, kind: type[T]) -> T:
    return block(read_params(params), name, kind, str(params))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"repose {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Photos of a garment in, the same garment in any other pose out."""


def main() -> None:
    """Run; a ReposeError is a message, not a traceback."""
    try:
        app()
    except ReposeError as error:
        say(f"repose: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
