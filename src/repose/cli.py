"""The command line: the pipeline's stages, and `repose generate`, `compare`, `weights`, `figure`, `surface` and `kfp`.

Only the command line reads params.yaml. A command imports its stage when it runs, so that `repose --help` is fast and a
machine only needs the packages of the stages that it runs.
"""

import gc
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from mannequins.figure_training.cli import app as figure
from mannequins.surface_training.cli import app as surface
from repose import __version__, load
from repose.cli_options import PARAMS, Params, file, folder, option, stage_settings
from repose.compare_cli import compare
from repose.errors import ReposeError, SettingsError
from repose.kubeflow.cli import app as kfp
from repose.storage.atomic import locked
from repose.terminal import printable, say, show_messages
from repose.weights_cli import app as weights

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
STAGES, USE, CLUSTER = "Pipeline stages", "Use", "In a cluster"
TABLE1, SCORES, FIGURE = "The paper's Table 1", "Scores", "The networks that come with repose"
app.add_typer(kfp, name="kfp", rich_help_panel=CLUSTER)
app.add_typer(weights, name="weights", rich_help_panel=USE)
app.add_typer(figure, name="figure", rich_help_panel=FIGURE)
app.add_typer(surface, name="surface", rich_help_panel=FIGURE)


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
Report = Annotated[Path, folder("The stage's report: JSON and a page to read.")]


@app.command(rich_help_panel=STAGES)
def download(
    raw: Raw, transfers: Annotated[Path, folder("Folder for interrupted transfers.")], params: Params = PARAMS
) -> None:
    """Fetch your own copy of a data set, or render mannequins."""
    from repose.stages import download as stage

    settings = stage_settings(params, "download", stage.DownloadSettings)
    with locked(raw, transfers):
        stage.run(raw=raw, transfers=transfers, settings=settings)


@app.command(rich_help_panel=STAGES)
def validate(raw: Raw, images: Images[Path], report: Report, params: Params = PARAMS) -> None:
    """Check every photo, pack those that pass and set the others aside."""
    from repose.stages import validate as stage

    settings = stage_settings(params, "validate", stage.ValidateSettings)
    with locked(images, report):
        stage.run(raw=raw, images=images, report=report, settings=settings)


@app.command(rich_help_panel=STAGES)
def keypoints(
    lists: Lists, images: ImagesOfPart, keypoints: KeypointsOfPart, report: Report,
    work: Annotated[Path, folder("Folder for a network's results until the part is done.")], params: Params = PARAMS,
) -> None:  # fmt: skip
    """Read or detect the 18 keypoints of each photo of one part; detection resumes if interrupted."""
    from repose.stages import keypoints as stage

    settings = stage_settings(params, "keypoints", stage.KeypointsSettings)
    with locked(keypoints, report, work):
        stage.run(lists=lists, images=images, keypoints=keypoints, report=report, work=work, settings=settings)


@app.command(rich_help_panel=STAGES)
def posemaps(
    images: ImagesOfPart, keypoints: KeypointsOfPart, posemaps: PosemapsOfPart, params: Params = PARAMS
) -> None:
    """Draw the pose map of each photo of one part."""
    from repose.stages import posemaps as stage

    settings = stage_settings(params, "posemaps", stage.PosemapsSettings)
    stage.run(images=images, keypoints=keypoints, posemaps=posemaps, settings=settings)


@app.command(rich_help_panel=STAGES)
def split(
    lists: Lists, images: Images[Path], keypoints: Keypoints[Path], split: Split[Path], report: Report,
    params: Params = PARAMS,
) -> None:  # fmt: skip
    """Choose the items and pairs for training and testing, by a published split."""
    from repose.stages import split as stage

    settings = stage_settings(params, "split", stage.SplitSettings)
    with locked(split, report):
        stage.run(lists=lists, images=images, keypoints=keypoints, split=split, report=report, settings=settings)


