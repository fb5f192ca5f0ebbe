"""Parts of other DVC projects: sources, keys and numbers of any kind, from the compiler through a pod to dvc.lock."""

import math
import shutil
from pathlib import Path

import foreign
import pytest
import steps
from compiled import compile_, edges_of_dvc, environment

from repose.config import parse_yaml
from repose.errors import ReposeError
from repose.kubeflow import compiler
from repose.kubeflow.params import ParamsFile
from repose.kubeflow.project import read_project

ODD = {
    "dvc.yaml": """
stages:
  settle:
    cmd:
      - mkdir -p out
      - cat params.yaml odd.toml odd.json > out/all.txt
    params:
      - odd
      - odd.toml: [rate, deep.list]
      - odd.json: [huge]
    outs: [out]
  old:
    cmd: echo old > old.txt
    outs: [old.txt]
  join:
    cmd: cat old.txt raw.txt out/all.txt > joined.md
    deps: [old.txt, raw.txt, out/all.txt]
    outs: [joined.md]
""",
    "params.yaml": 'odd: {c.d: 3, "on": 4, big: 9007199254740993, wide: .inf, none: null, ids: {1: 2, 30: x}}  # odd\n',
    "odd.toml": "rate = 1.0\n[deep]\nlist = [1, 2]\n",
    "odd.json": '{"huge": 1e+25}',
}
EXPOSE = """
expose:
  odd.ids.1: An integer as a key.
  odd.c.d: A key with a dot.
  odd.on: A key in quotes.
  odd.big: More than a float can hold.
  odd.wide: Infinity.
  odd.toml:rate: In TOML.
  odd.json:huge: In JSON.
"""


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """The project, of which a .dvc file and a frozen stage are sources; its remote has their data."""
    folder = foreign.write(tmp_path / "odd", ODD)
    (folder / "raw.txt").write_text("raw")
    foreign.dvc(folder, "remote", "add", "--default", "store", str(tmp_path / "remote"))
    foreign.dvc(folder, "add", "--quiet", "raw.txt")
    foreign.dvc(folder, "repro", "--quiet", "old")
    foreign.dvc(folder, "freeze", "old")
    foreign.dvc(folder, "push", "--quiet")
    return folder


def test_sources_are_no_tasks_and_keys_and_numbers_of_any_kind_are_exposed(odd):
    made = compile_(odd, environment(odd, EXPOSE))
    assert set(made.tasks) == {"settle", "join", "run-record"}
    assert made.edges == {("join", "settle")} == edges_of_dvc(read_project(odd)) - {("join", "old")}
    assert {name: parameter["defaultValue"] for name, parameter in made.parameters.items() if name[0] == "o"} == {
        "overrides": "{}", "odd_c_d": "3", "odd_on": "4", "odd_big": "9007199254740993", "odd_wide": ".inf", "odd_ids_1": "2",
        "odd_rate": "1.0", "odd_huge": "1e+25",
    }  # fmt: skip


def test_a_pod_leaves_what_dvc_repro_leaves_with_changed_params(odd):
    changes = {"odd.ids.1": 7, "odd.c.d": 2**60 + 1, "odd.on": 0, "odd.ids.30": None}
    changes |= {"odd.toml:rate": 0.5, "odd.json:huge": 3.0}
    image = Path(shutil.copytree(odd, odd.parent / "image" / "odd"))
    for path in ("raw.txt", "old.txt", ".dvc/cache"):
        shutil.rmtree(image / path) if (image / path).is_dir() else (image / path).unlink()
    remote = odd.parent / "remote"
    settled = steps.run("settle", image, remote, ["out"], params=changes)
    steps.run("join", image, remote, ["joined_md"], inputs=[settled.entry], params=changes)
    record = steps.write_record(image, remote, pipeline="odd", params=changes)
    assert [stage["state"] for stage in record["stages"]] == ["finished", "finished"]
    for name, text in record["params"].items():
        (odd / name).write_text(text)
    params = ParamsFile(odd / "params.yaml", record["params"]["params.yaml"])
    assert params["odd"] == {
        "c.d": 2**60 + 1, "on": 0, "big": 2**53 + 1, "wide": math.inf, "none": None, "ids": {1: 7, 30: None},
    }  # fmt: skip
    assert params.text.endswith("# odd\n")
    foreign.dvc(odd, "repro", "--quiet")
    by_dvc, ours = (
        parse_yaml(text)["stages"] for text in ((odd / "dvc.lock").read_text(), record["locks"]["dvc.lock"])
    )
    assert ours == {name: by_dvc[name] for name in ("settle", "join")}


