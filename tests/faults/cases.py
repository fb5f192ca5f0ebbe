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
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import foreign
import steps
import yaml

import tiny
from faults.programs import Ended, Program, Running
from mannequins import renderer
from mannequins.renderer import MannequinSettings

ROOT = Path(__file__).parents[2]
SCRATCH = ("tmp/", "home/", "project/.dvc/tmp/", "flowers/.dvc/tmp/")  # temporary files, and DVC's own
_TEMPORARY = re.compile(r"(files/md5|runs)/../.*\.tmp$")  # DVC's own, in its cache and in a folder that is its remote
Snapshot = dict[str, str]  # of a folder: the SHA-256 of each file by its path there


@dataclass
class Case:
    """A command with the folder in which it starts, and what it leaves if nobody disturbs it."""

    name: str
    module: str
    words: tuple[str, ...]  # PLACE stands for the folder of the round
    outs: tuple[str, ...]  # each appears whole or not at all
    folder: str = "project"  # the working directory
    environment: Mapping[str, str] = field(default_factory=dict)
    works: tuple[str, ...] = ("project/.repose/",)  # where it keeps unfinished work, or objects
    wraps: bool = False  # it starts other programs, and only ends together with them, as a container does
    before: Path = Path()
    earlier: Path | None = None  # where the outputs of another run are
    after: Snapshot = field(default_factory=dict)
    seconds: float = 0
    changes: int = 0
    growth: int = 0  # bytes of the disk

    def lay(self, place: Path, *, with_earlier: bool = False) -> None:
        """Copy the folder in which the command starts, if wished with the outputs of an earlier run."""
        shutil.copytree(self.before, place, symlinks=True, dirs_exist_ok=True)
        for name in ("tmp", "home"):
            (place / name).mkdir(exist_ok=True)
        for out in self.outs if with_earlier and self.earlier else ():
            copy = shutil.copytree if (self.earlier / out).is_dir() else shutil.copy
            (place / out).parent.mkdir(parents=True, exist_ok=True)
            copy(self.earlier / out, place / out)

    def program(self, place: Path) -> Program:
        """The program in a folder that `lay` made; its home and temporary files are there too."""
        own = {  # its temporary files are on the disk that may be full
            "HOME": f"{place}/home", "XDG_CACHE_HOME": f"{place}/home", "TMPDIR": str(place / "tmp"), "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": f"{place}/home/dvc", "DVC_GLOBAL_CONFIG_DIR": f"{place}/home", "COLUMNS": "200",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        words = tuple(word.replace("PLACE", str(place)) for word in self.words)
        return Program(self.module, words, place / self.folder, own | self.environment)

    def run(self, place: Path, log: Path, *, cold: bool = False) -> Ended:
        """Run it to its end."""
        return Running(self.program(place), log, cold=cold).end()


def snapshot(place: Path, shown: Callable[[bytes], bytes] = bytes) -> Snapshot:
    """The files of a round's folder, without scratch and as `shown`. Links count as what they point to."""
    found = {}
    places = re.compile(re.escape(str(place.parent).encode()) + rb"/[\w-]+")  # of this round, and of the preparation
    for folder, folders, names in os.walk(place):
        for path in (Path(folder, name) for name in [*names, *folders]):
            name = str(path.relative_to(place))
            if not f"{name}/".startswith(SCRATCH) and not _TEMPORARY.search(name) and not path.is_dir():
                content = lasting(name, places.sub(b"PLACE", shown(path.read_bytes())))
                found[name] = hashlib.sha256(content).hexdigest()
    return found


def lasting(name: str, content: bytes) -> bytes:
    """The content; of reports of steps, without what differs from run to run."""
    if "kubeflow/runs/" in name and name.endswith(".json"):
        return json.dumps(_without(json.loads(content)), sort_keys=True).encode()
    return content


def _without(value: Any) -> Any:
    """JSON without the seconds that a step took, and without whether its stage ran or was found in the run-cache."""
    if isinstance(value, dict):
        return {key: _without(part) for key, part in value.items() if key not in ("seconds", "how")}
    return [_without(part) for part in value] if isinstance(value, list) else value


def below(found: Snapshot, path: str) -> Snapshot:
    """The part of a snapshot that is this file or below this folder."""
    return {name: digest for name, digest in found.items() if name == path or name.startswith(f"{path}/")}


def differences(found: Snapshot, wanted: Snapshot) -> list[str]:
    """What differs, in words."""
    names = sorted(found.keys() | wanted.keys())
    words = {(True, False): "should not be there", (False, True): "is missing", (True, True): "has other bytes"}
    return [f"{name} {words[name in found, name in wanted]}" for name in names if found.get(name) != wanted.get(name)]


def prepare(folder: Path, address: str, most: int | None = None) -> list[Case]:
    """Run the commands undisturbed, one after the other, or the first `most`; `address` serves a zip of photos."""
    earlier, now, kubeflow = (folder / name for name in ("earlier", "now", "kubeflow"))
    _chain(earlier, None, islice(_project(earlier, seed=1, address=address), most))
    cases = _chain(now, folder, islice(_project(now, seed=0, address=address), most), earlier)
    return cases if most else cases + _chain(kubeflow, folder, _kubeflow(kubeflow))


def _chain(place: Path, kept: Path | None, cases: Iterable[Case], earlier: Path | None = None) -> list[Case]:
    """Run the cases in one folder; keep the folder as it was before each, and note what each leaves."""
    done = []
    for number, case in enumerate(cases):
        case.earlier = earlier
        if kept is not None:
            case.before = kept / f"{place.name}-{number}"
            shutil.copytree(place, case.before, symlinks=True)
        for scratch in ("tmp", "home"):
            (place / scratch).mkdir(exist_ok=True)
        used = _disk_usage(place)
        ended = case.run(place, place.parent / f"{place.name}.log")
        if ended.code != 0:
            raise RuntimeError(f"{case.name} does not even run undisturbed: {ended.words}")
        case.seconds, case.changes, case.after = ended.seconds, ended.changes, snapshot(place)
        case.growth = max(_disk_usage(place) - used, 2**14)
        done.append(case)
    return done


def _disk_usage(place: Path) -> int:
    return sum(-(-path.lstat().st_size // 4096) * 4096 for path in place.rglob("*"))


def photos(items: int) -> dict[str, bytes]:
    """Photos and lists in DeepFashion's layout."""
    settings = MannequinSettings(flavour="fashion", items=items, seed=3, quality=95)
    return dict(renderer.files(settings, workers=1))


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A zip of these files, with the same bytes in every run."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()


def _project(place: Path, seed: int, address: str) -> Iterator[Case]:
    """The stages of dvc.yaml and what uses their results; `place` is the folder in which they run, in this order."""
    project = place / "project"
    _write_project(project, seed, address)
    yield _repose(
        "download (zip over http)",
        "download --raw fetched --transfers .repose/transfers --params fetch.yaml",
        "fetched",
    )
    for stage in yaml.safe_load((project / "dvc.yaml").read_text())["stages"].items():
        for name, command, outs in _commands(*stage):
            if name == "validate":
                for target in ("download", "validate"):  # DVC itself removes outputs before it starts a stage
                    yield Case(
                        f"dvc repro {target}", "dvc.__main__", ("repro", target), (), works=("project/",), wraps=True
                    )
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
    for system in ("baselines", "attend"):
        out = f"scored/fashion/{system}"
        yield _repose(f"evaluate --system {system}", f"evaluate --system {system} --results {out}", out)
    yield _repose("table", "table --results scored --table table --published table1/published.csv", "table")


def _repose(name: str, command: str, *outs: str) -> Case:
    return Case(name, "repose.cli", tuple(shlex.split(command)), tuple(f"project/{out}" for out in outs))


def _write_project(project: Path, seed: int, address: str) -> None:
    params = tiny.params(download__mannequin=None)
    params["download"]["mannequin"] = {"flavour": "fashion", "items": 8, "seed": seed, "quality": 90}
    params["gates"] |= {"systems": ["attend"], "baseline": False, "limits": {}}
    params["evaluate"]["systems"] = ["attend"]
    about = yaml.safe_load((ROOT / "table1" / "params.yaml").read_text())["table"]
    about |= {"data_sets": {"fashion": "DeepFashion"}, "systems": ["attend"], "reference": "attend"}
    params["table"] = about | {"multi_source_gains": [["attend", "attend, 1 source"]], "figure_pairs": 2}
    fetched = params | {
        "download": params["download"] | {"source": "deepfashion", "origins": [{"address": f"{address}/all.zip"}]}
    }
    (project / "table1").mkdir(parents=True)
    shared = params["systems"] | {"attend": params["systems"]["attend"] | {"items_per_step": 2}}
    two = params | {"train": params["train"] | {"processes": 2}, "systems": shared}
    for name, content in (("params.yaml", params), ("fetch.yaml", fetched), ("two.yaml", two)):
        (project / name).write_text(yaml.safe_dump(content, sort_keys=False))
    shutil.copy(ROOT / "table1" / "published.csv", project / "table1")
    shutil.copytree(ROOT / "baseline", project / "baseline")
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    for stage in pipeline["stages"].values():
        of = stage.get("do", stage)
        of["deps"] = [dep for dep in of["deps"] if not dep.startswith("src/")]  # what is tested are not its copies
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": pipeline["stages"]}, sort_keys=False))
    foreign.dvc(project, "init", "--no-scm", "--quiet")


def _commands(stage: str, about: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """Name, words and outputs of each command of a stage."""
    of = about.get("do", about)
    outs = [*of["outs"], *(next(iter(metric)) for metric in of.get("metrics", ()))]
    for item in ["0", "1"] if "foreach" in about else ["attend"] if "matrix" in about else [""]:
        name = f"{stage}@{item}".rstrip("@")
        command, *filled = (
            text.replace("${item.system}", item).replace("${item}", item) for text in (of["cmd"], *outs)
        )
        yield name, command.removeprefix("repose "), filled


def _unpack(project: Path) -> None:
    """Photos, keypoints and four jobs for `generate`."""
    for shards in ("photos", "lists"):
        for shard in (project / "data" / "raw" / shards).glob("*.tar"):
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

    def step(name: str, outputs: Sequence[str], **given: Sequence[str]) -> Case:
        words = steps.words(name, Path("PLACE/artifacts", name), remote, outputs, endpoint=endpoint, **given)
        return Case(
            f"kfp step {name}", "repose.kubeflow.step", tuple(words), (), "image", {"REPOSE_RUN": "run-1"},
            works=("remote/", "artifacts/"), wraps=True,
        )  # fmt: skip

    yield step("count", ["made"])
    yield step("judge", ["report_html", "score_json"], inputs=[entry()])
    record = step("", [], before=["run-record", "flowers", "dvc.yaml"])
    yield replace(record, name="kfp record", module="repose.kubeflow.record")
    words = ("kfp", "fetch", "run-1", "--remote", remote, *(["--endpoint", endpoint] if endpoint else []))
    outs = ("flowers/dvc.lock", "flowers/params.yaml", "flowers/score.json")
    yield Case("kfp fetch", "repose.cli", words, outs, "flowers", works=("flowers/.dvc/",))
