"""`repose kfp`: the pipelines of this folder's dvc.yaml files, on Kubeflow."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from repose.errors import ReposeError, SettingsError
from repose.terminal import say

if TYPE_CHECKING:
    from repose.kubeflow.client import Order
    from repose.kubeflow.plan import Plan

app = typer.Typer(no_args_is_help=True, help="The pipelines of this folder's dvc.yaml files, on Kubeflow.")


_ROOT = "dvc.yaml"
_WHICH = "and all stages that it needs from others."
File = Annotated[str, typer.Argument(help=f"The pipeline: that of this dvc.yaml {_WHICH}", metavar="FILE")]
Files = Annotated[
    list[str] | None,
    typer.Argument(help=f"Each is a pipeline: a dvc.yaml {_WHICH}", metavar="FILE", show_default=_ROOT),
]
_named = partial(typer.Option, metavar="NAME")
EnvironmentName = Annotated[
    str | None, _named("--environment", "-e", help="A file of pipelines/environments, without .yaml.")
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
RunnerOption = Annotated[
    Literal["auto", "docker", "subprocess"], typer.Option(help="auto: docker if it is running, else subprocess.")
]
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

    if check and environment:
        raise SettingsError(
            "--check is for the committed files, and an environment's pipeline is not committed. Leave out one of --check and "
            "--environment."
        )
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


Experiment = Annotated[str | None, _named(help="Experiment of the run; default: the pipeline's name.")]
RunName = Annotated[str | None, _named("--name", help="Name of the run.")]
ScheduleName = Annotated[
    str | None, _named("--name", help="Name of the schedule; default: the pipeline's name and CRON.")
]
Version = Annotated[str | None, _named(help="An uploaded version of the pipeline, instead of this folder's.")]


@app.command()
def submit(
    file: File = _ROOT, environment: EnvironmentName = None, image: Image = None, params: Params = None,
    remote: Remote = None, endpoint: Endpoint = "", experiment: Experiment = None, name: RunName = None,
    version: Version = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Do not use Kubeflow's cache.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run ends, and show its tasks.")] = False,
) -> None:  # fmt: skip
    """Start a run in the cluster given by KFP_ENDPOINT, KFP_NAMESPACE and KFP_TOKEN."""
    from repose.kubeflow import client
    from repose.kubeflow.endpoint import read_endpoint

    cluster = read_endpoint()
    order = _order(file, environment, image, params, remote, endpoint, experiment, name, version, no_cache)
    run = client.submit(cluster, order)
    say(f"Run {run}: {cluster.page(run)}")
    typer.echo(run)
    if wait:
        client.wait(cluster, run)
        at = remote and order.values["remote"]
        say(f"`{_fetch_command(run, environment, at, endpoint)}` brings its results here.")


@app.command()
def schedule(
    cron: Annotated[str, typer.Argument(help="Six fields, the first is seconds: '0 0 3 * * 1' is Mondays at 3:00.")],
    file: File = _ROOT, environment: EnvironmentName = None, image: Image = None, params: Params = None,
    remote: Remote = None, endpoint: Endpoint = "", experiment: Experiment = None, name: ScheduleName = None,
    version: Version = None,
) -> None:  # fmt: skip
    """Start a run at the times of a cron expression. Runs do not overlap, and missed ones are not made up for."""
    from repose.kubeflow import client
    from repose.kubeflow.endpoint import read_endpoint

    cluster = read_endpoint()
    order = _order(file, environment, image, params, remote, endpoint, experiment, name, version, no_cache=False)
    made = client.schedule(cluster, order, cron)
    say(f"Schedule {made}: {cluster.address}/#/recurringrun/details/{made}")
    typer.echo(made)


@app.command()
def upload(
    file: File = _ROOT, environment: EnvironmentName = None, image: Image = None,
    name: Annotated[str | None, _named(help="Name of the version; default: the commit.")] = None,
) -> None:  # fmt: skip
    """Upload the compiled pipeline to the cluster as a version that is named by the commit."""
    from repose.kubeflow import client
    from repose.kubeflow.components import pipeline_of, text_of
    from repose.kubeflow.endpoint import read_endpoint

    cluster, plan = read_endpoint(), _checked_plan(file, environment, image)
    version = name or _commit()
    page = client.upload(cluster, plan.name, text_of(pipeline_of(plan), file), version, f"{plan.image}, {version}")
    say(f"{plan.name} {version}: {page}")
    typer.echo(version)


@app.command("status")
def status_(run: RunId) -> None:
    """Show the tasks of a run; fails if the run or one of its tasks failed."""
    from repose.kubeflow.client import status
    from repose.kubeflow.endpoint import read_endpoint
    from repose.kubeflow.run_status import FAILED, show_status

    found = status(read_endpoint(), run)
    show_status(found)
    if found.failed or found.state == FAILED:
        raise ReposeError(f"Failed: {', '.join(found.failed) or found.name}. The logs: {found.address}")


@app.command()
def fetch(
    run: RunId, environment: EnvironmentName = None, remote: Remote = None, endpoint: Endpoint = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite uncommitted changes.")] = False,
) -> None:  # fmt: skip
    """Write a run's dvc.lock, params and metrics into this folder; `dvc pull` then fetches the outputs."""
    from repose.kubeflow.compiler import environment_of
    from repose.kubeflow.fetch import fetch_run
    from repose.kubeflow.project import open_repo
    from repose.kubeflow.remotes import remote_of
    from repose.storage.atomic import disk_errors_named

    folder = Path.cwd()
    with disk_errors_named(folder):
        address, endpoint = remote_of(open_repo(folder), environment_of(folder, environment), remote, endpoint)
        fetch_run(folder, run, remote=address, endpoint=endpoint, force=force)


