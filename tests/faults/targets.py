"""What the fuzzer calls: the functions that read what others wrote, each with valid files to start from."""

import io
import itertools
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from faults.fuzz import Target, in_csv, in_json, in_yaml
from repose.errors import ReposeError

ROOT = Path(__file__).parents[2]


def in_file(read: Callable[[Path], object], file: Path) -> Callable[[bytes], object]:
    """A function of bytes, from one of a file."""

    def call(content: bytes) -> object:
        file.write_bytes(content)
        return read(file)

    return call


def text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def params(folder: Path) -> Iterator[Target]:
    """params.yaml and other settings, as every command reads them."""
    from repose.config import read_params
    from repose.kubeflow.needs import read_environment
    from repose.kubeflow.params import ParamsFile, parse_overrides

    def change(content: bytes) -> None:
        file = ParamsFile(Path("params.yaml"), text(content))
        for key in ("train.seed", "download.mannequin.items", "systems"):
            if key in file:
                file.with_values({key: file[key]})

    seeds = [(ROOT / "params.yaml").read_bytes()]
    read = in_file(lambda file: _build(read_params(file)), folder / "params.yaml")
    environments = [path.read_bytes() for path in (ROOT / "pipelines" / "environments").glob("*.yaml")]
    overrides = b'{"train.seed": 3, "params.yaml:evaluate.metrics": ["psnr"], "a": {"b": null}}'
    yield Target("params.yaml", read, seeds, in_yaml)
    yield Target("params.yaml for Kubeflow", change, seeds, in_yaml)
    yield Target("environment", in_file(read_environment, folder / "production.yaml"), environments, in_yaml)
    yield Target("overrides", lambda content: parse_overrides(text(content)), [overrides], in_json)


def _build(values: dict[str, Any]) -> None:
    """Read every block that the stages read."""
    from repose import systems
    from repose.config import block
    from test_config import STAGES

    rows = values.get("systems")
    reads = [partial(block, values, name, STAGES[name], "params.yaml") for name in STAGES.keys() & values.keys()]
    reads += [partial(systems.row, row, "systems") for row in (rows.values() if isinstance(rows, dict) else ())]
    problem = None
    for read in reads:
        try:
            read()
        except ReposeError as error:
            problem = error
    if problem:
        raise problem


def keypoints(folder: Path) -> Iterator[Target]:
    """Keypoint files."""
    from repose.data.skeleton import JOINTS
    from repose.pose.keypoint_lookup import KnownPoses, read_pose

    rows = [f"a{n}.jpg: {[*range(12, 29), -1]}: {[*range(20, 37), -1]}" for n in range(3)]
    posegan = "\n".join(["name:keypoints_y:keypoints_x", *rows]).encode()
    standing = [value for n in range(18) for value in (10.5 + n, 20 + n, 0.9)]
    people = [{"pose_keypoints_2d": standing}, {"pose_keypoints_2d": [1, 2, 0.1] * 25}]
    openpose = [json.dumps({"version": 1.3, "people": people[:n]}).encode() for n in (1, 2)]
    columns = ["name", *(f"{joint}_{part}" for joint in JOINTS for part in ("x", "y", "confidence"))]
    cells = "".join(f",{1.5 + n},{2 + n},0.9" for n in range(len(JOINTS)))
    table = f"{','.join(columns)}\na0.jpg{cells}\n".encode()
    a_csv, a_json = folder / "a0.csv", folder / "a0.json"

    def find(file: Path) -> object:
        return KnownPoses([file]).find(Path("a0.jpg"), 64, 48)

    yield Target("--keypoints *.csv", in_file(find, a_csv), [posegan, table], in_csv)
    yield Target("--keypoints *.json", in_file(find, a_json), openpose, in_json)
    yield Target(
        "--pose *.csv", in_file(lambda file: read_pose(file, "a0.jpg", 64, 48), a_csv), [posegan, table], in_csv
    )
    yield Target("--pose *.json", in_file(lambda file: read_pose(file, None, 64, 48), a_json), openpose, in_json)


