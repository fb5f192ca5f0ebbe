"""DVC projects as others write them: they compile unchanged, or the message says what to change."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import foreign
import pytest
import steps
import yaml
from compiled import edges_of_dvc, read, reduced, text_for

from repose.errors import ReposeError
from repose.kubeflow import compiler
from repose.kubeflow.components import pipeline_of, text_of
from repose.kubeflow.project import read_project


class Shape(NamedTuple):
    """A project, and the name and type of each output of its components."""

    files: dict[str, str]
    outputs: dict[str, dict[str, str]]
    file: str = "dvc.yaml"


SHAPES = {
    "metrics, plots and artifacts beside the stages": Shape(
        {
            "dvc.yaml": """
            stages:
              fit: {cmd: fit, deps: [fit.py], outs: [net/weights.bin, log, {curve.csv: {cache: false}}, scores.json]}
              show:
                cmd: show
                deps: [log/last.json, net]
                outs: [page.HTML, rows-2, rows_2, rows]
            metrics: [log/last.json, scores.json]
            artifacts:
              net: {path: net/weights.bin, type: model}
              rows: {path: rows, type: dataset}
            """,
        },
        {
            "fit": {"net_weights_bin": "Model", "log": "Metrics", "curve_csv": "Dataset", "scores_json": "Metrics"},
            "show": {"page_html": "HTML", "rows_2": "Dataset", "rows_2_2": "Dataset", "rows": "Dataset"},
        },
    ),
    "outputs named by params": Shape(
        {
            "params.yaml": "data: {a: out/one.csv, b: out/two.csv}\nsplits: [{size: 2, of: x}, {size: 3, of: y}]\n",
            "dvc.yaml": """
            vars: [{folder: made}]
            stages:
              load: {cmd: load, outs: ["${data.a}", "${data.b}"]}
              split:
                foreach: ${splits}
                do: {cmd: split, deps: ["${data.a}"], outs: ["${folder}/${item.of}/a.csv", "${folder}/${item.of}/b"]}
              join: {cmd: join, deps: ["${folder}"], metrics: [{all.yaml: {cache: false}}]}
            """,
        },
        {
            "load": {"data_a": "Dataset", "data_b": "Dataset"},
            "split": {"folder_a_csv": "Dataset", "folder_b": "Dataset"},
            "join": {"all_yaml": "Metrics"},
        },
    ),
    "names that Kubeflow has no letters for, or that are its own": Shape(
        {
            "dvc.yaml": """
            stages:
              тест: {cmd: do, outs: [данные, 5/x.CSV, remote]}
              Fit: {cmd: do, deps: [данные], outs: [after/0, entry, a b.csv]}
              fit: {cmd: do, deps: [after/0], outs: [Model.PKL, model-pkl]}
              exit-handler-1: {cmd: do, deps: [Model.PKL], outs: [import, {class: {cache: false}, with: {cache: true}}]}
            """,
        },
        {
            "тест": {"item": "Dataset", "n5_x_csv": "Dataset", "remote_2": "Dataset"},
            "Fit": {"after_0_2": "Dataset", "entry_2": "Dataset", "a_b_csv": "Dataset"},
            "fit": {"model_pkl": "Dataset", "model_pkl_2": "Dataset"},
            "exit-handler-1": {"import_": "Dataset", "class_": "Dataset", "with_": "Dataset"},
        },
    ),
    "a folder of dvc.yaml files, one with a name of a stage": Shape(
        {
            "data/raw/dvc.yaml": "stages:\n  get: {cmd: get, deps: ['https://example.org/x'], outs: [../x.csv]}\n",
            "clean/dvc.yaml": "stages:\n  clean: {wdir: ../data, cmd: do, deps: [x.csv], outs: [{y.csv: {persist: true}}]}\n"
            "  upload: {cmd: upload, deps: [../data/y.csv]}\n",
        },
        {"get": {"x_csv": "Dataset"}, "clean": {"y_csv": "Dataset"}, "upload": {}},
        "clean/dvc.yaml",
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_it_compiles_unchanged(tmp_path, name):
    shape = SHAPES[name]
    project = read_project(foreign.write(tmp_path / "clean", shape.files), shape.file)
    text = text_for(project)
    assert read(text).edges == reduced(edges_of_dvc(project))
    plan = compiler.plan_for(project, None)
    assert {f"comp-{name}" for name in plan.groups} <= set(read(text).spec["components"])
    outputs = {
        tasks[0].stage.group.rpartition(":")[2]: {str(out.name): str(out.type) for out in tasks[0].outputs}
        for tasks in plan.groups.values()
    }
    assert outputs == shape.outputs


def test_kubeflow_caches_only_what_a_later_run_finds_in_the_run_cache(tmp_path):
    files = SHAPES["a folder of dvc.yaml files, one with a name of a stage"].files
    own = files["clean/dvc.yaml"] + "  check: {cmd: check, deps: [../data/y.csv], outs: [done]}\n"
    own += "  ask: {cmd: ask, deps: [../data/y.csv], outs: [answer], always_changed: true}\n"
    own += "  log: {cmd: log, deps: [../data/y.csv], outs: [{log: {cache: false}}]}\n"
    own += "  draw: {cmd: draw, deps: [../data/y.csv], plots: [roc: {cache: false}], metrics: [m: {cache: false}]}\n"
    project = read_project(foreign.write(tmp_path, files | {"clean/dvc.yaml": own}), "clean/dvc.yaml")
    plan = compiler.plan_for(project, None)
    for caching, expected in ((True, ["check", "draw"]), (False, [])):
        tasks = read(text_of(pipeline_of(plan, caching=caching))).tasks
        cached = [name.rpartition(":")[2] for name, task in tasks.items() if task["cachingOptions"].get("enableCache")]
        assert cached == expected


KFP: list[tuple[Any, str]] = [  # a stage's meta.kfp, the message
    ({"outs": {"x": "Data"}}, r"fit: meta\.kfp\.outs\.x"),
    ({"outs": {"xx": "Dataset"}}, r"xx is not an output of the stage\. Did you mean 'x'"),
    ({"outs": {"x": {"name": "import"}}}, "'import' is not a name for Kubeflow"),
    ({"cpus": 1}, r"meta\.kfp: unknown key 'cpus'\. Did you mean 'cpu'"),
    ({"cpu": "many"}, r"meta\.kfp\.cpu: 'many' is not an amount in Kubernetes' notation"),
    ({"secrets": {"My keys": {}}}, "'My keys' is not a name in Kubernetes: use lower-case letters"),
    ({"memory": "4Gi", "limits": {"memory": "4000M"}}, "limits.memory, 4000M, is less than memory, 4Gi"),
    ({"unfinished": "x/last"}, r"meta\.kfp\.unfinished: x/last is in the output x, which DVC deletes before the stage"),
]
REFUSED: list[tuple[dict[str, Any], dict[str, str], str]] = [  # a stage's changes, other files, the message
    *(({"meta": {"kfp": meta}}, {}, message) for meta, message in KFP),
    ({"outs": [{"x": {"remote": "y"}}]}, {}, "Stage fit: the output x has a remote of its own"),
    ({"outs": ["/far"]}, {}, "Stage fit: the output /far lies outside"),
    ({"deps": ["/etc/hosts"]}, {}, "Stage fit: the dependency /etc/hosts lies outside the project"),
    ({"wdir": "..", "outs": []}, {}, "Stage fit: /.*, which it names under params or wdir, lies outside the project"),
    ({"deps": ["x"]}, {}, "DVC cannot read the project"),
    ({"frozen": True}, {}, "dvc.yaml has no stages to run"),
    ({"params": ["a.b"]}, {"params.yaml": '"a.b": 1'}, "fit: params.yaml has no key 'a.b', .* A dot is not allowed in"),
    ({"params": ["a"]}, {}, "Stage fit: params.yaml is missing, which the stage lists under params."),
    (
        {"params": [{"made/p.yaml": ["a"]}], "deps": ["made"]},
        {"gen/dvc.yaml": "stages: {gen: {cmd: gen, outs: [../made]}}"},
        r"Stage fit: the params file made/p.yaml is an output of gen/dvc.yaml:gen. List it under deps instead",
    ),
    (
        {"deps": ["made"]}, {"gen/dvc.yaml": "stages: {gen: {cmd: gen, frozen: true, outs: [../made]}}"},
        "Stage gen/dvc.yaml:gen is frozen, so its outputs are taken from dvc.lock, which does not",
    ),
    ({"params": [{"p.toml": ["d"]}]}, {"p.toml": "d = 2026-01-01"}, "p.toml: d is datetime.date.*, which dvc.lock cannot"),
    ({"params": ["a"]}, {"params.yaml": "a: {1: 2, b: 3}"}, "params.yaml: a is .*, which dvc.lock cannot hold.*its keys"),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "files", "message"), REFUSED)
def test_what_is_refused(tmp_path, stage, files, message):
    plain = {"dvc.yaml": yaml.safe_dump({"stages": {"fit": {"cmd": "fit", "outs": ["x"]} | stage}})}
    with pytest.raises(ReposeError, match=message):
        compiler.compiled(read_project(foreign.write(tmp_path / "clean", plain | files)))


@pytest.mark.parametrize(("out", "source", "why"), [
    ("push: false", "", "has push: false"),
    ("remote: raw", "", "has a remote of its own"),
    ("files: [{md5: d41d8cd98f00b204e9800998ecf8427e, relpath: a}]", "", "names versions of a cloud's files"),
    ("size: 0", "deps: [{path: d, repo: {url: ../other}}]\nfrozen: true", "imports them from another DVC project"),
])  # fmt: skip
def test_sources_whose_data_the_remote_lacks_are_refused(tmp_path, out, source, why):
    md5 = "" if "files" in out else "md5: d41d8cd98f00b204e9800998ecf8427e, "
    files = {
        "dvc.yaml": "stages: {fit: {cmd: fit, deps: [d]}}",
        "d.dvc": f"{source}\nouts: [{{{md5}hash: md5, path: d, {out}}}]",
    }
    with pytest.raises(ReposeError, match=f"Stage fit: the dependency d is data of d.dvc, which {why}, so"):
        read_project(foreign.write(tmp_path, files))


def test_a_remote_that_does_not_hold_objects_is_refused(tmp_path):
    config = "[core]\nno_scm = true\nremote = r\n['remote \"r\"']\nurl = s3://b\nversion_aware = true\n"
    project = read_project(foreign.write(tmp_path, {".dvc/config": config, "dvc.yaml": "stages: {fit: {cmd: fit}}"}))
    with pytest.raises(
        ReposeError, match="The remote r has version_aware, with which DVC does not name objects by their MD5"
    ):
        compiler.plan_for(project, None)


def test_a_project_inside_another_or_none_at_all(tmp_path):
    foreign.write(tmp_path / "sub", {"dvc.yaml": "stages:\n  fit: {cmd: fit, outs: [x]}"})
    with pytest.raises(ReposeError, match="DVC cannot read the project in"):
        read_project(tmp_path)
    with pytest.raises(ReposeError, match="sub is a DVC project of its own: go there"):
        read_project(foreign.write(tmp_path, {}), "sub/dvc.yaml")


def test_a_kept_output_grows_as_under_dvc_repro(tmp_path):
    stage = """
    stages:
      grow:
        cmd: mkdir -p log && cat seed.txt >> log/all.txt
        params: [steps.3, steps]
        deps: [seed.txt]
        outs: [{log: {persist: true}}]
    """
    files = {"dvc.yaml": stage, "seed.txt": "1\n", "params.yaml": "steps: {3: .inf, 4: 9007199254740993}\n"}
    folder, remote = foreign.write(tmp_path / "grow", files), tmp_path / "remote"
    foreign.dvc(folder, "remote", "add", "--default", "store", str(remote))
    foreign.dvc(folder, "repro", "--quiet")
    foreign.dvc(folder, "push", "--quiet")
    (folder / "seed.txt").write_text("2\n")
    image = Path(shutil.copytree(folder, tmp_path / "image" / "grow"))
    shutil.rmtree(image / "log")
    steps.run("grow", image, remote, ["log"])
    foreign.dvc(folder, "repro", "--quiet")
    assert (folder / "log/all.txt").read_text() == "1\n2\n"
    assert steps.write_record(image, remote)["locks"]["dvc.lock"] == (folder / "dvc.lock").read_text()
