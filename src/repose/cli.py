"""The command line: the stages as dvc.yaml calls them, and `repose generate`, `compare`, `weights` and `kfp`.

Only here is params.yaml opened. Stages are imported when they run, so that `repose --help` is quick and a machine needs
only the packages of the stage that it runs.
"""

import os
import re
import sys
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from mannequins.figure_training.cli import app as figure
from repose import __version__, load
from repose.config import block, check_system_names, nearest, read_params
from repose.errors import ReposeError, SettingsError
from repose.kubeflow.cli import app as kfp
from repose.pipeline_paths import completed, stage_paths
from repose.storage.atomic import write_text
from repose.terminal import say, show_messages
from repose.weights_cli import app as weights

if TYPE_CHECKING:
    from repose.report.judge import Comparison
    from repose.report.scores_file import Record

T = TypeVar("T")
app = typer.Typer(
    help="Photos of a garment in, the same garment in any other pose out.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
STAGES, USE, CLUSTER = "The pipeline's stages, as dvc.yaml calls them", "Use", "In a cluster"
TABLE1, SCORES, FIGURE = "The paper's Table 1", "Scores", "The figure network"
app.add_typer(kfp, name="kfp", rich_help_panel=CLUSTER)
app.add_typer(weights, name="weights", rich_help_panel=USE)
app.add_typer(figure, name="figure", rich_help_panel=FIGURE)


def _folder(text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=text, metavar="FOLDER")
    return option


def _from_pipeline(text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        help=f"{text} Default: the path in dvc.yaml.", metavar="FOLDER", show_default=False
    )
    return option


def _scores_file(text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=text, metavar="FILE")
    return option


Raw = Annotated[Path, _folder("The source's files, as download wrote them.")]
Lists = Annotated[
    Path, _folder("Those of the source's files that are no photos: the folder lists of what download wrote.")
]
IMAGES = "The photos that passed, as validate wrote them: the folder of all parts."
KEYPOINTS, POSEMAPS = "The keypoints tables of all parts.", "The pose maps of all parts."
SPLIT, RUNS_OF_ALL = "Items and pairs to train and to test on.", "Holds a folder for each trained system."
Images = Annotated[Path, _folder(IMAGES)]
ImagesOrDefault = Annotated[Path | None, _from_pipeline(IMAGES)]
Keypoints = Annotated[Path, _folder(KEYPOINTS)]
KeypointsOrDefault = Annotated[Path | None, _from_pipeline(KEYPOINTS)]
Posemaps = Annotated[Path, _folder(POSEMAPS)]
PosemapsOrDefault = Annotated[Path | None, _from_pipeline(POSEMAPS)]
Split = Annotated[Path, _folder(SPLIT)]
SplitOrDefault = Annotated[Path | None, _from_pipeline(SPLIT)]
Runs = Annotated[Path, _folder(RUNS_OF_ALL)]
RunsOrDefault = Annotated[Path | None, _from_pipeline(RUNS_OF_ALL)]
ImagesOfPart = Annotated[Path, _folder("The photos of one part, as validate wrote them.")]
KeypointsOfPart = Annotated[Path, _folder("The keypoints table of that part.")]
PosemapsOfPart = Annotated[Path, _folder("The pose maps of that part.")]
Scores = Annotated[Path, _scores_file("The mean scores, as evaluate wrote them.")]
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
def keypoints(
    lists: Lists, images: ImagesOfPart, keypoints: KeypointsOfPart, report: Report,
    work: Annotated[Path, _folder("Where what a network found waits until the part is done.")],
    params: Params = PARAMS,
) -> None:  # fmt: skip
    """Read (or find) the 18 keypoints of each photo of one part; killed and started again, a network goes on."""
    from repose.stages import keypoints as stage

    settings = _settings(params, "keypoints", stage.KeypointsSettings)
    stage.run(lists=lists, images=images, keypoints=keypoints, report=report, work=work, settings=settings)


@app.command(rich_help_panel=STAGES)
def posemaps(
    images: ImagesOfPart, keypoints: KeypointsOfPart, posemaps: PosemapsOfPart, params: Params = PARAMS
) -> None:
    """Draw the pose map of each photo of one part."""
    from repose.stages import posemaps as stage

    settings = _settings(params, "posemaps", stage.PosemapsSettings)
    stage.run(images=images, keypoints=keypoints, posemaps=posemaps, settings=settings)


@app.command(rich_help_panel=STAGES)
def split(
    lists: Lists, images: Images, keypoints: Keypoints, split: Split, report: Report, params: Params = PARAMS
) -> None:
    """Choose what to train and what to test on, as a published split does."""
    from repose.stages import split as stage

    settings = _settings(params, "split", stage.SplitSettings)
    stage.run(lists=lists, images=images, keypoints=keypoints, split=split, report=report, settings=settings)


@app.command(rich_help_panel=STAGES)
def train(
    name: Annotated[
        str | None,
        typer.Argument(help="The row under systems in the params.", metavar="SYSTEM", show_default=False),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="The same as SYSTEM.", metavar="NAME", show_default=False)
    ] = None,
    images: ImagesOrDefault = None, keypoints: KeypointsOrDefault = None, posemaps: PosemapsOrDefault = None,
    split: SplitOrDefault = None,
    run: Annotated[Path | None, _from_pipeline("The trained system.")] = None,
    work: Annotated[Path | None, _from_pipeline("Unfinished runs, and the state of finished ones.")] = None,
    extend: Annotated[bool, typer.Option("--extend", help="Continue a run that was planned with fewer steps.")] = False,
    params: Params = PARAMS,
) -> None:  # fmt: skip
    """Train one system; resumes if interrupted.

    repose train attend
    """
    from repose import systems, training
    from repose.stages import train as stage
    from repose.systems.learning import distributed

    if (name is None) == (system is None):
        raise typer.BadParameter("Name the system, once.", param_hint="SYSTEM / --system")
    chosen = name or system or ""
    everything = _read_params(params)
    rows = everything.get("systems")
    if not isinstance(rows, dict) or chosen not in rows:
        raise SettingsError(f"{params} has no row {chosen!r} under systems{nearest(chosen, list(rows or []))}")
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
    images: ImagesOrDefault = None, keypoints: KeypointsOrDefault = None, posemaps: PosemapsOrDefault = None,
    split: SplitOrDefault = None, runs: RunsOrDefault = None,
    results: Annotated[Path | None, _from_pipeline("Scores, pictures and generated images.")] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(
            help="Where the mean scores go as well, as JSON. Default: the path in dvc.yaml, if --results is not given "
            "either; else nowhere.", metavar="FILE", show_default=False,
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(help="Score this system alone, or `baselines` alone, for the stage table.", metavar="NAME"),
    ] = None,
    params: Params = PARAMS,
) -> None:  # fmt: skip
    """Score the trained systems beside the baselines on the test pairs."""
    from repose.evaluation.settings import EvaluateSettings
    from repose.stages import evaluate as stage

    settings = _settings(params, "evaluate", EvaluateSettings)
    if system is not None and results is None:
        raise SettingsError("With --system, name --results: the results in dvc.yaml are those of all systems.")
    given = {"images": images, "keypoints": keypoints, "posemaps": posemaps, "split": split, "runs": runs}
    given["results"] = results
    if results is None:
        given["metrics"] = metrics
    paths = completed("evaluate", given)
    metrics, results = paths.pop("metrics", metrics), paths.pop("results")
    stage.run(folders=stage.Folders(**paths), results=results, settings=settings, metrics=metrics, system=system)


