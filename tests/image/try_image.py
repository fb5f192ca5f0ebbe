"""The container image, built and tried: `make test-image`. Not part of `make test`: it takes minutes, root and 15 GB.

In a Docker daemon of its own, with a stand-in for the base image, so that it also runs where no registry can be reached.
REPOSE_DOCKER=running: in the daemon that `docker` finds, and with the real base image.
REPOSE_DOCKER_FOLDER=FOLDER: the daemon of its own keeps its images there, for the next time.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker_host
import pytest
import yaml
from kfp import compiler
from two_steps import two_steps

from project import ROOT

BASE, NAME, USER = "python:3.11-slim-bookworm", "repose-tried", 10001
HARDENED = ["--read-only", "--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
AS_ROOT = ["--user", "0:0", "--cap-add", "DAC_OVERRIDE"]  # to see what the image's user may not
COMPILED = ROOT / "pipelines" / "pipeline.yaml"
CERTIFICATES = ROOT / "ca.pem"


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

    def history(self) -> list[tuple[int, str]]:
        """Bytes and command of each layer, the last first."""
        lines = self.docker("history", "--no-trunc", "--human=false", "--format", "{{.Size}}\t{{.CreatedBy}}", NAME)
        return [(int(size), command) for size, command in (line.split("\t", 1) for line in lines.splitlines())]


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment of a daemon that has the base image, or something that stands in for it."""
    if os.environ.get("REPOSE_DOCKER") == "running":
        yield dict(os.environ)
        return
    kept = os.environ.get("REPOSE_DOCKER_FOLDER")
    folder = Path(kept).absolute() if kept else tmp_path_factory.mktemp("docker")
    try:
        with docker_host.daemon(folder) as environment:
            if subprocess.run(
                ["docker", "inspect", BASE], env=environment, check=False, capture_output=True
            ).returncode:
                docker_host.make_stand_in(BASE, environment)
            yield environment
    finally:
        if not kept:
            shutil.rmtree(folder)


def pip_setting(name: str) -> str:
    """As pip on this machine has it, "" without."""
    asked = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    found = subprocess.run(asked, check=False, text=True, capture_output=True)
    return os.environ.get(f"PIP_{name.replace('-', '_').upper()}", found.stdout.strip())


@pytest.fixture(scope="session")
def image(docker: Mapping[str, str]) -> Iterator[Image]:
    """Built by `make image`, with pip's certificates and index of this machine."""
    begun, added = time.monotonic(), not CERTIFICATES.exists() and pip_setting("cert")
    index = {"PIP_INDEX_URL": pip_setting("index-url")} if pip_setting("index-url") else {}
    try:
        if added:
            shutil.copy(added, CERTIFICATES)
        subprocess.run(
            ["make", "image", f"IMAGE={NAME}", "BUILD_FLAGS=--quiet --network host"], cwd=ROOT, check=True,
            env={**docker, **index},
        )  # fmt: skip
        built = Image(docker)
        base = json.loads(built.docker("inspect", BASE))[0]
        real = docker_host.STAND_IN not in (base["Config"]["Labels"] or {})
        print(
            f"\nbuilt in {time.monotonic() - begun:.0f} s on {BASE}{'' if real else ', a STAND-IN made by mmdebstrap'}"
        )
        yield built
    finally:
        if added:
            CERTIFICATES.unlink()