@app.command(rich_help_panel=STAGES)
def train(
    name: Annotated[str | None, typer.Argument(help="The row under systems in the params.", metavar="SYSTEM")] = None,
    system: Annotated[str | None, option("The same as SYSTEM.", "NAME")] = None,
    images: Images[Path | None] = None, keypoints: Keypoints[Path | None] = None,
    posemaps: Posemaps[Path | None] = None, split: Split[Path | None] = None, run: Run[Path | None] = None,
    work: Annotated[Path | None, folder("Folder for unfinished runs and the state of finished ones.")] = None,
    extend: Annotated[bool, typer.Option("--extend", help="Continue a run that had fewer steps.")] = False,
    params: Params = PARAMS,
) -> None:  # fmt: skip
    """Train one system; resumes if interrupted. Folders default to those in dvc.yaml.

    repose train attend
    """
    from repose.storage.processes import STARTED_BY, end_with

    if "LOCAL_RANK" in os.environ:  # one of several processes; before torch is imported, which takes seconds
        end_with(int(os.environ.get(STARTED_BY, os.getppid())))
    from repose import systems, training
    from repose.config import block, nearest, read_params
    from repose.pipeline_paths import completed
    from repose.stages import train as stage
    from repose.systems.learning import distributed

    if (name is None) == (system is None):
        raise typer.BadParameter("Give the system, once.", param_hint="SYSTEM / --system")
    chosen, everything = name or system or "", read_params(params)
    rows = everything.get("systems")
    if not isinstance(rows, dict) or chosen not in rows:
        known = list(rows) if isinstance(rows, dict) else []
        raise SettingsError(f"{params} has no row {chosen!r} under systems{nearest(chosen, known)}")
    row = systems.row(rows[chosen], f"{params}: systems.{chosen}")
    settings = block(everything, "train", training.TrainSettings, str(params))
    count = training.process_count(chosen, row, settings)
    paths = completed("train", {
        "images": images, "keypoints": keypoints, "posemaps": posemaps, "split": split, "run": run, "work": work,
    }, chosen)  # fmt: skip
    if count > 1 and not distributed.under_torchrun():
        options = {"system": chosen, **paths, "params": params}
        words = [f"--{name}={value}" for name, value in options.items()] + ["--extend"] * extend
        distributed.start(count, settings.threads, ["train", *words])
    else:
        run, work = paths.pop("run"), paths.pop("work")
        folders = stage.Folders(**paths)
        stage.run(system=chosen, row=row, settings=settings, folders=folders, run=run, work=work, extend=extend)


@app.command(rich_help_panel=STAGES)
def evaluate(
    images: Images[Path | None] = None, keypoints: Keypoints[Path | None] = None,
    posemaps: Posemaps[Path | None] = None, split: Split[Path | None] = None, runs: Runs[Path | None] = None,
    results: Results[Path | None] = None,
    metrics: Annotated[Path | None, file("The mean scores as JSON; with --results, only written if given.")] = None,
    system: Annotated[str | None, option("Score only one system, or `baselines`, for the stage table.", "NAME")] = None,
    params: Params = PARAMS,
) -> None:  # fmt: skip
    """Score the trained systems and the baselines on the test pairs. Paths default to those in dvc.yaml."""
    from repose.evaluation.settings import EvaluateSettings
    from repose.pipeline_paths import completed
    from repose.stages import evaluate as stage

    settings = stage_settings(params, "evaluate", EvaluateSettings)
    if system is not None and results is None:
        raise SettingsError("With --system, give --results: the results in dvc.yaml are those of all systems.")
    given = {"images": images, "keypoints": keypoints, "posemaps": posemaps, "split": split, "runs": runs}
    given |= {"results": None, "metrics": metrics} if results is None else {"results": results}
    paths = completed("evaluate", given)
    metrics, results = paths.pop("metrics", metrics), paths.pop("results")
    with locked(*filter(None, (results, metrics))):
        stage.run(folders=stage.Folders(**paths), results=results, settings=settings, metrics=metrics, system=system)


@app.command(rich_help_panel=STAGES)
def report(
    images: Images[Path], keypoints: Keypoints[Path], posemaps: Posemaps[Path], split: Split[Path], runs: Runs[Path],
    results: Results[Path], metrics: Scores,
    checks: Annotated[list[Path], folder("The report of a stage that checks data. Repeatable, in the page's order.")],
    published: Published[Path], report: Annotated[Path, folder("The page: report.html.")], params: Params = PARAMS,
) -> None:  # fmt: skip
    """Write one page about a run: scores, pictures, curves, checks, costs."""
    from repose.report.gates import GatesSettings
    from repose.stages import report as stage

    stage.run(
        folders=stage.Folders(images, keypoints, posemaps, split, runs, results, tuple(checks)),
        metrics=metrics, published=published, report=report,
        settings=stage_settings(params, "report", stage.ReportSettings), gates=stage_settings(params, "gates", GatesSettings),
    )  # fmt: skip


