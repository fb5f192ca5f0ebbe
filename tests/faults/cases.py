"""What the campaign runs, from prepared folders: every stage, `generate --jobs`, DVC, Kubeflow's steps and fetch."""

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import foreign
import steps
import yaml

import tiny
from faults.programs import Ended, Running, Strike
from mannequins import renderer
from mannequins.renderer import MannequinSettings

ROOT = Path(__file__).parents[2]
SCRATCH = ("tmp/", "home/", "project/.dvc/tmp/", "flowers/.dvc/tmp/")  # temporary files, and DVC's own
_TEMPORARY = re.compile(r"(files/md5|runs)/../.*\.tmp$")  # DVC's own, in its cache and in a folder that is its remote
_NAMES = {  # in a file, of one round alone
    rb"test-[0-9a-f]{32}": b"BUCKET",
    rb"http://127\.0\.0\.1:\d+": b"ENDPOINT",
    rb"\?(X-Amz|AWSAccessKeyId)[^\"'\s]*": b"?SIGNED",
}
Snapshot = dict[str, str]  # of a folder: the SHA-256 of each file by its path there


@dataclass
class Case:
    """A command with the folder in which it starts, and what it leaves if nobody disturbs it."""

    name: str
    module: str
    words: tuple[str, ...]  # PLACE stands for the folder of the round, other names for those of `lay`
    outs: tuple[str, ...]  # each appears whole or not at all
    folder: str = "project"  # the working directory
    works: tuple[str, ...] = ("project/.repose/",)  # where it keeps unfinished work, or objects
    wraps: bool = False  # it starts other programs, and only ends together with them, as a container does
    before: Path = Path()
    after: Snapshot = field(default_factory=dict)
    seconds: float = 0
    changes: int = 0
    growth: int = 0  # bytes of the disk

    def lay(self, place: Path, *, old: bool = False) -> None:
        """Copy the folder in which the command starts; if `old`, with outputs as of an earlier run, of other bytes."""
        shutil.copytree(self.before, place, symlinks=True, dirs_exist_ok=True)
        for name in ("tmp", "home"):
            (place / name).mkdir(exist_ok=True)
        for name in below(self.after, *self.outs) if old else ():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text("old")

    def start(self, place: Path, log: Path, strike: Strike | None = None) -> Running:
        """Start it in a folder that `lay` made; its home and temporary files are there too."""
        own = {  # its temporary files are on the disk that may be full
            "HOME": f"{place}/home", "XDG_CACHE_HOME": f"{place}/home", "TMPDIR": str(place / "tmp"), "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": f"{place}/home/dvc", "DVC_GLOBAL_CONFIG_DIR": f"{place}/home", "COLUMNS": "200",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "AWS_EC2_METADATA_DISABLED": "true",
            "REPOSE_RUN": "run-1",
        }  # fmt: skip
        words = tuple(word.replace("PLACE", str(place)) for word in self.words)
        return Running(self.module, words, place / self.folder, own, log, strike)

    def run(self, place: Path, log: Path) -> Ended:
        """Run it to its end."""
        return self.start(place, log).end()


def snapshot(place: Path) -> Snapshot:
    """The files of a round's folder, without scratch. Links count as what they point to."""
    found = {}
    places = re.escape(str(place.parent).encode()) + rb"/[\w-]+"  # of this round, and of the preparation
    for folder, folders, names in os.walk(place):
        for path in (Path(folder, name) for name in [*names, *folders]):
            name = str(path.relative_to(place))
            if not f"{name}/".startswith(SCRATCH) and not _TEMPORARY.search(name) and not path.is_dir():
                found[name] = digest(name, re.sub(places, b"PLACE", path.read_bytes()))
    return found


def digest(name: str, content: bytes) -> str:
    """The SHA-256 of a file without the names of the round and, of reports of steps, what differs from run to run."""
    if "kubeflow/runs/" in name and name.endswith(".json"):
        content = json.dumps(_lasting(json.loads(content)), sort_keys=True).encode()
    for pattern, shown in _NAMES.items():
        content = re.sub(pattern, shown, content)
    return hashlib.sha256(content).hexdigest()


def _lasting(value: Any) -> Any:
    """JSON without the seconds that a step took, and without whether its stage ran or was found in the run-cache."""
    if isinstance(value, dict):
        return {key: _lasting(part) for key, part in value.items() if key not in ("seconds", "how")}
    return [_lasting(part) for part in value] if isinstance(value, list) else value