@app.command(rich_help_panel=STAGES)
def report(
    images: Images, keypoints: Keypoints, posemaps: Posemaps, split: Split, runs: Runs,
    results: Annotated[Path, _folder("Scores and generated images, as evaluate wrote them.")],
    metrics: Scores,
    checks: Annotated[
        list[Path], _folder("The report of a stage that checks data. May be given several times, in the page's order.")
    ],
    published: Annotated[Path, typer.Option(help="The paper's own Table 1, as a CSV, to stand beside.", metavar="FILE")],
    report: Annotated[Path, _folder("The page: report.html.")],
    params: Params = PARAMS,
) -> None:  # fmt: skip
    """Show a run on one page: scores, pictures, curves, checks, costs."""
    from repose.report.gates import GatesSettings
    from repose.stages import report as stage

    stage.run(
        folders=stage.Folders(images, keypoints, posemaps, split, runs, results, tuple(checks)),
        metrics=metrics, published=published, report=report,
        settings=_settings(params, "report", stage.ReportSettings), gates=_settings(params, "gates", GatesSettings),
    )  # fmt: skip


@app.command(rich_help_panel=STAGES)
def gates(
    base: Annotated[Path, _scores_file("The scores that were last accepted.")],
    base_pairs: Annotated[Path, _scores_file("The same by pair.")],
    head: Annotated[Path, _scores_file("The scores to judge, as evaluate wrote them.")],
    head_pairs: Annotated[Path, _scores_file("The same by pair.")],
    report: Report,
    params: Params = PARAMS,
) -> None:
    """Fail if a score got worse than the gates allow; `repose compare` judges any two sets of scores."""
    from repose.report.gates import GatesSettings
    from repose.stages import gates as stage

    settings = _settings(params, "gates", GatesSettings)
    stage.run(
        base=base, base_pairs=base_pairs, head=head, head_pairs=head_pairs, report=report, settings=settings
    )  # fmt: skip


