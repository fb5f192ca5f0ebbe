"""The provenance of a score: what it was computed from, so that only scores under the same protocol are compared.

These records do not depend on the time, the machine, git's state or code that a stage does not run. DVC hashes them, so equal
inputs must give equal bytes. dvc.lock records the code.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from repose.terminal import printable

SCHEMA = 2  # of metrics.json and facts.json; 1 had no schema, no metrics and no provenance
FORMAT = "8-bit RGB; kept as PNG"  # of the images that are scored

NONE = "none"  # replaces a missing fact or number
Better = Literal["higher", "lower"]  # whether higher or lower is better


def digest(lines: Iterable[str]) -> str:
    """Return the SHA-256 of lines of text."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def cell(text: object) -> str:
    """Return a text from elsewhere, such as a name, for one line of Markdown: it ends no cell and makes no HTML or link.

    Emphasis and code still work.
    """
    line = re.sub(r"\s+", " ", printable(str(text))).replace("\\", "\\\\").replace("|", "\\|")
    return line.replace("&", "&amp;").replace("<", "&lt;").replace("](", "]\\(")


def in_words(fact: object) -> str:
    """Return a fact of a protocol as text for people."""
    if isinstance(fact, Mapping):
        return ", ".join(f"{key} {in_words(value)}" for key, value in fact.items()) or NONE
    if isinstance(fact, Sequence) and not isinstance(fact, str):
        return ", ".join(map(in_words, fact)) or NONE
    if isinstance(fact, float):
        return f"{fact:g}"
    if isinstance(fact, int) and not isinstance(fact, bool):
        return f"{fact:,}"
    return NONE if fact is None else str(fact)
