"""Three DVC projects that have nothing to do with repose: what the compiler can do, it can do for them."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import warm

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
  plant:
    matrix:
      bed: [north, south]
      kind: ${kinds}
    cmd: python3 write.py ${item.kind} plants/${item.bed}/${item.kind}/out.txt
    params:
      - tools.json: [spade, "sizes.${item.kind}"]
    deps: [write.py, "beds/${item.bed}.txt"]
    outs: ["plants/${item.bed}/${item.kind}"]
  harvest:
    cmd: cat plants/*/*/out.txt > basket/all.txt
    deps: [plants]
    outs: [basket/all.txt]
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
""",
    "kitchen/stove/params.yaml": "heat: {high: 3, low: 0.5}\n",
}

FAIR = {  # the pipeline of the root, and that of table/, which needs some of the root's stages
    "dvc.yaml": """
stages:
  grow:
    foreach: ${grow.beds}
    do:
      cmd: python3 tell.py crop/${item}.txt params.yaml grow
      params: [grow]
      deps: [tell.py]
      outs: ["crop/${item}.txt"]
  weigh:
    cmd: cat crop/* > weights.txt
    deps: [crop]
    outs: [weights.txt]
  judge:
    cmd: python3 tell.py verdict.txt params.yaml judge weights.txt
    params: [judge]
    deps: [tell.py, weights.txt]
    outs: [verdict.txt]
""",
    "params.yaml": """
grow: {beds: [a, b], seed: 1}
judge: {seed: 2, strict: true}  # the root's; the table's stage and block have the same name
""",
    "table/dvc.yaml": """
stages:
  judge: &judge
    desc: Judge with one judge
    vars: [{crop: ../crop/a.txt, name: north}]
    matrix:
      judge: ${judges}
    cmd: python3 ../tell.py marks/${name}/${item.judge} ${budget}.yaml judge ${crop}
    params:
      - ${budget}.yaml: [judge, "judges.${item.judge}"]
    deps: [../tell.py, "${crop}"]
    outs: ["marks/${name}/${item.judge}"]
  judge-south:
    <<: *judge
    vars: [{crop: street.txt, name: south}]
  street:
    desc: A list of commands
    wdir: ..
    cmd:
      - cat crop/a.txt > table/street.txt
      - cat crop/b.txt >> table/street.txt
    deps: [crop]
    outs: [table/street.txt]
  table:
    cmd: cat marks/*/* > table.txt && echo '{"judges":2}' > table.json
    params: [judges]
    deps: [marks]
    outs: [table.txt]
    metrics:
      - table.json: {cache: false}
""",
    "table/params.yaml": "budget: small\njudges: [ann, bob]\n",
    "table/small.yaml": """
judge: {seed: 3, strict: 0.5}
judges:
  ann:
    steps: 1  # of ann
  bob: {steps: 2}
""",
    "tell.py": """
import pathlib, sys, yaml
path, params, block, *more = map(pathlib.Path, sys.argv[1:])
path.parent.mkdir(parents=True, exist_ok=True)
said = str(yaml.safe_load(params.read_text())[str(block)])
path.write_text(said + "".join(file.read_text() for file in more))
""",
}


OF_DVC = {".dvc/config": "[core]\nno_scm = true\n", ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n"}  # of `dvc init`


def write(folder: Path, files: dict[str, str]) -> Path:
    """A DVC project without git of these files."""
    for name, text in (OF_DVC | files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    return folder


def flowers(folder: Path) -> Path:
    """A chain of two stages, with a .dvc file, a list of commands, a metrics file outside the cache."""
    write(folder, FLOWERS)
    (folder / "petals.csv").write_text("1\n2\n3\n")
    dvc(folder, "add", "--quiet", "petals.csv")
    return folder


def without_data(folder: Path) -> Path:
    """Delete the data of `flowers`."""
    (folder / "petals.csv").unlink()
    shutil.rmtree(folder / ".dvc" / "cache")
    return Path(folder)


def garden(folder: Path) -> Path:
    """vars, foreach, matrix, wdir, a nested dvc.yaml, params in JSON."""
    return write(folder, GARDEN)


def fair(folder: Path) -> Path:
    """Two pipelines: the root's, and table/dvc.yaml's with vars of stages, a merged anchor, a params file named by a param."""
    return write(folder, FAIR)


def git(folder: Path, *arguments: str) -> str:
    """What a git command printed."""
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "protocol.file.allow=always"]
    done = subprocess.run([*command, *arguments], cwd=folder, check=True, text=True, stdout=subprocess.PIPE)
    return done.stdout.strip()


def dvc(folder: Path, *arguments: str, code: int = 0) -> str:
    """What a dvc command printed; it must end with the exit code."""
    commands = Path(sys.executable).parent
    environment = warm.environment() | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        [commands / "dvc", *arguments], cwd=folder, env=environment, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    return done.stdout
