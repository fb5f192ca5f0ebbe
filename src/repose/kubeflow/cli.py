"""`repose kfp`: the pipelines of this folder's dvc.yaml files, on Kubeflow."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repose.errors import ReposeError
from repose.terminal import say

if TYPE_CHECKING:
    from repose.kubeflow.params import Leaf
    from repose.kubeflow.plan import Plan

app = typer.Typer(no_args_is_help=True, help="The pipelines of this folder's dvc.yaml files, on Kubeflow.")


class RunnerChoice(StrEnum):
    """The runners of `run-local`."""

    AUTO = "auto"
    DOCKER = "docker"
    SUBPROCESS = "subprocess"


_ROOT = "dvc.yaml"
_WHICH = "and all stages that it needs from others."
File = Annotated[str, typer.Argument(help=f"The pipeline: that of this dvc.yaml {_WHICH}", metavar="FILE")]
Files = Annotated[
    list[str] | None,
    typer.Argument(help=f"Each is a pipeline: a dvc.yaml {_WHICH}", metavar="FILE", show_default=_ROOT),
]
EnvironmentName = Annotated[
    str | None,
    typer.Option("--environment", "-e", help="A file of pipelines/environments, without .yaml.", metavar="NAME"),
]
Image = Annotated[str | None, typer.Option(help="Image of every task, preferably by digest.", metavar="IMAGE")]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", "-P", help="Override a key of the params, such as train.seed=3.", metavar="KEY=VALUE"),
]
Remote = Annotated[
    str | None, typer.Option(help="Name or address of DVC's remote; default: the environment's or the project's.")
]
Endpoint = Annotated[
    str, typer.Option(help="URL of an S3 server other than Amazon's.", metavar="URL", show_default=False)
]
RunnerOption = Annotated[RunnerChoice, typer.Option(help="auto: docker if it is running, else subprocess.")]
RunId = Annotated[str, typer.Argument(help="The run's ID, as printed by submit.", metavar="RUN")]


@app.command("compile")
def compile_(
    files: Files = None, environment: EnvironmentName = None, image: Image = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is out of date.")] = False,
) -> None:  # fmt: skip
    """Write components/ and pipelines/pipeline.yaml from dvc.yaml and params.yaml.

    For another file, such as table1/dvc.yaml, write components/table1/ and pipelines/table1.yaml. With --environment,
    write only the pipeline for that environment: pipelines/pipeline-NAME.yaml or pipelines/table1-NAME.yaml.
    """
    from repose.kubeflow import compiler
    from repose.kubeflow.project import read_projects

    projects = read_projects(Path.cwd(), files or [_ROOT])
    if environment:
        written = [compiler.write_pipeline(project, environment, image) for project in projects]
        say(f"Written: {_listed(written)}.")
        return
    if check:
        if old := [path for project in projects for path in compiler.not_current(project, image)]:
            command = " ".join(["repose kfp compile", *(files or [])])
            raise ReposeError(f"Out of date: {_listed(old)}. Run `{command}` and commit its output.")
        say("components/ and pipelines/ are up to date.")
        return
    changed = [path for project in projects for path in compiler.write_all(project, image)]
    say(f"Written: {_listed(changed)}." if changed else "Everything was up to date.")


@app.command()
def submit(
    file: File = _ROOT, environment: EnvironmentName = None, image: Image = None, params: Params = None,
    remote: Remote = None, endpoint: Endpoint = "",
    experiment: Annotated[str | None, typer.Option(help="Experiment of the run.", metavar="NAME")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.", metavar="NAME")] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Do not use Kubeflow's cache.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run ends, and show its tasks.")] = False,
) -> None:  # fmt: skip
    """Start a run in the cluster given by KFP_ENDPOINT, KFP_NAMESPACE and KFP_TOKEN."""
    from repose.kubeflow import client
    from repose.kubeflow.compiler import plan_for
    from repose.kubeflow.components import pipeline_of, text_of
    from repose.kubeflow.endpoint import read_endpoint
    from repose.kubeflow.needs import check_image
    from repose.kubeflow.project import read_project

    cluster = read_endpoint()
    plan = plan_for(read_project(Path.cwd(), file), environment, image)
    check_image(plan.environment, environment or "The base")
    address, endpoint = _remote(plan, remote, endpoint)
    values = _values(plan, params or []) | {"remote": address, "endpoint": endpoint}
    run = client.submit(
        cluster, text=text_of(pipeline_of(plan, caching=not no_cache)), pipeline=plan.name, values=values,
        experiment=experiment, run_name=name, service_account=plan.environment.service_account,
    )  # fmt: skip
    say(f"Run {run.id}: {run.address}")
    typer.echo(run.id)
    if wait:
        client.wait(cluster, run.id)
        say(f"`repose kfp fetch {run.id}{f' -e {environment}' if environment else ''}` brings its results here.")


@app.command("status")
def status_(run: RunId) -> None:
    """Show the tasks of a run."""
    from repose.kubeflow.client import status
    from repose.kubeflow.endpoint import read_endpoint
    from repose.kubeflow.run_status import show_status

    show_status(status(read_endpoint(), run))


@app.command()
def fetch(
    run: RunId, environment: EnvironmentName = None, remote: Remote = None, endpoint: Endpoint = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite uncommitted changes.")] = False,
) -> None:  # fmt: skip
    """Write a run's dvc.lock, params and metrics into this folder; `dvc pull` then fetches the outputs."""
    from repose.kubeflow.compiler import environment_of, remote_of
    from repose.kubeflow.fetch import fetch_run
    from repose.kubeflow.project import open_repo

    if environment and not remote:
        remote, own = remote_of(open_repo(Path.cwd()), environment_of(Path.cwd(), environment))
        endpoint = endpoint or own
    fetch_run(Path.cwd(), run, remote=remote, endpoint=endpoint, force=force)


