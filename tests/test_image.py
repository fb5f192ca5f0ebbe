"""What goes into the container image, as far as that can be said without Docker; `make test-image` builds and tries it."""

import re
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OPTIONAL = "ca.pe[m]"  # certificates of a machine's own; Git ignores them


def copied() -> set[str]:
    """What the Dockerfile copies out of the project."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
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
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert not re.search(r"ca\.pe|PIP_|^COPY (?!--from)", last, re.MULTILINE)
