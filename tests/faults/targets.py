"""What the fuzzer calls: the functions that read what others wrote, each with valid files to start from."""

import io
import json
import os
import pkgutil
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from faults.mutate import Damage, binary, in_csv, in_json, in_yaml
from repose.errors import ReposeError

ROOT = Path(__file__).parents[2]
Read = Callable[[bytes], object]


class Target(NamedTuple):
    """A function that must return, or raise a ReposeError, whatever it reads."""

    name: str
    call: Read
    seeds: Sequence[bytes]
    damage: Damage = binary  # of three inputs in five; the others have damaged bytes
    share: float = 1  # of the inputs, compared with the other targets


def from_file(read: Callable[[Path], object], file: Path) -> Read:
    """A function of bytes, from one of a file."""

    def call(content: bytes) -> object:
        file.write_bytes(content)
        return read(file)

    return call


def from_text(read: Callable[[str], object]) -> Read:
    return lambda content: read(content.decode("utf-8", "replace"))


def from_json(read: Callable[[Any], object]) -> Read:
    def call(content: bytes) -> object:
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            return None
        return read(value)

    return call


def params(folder: Path) -> Iterator[Target]:
    """params.yaml and other settings, as every command reads them."""
    from repose.config import build, read_params
    from repose.kubeflow.needs import read_environment
    from repose.kubeflow.params import ParamsFile, parse_overrides
    from repose.kubeflow.params import from_text as parameter
    from repose.storage.weight_files import WeightsFile

    def change(text: str) -> None:
        file = ParamsFile(Path("params.yaml"), text)
        for key in ("train.seed", "download.mannequin.items", "systems"):
            if key in file:
                file.with_values({key: file[key]})

    seeds = [(ROOT / place / "params.yaml").read_bytes() for place in (".", "table1", "figure")]
    yield Target(
        "params.yaml", from_file(lambda file: _build(read_params(file)), folder / "params.yaml"), seeds, in_yaml
    )
    yield Target("params.yaml for Kubeflow", from_text(change), seeds, in_yaml)
    environments = [path.read_bytes() for path in (ROOT / "pipelines" / "environments").glob("*.yaml")]
    yield Target("environment", from_file(read_environment, folder / "production.yaml"), environments, in_yaml)
    overrides = b'{"train.seed": 3, "params.yaml:evaluate.metrics": ["psnr"], "a": {"b": null}}'
    yield Target("overrides", from_text(parse_overrides), [overrides], in_json)
    for like in (1, "text", None, [1], {"a": 1}, True):
        read = from_text(lambda text, like=like: parameter(text, like, "x"))
        yield Target(f"parameter like {like!r}", read, [json.dumps(like).encode(), b"7.5", b"[a, 1]", b"{a: 1}"])
    weights = b'{"address": "https://user:s3cret@host/a.pth?sig=1", "sha256": "dcbb9e9d", "endpoint": null}'
    yield Target("weights", from_json(lambda value: build(WeightsFile, value, "x")), [weights], in_json)


def _build(values: dict[str, Any]) -> None:
    """Read every block that the stages read."""
    from repose import systems
    from repose.config import block
    from repose.report.tables.settings import TableSettings
    from test_config import STAGES

    kinds = STAGES | {"table": TableSettings}
    problem = None
    for name in kinds.keys() & values.keys():
        try:
            block(values, name, kinds[name], "params.yaml")
        except ReposeError as error:
            problem = error
    rows = values.get("systems")
    for name in rows if isinstance(rows, dict) else ():
        systems.row(rows[name], f"systems.{name}")
    if problem:
        raise problem


def keypoints(folder: Path) -> Iterator[Target]:
    """Keypoint files."""
    from repose.data.skeleton import JOINTS
    from repose.pose.keypoint_files import read_openpose_json, read_posegan_csv
    from repose.pose.keypoint_lookup import KnownPoses, read_pose

    rows = [f"a{n}.jpg: {[*range(12, 29), -1]}: {[*range(20, 37), -1]}" for n in range(3)]
    posegan = "\n".join(["name:keypoints_y:keypoints_x", *rows]).encode()
    standing = [value for n in range(18) for value in (10.5 + n, 20 + n, 0.9)]
    people = [{"pose_keypoints_2d": standing}, {"pose_keypoints_2d": [1, 2, 0.1] * 25}]
    openpose = [json.dumps({"version": 1.3, "people": people[:n]}).encode() for n in (1, 2)]
    columns = ["name", *(f"{joint}_{part}" for joint in JOINTS for part in ("x", "y", "confidence"))]
    cells = "".join(f",{1.5 + n},{2 + n},0.9" for n in range(len(JOINTS)))
    table = f"{','.join(columns)}\na0.jpg{cells}\n".encode()
    yield Target("pose-gan's CSV", lambda content: read_posegan_csv(content, "x"), [posegan], in_csv)
    yield Target("OpenPose's JSON", lambda content: read_openpose_json(content, "x"), openpose, in_json)
    for suffix, row, seeds, damage in (
        (".csv", "a0.jpg", [posegan, table], in_csv),
        (".json", None, openpose, in_json),
    ):
        file = folder / f"a0{suffix}"
        find = from_file(lambda file: KnownPoses([file]).find(Path("a0.jpg"), 64, 48), file)
        yield Target(f"--keypoints *{suffix}", find, seeds, damage)
        pose = from_file(lambda file, row=row: read_pose(file, row, 64, 48), file)
        yield Target(f"--pose *{suffix}", pose, seeds, damage)


