"""Registered models of a tiny project with git, DVC and a folder as remote."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dvc.logger  # noqa: F401 (it keeps the streams that it finds, and a test's own are closed with it)
import numpy as np
import pytest
import yaml
from dvc.repo import Repo
from PIL import Image
from typer.testing import CliRunner

import repose
from project import ROOT
from repose.cli import app
from repose.errors import ReposeError
from repose.storage import registry
from repose.storage.registry import model_file
from tiny_system import save_openpose, save_photo, save_system

ARTIFACTS = {"attend": {"path": "runs/attend/model.safetensors", "type": "model"}}
STAGE = {"cmd": "mkdir -p runs/attend && cp trained runs/attend/model.safetensors", "deps": ["trained"]}


REMOTE = "[core]\n    remote = store\n['remote \"store\"']\n    url = ../../remote\n"


def git(*arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments], check=True)


def commit(tag: str = "") -> None:
    git("add", ".")
    git("commit", "--quiet", "--allow-empty", "--message", "x")
    if tag:
        git("tag", "--annotate", tag, "--message", "x")


def describe(artifacts: dict[str, Any]) -> None:
    """Write a pipeline whose only stage writes a model."""
    pipeline = {"stages": {"train": STAGE | {"outs": ["runs/attend"]}}, "artifacts": artifacts}
    Path("dvc.yaml").write_text(yaml.safe_dump(pipeline))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1.0.0 and 1.10.0 are attend, 1.9.0 is one of the paper's kind; the remote was committed after them."""
    made = tmp_path_factory.mktemp("made")
    (made / "shop").mkdir()
    with contextlib.chdir(made / "shop"):
        git("init", "--quiet", "--initial-branch=main")
        Repo.init().close()
        Path(".dvc/config.local").write_text(REMOTE)
        describe(ARTIFACTS)
        for kind, version in (("attend", "1.0.0"), ("paper", "1.9.0"), ("attend", "1.10.0")):
            save_system(Path("trained"), kind)
            with Repo() as repo:
                repo.reproduce()
                repo.push()
            commit(f"attend@v{version}")
        Path(".dvc/config").write_text(REMOTE)
        commit()
    return made