def test_it_says_which_commit_it_is(image: Image) -> None:
    said = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    revision = subprocess.run(said, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    config = json.loads(image.docker("inspect", NAME))[0]["Config"]
    assert config["Labels"]["org.opencontainers.image.revision"] == revision
    assert len(revision.removesuffix("-dirty")) == 40
    assert config["User"] == f"{USER}:{USER}"  # a number: Kubernetes cannot tell of a name that it is not root's
    assert not config["Entrypoint"]


def test_its_commands_run(image: Image) -> None:
    assert image.run("id -u; id -g").split() == [str(USER)] * 2
    assert "repose [OPTIONS] COMMAND" in image.docker("run", "--rm", *HARDENED, NAME)
    assert f"dvc=={image.run('dvc --version').strip()} " in (ROOT / "requirements.lock").read_text()
    cuda = image.python(
        "import torch; print(torch.version.cuda, torch.cuda.is_available(), torch.ones(2).sum().item())"
    )
    assert cuda.split()[0] != "None"  # the same image serves both
    assert cuda.split()[2] == "2.0"


@pytest.mark.parametrize("user", [USER, 12345])
def test_a_stage_runs_in_a_copy_of_the_project(image: Image, user: int) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["download"]["mannequin"]["items"] = 6
    script = f"""
        cp -r "$REPOSE_PROJECT" project; cd project
        cat > params.yaml <<'END'\n{yaml.safe_dump(params)}\nEND
        dvc repro download
        dvc status download
        sha256sum data/raw/*
    """
    output = image.run(script, "--user", f"{user}:{user}")
    assert "Running stage 'download'" in output
    assert "Data and pipelines are up to date." in output
    assert output.count("  data/raw/") == 3


@pytest.mark.parametrize("place", ["/", "/app", "/app/src/repose", "/opt/venv", "/etc"])
def test_nothing_of_it_can_be_written(image: Image, place: str) -> None:
    writable = ["run", "--rm", NAME, "touch", f"{place}/new"]  # the user alone, without --read-only
    assert "Permission denied" in image.docker(*writable, code=1)


def test_the_project_in_it_is_what_git_tracks(image: Image) -> None:
    held = set(image.run("cd /app; find . -type f -not -name '*.pyc' | cut -c3-").split())
    tracked = set(
        subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout.split()
    )
    assert held - tracked == {".dvc/config.local"}  # says that there is no Git
    assert image.run("cat /app/.dvc/config.local").split() == ["[core]", "no_scm", "=", "true"]
    assert {path for path in tracked if path.startswith("src/")} < held


def test_its_packages_are_those_of_the_lock(image: Image) -> None:
    listed = "import importlib.metadata as m; [print(d.name.lower().replace('_', '-'), d.version) for d in m.distributions()]"
    versions = dict(line.split() for line in image.python(listed).splitlines())
    lock = (ROOT / "requirements.lock").read_text().splitlines()  # some packages stand in it twice, for two Pythons
    locked = {tuple(line.split()[0].split("==")) for line in lock if line[:1].isalnum()}
    del versions["repose"]
    assert {(name.replace(".", "-"), version) for name, version in versions.items()} <= locked
    assert {"torch", "dvc", "kfp", "great-expectations"} < versions.keys()
    assert not {"pip", "uv", "hatchling", "pytest", "moto", "mypy"} & versions.keys()


def test_no_tools_caches_or_secrets_are_left(image: Image) -> None:
    tools = "import shutil; print([t for t in 'cc gcc g++ clang make ld git uv hatchling'.split() if shutil.which(t)])"
    assert image.python(tools).strip() == "[]"
    left = """
        ls -d /root/.cache /root/.config /root/.local /tools /build /large /work/.[!.]* /app/.git 2>/dev/null || true
        find / -xdev \\( -name .git -o -name 'ca.pem' -o -name 'pip.conf' -o -name 'uv.toml' -o -name '*.whl' \\) \\
          -not -path '/usr/share/python-wheels/*' 2>/dev/null
        find /var/lib/apt/lists /var/cache/apt -type f -size +0
    """
    assert image.run(left, *AS_ROOT).split() == []
    names = [command for _, command in image.history() if "PIP_" in command or "ca.pem" in command]
    assert names == []


def test_addresses_and_certificates_of_this_machine_are_not_in_it(image: Image) -> None:
    known = image.run("cat /etc/ssl/certs/ca-certificates.crt; find /opt -name cacert.pem -exec cat {} +")
    certificates = CERTIFICATES.read_text() if CERTIFICATES.exists() else ""
    blocks = [block.split("-----END")[0].split() for block in certificates.split("BEGIN CERTIFICATE-----")[1:]]
    own = [lines[-2] for lines in blocks if lines[-2] not in known]
    addresses = pip_setting("index-url").split() + pip_setting("extra-index-url").split()
    print(f"\n{len(own)} certificates and {len(addresses)} addresses are this machine's own; sought in every file")
    if own + addresses:
        patterns = " ".join(f"-e {shlex.quote(text)}" for text in own + addresses)
        places = "$(ls -d /* | grep -vxE '/(proc|sys|dev)')"
        assert image.run(f"grep -rlsF {patterns} {places} || true", *AS_ROOT).split() == []


def test_two_steps_in_kubeflows_docker_runner(image: Image, tmp_path: Path) -> None:
    compiler.Compiler().compile(two_steps, str(tmp_path / "two-steps.yaml"))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["download"]["mannequin"]["items"] = 6
    root = run_in_docker(image, tmp_path / "two-steps.yaml", tmp_path / "root", {"params": yaml.safe_dump(params)})
    (raw,), (images,) = root.rglob("download/raw/files.csv"), root.rglob("validate/images/images.csv")
    assert raw.read_text().count(".jpg,") == images.read_text().count("\n") - 1 > 0
    assert images.stat().st_uid == (os.getuid() or USER)


def test_a_step_that_fails_does_not_pass_for_one_that_ran(image: Image, tmp_path: Path) -> None:
    compiler.Compiler().compile(two_steps, str(tmp_path / "two-steps.yaml"))
    with pytest.raises(AssertionError, match="download"):
        run_in_docker(image, tmp_path / "two-steps.yaml", tmp_path / "root", {"params": "download: 3"})


@pytest.mark.skipif(not COMPILED.exists(), reason="there is no pipelines/pipeline.yaml")
def test_the_compiled_pipeline_in_kubeflows_docker_runner(image: Image, tmp_path: Path) -> None:
    run_in_docker(image, COMPILED, tmp_path / "root", {})


def run_in_docker(image: Image, pipeline: Path, root: Path, arguments: dict[str, object]) -> Path:
    """The root below which the steps of a compiled pipeline wrote."""
    script = Path(__file__).with_name("run_in_docker.py")
    # pytest's folders are closed to others, and Docker's steps may be others
    for folder in (root.parent, root.parent.parent):
        folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, script, pipeline, NAME, root, json.dumps(arguments)], env=image.environment, check=False,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return root


