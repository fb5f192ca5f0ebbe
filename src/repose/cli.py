"""The command line: the seven stages as `dvc.yaml` calls them, and `repose generate`.

Only here is params.yaml opened. Stages are imported when they run, so that `repose --help` is quick and a machine needs
only the packages of the stage that it runs.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from repose import __version__
from repose.errors import ReposeError
from repose.settings import block, read_params
from repose.terminal import say

app = typer.Typer(
    help="Photos of a garment in, the same garment in any other pose out.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
STAGES, USE = "Stages (what dvc.yaml runs)", "Use"
ParamsFile = Annotated[Path, typer.Option("--params", help="The settings.", metavar="FILE")]
PARAMS = Path("params.yaml")


def _folder(what: str) -> type[Path]:
    return Annotated[Path, typer.Option(help=what, metavar="FOLDER")]  # type: ignore[return-value]


Raw = _folder("What download wrote: the source's files.")
Images = _folder("What validate wrote: the photos that passed.")
Keypoints = _folder("What keypoints wrote.")
Posemaps = _folder("What posemaps wrote.")
Split = _folder("What split wrote.")
Report = _folder("Where the report goes.")


@app.command(rich_help_panel=STAGES)
def download(raw: Raw, transfers: _folder("Where interrupted transfers wait."), params: ParamsFile = PARAMS) -> None:  # type: ignore[valid-type]
    """Bring the source's files in: rendered mannequins, or your own copy of a data set."""
    from repose.stages import download as stage

    stage.run(raw=raw, transfers=transfers, settings=_settings(params, "download", stage.DownloadSettings))
