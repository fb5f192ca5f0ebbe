"""The checkpoint that a run started from, and its extensions, in words."""

from collections.abc import Mapping
from typing import Any


def origin(record: Mapping[str, Any]) -> str:
    """The sentences on a run's record (run.json); empty if it started from nothing and was not extended."""
    sentences = []
    if init := record.get("init"):
        sentences.append(
            f"Started from the weights of {', '.join(init['networks'])} in a checkpoint of {init['system']} at step "
            f"{init['step']:,} (SHA-256 {init['sha256']})."
        )
    sentences += [
        f"Extended after step {extension['step']:,} of {extension['planned']:,} planned."
        for extension in record.get("extended", ())
    ]
    return " ".join(sentences)
