"""`repose figure`: how the figure network was made, as figure/dvc.yaml calls it."""

from pathlib import Path
from typing import Annotated

import typer

from repose.config import block, read_params

app = typer.Typer(no_args_is_help=True, help="The embedded figure network: render, train, score (docs/figure.md).")

Params = Annotated[Path, typer.Option(help="The settings.", metavar="FILE", show_default=True)]
Run = Annotated[Path, typer.Option(help="The trained network.", metavar="FOLDER")]
PARAMS = Path("params.yaml")


@app.command()
def render(
    set_: Annotated[str, typer.Option("--set", help="Which of render.sets in the params.", metavar="NAME")],
    raw: Annotated[Path, typer.Option(help="The set's photos and truth, in shards.", metavar="FOLDER")],
    params: Params = PARAMS,
) -> None:
    """Render one set of mannequins."""
    from mannequins.figure_training import render as stage

    stage.run(name=set_, raw=raw, settings=block(read_params(params), "render", stage.RenderSettings, str(params)))


@app.command()
def train(
    raw: Annotated[list[Path], typer.Option(help="A set to train on; may be given several times.", metavar="FOLDER")],
    run: Run,
    params: Params = PARAMS,
) -> None:
    """Train the network on rendered sets."""
    from mannequins.figure_training import train as stage

    settings = block(read_params(params), "train", stage.FigureTrainSettings, str(params))
    stage.run(raw=raw, run=run, settings=settings)


@app.command()
def score(
    run: Run,
    sets: Annotated[Path, typer.Option(help="Holds a folder for each set that is scored.", metavar="FOLDER")],
    metrics: Annotated[Path, typer.Option(help="The scores, as JSON.", metavar="FILE")],
    speed: Annotated[Path, typer.Option(help="Images a second here, as JSON.", metavar="FILE")],
    params: Params = PARAMS,
) -> None:
    """Score the network on mannequins that it was not trained on."""
    from mannequins.figure_training import score as stage

    settings = block(read_params(params), "score", stage.ScoreSettings, str(params))
    stage.run(run=run, sets=sets, metrics=metrics, speed=speed, settings=settings)