def tables(folder: Path) -> Iterator[Target]:
    """CSVs: of jobs, of owners' pairs and lists, and between the stages."""
    from repose.data import records
    from repose.data.pairs import names_in, read_pairs
    from repose.inference.jobs import check_outputs, read_jobs

    jobs = [b"sources,pose,out\na.jpg;b.jpg,c.json,d.png\na.jpg,poses.csv#row,\n", b"sources,pose\na.jpg,b.jpg\n"]
    listed = in_file(lambda file: check_outputs(read_jobs(file, folder / "out")), folder / "jobs.csv")
    pairs = [b"from,to\na.jpg,b.jpg\nb.jpg,c.jpg\n"]
    images = f"{','.join(records.IMAGES)}\na,p,i,c,v,,64,48,00,0.tar,512,9\n".encode()
    table = in_file(lambda file: records.read_table(file, records.IMAGES), folder / "images.csv")
    yield Target("jobs", listed, jobs, in_csv)
    yield Target("pairs of an owner", lambda content: read_pairs(content, "x"), pairs, in_csv)
    yield Target("list of an owner", lambda content: names_in(content, "x"), pairs, in_csv)
    yield Target("a table of a stage", table, [images], in_csv)


def images(folder: Path) -> Iterator[Target]:
    """Image files."""
    from repose.data.images import FORMATS, decode
    from repose.data.inspection import inspect
    from repose.data.photo_files import read_photo

    picture, seeds = Image.effect_mandelbrot((17, 20), (-2, -1, 1, 1), 20).convert("RGB"), []
    for kind, mode in itertools.product(FORMATS, ("RGB", "L", "P", "CMYK", "1", "RGBA", "I;16")):
        packed = io.BytesIO()
        with suppress(OSError, ValueError):  # the format does not have this mode
            picture.convert(mode).save(packed, kind)
            seeds.append(packed.getvalue())
    yield Target("a photo of a data set", lambda content: inspect(content, 10**6).decodes and decode(content), seeds)
    photo = in_file(read_photo, folder / "photo")  # larger ones may take longer, and 24 bytes per pixel
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
    yield Target("a zip", in_file(unpack, folder / "a.zip"), zips)
    (folder / "0.tar").write_bytes(bytes(4096))
    index = b"name,shard,offset,size\na,0.tar,512,9\nb,0.tar,1024,9\n"
    yield Target("places in shards", in_file(look_up, folder / "table.csv"), [index], in_csv)


def records(folder: Path) -> Iterator[Target]:
    """Records: checkpoints, scores, and what Kubeflow gives a step."""
    import steps
    import torch

    from repose import checkpoint, systems
    from repose.data.frame import Frame
    from repose.kubeflow.task import read_task
    from repose.report.scores_file import parsed

    row = systems.row({"kind": "attend", "steps": 1, "generator": {"width": 8, "blocks": 1}}, "x")
    about = checkpoint.About("attend", row, Frame(64, 56), 2, 1, "0" * 64)
    checkpoint.save(folder / "seed", systems.build(row, about.frame), about, to_resume=False)
    words = steps.words("count", folder, folder / "remote", ["made"], params={"scale": 3})

    def task(content: bytes) -> object:
        return read_task([*words[:-1], text(content)], {"REPOSE_RUN": "r"})

    load = in_file(lambda file: checkpoint.load(file, torch.device("cpu")), folder / "model.safetensors")
    yield Target("a checkpoint", load, [(folder / "seed").read_bytes()], _in_header)
    yield Target("scores", lambda content: parsed(content, "x"), [(ROOT / "metrics.json").read_bytes()], in_json)
    yield Target("executor input", task, [words[-1].encode()], in_json)


def _in_header(random: Random, content: bytes) -> bytes:
    """A safetensors file with other values in its header, or in the record of repose in there."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    if random.random() < 0.7:
        record = in_json(random, header["__metadata__"]["repose"].encode())
        header["__metadata__"]["repose"] = record.decode("utf-8", "replace")
        changed = json.dumps(header).encode()
    else:
        changed = in_json(random, json.dumps(header).encode())
    return len(changed).to_bytes(8, "little") + changed + content[8 + size :]


AREAS: dict[str, Callable[[Path], Iterator[Target]]] = {
    "params": params, "keypoints": keypoints, "tables": tables, "images": images, "records": records, "archives": archives,
}  # fmt: skip
