"""Two DVC projects that have nothing to do with repose: what the compiler can do, it can do for them."""

import os
import subprocess
import sys
from pathlib import Path

FLOWERS = {
    "dvc.yaml": """
stages:
  count:
    desc: Count the petals
    cmd:
      - mkdir -p made
      - python3 count.py petals.csv made/petals.json
    params: [scale, labels, precise]
    deps: [petals.csv, count.py]
    outs: [made]
    meta: {kfp: {outs: {made: Dataset}, cpu: "1"}}
  judge:
    cmd: python3 judge.py made/petals.json score.json report.html
    deps: [made/petals.json, judge.py]
    metrics:
      - score.json: {cache: false}
    outs: [report.html]
    meta: {kfp: {outs: {score.json: Metrics, report.html: HTML}}}
""",
    "params.yaml": """
scale: 2            # by how much
                    # in all
labels: [1, 2.5, a] # of the kinds
precise: false
""",
    "count.py": """
import json, sys, yaml
params = yaml.safe_load(open("params.yaml"))
petals = [int(line) for line in open(sys.argv[1]).read().split()]
json.dump({"petals": sum(petals) * params["scale"]}, open(sys.argv[2], "w"))
""",
    "judge.py": """
import json, sys
petals = json.load(open(sys.argv[1]))["petals"]
json.dump({"score": {"petals": petals, "half": petals / 2}, "name": "x"}, open(sys.argv[2], "w"))
open(sys.argv[3], "w").write(f"<p>{petals} petals</p>")
""",
}

GARDEN = {
    "dvc.yaml": """
vars:
  - beds: {north: 3, south: 5}
  - tools.json
stages:
  dig:
    foreach: ${beds}
    do:
      cmd: python3 write.py ${item} beds/${key}.txt
      deps: [write.py]
      outs: ["beds/${key}.txt"]
      meta: {kfp: {outs: {"beds/${key}.txt": Dataset}}}
  plant:
    matrix:
      bed: [north, south]
      kind: ${kinds}
    cmd: python3 write.py ${item.kind} plants/${item.bed}/${item.kind}/out.txt
    params:
      - tools.json: [spade, "sizes.${item.kind}"]
    deps: [write.py, "beds/${item.bed}.txt"]
    outs: ["plants/${item.bed}/${item.kind}"]
    meta: {kfp: {outs: {"plants/${item.bed}/${item.kind}": Dataset}}}
  harvest:
    cmd: cat plants/*/*/out.txt > basket/all.txt
    deps: [plants]
    outs: [basket/all.txt]
    meta: {kfp: {outs: {basket/all.txt: Artifact}}}
""",
    "tools.json": '{"kinds": ["rose", "kale"], "spade": 4, "sizes": {"rose": 1, "kale": 2.5}}',
    "write.py": """
import pathlib, sys
path = pathlib.Path(sys.argv[2])
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(sys.argv[1])
""",
    "basket/.gitkeep": "",
    "kitchen/dvc.yaml": """
stages:
  cook:
    wdir: stove
    cmd: cp ../../basket/all.txt soup.txt
    params: [heat]
    deps: [../../basket/all.txt]
    outs: [soup.txt]
    meta: {kfp: {outs: {soup.txt: Artifact}, pages: {soup: soup.txt}}}
""",
    "kitchen/stove/params.yaml": "heat: {high: 3, low: 0.5}\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    """A DVC project without git of these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    dvc(folder, "init", "--no-scm", "--quiet")
    return folder


def flowers(folder: Path) -> Path:
    """A chain of two stages, with a .dvc file, a list of commands, a metrics file outside the cache."""
    write(folder, FLOWERS)
    (folder / "petals.csv").write_text("1\n2\n3\n")
    dvc(folder, "add", "--quiet", "petals.csv")
    return folder


def garden(folder: Path) -> Path:
    """vars, foreach, matrix, wdir, a nested dvc.yaml, params in JSON."""
    return write(folder, GARDEN)


def dvc(folder: Path, *arguments: str, code: int = 0) -> str:
    """What a dvc command printed; it must end with the exit code."""
    commands = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        [commands / "dvc", *arguments], cwd=folder, env=environment, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    return done.stdout