@pytest.mark.parametrize(("key", "message"), [
    ("beds", "The parameter beds decides which stages and params exist, so a run cannot change it"),
    ("sizes.south", "params.yaml has no key 'sizes.south'. Did you mean 'sizes.north'"),
])  # fmt: skip
def test_a_pod_refuses_params_that_a_run_cannot_change(tmp_path, key, message):
    stages = "stages: {dig: {foreach: '${beds}', do: {cmd: 'echo 1 > ${key}', params: [sizes], outs: ['${key}']}}}\n"
    params = "beds: {north: 1}\nsizes: {north: 2}\n"
    folder = foreign.write(tmp_path / "garden", {"dvc.yaml": stages, "params.yaml": params})
    value = {"beds": {"north": 3}}.get(key, 3)
    with pytest.raises(ReposeError, match=message):
        steps.run("dig@north", folder, tmp_path / "remote", ["item"], params={key: value})


def test_a_stage_without_a_key_leaves_its_folder_for_git_without_what_dvc_ignores(tmp_path):
    stages = (
        "stages: {a: {cmd: mkdir out && touch out/x out/y.tmp, always_changed: true, outs: [out: {cache: false}]}}\n"
    )
    folder = foreign.write(tmp_path / "image", {"dvc.yaml": stages, ".dvcignore": "*.tmp\n"})
    assert steps.run("a", folder, tmp_path / "remote", ["out"]).metadata["out"]["nfiles"] == 1


def test_a_program_for_git_stays_a_program(tmp_path):
    stages = "stages:\n  a: {cmd: cp run.sh made.sh && chmod +x made.sh, deps: [run.sh], outs: [{made.sh: {cache: false}}]}\n"
    stages += "  b: {cmd: ./made.sh > said, deps: [made.sh], outs: [said]}\n"
    folder = foreign.write(tmp_path / "image", {"dvc.yaml": stages, "run.sh": "#!/bin/sh\necho hello\n"})
    made = steps.run("a", folder, tmp_path / "remote", ["made_sh"])
    assert steps.run("b", folder, tmp_path / "remote", ["said"], inputs=[made.entry]).metadata["said"]["size"] == 6


@pytest.mark.parametrize("item", ["llama:7b", "org/bert", "pull"])
def test_an_item_with_a_colon_or_slash_or_the_name_of_a_stage_is_compiled_and_runs(tmp_path, item):
    pull = f'{{foreach: ["{item}", "b"], do: {{cmd: "mkdir -p ${{item}} && touch ${{item}}/x", outs: ["${{item}}"]}}}}'
    use = f'pull: {{cmd: "ls {item} > used", deps: ["{item}"], outs: [used]}}'
    folder = foreign.write(tmp_path / "models", {"dvc.yaml": f"stages: {{get: {pull}, {use}}}\n"})
    assert folder / "components/get/component.yaml" in compiler.compiled(read_project(folder))
    got = steps.run(f"get@{item}", folder, tmp_path / "remote", ["item"])
    steps.run("pull", folder, tmp_path / "remote", ["used"], inputs=[got.entry])
    record = steps.write_record(folder, tmp_path / "remote", pipeline="models")
    done = [stage["stage"] for stage in record["stages"] if stage["state"] == "finished"]
    assert done == list(parse_yaml(record["locks"]["dvc.lock"])["stages"]) == [f"get@{item}", "pull"]