@app.command("run-local")
def run_local(
    file: File = _ROOT, environment: EnvironmentName = None, image: Image = None, params: Params = None,
    remote: Remote = None, endpoint: Endpoint = "", runner: RunnerOption = RunnerChoice.AUTO,
) -> None:  # fmt: skip
    """Run the compiled pipeline on this machine, with DVC's remote, as a cluster would."""
    from repose.kubeflow import local
    from repose.kubeflow.compiler import plan_for
    from repose.kubeflow.fetch import open_remote, read_record
    from repose.kubeflow.project import read_project

    project = read_project(Path.cwd(), file)
    plan = plan_for(project, environment, image)
    address, endpoint = _remote(plan, remote, endpoint)
    docker = local.engine_answers() if runner is RunnerChoice.AUTO else runner is RunnerChoice.DOCKER
    run = local.run_local(plan, remote=address, endpoint=endpoint, docker=docker, values=_values(plan, params or []))
    ended = read_record(open_remote(project.repo, address, endpoint), run)["stages"]
    failed = [stage for stage in ended if stage["state"] != "finished"]
    typer.echo(run)
    if failed:
        first = next((stage for stage in failed if stage["state"] == "failed"), failed[0])
        raise ReposeError(
            f"Run {run}: {len(failed)} of {len(ended)} stages are not finished, first {first['stage']}: "
            f"{first.get('message') or first['state']}"
        )
    at = f"--remote {address}{f' --endpoint {endpoint}' if endpoint else ''}"
    say(f"Run {run} is done. `repose kfp fetch {run} {at}` brings its results here.")


def _listed(paths: Sequence[Path]) -> str:
    names = [str(path.relative_to(Path.cwd())) for path in paths]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _remote(plan: "Plan", remote: str | None, endpoint: str) -> tuple[str, str]:
    """The address and endpoint of DVC's remote: those given, else the environment's, else the project's default."""
    from repose.kubeflow.fetch import check_address

    config = plan.project.repo.config
    default = None if plan.environment.remote else config["core"].get("remote")
    address: str | None = remote or default or plan.remote
    if address is None:
        raise ReposeError(
            "No remote of DVC is set. Give one with --remote, in the environment, or as the project's default."
        )
    check_address(plan.project.repo, address)
    own = plan.endpoint if address == plan.remote else ""
    if known := config["remote"].get(address):
        address, own = str(known["url"]), str(known.get("endpointurl") or "")
    return (address if "://" in address else str(Path(address).resolve())), endpoint or own


def _values(plan: "Plan", texts: Sequence[str]) -> dict[str, str]:
    """The pipeline's parameters, from texts KEY=VALUE or FILE:KEY=VALUE."""
    from repose.kubeflow.params import from_person, to_pipeline

    values = {}
    for text in texts:
        key, _, value = text.partition("=")
        leaf = _leaf(plan, text)
        if any(leaf.file == file and f"{leaf.key}.".startswith(f"{name}.") for file, name in plan.project.deciding):
            raise ReposeError(
                f"--param {key} decides which stages and params exist: set it in {leaf.file} and compile again."
            )
        values[leaf.pipeline_name] = to_pipeline(from_person(value, leaf.value, f"--param {key}"))
    return values


def _leaf(plan: "Plan", text: str) -> "Leaf":
    """The param in a text KEY=VALUE or FILE:KEY=VALUE; the file is required if several files have the key."""
    from repose.config import nearest

    key, equals, _ = text.partition("=")
    leaves = plan.leaves.values()
    found = [leaf for leaf in leaves if key in (leaf.key, f"{leaf.file}:{leaf.key}")]
    if not equals or not found:
        raise ReposeError(
            f"--param {text}: it should be KEY=VALUE with the key of a single value of the params that a stage lists; to "
            "set anything else, change the params file and compile again"
            f"{nearest(key, [leaf.key for leaf in leaves])}"
        )
    if len(found) > 1:
        names = " or ".join(f"{leaf.file}:{leaf.key}" for leaf in found)
        raise ReposeError(f"--param {key} is in several files: write {names}.")
    return found[0]