@pytest.fixture
def shop(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone, the current folder: nothing in its cache, all in the remote beside it."""
    shutil.copytree(made / "remote", tmp_path / "remote")
    git("clone", "--quiet", str(made / "shop"), str(tmp_path / "clone"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path / "clone")
    return tmp_path / "clone"


@pytest.mark.usefixtures("shop")
def test_a_version_is_the_model_of_its_tag_and_the_default_is_the_highest():
    for model, kind in (("attend@v1.9.0", "paper"), ("attend@v1.10.0", "attend"), ("attend@latest", "attend")):
        assert repose.load(model_file(model)).about.row.kind == kind
    assert registry.find_model("attend", Path()).version == "v1.10.0"
    git("tag", "--annotate", "attend@v1.10.0!", "attend@v1.10.0^{}", "--message", "as `gto deprecate` writes it")
    assert registry.find_model("attend", Path()).version == "v1.9.0"
    with pytest.raises(ReposeError, match=r"There is no version v1\.10\.0 of attend; there are: v1\.9\.0, v1\.0\.0\."):
        model_file("attend@v1.10.0")


@pytest.mark.usefixtures("shop")
def test_an_unknown_name_or_version_is_an_error():
    for model, message in {
        "attend@1.0.0": r"A model is named NAME@vX\.Y\.Z, or NAME alone.* not 'attend@1\.0\.0'",
        "atend": r"No version of a model 'atend' is registered here\. Did you mean 'attend'\?.*git tag -a atend@v1\.0\.0",
        "attend@v2.0.0": r"There is no version v2\.0\.0 of attend; there are: v1\.10\.0, v1\.9\.0, v1\.0\.0\. A .*annotated",
        "table1:attend": r"No version of a model 'table1:attend'.*git tag -a table1=attend@v1\.0\.0",
    }.items():
        with pytest.raises(ReposeError, match=message):
            model_file(model)


def test_generate_takes_a_registered_model(shop):
    save_photo(Path("front.jpg"))
    save_openpose(Path("pose.json"))
    options = ["--device", "cpu", "--threads", "1", "-o", "new.png"]
    command = ["generate", "front.jpg", "--pose", "pose.json", "--model", "attend@v1.9.0", *options]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    own = repose.load(save_system(Path("own.safetensors"), "paper"), device="cpu")("front.jpg", "pose.json")
    np.testing.assert_array_equal(np.asarray(Image.open("new.png")), own)


def test_a_cached_model_needs_no_remote_and_is_checked(shop):
    before = model_file("attend@v1.9.0")
    shutil.rmtree("../remote/files")
    assert model_file("attend@v1.9.0") == before
    assert before.is_relative_to(shop / ".dvc" / "cache")
    before.chmod(0o644)
    before.write_bytes(before.read_bytes() + b"x")
    with pytest.raises(ReposeError, match=r"runs/attend/model\.safetensors of attend@v1\.9\.0, has another MD5"):
        model_file("attend@v1.9.0")
    with pytest.raises(
        ReposeError, match=r"runs/attend at attend@v1\.0\.0 is not in DVC's cache and cannot be fetched"
    ):
        model_file("attend@v1.0.0")


def test_an_object_that_is_damaged_in_the_remote_is_an_error_and_not_cached(shop, monkeypatch):
    file = model_file("attend@v1.0.0")
    file.unlink()
    monkeypatch.setattr(registry.Remote, "pull", lambda *_: file.write_bytes(b"half"))  # as DVC does from S3
    with pytest.raises(ReposeError, match=r"attend@v1\.0\.0 is damaged in the remote .*remote: the MD5 of the object"):
        model_file("attend@v1.0.0")
    assert not file.exists()


def test_a_revision_without_the_artifact_or_its_file_is_an_error(shop):
    for number, (artifacts, message) in enumerate((
        ({}, r"The revision attend@v2\.0\.0 has no artifact 'attend' in its dvc\.yaml"),
        ({"attend": {"path": "elsewhere/x"}}, r"The dvc\.lock of the revision attend@v2\.0\.1 has no elsewhere/x, the path"),
        ({"attend": {"path": "runs/attend"}}, r"runs/attend, the path of the artifact attend at attend@v2\.0\.2, is no file"),
    )):  # fmt: skip
        describe(artifacts)
        commit(f"attend@v2.0.{number}")
        with pytest.raises(ReposeError, match=message):
            model_file("attend")


def test_an_artifact_may_be_one_of_a_folder(shop):
    Path("table1").mkdir()
    Path("table1/dvc.yaml").write_text("artifacts: {best: {path: ../runs/attend/model.safetensors}}")
    commit("table1=best@v0.1.0")
    assert model_file("table1:best@v0.1.0") == model_file("attend@v1.10.0")


def test_a_folder_without_git_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ReposeError, match=r"is in no git repository .*so no model is registered here"):
        model_file("attend", tmp_path)


def test_without_dvc_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gto.api", None)
    with pytest.raises(ReposeError, match=r"A registered model needs DVC \(gto\.api is not.*pip install 'dvc\[s3\]'"):
        model_file("attend")


def test_a_model_and_a_checkpoint_are_not_both_named():
    done = CliRunner().invoke(app, ["generate", "a.jpg", "-p", "b.json", "-o", "c.png", "-m", "attend", "-c", "x"])
    assert isinstance(done.exception, ReposeError)
    assert "with --checkpoint or with --model, not with both" in str(done.exception)


def test_every_system_that_the_demo_trains_is_an_artifact():
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    (run,) = pipeline["stages"]["train"]["outs"]
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    systems = [name for name in params["evaluate"]["systems"] if params["systems"][name]["steps"]]
    assert {name: artifact["path"] for name, artifact in pipeline["artifacts"].items()} == {
        system: f"{run.replace('${item.system}', system)}/model.safetensors" for system in systems
    }
    assert {artifact["type"] for artifact in pipeline["artifacts"].values()} == {"model"}
