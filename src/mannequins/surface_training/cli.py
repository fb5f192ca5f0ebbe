"""`repose surface`: the stages of surface/dvc.yaml, which make the weights that come with repose."""

from pathlib import Path
from typing import Annotated

import typer

from repose.cli_options import PARAMS, Params, file, folder, option, stage_settings

app = typer.Typer(
    no_args_is_help=True, help="The weights that come with repose: train, export, score (docs/surface.md)."
)
Run = Annotated[Path, folder("The trained system.")]
Model = Annotated[Path, folder("The weights as they ship, and their SHA-256.")]


@app.command()
def train(
    run: Run, work: Annotated[Path, folder("Folder for the state of unfinished trainings.")], params: Params = PARAMS
) -> None:
    """Train on rendered people; resumes if interrupted."""
    from mannequins.surface_training import train as stage

    stage.run(run=run, work=work, settings=stage_settings(params, "train", stage.SurfaceTrainSettings))


@app.command()
def export(
    run: Run, model: Model, height: Annotated[int, option("Height of the images in px. Default: 256.", "PX")] = 256
) -> None:
    """Write the trained weights in half precision."""
    from mannequins.surface_training import export as stage

    stage.run(run=run, model=model, height=height)


@app.command()
def score(model: Model, metrics: Annotated[Path, file("The scores, as JSON.")], params: Params = PARAMS) -> None:
    """Score the weights on people that they were not trained on, and print the tables."""
    from mannequins.surface_training import score as stage

    stage.run(model=model, metrics=metrics, settings=stage_settings(params, "score", stage.SurfaceScoreSettings))
