"""What the fuzzer calls: the functions that read what others wrote, each with valid files to start from."""

import importlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from faults import mutate
from repose.errors import ReposeError

ROOT = Path(__file__).parents[2]
Damage = Callable[[Random, Sequence[bytes]], bytes]


class Target(NamedTuple):
    """A function that must return, or raise a ReposeError, whatever it reads."""

    name: str
    call: Callable[[bytes], object]
    seeds: Sequence[bytes]
    damage: Damage = mutate.binary  # in every other round; else bytes are damaged
    allowed: tuple[type[Exception], ...] = (ReposeError,)
    share: float = 1  # of the inputs, compared with the other targets


def function(name: str) -> Callable[..., Any] | None:
    """A public function by its dotted name; None if this commit does not have it."""
    module, _, attribute = name.rpartition(".")
    try:
        found: Callable[..., Any] | None = getattr(importlib.import_module(f"repose.{module}"), attribute, None)
    except ModuleNotFoundError:
        return None
    return found


def from_file(read: Callable[[Path], object], file: Path) -> Callable[[bytes], object]:
    """A function of bytes, from one of a file."""

    def call(content: bytes) -> object:
        file.write_bytes(content)
        return read(file)

    return call


def from_text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda content: read(content.decode("utf-8", "replace"))


def params(folder: Path) -> Iterator[Target]:
    """params.yaml and other settings, as every command reads them."""
    from repose.config import read_params
    from repose.kubeflow.needs import read_environment
    from repose.kubeflow.params import ParamsFile, parse_overrides
    from repose.kubeflow.params import from_text as parameter
    from repose.storage.weight_files import WeightsFile

    seeds = [(ROOT / place / "params.yaml").read_bytes() for place in (".", "table1", "figure")]
    yield Target(
        "params.yaml",
        from_file(lambda file: _settings(read_params(file)), folder / "params.yaml"),
        seeds,
        mutate.in_yaml,
    )
    yield Target(
        "params.yaml for Kubeflow",
        from_text(lambda text: _changed(ParamsFile(Path("params.yaml"), text))),
        seeds,
        mutate.in_yaml,
    )
    environments = [path.read_bytes() for path in (ROOT / "pipelines" / "environments").glob("*.yaml")]
    yield Target("environment", from_file(read_environment, folder / "production.yaml"), environments, mutate.in_yaml)
    overrides = [b'{"train.seed": 3, "params.yaml:evaluate.metrics": ["psnr"], "a": {"b": null}}']
    yield Target("overrides", from_text(parse_overrides), overrides, mutate.in_json)
    for like in (1, 0.5, "text", None, [1], {"a": 1}, True):
        yield Target(
            f"parameter like {like!r}",
            from_text(lambda text, like=like: parameter(text, like, "x")),
            [b"7.5", b"[a, 1]", b"{a: 1}"],
        )
    from repose.config import build

    weights = [b'{"address": "https://user:s3cret@host/a.pth?sig=1", "sha256": "dcbb9e9d", "endpoint": null}']
    yield Target(
        "weights", from_text(lambda text: _json(text) and build(WeightsFile, _json(text), "x")), weights, mutate.in_json
    )


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _settings(values: dict[str, Any]) -> None:
    """Read every block that the stages read."""
    from repose import systems, training
    from repose.config import block
    from repose.evaluation.settings import EvaluateSettings
    from repose.report.gates import GatesSettings
    from repose.report.tables.settings import TableSettings
    from repose.stages import card, download, keypoints, posemaps, report, split, validate

    kinds = {
        "download": download.DownloadSettings, "validate": validate.ValidateSettings, "keypoints": keypoints.KeypointsSettings,
        "posemaps": posemaps.PosemapsSettings, "split": split.SplitSettings, "train": training.TrainSettings,
        "evaluate": EvaluateSettings, "report": report.ReportSettings, "gates": GatesSettings, "card": card.CardSettings,
        "table": TableSettings,
    }  # fmt: skip
    problem = None
    for name in kinds.keys() & values.keys():
        try:
            block(values, name, kinds[name], "params.yaml")  # type: ignore[type-var]
        except ReposeError as error:
            problem = error
    rows = values.get("systems")
    for name in rows if isinstance(rows, dict) else ():
        systems.row(rows[name], f"systems.{name}")
    if problem:
        raise problem


def _changed(params: Any) -> None:
    for key in [*params][:5] if hasattr(params, "__iter__") else ("train.seed", "download.mannequin.items"):
        if key in params:
            params.with_values({key: params[key]})