@app.command(rich_help_panel=STAGES)
def gates(
    base: Annotated[Path, file("The last accepted scores.")],
    base_pairs: Annotated[Path, file("The same by pair.")],
    head: Annotated[Path, file("The scores to judge, as evaluate wrote them.")],
    head_pairs: Annotated[Path, file("The same by pair.")],
    report: Report,
    params: Params = PARAMS,
) -> None:
    """Fail if a score is worse than the gates allow. `repose compare` compares any two sets of scores."""
    from repose.report.gates import GatesSettings
    from repose.stages import gates as stage

    settings = stage_settings(params, "gates", GatesSettings)
    stage.run(base=base, base_pairs=base_pairs, head=head, head_pairs=head_pairs, report=report, settings=settings)


@app.command(rich_help_panel=STAGES)
def card(
    system: Annotated[str, option("The row under systems in the params.", "NAME")],
    lists: Lists, split: Split[Path], run: Run[Path], metrics: Scores,
    gates: Annotated[Path, folder("The report of the gates.")],
    card: Annotated[Path, folder("The card, as Markdown.")],
    params: Params = PARAMS,
) -> None:  # fmt: skip
    """Write the model card of a trained system: data and terms, training, scores, limitations."""
    from repose.stages import card as stage

    folders = stage.Folders(lists, split, run, metrics, gates)
    stage.run(system=system, folders=folders, card=card, settings=stage_settings(params, "card", stage.CardSettings))


@app.command(rich_help_panel=TABLE1)
def table(
    results: Annotated[Path, folder("Folder with DATA/SYSTEM/, as written by evaluate --system.")],
    table: Annotated[Path, folder("Folder for the table, a picture per data set, and the data of DVC's plots.")],
    published: Published[Path | None] = None,
    params: Params = PARAMS,
) -> None:
    """Write a table of all systems, in the layout of the paper's Table 1."""
    from repose.report.tables.settings import TableSettings
    from repose.stages import table as stage

    settings = stage_settings(params, "table", TableSettings)
    stage.run(results=results, published=published, table=table, settings=settings)


ONE, MANY, WITH = "One image", "Many images", "With"
Photos = Annotated[
    list[Path] | None,
    typer.Argument(help="Photos of one garment, the one with the most similar pose first.", metavar="PHOTO"),
]
Out = Annotated[Path, option("The image (PNG), or with --jobs the folder of images.", "PATH", ONE, "--out", "-o")]
POSE = "The target pose: an OpenPose JSON, a keypoints CSV (CSV#NAME: one row of several), or a photo."
JOBS = (
    "A CSV with the columns sources (photos, separated by ;), pose and optionally out, with paths relative to the CSV; or a "
    "folder whose sub-folders hold photos and a pose.* (photo, JSON or CSV)."
)
KEYPOINTS = (
    "Poses of photos: a CSV (of pose-gan, PATN or repose), an OpenPose JSON, or a folder of such JSONs. Repeatable; the first "
    "that has a photo is used."
)
DETECTOR = (
    "The network that finds joints: blazepose (people; see `repose weights`), figure (mannequins), or auto: blazepose if it "
    "was fetched, else figure. It looks at photos that --keypoints lacks. Default: auto; with --keypoints, no network."
)
Detector = Literal["auto", "blazepose", "figure"]
Device = Literal["auto", "cpu", "cuda"]
POSE_SIZE = "Size in px of the image in which the joints of a JSON or CSV were measured. Default: the first photo's."
CHECKPOINT = "A trained system; default: the model that comes with repose."
HEIGHT = (
    "Height of the images, up to 2048; only for the kind surface, such as the model that comes with repose. A multiple of the "
    "height that its networks see, which is 128 in that model."
)
THREADS = "CPU threads; another number may change the bytes of the image."
MODEL = "A version from git: NAME@v1.0.0, or NAME for the highest. The names are the artifacts in dvc.yaml."


