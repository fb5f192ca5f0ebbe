"""The checkpoint that a training run started from, and its extensions, as text."""

from collections.abc import Mapping
from typing import Any


def origin(record: Mapping[str, Any]) -> str:
    """Sentences about the record of a run (run.json); empty if it started from scratch and was not extended."""
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
