"""The container image, built and tried: `make test-image`. Not part of `make test`: it takes minutes, root and 15 GB.

In a Docker daemon of its own, with a stand-in for the base image, so that it also runs where no registry can be reached.
REPOSE_DOCKER=running: in the daemon that `docker` finds, and with the real base image.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker_host
import pytest
import yaml

from project import ROOT, TINY, Project

BASE, NAME, USER = "python:3.11-slim-bookworm", "repose-tried", 10001
RUNNING = os.environ.get("REPOSE_DOCKER") == "running"  # with the real base, which the Dockerfile pins by its digest
HARDENED = ["--read-only", "--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
AS_ROOT = ["--user", "0:0", "--cap-add", "DAC_OVERRIDE"]  # to see what the image's user may not
CERTIFICATES = ROOT / "ca.pem"
CHANGES = {name: value for name, value in TINY.items() if isinstance(value, int)} | {  # what a run can be given
    "download.mannequin.items": 24,
    "split.min_test_pairs": 4,
    "evaluate.pairs": 6,
    "posemaps.width": 56,  # so that every gated protocol fits
    "gates.limits.surface-tuned.ssim/pg2.min": 0.0,
    "gates.limits.surface-tuned.torso-ciede2000.max": 1000.0,
}


@dataclass(frozen=True)
class Image:
    """The built image, and the environment in which `docker` finds it."""

    environment: Mapping[str, str]

    def docker(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """What a docker command printed; it must end with the exit code."""
        done = subprocess.run(
            ["docker", *arguments], env=self.environment, check=False, text=True, input=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
        return done.stdout

    def run(self, script: str, *options: str, code: int = 0) -> str:
        """What a shell script printed in the image, with nothing writable but the image's volume."""
        command = ["run", "--rm", "-i", *HARDENED, *options, NAME, "sh", "-eu"]
        return self.docker(*command, stdin=script, code=code)

    def python(self, code: str, *options: str) -> str:
        """What a Python program printed in the image."""
        return self.docker("run", "--rm", "-i", *HARDENED, *options, NAME, "python", "-", stdin=code)


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment of a daemon that has the base image, or something that stands in for it."""
    if RUNNING:
        yield dict(os.environ)
        return
    folder = tmp_path_factory.mktemp("docker")
    with docker_host.daemon(folder) as environment:
        docker_host.make_stand_in(BASE, environment)
        yield environment
    shutil.rmtree(folder)


def pip_setting(name: str) -> str:
    """As pip on this machine has it, "" without."""
    asked = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    found = subprocess.run(asked, check=False, text=True, capture_output=True)
    return os.environ.get(f"PIP_{name.replace('-', '_').upper()}", found.stdout.strip())


@pytest.fixture(scope="session")
def image(docker: Mapping[str, str]) -> Iterator[Image]:
    """Built by `make image`, with pip's certificates and index of this machine."""
    added = not CERTIFICATES.exists() and pip_setting("cert")
    index = {"PIP_INDEX_URL": pip_setting("index-url")} if pip_setting("index-url") else {}
    try:
        if added:
            shutil.copy(added, CERTIFICATES)
        flags = f"BUILD_FLAGS=--quiet --network host{'' if RUNNING else f' --build-arg BASE={BASE}'}"
        subprocess.run(["make", "image", f"IMAGE={NAME}", flags], cwd=ROOT, check=True, env={**docker, **index})
        yield Image(docker)
    finally:
        if added:
            CERTIFICATES.unlink()