@app.command("run-local")
def run_local(
    file: File = _ROOT, environment: EnvironmentName = None, image: Image = None, params: Params = None,
    remote: Remote = None, endpoint: Endpoint = "", runner: RunnerOption = "auto",
) -> None:  # fmt: skip
    """Run the compiled pipeline on this machine, with DVC's remote, as a cluster would."""
    from repose.kubeflow import local
    from repose.kubeflow.fetch import read_record
    from repose.kubeflow.remotes import open_remote

    plan = _plan(file, environment, image)
    address, endpoint = _remote(plan, remote, endpoint)
    docker = local.engine_answers() if runner == "auto" else runner == "docker"
    run = local.run_local(plan, remote=address, endpoint=endpoint, docker=docker, values=_values(plan, params or []))
    ended = read_record(open_remote(plan.project.repo, address, endpoint), run)["stages"]
    failed = [stage for stage in ended if stage["state"] != "finished"]
    typer.echo(run)
    if failed:
        first = next((stage for stage in failed if stage["state"] == "failed"), failed[0])
        raise ReposeError(
            f"Run {run}: {len(failed)} of {len(ended)} stages are not finished, first {first['stage']}: "
            f"{first.get('message') or first['state']}"
        )
    say(f"Run {run} is done. `{_fetch_command(run, None, address, endpoint)}` brings its results here.")


def _fetch_command(run: str, environment: str | None, remote: str | None, endpoint: str) -> str:
    """The command that fetches a run from where its command was told to put the results."""
    options = {"-e": environment, "--remote": remote, "--endpoint": endpoint}
    words = [word for name, value in options.items() if value for word in (name, value)]
    return shlex.join(["repose", "kfp", "fetch", run, *words])


def _listed(paths: Sequence[Path]) -> str:
    names = [str(path.relative_to(Path.cwd())) for path in paths]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _remote(plan: "Plan", remote: str | None, endpoint: str) -> tuple[str, str]:
    """The address and endpoint of DVC's remote: those given, else the environment's, else the project's default."""
    from repose.kubeflow.remotes import remote_of

    address, endpoint = remote_of(plan.project.repo, plan.environment, remote, endpoint)
    if address is None:
        raise ReposeError(
            "No remote of DVC is set. Give one with --remote, in the environment, or as the project's default."
        )
    return (address if "://" in address else str(Path(address).resolve())), endpoint