@app.command(rich_help_panel=STAGES)
def card(
    system: Annotated[str, typer.Option(help="The row under systems in the params.", metavar="NAME")],
    lists: Lists, split: Split,
    run: Annotated[Path, _folder("The trained system.")],
    metrics: Scores,
    gates: Annotated[Path, _folder("The report of the gates.")],
    card: Annotated[Path, _folder("The card, as Markdown.")],
    params: Params = PARAMS,
) -> None:  # fmt: skip
    """Write what a user of a trained system should know: data and its terms, training, scores, limits."""
    from repose.stages import card as stage

    folders = stage.Folders(lists, split, run, metrics, gates)
    stage.run(system=system, folders=folders, card=card, settings=_settings(params, "card", stage.CardSettings))


@app.command(rich_help_panel=TABLE1)
def table(
    results: Annotated[Path, _folder("Holds DATA/SYSTEM/, as evaluate --system wrote them.")],
    table: Annotated[Path, _folder("The table, its picture, a figure per data set, and what DVC plots.")],
    published: Annotated[
        Path | None, typer.Option(help="The paper's own Table 1, as a CSV, to stand beside.", metavar="FILE")
    ] = None,
    params: Params = PARAMS,
) -> None:
    """Lay all systems side by side, in the layout of the paper's Table 1."""
    from repose.report.tables.settings import TableSettings
    from repose.stages import table as stage

    settings = _settings(params, "table", TableSettings)
    stage.run(results=results, published=published, table=table, settings=settings)


class Device(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class PoseNetwork(StrEnum):
    """Who finds poses in photos."""

    FIGURE = "figure"
    KEYPOINT_RCNN = "keypoint-rcnn"


def _option(text: str, metavar: str, panel: str, *names: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        *names, help=text, metavar=metavar, rich_help_panel=panel, show_default=False
    )
    return option


USED = "attend"  # the system that makes images unless another is named
ONE, MANY, WITH = "One image", "Many images", "With"
Out = Annotated[Path, _option("The image (PNG), or with --jobs the folder of the images.", "PATH", ONE, "--out", "-o")]
PhotosOfGarment = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Photos of one garment, the one most like the target pose first.", metavar="PHOTO", show_default=False
    ),
]
TargetPose = Annotated[
    str,
    _option(
        "The target pose: an OpenPose JSON, a keypoints CSV (CSV#NAME: one row of several), or a photo.",
        "FILE", ONE, "--pose", "-p",
    ),
]  # fmt: skip
Picture = Annotated[Path | None, _option("For people: photos, pose and image in one row (PNG).", "FILE", ONE)]
Jobs = Annotated[
    Path | None,
    _option(
        "A CSV with the columns sources (photos, separated by ;), pose and, if wanted, out; or a folder whose "
        "sub-folders each hold photos and a pose.* (a photo, JSON or CSV).", "PATH", MANY,
    ),
]  # fmt: skip
KeypointFiles = Annotated[
    list[Path] | None,
    _option(
        "Where the poses of photos are looked up: a CSV (of pose-gan, PATN or repose), an OpenPose JSON, or a folder of "
        "such JSONs. May be given several times; the first that knows a photo counts.", "PATH", WITH, "--keypoints", "-k",
    ),
]  # fmt: skip
FindPoses = Annotated[
    PoseNetwork | None,
    typer.Option(
        help="The network that finds the poses of photos which --keypoints does not know: figure (mannequins) or "
        "keypoint-rcnn (people; `repose weights fetch keypoint-rcnn` brings it).", rich_help_panel=WITH, show_default=False,
    ),
]  # fmt: skip
PoseSize = Annotated[
    str,
    _option(
        "px of the image that a pose without a photo was measured in; default: those of the first photo.",
        "HEIGHTxWIDTH", WITH,
    ),
]  # fmt: skip
Checkpoint = Annotated[
    Path | None,
    _option(
        f"The trained system; default: {USED}, as the pipeline of this folder trained it.",
        "FILE", WITH, "--checkpoint", "-c",
    ),
]  # fmt: skip
Model = Annotated[
    str,
    _option(
        "A registered model: NAME@vX.Y.Z, an artifact of dvc.yaml at its git tag; NAME alone: its highest version.",
        "NAME@VERSION", WITH, "--model", "-m",
    ),
]  # fmt: skip
OnDevice = Annotated[Device, typer.Option(help="auto: cuda where there is one.", rich_help_panel=WITH)]
Threads = Annotated[
    int,
    typer.Option(
        help="CPU threads; the same command at the same number of them writes the same bytes.",
        min=1,
        rich_help_panel=WITH,
    ),
]