def tables(folder: Path) -> Iterator[Target]:
    """CSVs: of jobs, of owners' pairs and lists, and between the stages."""
    from repose.data import records
    from repose.data.csv_files import read_csv
    from repose.data.pairs import names_in, read_pairs
    from repose.inference.jobs import check_outputs, read_jobs
    from repose.report.published import read_published

    jobs = [b"sources,pose,out\na.jpg;b.jpg,c.json,d.png\na.jpg,poses.csv#row,\n", b"sources,pose\na.jpg,b.jpg\n"]
    listed = from_file(lambda file: check_outputs(read_jobs(file, folder / "out")), folder / "jobs.csv")
    pairs = [b"from,to\na.jpg,b.jpg\nb.jpg,c.jpg\n"]
    images = f"{','.join(records.IMAGES)}\na,p,i,c,v,,64,48,00,0.tar,512,9\n".encode()
    table = from_file(lambda file: records.read_table(file, records.IMAGES), folder / "images.csv")
    published = [(ROOT / "table1" / "published.csv").read_bytes()]
    yield Target("jobs", listed, jobs, in_csv)
    yield Target("a CSV", lambda content: read_csv(content, "x", ("sources", "pose"), ("out",)), jobs, in_csv)
    yield Target("pairs of an owner", lambda content: read_pairs(content, "x"), pairs, in_csv)
    yield Target("list of an owner", lambda content: names_in(content, "x"), pairs, in_csv)
    yield Target("a table of a stage", table, [images], in_csv)
    yield Target("published numbers", from_file(read_published, folder / "published.csv"), published, in_csv)


def images(folder: Path) -> Iterator[Target]:
    """Image files."""
    from repose.data.images import FORMATS, decode
    from repose.data.inspection import inspect
    from repose.data.photo_files import read_photo

    pixels = np.random.default_rng(0).integers(0, 256, (20, 17, 3), dtype=np.uint8)
    pictures = [Image.fromarray(pixels).convert(mode) for mode in ("RGB", "L", "P", "CMYK", "1", "RGBA")]
    seeds = []
    for picture in [*pictures, Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)]:
        for kind in FORMATS:
            packed = io.BytesIO()
            try:
                picture.save(packed, kind)
            except (OSError, ValueError):  # the format does not have this mode
                continue
            seeds.append(packed.getvalue())
    yield Target("a photo of a data set", lambda content: inspect(content, 10**6).decodes and decode(content), seeds)
    photo = from_file(read_photo, folder / "photo")  # larger ones may take longer, and 24 bytes per pixel
    small = lambda content: inspect(content, 10**7).decodes is None or photo(content)  # noqa: E731
    yield Target("a user's photo of 10 megapixels at most", small, seeds)


def archives(folder: Path) -> Iterator[Target]:
    """Zips, and the places of files in the shards between the stages."""
    from zip_builder import Member, zip_bytes

    from repose.data.archives import Limits, open_zip
    from repose.data.records import read_table
    from repose.data.shards import ShardReader

    os.environ["FAULTS_PASSWORD"] = "secret"
    limits = Limits(files=1000, total_gigabytes=0.1, file_megabytes=50, ratio=100)

    def unpack(file: Path) -> None:
        with open_zip(file, limits, "x", password_variable="FAULTS_PASSWORD") as contents:
            for member in contents.files:
                member.read()

    def look_up(file: Path) -> None:
        dict(ShardReader(folder, read_table(file, ("name", "shard", "offset", "size"))))

    large = io.BytesIO()
    with zipfile.ZipFile(large, "w") as archive, archive.open("a/b.txt", "w", force_zip64=True) as stream:
        stream.write(b"zip64")
    plain = {f"img/{n}.jpg": Member(bytes(range(256)) * n, method=8 * (n % 2)) for n in range(4)}
    locked = {"img/1.jpg": Member(b"locked" * 50, password=b"secret")}
    zips = [zip_bytes(plain), zip_bytes(locked), large.getvalue()]
    yield Target("a zip", from_file(unpack, folder / "a.zip"), zips)
    (folder / "0.tar").write_bytes(bytes(4096))
    index = b"name,shard,offset,size\na,0.tar,512,9\nb,0.tar,1024,9\n"
    yield Target("places in shards", from_file(look_up, folder / "table.csv"), [index], in_csv)