def test_size_and_start(image: Image) -> None:
    layers = image.history()
    print(f"\n{sum(size for size, _ in layers) / 1e9:.2f} GB (10^9 bytes, not compressed), by layer:")
    for size, command in layers:
        if size > 1e5:
            print(f"{size / 1e6:8.1f} MB  {command[:90]}")
    packages = """
import importlib.metadata, os
sizes = {}
for found in importlib.metadata.distributions():
    places = {str(found.locate_file(file)) for file in found.files or []}
    sizes[f"{found.name} {found.version}"] = sum(os.path.getsize(place) for place in places if os.path.isfile(place))
for name, size in sorted(sizes.items(), key=lambda pair: -pair[1])[:10]:
    print(f"{size / 1e6:8.1f} MB  {name}")
print(f"{sum(sizes.values()) / 1e6:8.1f} MB  {len(sizes)} packages")
"""
    print(image.python(packages), end="")
    for command in ("true", "repose --help", "dvc --version", "python -c 'import torch'"):
        taken = []
        for _ in range(3):
            begun = time.monotonic()
            image.run(command)
            taken.append(time.monotonic() - begun)
        print(f"{min(taken):8.2f} s   {command} (container included; the best of 3)")
    assert max(size for size, _ in layers) < 8e9  # what does not fit a node's disk is found here