def test_it_says_which_commit_it_is(image):
    said = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    revision = subprocess.run(said, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    config = json.loads(image.docker("inspect", NAME))[0]["Config"]
    assert config["Labels"]["org.opencontainers.image.revision"] == revision
    assert len(revision.removesuffix("-dirty")) == 40
    assert "LicenseRef-NVIDIA-Proprietary" in config["Labels"]["org.opencontainers.image.licenses"]
    assert config["User"] == f"{USER}:{USER}"  # a number: Kubernetes cannot tell of a name that it is not root's
    assert not config["Entrypoint"]


def test_its_commands_run(image):
    assert image.run("id -u; id -g").split() == [str(USER)] * 2
    assert "repose [OPTIONS] COMMAND" in image.docker("run", "--rm", *HARDENED, NAME)
    assert f"dvc=={image.run('dvc --version').strip()} " in (ROOT / "requirements.lock").read_text()
    cuda = image.python("import torch; print(torch.version.cuda, torch.ones(2).sum().item())").split()
    assert cuda[0] != "None"  # the same image serves both
    assert cuda[1] == "2.0"


def test_a_stage_runs_in_a_copy_of_the_project_also_for_another_user(image):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["download"]["mannequin"]["items"] = 6
    script = f"""
        cp -r "$REPOSE_PROJECT" project; cd project
        cat > params.yaml <<'END'\n{yaml.safe_dump(params)}\nEND
        rm dvc.lock
        dvc repro download
        dvc status download
        find data/raw -type f -exec sha256sum {{}} +
        cat dvc.lock
    """
    output = image.run(script, "--user", "12345:12345")
    assert "Running stage 'download'" in output
    assert "Data and pipelines are up to date." in output
    assert f"nfiles: {output.count('  data/raw/')}\n" in output


@pytest.mark.parametrize("place", ["/", "/app", "/app/src/repose", "/opt/venv", "/etc"])
def test_nothing_of_it_can_be_written(image, place):
    writable = ["run", "--rm", NAME, "touch", f"{place}/new"]  # the user alone, without --read-only
    assert "Permission denied" in image.docker(*writable, code=1)


def test_the_project_in_it_is_what_git_tracks(image):
    held = set(image.run("cd /app; find . -type f -not -name '*.pyc' | cut -c3-").split())
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    tracked = set(listed.stdout.split())
    assert held - tracked == {".dvc/config.local"}  # says that there is no Git
    assert image.run("cat /app/.dvc/config.local").split() == ["[core]", "no_scm", "=", "true"]
    assert {path for path in tracked if path.startswith("src/")} < held


def test_its_packages_are_those_of_the_lock(image):
    listed = "import importlib.metadata as m; [print(d.name.lower().replace('_', '-'), d.version) for d in m.distributions()]"
    versions = dict(line.split() for line in image.python(listed).splitlines())
    lock = (ROOT / "requirements.lock").read_text().splitlines()  # some packages stand in it twice, for two Pythons
    locked = {tuple(line.split()[0].split("==")) for line in lock if line[:1].isalnum()}
    del versions["repose"]
    assert {(name.replace(".", "-"), version) for name, version in versions.items()} <= locked
    assert {"torch", "dvc", "kfp", "great-expectations"} < versions.keys()
    assert not {"pip", "uv", "hatchling", "pytest", "moto", "mypy"} & versions.keys()


def test_no_tools_caches_or_secrets_are_left(image):
    tools = "import shutil; print([t for t in 'cc gcc g++ clang make ld git uv hatchling'.split() if shutil.which(t)])"
    assert image.python(tools).strip() == "[]"
    left = """
        ls -d ~root/.cache ~root/.config ~root/.local /tools /build /large /scratch/.[!.]* /app/.git 2>/dev/null || true
        find / -xdev \\( -name .git -o -name 'ca.pem' -o -name 'pip.conf' -o -name 'uv.toml' -o -name '*.whl' \\) \\
          -not -path '/usr/share/python-wheels/*' 2>/dev/null
        find /var/lib/apt/lists /var/cache/apt -type f -size +0
    """
    assert image.run(left, *AS_ROOT).split() == []
    layers = image.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", NAME).splitlines()
    assert [command for command in layers if "PIP_" in command or "ca.pem" in command] == []


def test_addresses_and_certificates_of_this_machine_are_not_in_it(image):
    known = image.run("cat /etc/ssl/certs/ca-certificates.crt; find /opt -name cacert.pem -exec cat {} +")
    certificates = CERTIFICATES.read_text() if CERTIFICATES.exists() else ""
    blocks = [block.split("-----END")[0].split() for block in certificates.split("BEGIN CERTIFICATE-----")[1:]]
    own = [lines[-2] for lines in blocks if lines[-2] not in known]
    addresses = pip_setting("index-url").split() + pip_setting("extra-index-url").split()
    if own + addresses:
        patterns = " ".join(f"-e {shlex.quote(text)}" for text in own + addresses)
        places = "$(ls -d /* | grep -vxE '/(proc|sys|dev)')"
        assert image.run(f"grep -rlsF {patterns} {places} || true", *AS_ROOT).split() == []


Record = Mapping[str, Any]  # of a run of the compiled pipeline, in the remote


def run_local(image: Image, remote: Path, runner: str) -> Record:
    """Run the project's own pipeline with small params, each stage as the runner does it."""
    given = [part for path, value in CHANGES.items() for part in ("-P", f"{path}={value}")]
    command = [Path(sys.executable).with_name("repose"), "kfp", "run-local", "--runner", runner, "--image", NAME]
    done = subprocess.run(
        [*command, "--remote", remote, *given], cwd=ROOT, env=image.environment, check=False, text=True, capture_output=True
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((remote / "kubeflow" / "runs" / done.stdout.strip() / "record.json").read_text())


def ended(record: Record) -> set[str]:
    """How the stages ended."""
    assert len(record["stages"]) > 5
    return {stage.get("how", stage["state"]) for stage in record["stages"]}


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for steps that run as another user."""
    made = tmp_path_factory.mktemp("remote")
    made.chmod(0o1777)
    return made


@pytest.fixture(scope="module")
def in_docker(image: Image, remote: Path) -> Record:
    return run_local(image, remote, "docker")


def test_the_compiled_pipeline_leaves_the_bytes_that_dvc_repro_leaves_on_this_machine(
    image, in_docker, remote, tmp_path
):
    assert ended(in_docker) == {"run"}
    labels = json.loads(image.docker("inspect", NAME))[0]["Config"]["Labels"]
    assert in_docker["commit"] == labels["org.opencontainers.image.revision"]
    assert {path.stat().st_uid for path in remote.rglob("*")} == {os.getuid() or USER}
    by_dvc = Project(tmp_path / "repose", CHANGES)
    by_dvc.dvc("repro")
    assert in_docker["locks"] == {"dvc.lock": (by_dvc.folder / "dvc.lock").read_text()}


def test_a_second_run_finds_its_work_and_subprocesses_do_too(image, in_docker, remote):
    for runner in ("docker", "subprocess"):
        again = run_local(image, remote, runner)
        assert ended(again) == {"found in the run-cache"}
        assert again["locks"] == in_docker["locks"]