@app.command(rich_help_panel=USE, no_args_is_help=True)
def generate(
    out: Out, photos: PhotosOfGarment = None, pose: TargetPose = "", contact_sheet: Picture = None, jobs: Jobs = None,
    keypoints: KeypointFiles = None, find_poses: FindPoses = None, pose_size: PoseSize = "", checkpoint: Checkpoint = None,
    model: Model = "", device: OnDevice = Device.AUTO, threads: Threads = 2,
) -> None:  # fmt: skip
    """Make an image of a garment in a new pose, from photos and a trained system.

    repose generate front.jpg side.jpg --pose target.jpg --find-poses keypoint-rcnn -o new.png

    repose generate front.jpg side.jpg --pose target.jpg --keypoints keypoints.csv -o new.png

    repose generate front.jpg --pose pose.json --keypoints openpose/ -o new.png

    repose generate --jobs jobs.csv --keypoints openpose/ -o images/

    repose generate front.jpg --pose pose.json --keypoints openpose/ --model attend@v1.0.0 -o new.png
    """
    from repose.devices import set_up
    from repose.inference import jobs as work
    from repose.storage.registry import model_file

    size = _pose_size(pose_size)
    if checkpoint and model:
        raise SettingsError("Name the trained system with --checkpoint or with --model, not with both.")
    if jobs is None:
        if not photos or not pose:
            raise SettingsError(
                "Name at least one photo and a --pose, or many of both with --jobs (repose generate --help)."
            )
        listed = [work.FileJob("The job", tuple(photos), pose, out)]
    else:
        if photos or pose or contact_sheet:
            raise SettingsError(
                "With --jobs, the jobs name photos and poses: leave out PHOTO, --pose and --contact-sheet."
            )
        listed = work.read_jobs(jobs, out)
    work.check_outputs(listed, [contact_sheet] if contact_sheet else [])
    chosen = set_up(device, threads, seed=0)
    reposer = load(
        model_file(model) if model else checkpoint or _trained(USED), device=str(chosen), keypoints=keypoints or (),
        pose_detector=find_poses.value if find_poses else None,
    )  # fmt: skip
    if jobs is None:
        work.make_one(listed[0], reposer, size, contact_sheet)
    else:
        work.make_all(listed, reposer, size)


def _pose_size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if match is None:
        raise SettingsError(f"--pose-size should be HEIGHTxWIDTH in px, such as 256x176, not {text!r}.")
    return int(match[1]), int(match[2])


def _trained(system: str) -> Path:
    """The checkpoint of a system that the pipeline of this folder trained."""
    return stage_paths("train", system, "the trained system with --checkpoint")["run"] / "model.safetensors"


def _file(text: str, panel: str) -> typer.models.OptionInfo:
    return _option(text, "FILE", panel)


REPORTS, BY_PAIR = "Reports, beside the Markdown on standard output", "A change, or noise"
RUNS = "Where the record of a run lies"