def below(found: Snapshot, *paths: str) -> Snapshot:
    """The part of a snapshot that is one of these files or below one of these folders."""
    return {name: sha for name, sha in found.items() if any(f"{name}/".startswith(f"{path}/") for path in paths)}


def differences(found: Snapshot, wanted: Snapshot) -> list[str]:
    """What differs, in words."""
    names = sorted(found.keys() | wanted.keys())
    words = {(True, False): "should not be there", (False, True): "is missing", (True, True): "has other bytes"}
    return [f"{name} {words[name in found, name in wanted]}" for name in names if found.get(name) != wanted.get(name)]


def half(case: Case, start: Snapshot, found: Snapshot) -> list[str]:
    """The outputs that are half-written."""
    return [
        f"{out} is neither absent, old nor whole: {differences(below(found, out), below(case.after, out))[:3]}"
        for out in case.outs
        if below(found, out) not in ({}, below(start, out), below(case.after, out))
    ]


def prepare(folder: Path, address: str, most: int | None = None) -> list[Case]:
    """Run the commands undisturbed, one after the other, or the first `most`; `address` serves a zip of photos."""
    project, kubeflow = folder / "now", folder / "kubeflow"
    cases = _chain(project, islice(_project(project, address), most))
    return cases if most else cases + _chain(kubeflow, _kubeflow(kubeflow))


def _chain(place: Path, cases: Iterable[Case]) -> list[Case]:
    """Run the cases in one folder; keep the folder as it was before each, and note what each leaves."""
    done = []
    for number, case in enumerate(cases):
        case.before = place.with_name(f"{place.name}-{number}")
        shutil.copytree(place, case.before, symlinks=True)
        case.lay(place)
        began, used = time.monotonic(), _disk_usage(place)
        ended = undisturbed(case, place)
        case.seconds, case.changes, case.after = time.monotonic() - began, ended.changes, snapshot(place)
        case.growth = max(_disk_usage(place) - used, 2**14)
        done.append(case)
    return done


def undisturbed(case: Case, place: Path) -> Ended:
    """Run a case, which must succeed."""
    ended = case.run(place, place.with_suffix(".log"))
    if ended.code != 0:
        raise RuntimeError(f"{case.name} does not even run undisturbed: {ended.words}")
    return ended


