"""Runs a compiled pipeline with Kubeflow's DockerRunner, every step in one image, nothing but its outputs writable.

A program, since kfp.local keeps its settings for the life of a process.
"""

import argparse
import json
import os
from pathlib import Path

import yaml
from kfp import components, local


def in_image(compiled: str, image: str) -> str:
    """The compiled pipeline with every step's image replaced."""
    documents = list(yaml.safe_load_all(compiled))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        if "container" in executor:
            executor["container"]["image"] = image
    return yaml.safe_dump_all(documents)


def runner() -> local.DockerRunner:
    """Steps run as whoever runs this, so that their files are his to remove; for root, as the image's own user.

    No `environment`: a step with variables of its own would lose it (kfp replaces it).
    """
    return local.DockerRunner(
        user=f"{os.getuid()}:{os.getgid()}" if os.getuid() else None,
        read_only=True,  # what a step writes goes to the root, which kfp mounts, and to /work, a volume of the image
        network_mode="none",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        shm_size="1g",  # torch's loaders pass batches through /dev/shm; Docker gives 64 MB
    )


def run(pipeline: Path, image: str, root: Path, arguments: dict[str, object]) -> None:
    """Runs it below the root; every step must have recorded outputs.

    DockerRunner may take a step that failed for one that succeeded (when the container is gone before its exit code is
    read). A step writes executor_output.json last, so that one without it has failed, whatever was reported.
    """
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o1777)  # kfp mounts it as it is, and leaves it to the step to make its folder there
    local.init(runner(), pipeline_root=str(root), raise_on_error=True)
    compiled = in_image(pipeline.read_text(), image)
    components.load_component_from_text(compiled)(**arguments)
    parts = next(yaml.safe_load_all(compiled))["components"]
    steps = {name.removeprefix("comp-") for name, part in parts.items() if "executorLabel" in part}
    missing = steps - {path.parent.name for path in root.rglob("executor_output.json")}
    assert not missing, f"no outputs of {', '.join(sorted(missing))}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("image")
    parser.add_argument("root", type=Path)
    parser.add_argument("arguments", type=json.loads, nargs="?", default={}, help="the pipeline's parameters, as JSON")
    given = parser.parse_args()
    run(given.pipeline, given.image, given.root.absolute(), given.arguments)
