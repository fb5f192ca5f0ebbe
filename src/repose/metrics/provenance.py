"""The provenance of a score: what it was computed from, so that it can be traced and compared under the same protocol only.

Nothing here depends on the time, the machine, git's state or code that a stage does not run: DVC hashes these records, so
equal inputs have to give equal bytes. Which code ran is in dvc.lock, with every other input.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

SCHEMA = 2  # of metrics.json and facts.json; 1 had no schema, no metrics and no provenance
FORMAT = "8-bit RGB; kept as PNG"  # of the images that are scored: pixels as they are kept, without loss

NONE = "none"  # in place of a fact or a number that is not there
Better = Literal["higher", "lower"]  # which way a metric is better


def digest(lines: Iterable[str]) -> str:
    """The SHA-256 of lines of text."""
    whole = hashlib.sha256()
    for line in lines:
        whole.update(f"{line}\n".encode())
    return whole.hexdigest()


def in_words(fact: object) -> str:
    """A fact of a protocol as people read it."""
    if isinstance(fact, Mapping):
        return ", ".join(f"{key} {in_words(value)}" for key, value in fact.items()) or NONE
    if isinstance(fact, Sequence) and not isinstance(fact, str):
        return ", ".join(map(in_words, fact)) or NONE
    if fact is None:
        return NONE
    if isinstance(fact, int | float) and not isinstance(fact, bool):
        return f"{fact:,}" if isinstance(fact, int) else f"{fact:g}"
    return str(fact)