def _plan(file: str, environment: str | None, image: str | None = None) -> "Plan":
    from repose.kubeflow.compiler import plan_for
    from repose.kubeflow.project import read_project

    return plan_for(read_project(Path.cwd(), file), environment, image)


def _checked_plan(file: str, environment: str | None, image: str | None) -> "Plan":
    """The plan for a cluster, whose environment may require an image by digest."""
    from repose.kubeflow.needs import check_image

    plan = _plan(file, environment, image)
    check_image(plan.environment, environment or "The base")
    return plan


def _order(
    file: str, environment: str | None, image: str | None, params: list[str] | None, remote: str | None, endpoint: str,
    experiment: str | None, name: str | None, version: str | None, no_cache: bool,
) -> "Order":  # fmt: skip
    """What to run, from the options of a command."""
    from repose.kubeflow.client import Order
    from repose.kubeflow.components import pipeline_of, text_of

    if version and (no_cache or image):
        option = "--no-cache" if no_cache else "--image"
        raise SettingsError(
            f"{option} cannot change an uploaded version, which was compiled with its own image and with Kubeflow's cache. "
            f"Leave out one of --version and {option}."
        )
    plan = _plan(file, environment) if version else _checked_plan(file, environment, image)
    address, endpoint = _remote(plan, remote, endpoint)
    values = _values(plan, params or []) | {"remote": address, "endpoint": endpoint}
    text = "" if version else text_of(pipeline_of(plan, caching=not no_cache), file)
    return Order(plan.name, values, text, version, experiment, name, plan.environment.service_account)


def _commit() -> str:
    """The commit of this folder's project, without uncommitted changes; the repository may have some in other folders."""
    if not shutil.which("git"):
        raise ReposeError("A version is named by its commit, but git is not installed. Install it, or give a --name.")
    commit, changes = (
        subprocess.run(["git", *words], check=False, text=True, capture_output=True)  # noqa: S603, S607
        for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "."])
    )
    if commit.returncode or changes.returncode or changes.stdout:
        raise ReposeError(
            "A version is named by its commit, but this folder has uncommitted changes or no git history. Commit, or give "
            "a --name."
        )
    return commit.stdout.strip()


def _values(plan: "Plan", texts: Sequence[str]) -> dict[str, str]:
    """The pipeline's parameters, from texts KEY=VALUE or FILE:KEY=VALUE."""
    from repose.kubeflow.params import changed_files, split_address
    from repose.kubeflow.remotes import check_public
    from repose.kubeflow.stages import overlap

    given, project, shown = {}, plan.project, {(e.file, e.key): e.name for e in plan.exposed}
    for text in texts:
        address, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--param {text}: it should be KEY=VALUE, such as train.seed=3.")
        check_public(value, f"--param {address}")
        given[address] = value
    changed_files(project.folder, given, "--param")  # rejects what a pod would reject
    values, overrides = {}, {}
    for address, value in given.items():
        project.check_changeable(address, "--param")
        file, key = split_address(address)
        if not any(project.uses(stage, file, key) for stage in project.stages):
            raise SettingsError(
                f"--param {address}: no stage of this pipeline uses it, so it would change nothing. They use params of "
                f"{', '.join(project.params_files) or 'no file'}: write FILE:KEY."
            )
        for other in given:
            one, name = split_address(other)
            if other != address and file == one and overlap(key, name):
                raise SettingsError(f"--param {address} and --param {other} set the same value. Leave out one of them.")
        if (file, key) in shown:
            values[shown[file, key]] = value
        else:
            overrides[address] = value  # the text: JSON has no .inf, no numbers as keys, no quotes that say "text"
    return values | ({"overrides": json.dumps(overrides)} if overrides else {})
