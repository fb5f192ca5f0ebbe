"""Seconds of DVC for the data stages: nothing to do, and push and pull of a stage, beside boto3 with the same bytes.

python -m benchmarks.remote [--photos 500 5000 52712] [--folder FOLDER]

The project has the data stages of dvc.yaml with the outputs of `benchmarks.scale` (in the same folder, if one is given) and a
remote on a SeaweedFS of this machine, which `make test-s3` installs; without one, only `dvc repro` is measured. `plain` sends
the files of data/images/ one after the other with boto3, and fetches them. All are whole commands, the starts of Python and
DVC included.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import scale

ROOT = Path(__file__).parents[1]
PLAIN = """
import sys, boto3
from pathlib import Path
way, endpoint, *names = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint)
for name in names:
    if way == "push":
        client.upload_file(name, "plain", name)
    else:
        client.download_file("plain", name, name)
"""


def main(arguments: Sequence[str] = ()) -> None:
    """Measure every size and print a table."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(prog="benchmarks.remote")
    parser.add_argument("--photos", type=int, nargs="+", default=[500, 5_000])
    parser.add_argument("--folder", type=Path, help="that of benchmarks.scale; a temporary folder by default")
    chosen = parser.parse_args(arguments)
    table = Table(
        "photos", "MB", "files", "repro: nothing to do", "push", "plain", "pull", "plain", title="Seconds of DVC"
    )
    with tempfile.TemporaryDirectory() as temporary:
        for photos in sorted(chosen.photos):
            place = (chosen.folder or Path(temporary)) / str(photos)
            if not (place / "data" / "split").exists():
                stages = [stage for stage in scale.STAGES if stage != "decode"]
                scale.main(["--photos", str(photos), "--folder", str(place.parent), "--stages", *stages])
            table.add_row(f"{photos:,}", *_measured(place, Path(temporary, f"project-{photos}")))
    Console().print(table)


def _measured(place: Path, project: Path) -> list[str]:
    _make_project(place, project)
    files = [path for path in (project / "data" / "images").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    locked = (project / "dvc.lock").read_bytes()
    nothing = median(seconds(lambda: _dvc(project, "repro")) for _ in range(3))
    assert (project / "dvc.lock").read_bytes() == locked  # no stage ran
    row = [f"{size / 1e6:,.1f}", str(len(files)), f"{nothing:.1f}"]
    if not shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"):
        return [*row, "no SeaweedFS"]
    sys.path.append(str(ROOT / "tests"))
    from seaweedfs import ACCESS_KEY, SECRET_KEY, running

    with running() as address:
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        os.environ |= keys | {"AWS_DEFAULT_REGION": "us-east-1"}
        import boto3

        for bucket in ("dvc", "plain"):
            boto3.client("s3", endpoint_url=address).create_bucket(Bucket=bucket)
        _dvc(project, "remote", "add", "--default", "local-s3", "s3://dvc")
        _dvc(project, "remote", "modify", "local-s3", "endpointurl", address)
        names = [str(path.relative_to(project)) for path in files]
        plain = [sys.executable, "-c", PLAIN]
        row.append(f"{seconds(lambda: _dvc(project, 'push', 'data/images')):.1f}")
        row.append(f"{seconds(lambda: _run([*plain, 'push', address, *names], project)):.1f}")
        shutil.rmtree(project / "data" / "images")
        shutil.rmtree(project / ".dvc" / "cache")
        row.append(f"{seconds(lambda: _dvc(project, 'pull', 'data/images')):.1f}")
        assert sum(path.stat().st_size for path in (project / "data" / "images").rglob("*") if path.is_file()) == size
        row.append(f"{seconds(lambda: _run([*plain, 'pull', address, *names], project)):.1f}")
    return row


def _make_project(place: Path, project: Path) -> None:
    """A DVC project with the data stages, whose outputs are there and in DVC's cache."""
    import yaml

    project.mkdir()
    shutil.copytree(ROOT / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("data", "reports"):
        shutil.copytree(place / name, project / name, copy_function=_link)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    data = {name: stages[name] for name in scale.STAGES if name != "decode"}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": data}))
    (project / "params.yaml").write_text(yaml.safe_dump(scale.settings_of(place)))
    _dvc(project, "init", "--no-scm")
    _dvc(project, "config", "cache.type", "hardlink,copy")  # not twice on the disk
    _dvc(project, "commit", "--force")


def _link(source: str, target: str) -> None:
    """A hard link, or on another file system than `source` a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def seconds(call: Callable[[], Any]) -> float:
    """The seconds of a call, by the clock."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _dvc(project: Path, *words: str) -> None:
    _run([sys.executable, "-m", "dvc", *words, "--quiet"], project)


def _run(command: list[str], project: Path) -> None:
    subprocess.run(command, check=True, cwd=project, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(sys.argv[1:])