def records(folder: Path) -> Iterator[Target]:
    """Pointers and records: checkpoints, scores, and what Kubeflow's steps leave in DVC's remote."""
    import torch

    from repose import checkpoint, systems
    from repose.data.frame import Frame
    from repose.report.scores_file import parsed

    row = systems.row({"kind": "attend", "steps": 1, "generator": {"width": 8, "blocks": 1}}, "x")
    about = checkpoint.About("attend", row, Frame(64, 56), 2, 1, "0" * 64)
    checkpoint.save(folder / "seed", systems.build(row, about.frame), about, to_resume=False)
    weights, model = [(folder / "seed").read_bytes()], folder / "model.safetensors"
    load = from_file(lambda file: checkpoint.load(file, torch.device("cpu")), model)
    yield Target("a checkpoint's record", from_file(checkpoint.read_about, model), weights, _in_header)
    yield Target("a checkpoint", load, weights, _in_header)
    yield Target("scores", lambda content: parsed(content, "x"), [(ROOT / "metrics.json").read_bytes()], in_json)
    yield from _of_kubeflow(folder)


def _of_kubeflow(folder: Path) -> Iterator[Target]:
    import foreign
    import steps

    from repose.kubeflow.fetch import fetch_run
    from repose.kubeflow.task import read_task

    remote, words = folder / "remote", steps.words("count", folder, folder / "remote", ["made"], params={"scale": 3})
    task = from_text(lambda text: read_task([*words[:-1], text], {"REPOSE_RUN": "r"}))
    yield Target("executor input", task, [words[-1].encode()], in_json)
    flowers = foreign.flowers(folder / "flowers")
    foreign.dvc(flowers, "remote", "add", "--default", "store", str(remote))
    foreign.dvc(flowers, "push", "--quiet")
    entry = steps.run("count", flowers, remote, ["made"]).entry
    steps.run("judge", flowers, remote, ["report_html", "score_json"], inputs=[entry])
    record, run = steps.write_record(flowers, remote), remote / "kubeflow" / "runs" / "run-1"

    def fetch(_: Path) -> None:
        shutil.rmtree(folder / "fetched", ignore_errors=True)
        fetch_run(shutil.copytree(flowers, folder / "fetched"), "run-1", remote=None, endpoint="", force=True)

    yield Target("kfp fetch", from_file(fetch, run / "record.json"), [json.dumps(record).encode()], in_json, share=0.5)
    entries = [next((remote / "kubeflow" / "entries").glob("*")).read_bytes()]
    one = [json.dumps(value).encode() for value in json.loads(entries[0]).values()]
    for name, way, seeds, damage in (
        ("storage.listing.parse_listing", bytes, [path.read_bytes() for path in (remote / "files").rglob("*.dir")], in_json),
        ("storage.listing.check_path", from_json, [b'"made/petals.json"'], in_json),
        ("storage.listing.check_oid", from_json, [b'"%s"' % (b"0" * 32)], in_json),
        ("kubeflow.entries.parse_entries", bytes, entries, in_json),
        ("kubeflow.entries.check_entry", from_json, one, in_json),
        ("kubeflow.entries.parse_lock", from_text, [text.encode() for text in record["locks"].values()], in_yaml),
        ("kubeflow.fetch.parse_record", bytes, [json.dumps(record).encode()], in_json),
        ("kubeflow.record.parse_report", bytes, [path.read_bytes() for path in run.glob("stages/*.json")], in_json),
    ):  # fmt: skip
        parse = pkgutil.resolve_name(f"repose.{name}")
        read = lambda value, parse=parse: parse(value, "x")  # noqa: E731
        yield Target(name, read if way is bytes else way(read), seeds, damage)


def _in_header(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A safetensors file with other values in its header, or in the record of repose in there."""
    content = random.choice(seeds)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    if random.random() < 0.7:
        record = in_json(random, [header["__metadata__"]["repose"].encode()])
        header["__metadata__"]["repose"] = record.decode("utf-8", "replace")
        changed = json.dumps(header).encode()
    else:
        changed = in_json(random, [json.dumps(header).encode()])
    return len(changed).to_bytes(8, "little") + changed + content[8 + size :]


AREAS: dict[str, Callable[[Path], Iterator[Target]]] = {
    "params": params, "keypoints": keypoints, "tables": tables, "images": images, "records": records, "archives": archives,
}  # fmt: skip