@app.command(rich_help_panel=USE, no_args_is_help=True)
def generate(
    out: Out, photos: Photos = None, pose: Annotated[list[str] | None, option(POSE, "FILE", ONE, "--pose", "-p")] = None,
    contact_sheet: Annotated[Path | None, file("Photos, pose and image in one row (PNG).", ONE)] = None,
    jobs: Annotated[Path | None, option(JOBS, "PATH", MANY)] = None,
    keypoints: Annotated[list[Path] | None, option(KEYPOINTS, "PATH", WITH, "--keypoints", "-k")] = None,
    find_poses: Annotated[Detector | None, typer.Option(help=DETECTOR, rich_help_panel=WITH)] = None,
    pose_size: Annotated[str, option(POSE_SIZE, "HEIGHTxWIDTH", WITH)] = "",
    checkpoint: Annotated[Path | None, option(CHECKPOINT, "FILE", WITH, "--checkpoint", "-c")] = None,
    model: Annotated[str, option(MODEL, "NAME@VERSION", WITH, "--model", "-m")] = "",
    height: Annotated[int | None, option(HEIGHT, "PX", WITH)] = None,
    device: Annotated[Device, typer.Option(help="auto: cuda if available.", rich_help_panel=WITH)] = "auto",
    threads: Annotated[int, typer.Option(help=THREADS, min=1, max=1024, rich_help_panel=WITH)] = 2,
) -> None:  # fmt: skip
    """Make an image of a garment in a new pose, with a trained system.

    repose generate front.jpg side.jpg --pose target.jpg -o new.png

    repose generate front.jpg --pose pose.json --keypoints openpose/ -o new.png

    repose generate --jobs jobs.csv --keypoints openpose/ --model attend@v1.0.0 -o images/
    """
    gc.disable()  # The garbage collector finds nothing in what torch's import makes, and takes a quarter of the time to start.
    from repose.devices import set_up
    from repose.inference import jobs as work
    from repose.storage.registry import model_file

    gc.freeze()  # nor later, nor when the process ends
    gc.enable()
    size = _pose_size(pose_size)
    if checkpoint and model:
        raise SettingsError("Give the trained system with --checkpoint or with --model, not with both.")
    if jobs is not None and (photos or pose or contact_sheet):
        raise SettingsError("PHOTO, --pose and --contact-sheet cannot be used with --jobs.")
    if jobs is None and not (photos and pose):
        raise SettingsError("Give at least one photo and a --pose, or --jobs (see repose generate --help).")
    if pose and len(pose) > 1:
        raise SettingsError("Give one --pose; for several images, give --jobs.")
    one = work.FileJob("The job", tuple(photos or ()), (pose or [""])[0], out)
    listed, sheets = work.read_jobs(jobs, out) if jobs else [one], [contact_sheet] if contact_sheet else []
    work.check_outputs(listed, sheets)
    chosen = str(set_up(device, threads, seed=0))
    trained = model_file(model) if model else checkpoint
    reposer = load(trained, device=chosen, keypoints=keypoints or (), pose_detector=find_poses, height=height)
    with locked(out / "jobs" if jobs else out, *sheets):
        if jobs is None:
            work.make_one(one, reposer, size, contact_sheet)
        else:
            work.make_all(listed, reposer, size)


def _pose_size(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if text and match is None:
        raise SettingsError(f"--pose-size should be HEIGHTxWIDTH in px, such as 256x176, not {text!r}.")
    return (int(match[1]), int(match[2])) if match else None


app.command(rich_help_panel=SCORES)(compare)


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
    """Turn photos of a garment into images of the same garment in any other pose."""


def _check_surroundings() -> None:
    """Raise a SettingsError if the current folder was deleted, or if Python does not read names of files as UTF-8."""
    try:
        Path.cwd()  # without it, torch's library would end the process and blame itself
    except FileNotFoundError:
        raise SettingsError("The current folder was deleted. Change to another one (cd) and start again.") from None
    if (encoding := sys.getfilesystemencoding()) != "utf-8":
        raise SettingsError(
            f"Python reads the names of files as {encoding}, and repose needs UTF-8. Set PYTHONUTF8=1, or a locale with "
            "UTF-8, such as LC_ALL=C.UTF-8."
        )


def main() -> None:
    """Run the command line. A ReposeError is shown as a message without a traceback."""
    # torch's threads spin while they wait, which makes them many times slower if another program uses a core
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    show_messages()
    try:
        _check_surroundings()
        for argument in sys.argv[1:]:
            if printable(argument) != argument:  # typer repeats a wrong argument as it is
                raise SettingsError(f"The argument {printable(argument)} has control characters. Rename the file.")
        app()
    except ReposeError as error:
        say(f"repose: {error}")
        sys.exit(1)
    except Exception as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, by name: most commands do not import torch
            raise
        what = str(error).partition(" GPU ")[0].rstrip(".")
        say(
            f"repose: The GPU is out of memory ({what}). Stop other programs that use it, reduce the work per step (train: "
            "items_per_step or max_photos of the system; keypoints: network.batch), or use the device cpu."
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
