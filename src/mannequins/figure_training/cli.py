"""`repose figure`: the stages of figure/dvc.yaml, which make the figure network."""

from pathlib import Path
from typing import Annotated

import typer

from repose.cli_options import PARAMS, Params, file, folder, option, stage_settings

app = typer.Typer(no_args_is_help=True, help="The embedded figure network: render, train, score (docs/figure.md).")
Run = Annotated[Path, folder("The trained network.")]


@app.command()
def render(
    set_: Annotated[str, option("A key of render.sets in the params.", "NAME", None, "--set")],
    raw: Annotated[Path, folder("The set's photos and ground truth, in shards.")],
    params: Params = PARAMS,
) -> None:
    """Render one set of mannequins."""
    from mannequins.figure_training import render as stage

    stage.run(name=set_, raw=raw, settings=stage_settings(params, "render", stage.RenderSettings))


@app.command()
def train(raw: Annotated[list[Path], folder("A training set. Repeatable.")], run: Run, params: Params = PARAMS) -> None:
    """Train the network on rendered sets."""
    from mannequins.figure_training import train as stage

    stage.run(raw=raw, run=run, settings=stage_settings(params, "train", stage.FigureTrainSettings))


@app.command()
def score(
    run: Run,
    sets: Annotated[Path, folder("Folder with a folder for each test set.")],
    metrics: Annotated[Path, file("The scores, as JSON.")],
    speed: Annotated[Path, file("Images per second on this machine, as JSON.")],
    params: Params = PARAMS,
) -> None:
    """Score the network on mannequins that it was not trained on."""
    from mannequins.figure_training import score as stage

    settings = stage_settings(params, "score", stage.ScoreSettings)
    stage.run(run=run, sets=sets, metrics=metrics, speed=speed, settings=settings)