@app.command(rich_help_panel=SCORES)
def compare(
    base: Annotated[
        str,
        typer.Argument(help="What there was: a git revision, a file of scores, or run:ID on Kubeflow.", metavar="BASE"),
    ],
    head: Annotated[
        str | None,
        typer.Argument(help="What there is now, likewise; default: the scores in this folder.", metavar="[HEAD]"),
    ] = None,
    base_pairs: Annotated[Path | None, _file("The scores of BASE by pair: pairs.csv of evaluate.", BY_PAIR)] = None,
    head_pairs: Annotated[Path | None, _file("The scores of HEAD by pair.", BY_PAIR)] = None,
    markdown: Annotated[Path | None, _file("The same Markdown.", REPORTS)] = None,
    json: Annotated[Path | None, _file("All numbers, as JSON.", REPORTS)] = None,
    junit: Annotated[Path | None, _file("A test case for each score, as JUnit XML.", REPORTS)] = None,
    environment: Annotated[str, _option("A file of pipelines/environments, without .yaml.", "NAME", RUNS)] = "",
    remote: Annotated[
        str, _option("Name or address of DVC's remote; default: the environment's or the project's.", "REMOTE", RUNS)
    ] = "",
    endpoint: Annotated[str, _option("Of an S3 server other than Amazon's.", "URL", RUNS)] = "",
    params: Params = PARAMS,
) -> None:  # fmt: skip
    """Say whether scores got worse than the block gates of the params allows.

    Ends with 0 if none did, 1 if one did, 2 if something cannot be compared. A git revision needs neither DVC's remote nor
    its cache.

    repose compare main

    repose compare v1.0 main --junit compare.xml

    repose compare old.json new.json --base-pairs old.csv --head-pairs new.csv

    repose compare run:ID run:ID --environment staging
    """
    from repose.report import formats

    sides = (_NamedSide(base, base_pairs), _NamedSide(head, head_pairs))
    found = _comparison(*sides, params, lambda: _store(environment, remote, endpoint))
    try:
        for path, report in ((markdown, formats.as_markdown), (json, formats.as_json), (junit, formats.as_junit)):
            if path is not None:
                write_text(path, report(found))
    except ReposeError as error:
        say(f"repose: {error}")
        raise typer.Exit(2) from None
    typer.echo(formats.as_markdown(found), nl=False)
    say(f"repose: {found.headline}")
    for score in found.scores:
        if score.reason:
            say(f"repose: {score.reason}")
    raise typer.Exit(found.exit_code)


class _NamedSide(NamedTuple):
    """A side of a comparison as the command line has it."""

    name: str | None  # None: what the pipeline wrote in this folder
    pairs: Path | None


def _comparison(base: _NamedSide, head: _NamedSide, params: Path, store: Callable[[], Any]) -> "Comparison":
    """What the two sides are to each other, or why they cannot be compared; `store` opens DVC's remote."""
    from repose.report.gates import GatesSettings
    from repose.report.judge import compare, refused

    try:
        gates = _settings(params, "gates", GatesSettings)
        with tempfile.TemporaryDirectory(prefix="repose-") as place:
            (old, old_pairs), (new, new_pairs) = (_read(side, store, Path(place)) for side in (base, head))
            if (old_pairs is None) != (new_pairs is None) and (base.pairs or head.pairs):
                raise ReposeError("Give both of --base-pairs and --head-pairs, or neither.")
            if old_pairs is None or new_pairs is None:
                return compare(old, new, gates)
            from repose.report.paired import changes_by_pair  # pandas takes longer than all the rest

            return compare(old, new, gates, changes_by_pair((old, old_pairs), (new, new_pairs), gates))
    except ReposeError as error:
        return refused(str(base.name), head.name or "the scores in this folder", str(error))


def _read(side: _NamedSide, store: Callable[[], Any], place: Path) -> "tuple[Record, Path | None]":
    """The scores of a side, and where the same by pair are; a run brings its own, into `place`."""
    from repose.kubeflow import compare_runs
    from repose.report.scores_file import read_side

    if side.name is None or not compare_runs.is_run(side.name):
        return read_side(side.name), side.pairs
    found = compare_runs.read_run(side.name, store(), place)
    return found.record, side.pairs or found.pairs


def _store(environment: str, remote: str, endpoint: str) -> Any:
    """DVC's remote by name or address, else the environment's, else the project's default."""
    from repose.kubeflow.compiler import environment_of, remote_of
    from repose.kubeflow.fetch import open_remote
    from repose.kubeflow.project import open_repo

    repo = open_repo(Path.cwd())
    if environment and not remote:
        named, own = remote_of(repo, environment_of(Path.cwd(), environment))
        remote, endpoint = named or "", endpoint or own
    return open_remote(repo, remote or None, endpoint)


def _settings(params: Path, name: str, kind: type[T]) -> T:
    return block(_read_params(params), name, kind, str(params))


def _read_params(path: Path) -> dict[str, Any]:
    params = read_params(path)
    try:
        if isinstance(params.get("systems"), dict):
            check_system_names(params["systems"])
    except ValueError as error:
        raise ReposeError(f"{path}: systems: {error}") from None
    return params


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
    # torch's threads wait for each other by spinning; where another program uses a core, that takes many times as long
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    show_messages()
    try:
        app()
    except ReposeError as error:
        say(f"repose: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
