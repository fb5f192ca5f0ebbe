"""Write docs/licences.md: what each package in the image states about its license, from the metadata of the installed one."""

import re
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DOCUMENT = Path(__file__).with_suffix(".md")
EXTRAS = ("pipeline", "model")  # of repose, in the image
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
KINDS = {
    "Proprietary": re.compile(r"proprietary", re.IGNORECASE),
    "Copyleft": re.compile(r"GPL|MPL|EPL|CDDL|EUPL|General Public|Mozilla"),
    "Not stated": re.compile(r"not stated"),
}
HEAD = """# Licenses

repose is under the [Apache License 2.0](../LICENSE). Its image also contains the packages below (Linux, x86_64, Python 3.11),
Debian 12 and Python (`/usr/share/doc/*/copyright`). `make licences` writes this page from what each package states about
itself. It is not legal advice. NVIDIA's libraries come with torch; NVIDIA's license allows redistributing them only with an
application, so read it before you publish the image.
"""


def contained() -> dict[str, Distribution]:
    """The packages that repose and its EXTRAS need on Linux, by name."""
    found: dict[str, Distribution] = {}
    todo, seen = [("repose", extra) for extra in ("", *EXTRAS)], set()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found[name] = distribution(name)
        for requirement in map(Requirement, found[name].requires or ()):
            if requirement.marker is None or requirement.marker.evaluate(LINUX | {"extra": extra}):
                todo += [(canonicalize_name(requirement.name), own) for own in ("", *requirement.extras)]
    del found["repose"]
    return dict(sorted(found.items()))


def license_of(package: Distribution) -> str:
    """An SPDX expression if the package states one, else a short text, else its classifiers."""
    about = package.metadata
    text = (about.get("License") or "").replace("UNKNOWN", "")  # written by setuptools if there is none
    classifiers = sorted(
        line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if "License ::" in line
    )
    stated = (
        about.get("License-Expression") or (text if len(text) < 60 else "") or ", ".join(classifiers) or "not stated"
    )
    return " ".join(stated.replace("|", "OR").split())


def page() -> str:
    """The document."""
    licenses = {name: license_of(package) for name, package in contained().items()}
    parts = [HEAD]
    for title, kind in KINDS.items():
        lines = [f"- {name}: {text}\n" for name, text in licenses.items() if kind.search(text)]
        parts.append(f"## {title}\n\n{''.join(lines)}")
    rows = "".join(f"| {name} | {text} |\n" for name, text in licenses.items())
    return "\n".join([*parts, f"## All\n\n| package | license |\n|---|---|\n{rows}"])


if __name__ == "__main__":
    DOCUMENT.write_text(page(), "utf-8")
