"""Run the compiled pipeline on this machine through kfp.local, in containers of the project's image or as subprocesses.

KFP's subprocess runner is for Python functions: it rejects container components unless the command mentions KFP's executor.
The stages' programs are installed here too, so their commands get that marker. Everything else is as in a cluster.
"""

import logging
import os
import secrets
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from repose.errors import ReposeError
from repose.kubeflow.components import pipeline_of, text_of
from repose.kubeflow.plan import Plan
from repose.kubeflow.variables import RUN
from repose.storage.atomic import disk_errors_named, temporary_folder

_MARK = "REPOSE_TASK=kfp.dsl.executor_main"  # what KFP's subprocess runner looks for in a command


def run_local(plan: Plan, *, remote: str, endpoint: str, docker: bool, values: Mapping[str, Any]) -> str:
    """Run the pipeline here; return the name of the run. Its record is in the remote, even after a failure.

    `remote` is the address of DVC's remote, a folder or s3://, and `endpoint` the URL of an S3 server other than Amazon's, or
    empty. With `docker`, containers of the plan's image run, not subprocesses. `values` are those of parameters that differ
    from the defaults.

    Raises:
        ReposeError: Docker is not running, the disk of the temporary folder is full, or see `copy_sources`.
    """
    from kfp import components, local

    run = f"local-{secrets.token_hex(6)}"
    with temporary_folder() as root, disk_errors_named(root):
        file, artifacts, place = root / "pipeline.yaml", root / "artifacts", root / "workspace"
        text = text_of(pipeline_of(plan))
        file.write_text(text if docker else _for_subprocesses(text), "utf-8")
        artifacts.mkdir()
        place.mkdir()  # one that KFP makes itself is left behind
        if docker:
            chosen = _docker_runner(artifacts, remote, run)
        else:
            copy_sources(plan.project.folder, root / "project")
            chosen = local.SubprocessRunner(use_venv=False)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # the stages' commands
        environment = mock.patch.dict(os.environ, {"REPOSE_PROJECT": str(root / "project"), "PATH": path, RUN: run})
        to_stderr = redirect_stdout(sys.stderr)  # what KFP and the tasks print; stdout is for the run's name
        containers = mock.patch("kfp.local.docker_task_handler.run_docker_container", run_container)
        with environment, to_stderr, containers, warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # about an image without 'python' in its name
            warnings.simplefilter("ignore", UserWarning)  # about what only a cluster can give a task
            local.init(chosen, pipeline_root=str(artifacts), workspace_root=str(place), raise_on_error=False)
            logging.getLogger().setLevel(logging.WARNING)
            pipeline = components.load_component_from_file(str(file))
            pipeline(remote=remote, endpoint=endpoint, **values)
    return run


def copy_sources(project: Path, to: Path) -> None:
    """Copy the files that git tracks (in submodules too) or would track, as an image holds them; links to files become files.

    Raises:
        ReposeError: the project is not in git, or git is not installed.
    """
    if not shutil.which("git"):
        raise ReposeError("Git, which knows the project's files, is not installed. Install it, or use --runner docker.")
    names = set[str]()
    for kind in (["--cached", "--recurse-submodules"], ["--others", "--exclude-standard"]):
        command = ["git", "ls-files", "-z", *kind]
        done = subprocess.run(command, cwd=project, check=False, capture_output=True)  # noqa: S603
        if done.returncode:
            raise ReposeError(
                f"{project} is not a git repository: run `git init`, so that the project's files are known."
            )
        names.update(filter(None, os.fsdecode(done.stdout).split("\0")))
    for name in sorted(names):
        file = project / name
        if file.is_file() or file.is_symlink():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, to / name, follow_symlinks=file.is_file())


def _for_subprocesses(text: str) -> str:
    """The compiled pipeline with the marker in its commands."""
    documents = list(yaml.safe_load_all(text))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        executor["container"]["command"] = ["env", _MARK, *executor["container"]["command"]]
    return yaml.safe_dump_all(documents, sort_keys=False)


def _docker_runner(artifacts: Path, remote: str, run: str) -> Any:
    """A Docker runner whose containers can only write to the artifacts, the remote and the image's volumes.

    Containers run as the current user, who can then delete their files; if that is root, as the image's own user.
    """
    from docker.types import Mount
    from kfp import local

    if not engine_answers():
        raise ReposeError("Docker is not running. Start it, set DOCKER_HOST, or use --runner subprocess.")
    artifacts.chmod(0o1777)  # kfp creates no folders there; the steps do
    mounts = []
    if Path(remote).is_absolute():
        Path(remote).mkdir(parents=True, exist_ok=True)
        mounts.append(Mount(remote, remote, type="bind"))
    variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")} | {RUN: run}
    return local.DockerRunner(
        user=f"{os.getuid()}:{os.getgid()}" if os.getuid() else None, read_only=True, network_mode="host", cap_drop=["ALL"],
        shm_size="1g", security_opt=["no-new-privileges"], mounts=mounts, environment=variables,
    )  # fmt: skip


def run_container(client: Any, image: str, command: Sequence[str], volumes: Mapping[str, Any], **options: Any) -> int:
    """Run a container, pulling the image if needed; print its log and return its exit code.

    This replaces KFP's function, which lets Docker remove the container when it ends. If Docker removes it before KFP asks for
    the exit code, KFP counts a failed task as succeeded.

    Raises:
        ReposeError: Docker does not find the image, or refuses to run it.
    """
    from docker.errors import DockerException

    try:
        container = client.containers.run(image, command, detach=True, volumes=volumes, **options)
    except DockerException as error:
        raise ReposeError(
            f"Docker cannot run the image {image}: {' '.join(str(error).split()).removesuffix('.')}. Build or pull it, give "
            "another one with --image, or use --runner subprocess."
        ) from error
    try:
        for part in container.logs(stream=True):
            print(part.decode(errors="replace"), end="")
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)


def engine_answers() -> bool:
    """Whether Docker is running."""
    if shutil.which("docker") is None:
        return False
    done = subprocess.run(["docker", "info"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S607
    return done.returncode == 0
