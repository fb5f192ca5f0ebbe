"""A Docker daemon of one's own, and a base image where no registry can be reached. Debian, as root."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def daemon(folder: Path) -> Iterator[dict[str, str]]:
    """Runs dockerd with everything that it keeps in the folder; gives the environment that `docker` needs."""
    install("docker.io", "dockerd")
    folder.mkdir(parents=True, exist_ok=True)
    socket = f"unix://{folder}/docker.sock"
    environment = os.environ | {"DOCKER_HOST": socket, "DOCKER_BUILDKIT": "0"}  # Debian's Docker has no buildx
    options = [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid", "-H", socket]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["dockerd", *options], stdout=log, stderr=log)
        try:
            end = time.monotonic() + 60
            while subprocess.run(["docker", "info"], env=environment, check=False, capture_output=True).returncode:
                waiting = process.poll() is None and time.monotonic() < end
                assert waiting, (folder / "log").read_text()[-2000:]
                time.sleep(0.5)
            yield environment
        finally:
            process.terminate()
            process.wait(60)
            # dockerd leaves the mount of its network's name space behind, and a mounted folder cannot be removed
            mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
            for place in reversed([place for place in mounted if place.startswith(f"{folder}/")]):
                subprocess.run(["umount", place], check=True)


def make_stand_in(name: str, environment: dict[str, str]) -> None:
    """Imports a minimal Debian 12 with its Python 3.11 under the name of the official image that FROM asks for."""
    install("mmdebstrap", "mmdebstrap")
    packages = "--include=python3,python3-venv,ca-certificates"
    made = subprocess.Popen(
        ["mmdebstrap", "--quiet", "--variant=minbase", packages, "bookworm", "-"], stdout=subprocess.PIPE
    )
    change = ["--change", 'CMD ["python3"]']
    subprocess.run(["docker", "import", *change, "-", name], stdin=made.stdout, env=environment, check=True)
    assert made.stdout is not None
    made.stdout.close()
    assert made.wait() == 0, "mmdebstrap failed"


def install(package: str, program: str) -> None:
    """A package of Debian, unless its program is there."""
    if shutil.which(program) is None:
        subprocess.run(["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", package], check=True)
