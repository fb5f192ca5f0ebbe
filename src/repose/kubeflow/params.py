"""Read params files with their comments, and change values without changing the rest of the file.

A pipeline parameter is a STRING with the value as in a params file: `7.5`, `null`, `[JPEG]`. No other type of Kubeflow
takes every value that a setting may have (a number or null, a number or a word), or tells 1 from 1.0.
"""

import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter

from repose.config import parse_yaml
from repose.errors import ReposeError
from repose.kubeflow.stages import Stage, name_of

_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}


class ParamsFile:
    """A params file: its values and comments, and its text with changed values.

    Raises:
        ReposeError: the text is not YAML or JSON, or not a mapping.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.values: dict[str, Any] = _parse(path, text)

    @classmethod
    def read(cls, path: Path) -> "ParamsFile":
        """Read a YAML or JSON file.

        Raises:
            ReposeError: the file is missing, or see the class.
        """
        try:
            return cls(path, path.read_text("utf-8"))
        except FileNotFoundError:
            raise ReposeError(f"There is no params file {path}.") from None

    def __contains__(self, key: str) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    def __getitem__(self, key: str) -> Any:
        """The value at a dotted key; the whole file for an empty key."""
        return _at(self.values, key.split(".") if key else [])

    def leaves(self, key: str) -> Iterator[tuple[str, Any]]:
        """The dotted key below `key` ("" for `key` itself) and the value of each leaf.

        A mapping is a leaf if dotted keys cannot address its values: it is empty, or a key is not text or has a dot.
        """
        yield from _leaves(self[key])

    def dotted_key(self, key: str) -> str | None:
        """The key with a dot in its name that is meant by the dotted `key`, which cannot address it."""
        blocks = [value for _, value in self.leaves("") if isinstance(value, Mapping)]
        return next((str(name) for block in blocks for name in block if "." in str(name) and str(name) in key), None)

    def comment(self, key: str) -> str:
        """The comment at the end of a key's line, with the comment lines that continue it."""
        return self._comments.get(key, "")

    def with_values(self, values: Mapping[str, Any]) -> str:
        """The text with changed values at dotted keys; comments are kept, except in a block with aliases."""
        changed = {key: value for key, value in values.items() if not _same(self[key], value)}
        if not changed:
            return self.text
        wanted = _unshared(self.values)
        for key, value in changed.items():
            *above, last = key.split(".")
            _at(wanted, above)[last] = value
        if self.path.suffix == ".json":
            return json.dumps(wanted, indent=2) + "\n"
        text = self._edited(changed, wanted)
        if not _same(_parse(self.path, text), wanted):
            raise AssertionError(f"{self.path}: the edited text does not have the requested values")
        return text

    def _edited(self, changed: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
        editor, document = self._document()
        for key, value in changed.items():
            *above, last = key.split(".")
            if above and _is_shared(document[above[0]]):  # an alias would change too
                document[above[0]] = wanted[above[0]]
            else:
                _at(document, above)[last] = value
        stream = io.StringIO()
        editor.dump(document, stream)
        return stream.getvalue()

    def _document(self) -> tuple[Any, Any]:
        class Representer(RoundTripRepresenter):
            """Writes None as `null`."""

        Representer.add_representer(type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null"))
        editor = YAML()
        editor.Representer = Representer
        editor.width, editor.preserve_quotes = 4096, True
        return editor, editor.load(self.text)

    @cached_property
    def _comments(self) -> dict[str, str]:
        return {} if self.path.suffix == ".json" else dict(_comments(self._document()[1], ""))


@dataclass(frozen=True)
class Leaf:
    """A value of a params file that a stage lists."""

    name: str  # of the component's input: train_seed, systems_steps
    pipeline_name: str  # of the pipeline's parameter: train_seed, systems_attend_steps
    file: str
    key: str  # dotted
    value: Any
    comment: str


def leaves_of(stage: Stage, files: Mapping[str, ParamsFile]) -> Iterator[Leaf]:
    """Every value that a stage lists, without duplicates."""
    seen = set()
    for param in stage.params:
        prefix = "" if param.file == "params.yaml" else f"{param.file.rpartition('.')[0]} "
        for below, value in files[param.file].leaves(param.key):
            key, template = (".".join(filter(None, (above, below))) for above in (param.key, param.template))
            if (param.file, key) not in seen:
                seen.add((param.file, key))
                comment = files[param.file].comment(key)
                yield Leaf(name_of(prefix + template), name_of(prefix + key), param.file, key, value, comment)


def to_pipeline(value: Any) -> str:
    """The text of a pipeline parameter for a value: its YAML, on one line."""
    if isinstance(value, str):
        return value if _is_plain(value) else json.dumps(value)
    writer: Any = YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.width, writer.sort_base_mapping_type_on_output = True, sys.maxsize, False
    stream = io.StringIO()
    writer.dump(value, stream)
    return stream.getvalue().removesuffix("...\n").rstrip("\n")


def from_pipeline(text: str, like: Any, where: str) -> Any:
    """The value of a parameter's text, which replaces the value `like` of the params file; `where` opens the message.

    The text is YAML. If `like` is text, the parameter is text too, unless it is `null` or quoted.

    Raises:
        ReposeError: it is not YAML.
    """
    if isinstance(like, str) and text != "null" and not _is_quoted(text):
        return text
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise ReposeError(f"{where} should be YAML, not {text!r}: {error}") from None


def from_person(text: str, like: Any, where: str) -> Any:
    """The value in a user's text, which replaces the value `like`.

    A value of another type, such as a word for a number, is an error unless it is null or quoted text.

    Raises:
        ReposeError: the text is not YAML, or its value is of another type.
    """
    value = from_pipeline(text, like, where)
    if value is None or like is None or _kind(value) == _kind(like) or (isinstance(value, str) and _is_quoted(text)):
        return value
    hint = f" If you mean text, quote it: '{json.dumps(value)}'." if isinstance(value, str) else ""
    raise ReposeError(f"{where} should be {_kind(like)} such as {to_pipeline(like)}, or null, not {text!r}.{hint}")


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _is_quoted(text: str) -> bool:
    return text.startswith(('"', "'"))


def _is_plain(text: str) -> bool:
    """Whether YAML reads a text as itself without quotes."""
    try:
        return text == parse_yaml(text)
    except ValueError:
        return False


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        if path.suffix not in (".yaml", ".yml", ".json"):
            raise ValueError("it is not named .yaml, .yml or .json.")
        values = json.loads(text) if path.suffix == ".json" else parse_yaml(text)
    except ValueError as error:
        raise ReposeError(f"The params file {path} cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise ReposeError(f"The params file {path} should be a mapping: Kubeflow's parameters come from it.")
    return _unshared(values)


def _unshared(value: Any) -> Any:
    """A copy in which no object occurs twice, as happens with aliases."""
    if isinstance(value, dict):
        return {key: _unshared(child) for key, child in value.items()}
    return [_unshared(child) for child in value] if isinstance(value, list) else value


def _at(values: Any, parts: Sequence[str]) -> Any:
    return reduce(_child, parts, values)


def _child(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value[part]
    if isinstance(value, list) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    raise KeyError(part)


def _leaves(value: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value and all(isinstance(key, str) and "." not in key for key in value):
        for key, child in value.items():
            yield from _leaves(child, f"{above}.{key}" if above else key)
    else:
        yield above, value


def _same(a: Any, b: Any) -> bool:
    """Whether two values are equal and of the same type; an int never equals a float."""
    return repr(a) == repr(b)


def _is_shared(block: Any) -> bool:
    """Whether a block of a document has an anchor, an alias or a merge key."""
    if getattr(getattr(block, "anchor", None), "value", None) or getattr(block, "merge", None):
        return True
    children = block.values() if isinstance(block, Mapping) else block if isinstance(block, list) else ()
    return any(_is_shared(child) for child in children)


def _comments(block: Any, above: str, shared: str = "") -> Iterator[tuple[str, str]]:
    """The comment of each key; `shared` is the comment of the line for keys inside braces."""
    if not isinstance(block, Mapping):
        return
    for key, value in block.items():
        path = f"{above}.{key}" if above else str(key)
        tokens, comment = block.ca.items.get(key) if hasattr(block, "ca") else None, shared
        if tokens and tokens[2] is not None:
            lines = tokens[2].value.partition("\n\n")[0].splitlines()
            comment = " ".join(line.strip().lstrip("#").strip() for line in lines).strip()
        if comment:
            yield path, comment
        in_braces = hasattr(value, "fa") and value.fa.flow_style()
        yield from _comments(value, path, comment if in_braces else "")