def keypoints(folder: Path) -> Iterator[Target]:
    """Keypoint files."""
    from repose.pose.keypoint_files import read_openpose_json, read_posegan_csv
    from repose.pose.keypoint_lookup import KnownPoses, read_pose

    rows = [f"a{n}.jpg: [{', '.join(['12'] * 17)}, -1]: [{', '.join(['34'] * 17)}, -1]" for n in range(3)]
    posegan = ["\n".join(["name:keypoints_y:keypoints_x", *rows]).encode()]
    people = [{"pose_keypoints_2d": [10.5, 20, 0.9] * 18}, {"pose_keypoints_2d": [1, 2, 0.1] * 25}]
    openpose = [json.dumps({"version": 1.3, "people": people[:n]}).encode() for n in (1, 2)]
    table = (ROOT / "tests" / "faults" / "__init__.py").read_bytes()[:0]
    from repose.data.skeleton import JOINTS

    columns = [f"{joint}_{part}" for joint in JOINTS for part in ("x", "y", "confidence")]
    table = [
        "\n".join([",".join(["name", *columns]), ",".join(["a0.jpg", *["1.5", "2", "0.9"] * len(JOINTS)])]).encode()
    ]
    yield Target("pose-gan's CSV", lambda content: read_posegan_csv(content, "x"), posegan, mutate.in_csv)
    yield Target("OpenPose's JSON", lambda content: read_openpose_json(content, "x"), openpose, mutate.in_json)
    for suffix, seeds, damage in ((".csv", posegan + table, mutate.in_csv), (".json", openpose, mutate.in_json)):
        file = folder / f"a0{suffix}"
        yield Target(
            f"--keypoints *{suffix}",
            from_file(lambda file: KnownPoses([file]).find(Path("a0.jpg"), 64, 48), file),
            seeds,
            damage,
        )
        yield Target(f"--pose *{suffix}", from_file(lambda file: read_pose(file, None, 64, 48), file), seeds, damage)


def tables(folder: Path) -> Iterator[Target]:
    """CSVs: of jobs, of owners' pairs and lists, and between the stages."""
    from repose.data import records
    from repose.data.csv_files import read_csv
    from repose.data.pairs import names_in, read_pairs
    from repose.inference.jobs import check_outputs, read_jobs
    from repose.report.published import read_published

    jobs = [b"sources,pose,out\na.jpg;b.jpg,c.json,d.png\na.jpg,poses.csv#row,\n", b"sources,pose\na.jpg,b.jpg\n"]
    yield Target(
        "jobs",
        from_file(lambda file: check_outputs(read_jobs(file, folder / "out")), folder / "jobs.csv"),
        jobs,
        mutate.in_csv,
    )
    yield Target("a CSV", lambda content: read_csv(content, "x", ("sources", "pose"), ("out",)), jobs, mutate.in_csv)
    pairs = [b"from,to\na.jpg,b.jpg\nb.jpg,c.jpg\n"]
    yield Target("pairs of an owner", lambda content: read_pairs(content, "x"), pairs, mutate.in_csv)
    yield Target("list of an owner", lambda content: names_in(content, "x"), pairs, mutate.in_csv)
    images = [
        b"name,path,item,category,view,partition,height,width,sha256,shard,offset,size\na,p,i,c,v,,64,48,00,0.tar,512,9\n"
    ]
    yield Target(
        "a table of a stage",
        from_file(lambda file: records.read_table(file, records.IMAGES), folder / "images.csv"),
        images,
        mutate.in_csv,
    )
    published = [(ROOT / "table1" / "published.csv").read_bytes()]
    yield Target("published numbers", from_file(read_published, folder / "published.csv"), published, mutate.in_csv)


def images(folder: Path) -> Iterator[Target]:
    """Image files."""
    from repose.data.images import FORMATS, decode
    from repose.data.inspection import inspect
    from repose.data.photo_files import read_photo

    pixels = np.random.default_rng(0).integers(0, 256, (20, 17, 3), dtype=np.uint8)
    seeds = []
    for kind in FORMATS:
        for mode in ("RGB", "L", "P", "CMYK", "I;16", "1", "RGBA"):
            packed = io.BytesIO()
            try:
                image = Image.fromarray(pixels).convert("L" if mode == "I;16" else mode)
                (Image.fromarray(np.asarray(image, np.uint16) * 257) if mode == "I;16" else image).save(packed, kind)
            except (OSError, ValueError):
                continue
            seeds.append(packed.getvalue())
    yield Target("a photo of a data set", lambda content: inspect(content, 10**6), seeds, allowed=())
    yield Target("decoding", decode, seeds)
    yield Target("a user's photo", from_file(read_photo, folder / "photo"), seeds)


def archives(folder: Path) -> Iterator[Target]:
    """Zips, and the shards between the stages."""
    import pandas as pd
    from zip_builder import Member, zip_bytes

    from repose.data.archives import Limits, open_zip
    from repose.data.shards import ShardReader

    def read(file: Path) -> None:
        limits = Limits(files=1000, total_gigabytes=0.1, file_megabytes=50, ratio=100)
        with open_zip(file, limits, "x", password_variable="FAULTS_PASSWORD") as contents:  # noqa: S106 (a variable's name)
            for member in contents.files:
                member.read()

    os.environ["FAULTS_PASSWORD"] = "secret"
    members = {f"img/{n}.jpg": Member(bytes(range(256)) * n, method=8 * (n % 2)) for n in range(4)}
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_BZIP2) as archive,
        archive.open("a/b.txt", "w", force_zip64=True) as stream,
    ):
        stream.write(b"zip64")
    locked = {"img/1.jpg": Member(b"locked" * 50, password=b"secret")}
    yield Target("a zip", from_file(read, folder / "a.zip"), [zip_bytes(members), zip_bytes(locked), packed.getvalue()])
    (folder / "0.tar").write_bytes(bytes(4096))

    def shard(file: Path) -> None:
        from repose.data.records import read_table

        reader = ShardReader(folder, read_table(file, ("name", "shard", "offset", "size")))
        for name in reader:
            reader[name]

    yield Target(
        "places in shards",
        from_file(shard, folder / "table.csv"),
        [b"name,shard,offset,size\na,0.tar,512,9\nb,0.tar,1024,9\n"],
        mutate.in_csv,
    )