def _disk_usage(place: Path) -> int:
    return sum(-(-path.lstat().st_size // 4096) * 4096 for path in place.rglob("*"))


def photos(items: int) -> dict[str, bytes]:
    """Photos and lists in DeepFashion's layout."""
    return dict(renderer.files(MannequinSettings(flavour="fashion", items=items, seed=3, quality=95), workers=1))


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A zip of these files, with the same bytes in every run."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()


def download(name: str) -> Case:
    """A download as fetch.yaml in the project's folder says."""
    return _repose(name, "download --raw fetched --transfers .repose/transfers --params fetch.yaml", "fetched")


def _project(place: Path, address: str) -> Iterator[Case]:
    """The stages of dvc.yaml and what uses their results; `place` is the folder in which they run, in this order."""
    project = place / "project"
    stages = _write_project(project, address)
    yield download("download (zip over http)")
    for stage, about in stages.items():
        for name, command, outs in _commands(stage, about.get("do", about)):
            if name == "validate":
                for target in ("download", "validate"):  # DVC itself removes outputs before it starts a stage
                    words = ("repro", target)
                    yield Case(f"dvc repro {target}", "dvc.__main__", words, (), works=("project/",), wraps=True)
                for made in ("data/images", "reports", ".dvc/cache"):  # then validate by itself, from scratch
                    shutil.rmtree(project / made)
                (project / "dvc.lock").unlink()
            yield _repose(name, command, *outs)
            if name == "download":
                _unpack(project)
            if name == "train@attend":
                two = "train attend --params two.yaml --run two/attend --work .repose/two"
                yield _repose("train in 2 processes", two, "two/attend")
    jobs = "generate --jobs photos/jobs.csv --keypoints photos/keypoints.csv --threads 1 -o generated"
    yield _repose("generate --jobs", jobs, *(f"generated/{number}.png" for number in range(4)))


def _repose(name: str, command: str, *outs: str) -> Case:
    return Case(name, "repose.cli", tuple(shlex.split(command)), tuple(f"project/{out}" for out in outs))


def _write_project(project: Path, address: str) -> dict[str, Any]:
    """A DVC project with our pipeline for one small system; return its stages."""
    small: dict[str, Any] = {
        "download__mannequin": {"flavour": "fashion", "items": 8, "seed": 0, "quality": 90}, "gates__systems": ["attend"],
        "gates__baseline": False, "gates__limits": {}, "evaluate__systems": ["attend"],
    }  # fmt: skip
    fetched = {"download__source": "deepfashion", "download__origins": [{"address": f"{address}/all.zip"}]}
    two = {"train__processes": 2, "systems__attend__items_per_step": 2}
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    for stage in pipeline["stages"].values():
        of = stage.get("do", stage)
        of["deps"] = [dep for dep in of["deps"] if not dep.startswith("src/")]  # what is tested are not its copies
    (project / "table1").mkdir(parents=True)
    shutil.copy(ROOT / "table1" / "published.csv", project / "table1")
    for name, changes in (("params.yaml", {}), ("fetch.yaml", fetched), ("two.yaml", two)):
        (project / name).write_text(yaml.safe_dump(tiny.params(**small | changes), sort_keys=False))
    (project / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    shutil.copytree(ROOT / "baseline", project / "baseline")
    foreign.dvc(project, "init", "--no-scm", "--quiet")
    return pipeline["stages"]


def _commands(stage: str, about: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """Name, words and outputs of each command of a stage."""
    outs = [*about["outs"], *(next(iter(metric)) for metric in about.get("metrics", ()))]
    place, items = ("${item}", ["0", "1"]) if "${item}" in about["cmd"] else ("${item.system}", ["attend"])
    for item in items if place in about["cmd"] else [""]:
        command, *filled = (text.replace(place, item) for text in (about["cmd"], *outs))
        yield f"{stage}@{item}".rstrip("@"), command.removeprefix("repose "), filled


def _unpack(project: Path) -> None:
    """Photos, keypoints and four jobs for `generate`."""
    for shard in (project / "data" / "raw").glob("*/*.tar"):
        with tarfile.open(shard) as files:
            files.extractall(project / "photos", filter="data")
    photos = sorted(path.relative_to(project / "photos") for path in (project / "photos").rglob("*.jpg"))
    rows = [f"{photos[n]};{photos[n + 1]},{photos[n + 2]},{n}.png" for n in range(4)]
    (project / "photos" / "jobs.csv").write_text("\n".join(["sources,pose,out", *rows]))


def _kubeflow(place: Path) -> Iterator[Case]:
    """The cases of `on_kubeflow` with a folder as remote."""
    flowers = foreign.flowers(place / "flowers")
    foreign.dvc(flowers, "remote", "add", "--default", "store", "../remote")
    foreign.dvc(flowers, "push", "--quiet")
    make_image(flowers)
    yield from on_kubeflow("PLACE/remote", lambda: (place / "artifacts" / "count" / "entry").read_text())


def make_image(flowers: Path) -> None:
    """Copy a project to `image` beside it, as an image has it: without data, cache and temporary files."""
    image = Path(shutil.copytree(flowers, flowers.with_name("image"), symlinks=True))
    (image / "petals.csv").unlink()
    for folder in ("cache", "tmp"):
        shutil.rmtree(image / ".dvc" / folder, ignore_errors=True)


def on_kubeflow(remote: str, entry: Callable[[], str], endpoint: str = "") -> Iterator[Case]:
    """Two steps of a foreign project, the run's record, and fetch; `entry` tells the ID of the first step's entry."""

    def task(name: str, stage: str, outputs: Sequence[str], module: str = "step", **given: Sequence[str]) -> Case:
        words = steps.words(stage, Path("PLACE/artifacts", stage), remote, outputs, endpoint=endpoint, **given)
        works = ("remote/", "artifacts/")
        return Case(name, f"repose.kubeflow.{module}", tuple(words), (), "image", works, wraps=True)

    yield task("kfp step count", "count", ["made"])
    yield task("kfp step judge", "judge", ["report_html", "score_json"], inputs=[entry()])
    yield task("kfp record", "", [], "record", before=["run-record", "flowers", "dvc.yaml"])
    words = ("kfp", "fetch", "run-1", "--remote", remote, *(["--endpoint", endpoint] if endpoint else []))
    outs = ("flowers/dvc.lock", "flowers/params.yaml", "flowers/score.json")
    yield Case("kfp fetch", "repose.cli", words, outs, "flowers", works=("flowers/.dvc/",))
