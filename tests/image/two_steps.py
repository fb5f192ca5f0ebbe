"""The first two stages as container components: a Dataset passes from step to step."""

from kfp import dsl

IMAGE = "repose"
# kfp.local knows of an output only what the step writes there, at its end.
RECORD = """python -c 'import json, sys
outputs = json.loads(sys.argv[1])["outputs"]
json.dump({"artifacts": outputs["artifacts"]}, open(outputs["outputFile"], "w"))' "$0"
"""
EXECUTOR_INPUT = dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER


def _step(script: str, *arguments: object) -> dsl.ContainerSpec:
    """A shell script with the params as params.yaml in its folder, and arguments from $2 on."""
    command = ["sh", "-euc", f'printf %s "$1" > params.yaml\n{script}\n{RECORD}', EXECUTOR_INPUT]
    return dsl.ContainerSpec(image=IMAGE, command=command, args=list(arguments))


@dsl.container_component
def download(params: str, raw: dsl.Output[dsl.Dataset]):
    return _step('id -u; repose download --raw "$2" --transfers transfers', params, raw.path)


@dsl.container_component
def validate(
    params: str, raw: dsl.Input[dsl.Dataset], images: dsl.Output[dsl.Dataset], report: dsl.Output[dsl.Artifact]
):
    script = 'repose validate --raw "$2" --images "$3" --report "$4"'
    return _step(script, params, raw.path, images.path, report.path)


@dsl.pipeline(name="two-steps")
def two_steps(params: str):
    raw = download(params=params)
    validate(params=params, raw=raw.outputs["raw"])