def records(folder: Path) -> Iterator[Target]:
    """Pointers and records: of DVC's remote, of Kubeflow's runs, checkpoints, scores."""
    import foreign
    import steps
    import torch

    from repose import checkpoint, systems
    from repose.data.frame import Frame
    from repose.kubeflow.task import read_task
    from repose.report.scores_file import parsed

    row = systems.row({"kind": "attend", "steps": 1, "generator": {"width": 8, "blocks": 1}}, "x")
    about = checkpoint.About("attend", row, Frame(64, 56), 2, 1, "0" * 64)
    checkpoint.save(folder / "seed", systems.build(row, about.frame), about, to_resume=False)
    weights, model = [(folder / "seed").read_bytes()], folder / "model.safetensors"
    yield Target("a checkpoint's record", from_file(checkpoint.read_about, model), weights, _in_header)
    yield Target(
        "a checkpoint", from_file(lambda file: checkpoint.load(file, torch.device("cpu")), model), weights, _in_header
    )
    scores = [(ROOT / "metrics.json").read_bytes()]
    yield Target("scores", lambda content: parsed(content, "x"), scores, mutate.in_json)
    words = steps.words("count", folder, folder / "remote", ["made"], params={"scale": 3})
    task = [words[-1].encode()]
    yield Target(
        "executor input",
        from_text(lambda text: read_task([*words[:-1], text], {"REPOSE_RUN": "r"})),
        task,
        mutate.in_json,
    )

    flowers, remote = foreign.flowers(folder / "flowers"), folder / "remote"
    foreign.dvc(flowers, "remote", "add", "--default", "store", "../remote")
    foreign.dvc(flowers, "push", "--quiet")
    entry = steps.run("count", flowers, remote, ["made"]).entry
    steps.run("judge", flowers, remote, ["report_html", "score_json"], inputs=[entry])
    record = json.dumps(steps.write_record(flowers, remote)).encode()
    from repose.kubeflow.fetch import fetch_run

    path = remote / "kubeflow" / "runs" / "run-1" / "record.json"
    fetch = from_file(lambda _: fetch_run(flowers, "run-1", remote=None, endpoint="", force=True), path)
    yield Target("kfp fetch", fetch, [record], mutate.in_json, share=0.1)
    listing = [path.read_bytes() for path in (remote / "files").rglob("*.dir")]
    kept = [next((remote / "kubeflow" / "entries").glob("*")).read_bytes()]
    reports = [path.read_bytes() for path in path.parent.glob("stages/*.json")]
    locks = [text.encode() for text in json.loads(record)["locks"].values()]
    for name, how, seeds, damage in (
        ("storage.listing.parse_listing", "bytes", listing, mutate.in_json), ("kubeflow.entries.parse_entries", "bytes", kept, mutate.in_json),
        ("kubeflow.entries.parse_lock", "text", locks, mutate.in_yaml), ("kubeflow.fetch.parse_record", "bytes", [record], mutate.in_json),
        ("kubeflow.record.parse_report", "bytes", reports, mutate.in_json), ("kubeflow.entries.check_entry", "json", kept, mutate.in_json),
        ("storage.listing.check_path", "json", [b'"made/petals.json"'], mutate.in_json),
        ("storage.listing.check_oid", "json", [b'"%s"' % (b"0" * 32)], mutate.in_json),
    ):  # fmt: skip
        if (parse := function(name)) is not None:
            ways = {
                "bytes": lambda content, parse=parse: parse(content, "x"),
                "text": from_text(lambda text, parse=parse: parse(text, "x")),
                "json": from_text(lambda text, parse=parse: parse(_json(text), "x")),
            }
            yield Target(name, ways[how], seeds, damage)


def _in_header(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A safetensors file with other values in its header and in the record of repose in there."""
    content = random.choice(seeds)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    if random.random() < 0.7:
        about = [header["__metadata__"]["repose"].encode()]
        header["__metadata__"]["repose"] = mutate.in_json(random, about).decode("utf-8", "replace")
        changed = json.dumps(header).encode()
    else:
        changed = mutate.in_json(random, [json.dumps(header).encode()])
    return len(changed).to_bytes(8, "little") + changed + content[8 + size :]


AREAS: dict[str, Callable[[Path], Iterator[Target]]] = {
    "params": params, "keypoints": keypoints, "tables": tables, "images": images, "records": records, "archives": archives,
}  # fmt: skip
