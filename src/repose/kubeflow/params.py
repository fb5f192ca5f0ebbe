"""Values of params files: each leaf with its type and comment, changed without touching the rest of the file.

Kubeflow has one type of number, and hands parameters over as text: what came back is given the type of the value that it
replaces, so that an int stays an int and 1.0 stays 1.0 in dvc.lock.
"""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from repose.errors import ReposeError
from repose.kubeflow.project import Stage, name_of

NULL = "null"  # how a pipeline parameter says it


class ParamsFile:
    """A params file: its values, its comments, and its text with other values."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.values: dict[str, Any] = _parse(path, text)

    @classmethod
    def read(cls, path: Path) -> "ParamsFile":
        """Open a YAML or JSON file.

        Raises:
            ReposeError: it is not there, is neither, or is no mapping.
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
        """The value at a dotted key; the whole file for the empty one."""
        value: Any = self.values
        for part in key.split(".") if key else ():
            value = _child(value, part)
        return value

    def leaves(self, key: str) -> Iterator[tuple[str, Any]]:
        """Dotted key below `key` ("" for itself) and value of each value that is no mapping, or an empty one."""
        yield from _leaves(self[key], "")

    def comment(self, key: str) -> str:
        """What the file says of a key at the end of its line and in the comment lines that go on from there."""
        return self._comments.get(key, "")

    def with_values(self, values: Mapping[str, Any]) -> str:
        """The text with other values at dotted keys; comments stay (but in a block with aliases)."""
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
            raise AssertionError(f"{self.path}: the edited text has other values than asked for")
        return text

    def _edited(self, changed: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
        editor, document = self._document()
        for key, value in changed.items():
            top, *above = key.split(".")
            if above and _is_shared(document[top]):  # an alias there would change with it: the block is written out
                document[top] = wanted[top]
                continue
            block = _at(document, [top, *above][:-1])
            block[[top, *above][-1]] = value
        stream = io.StringIO()
        editor.dump(document, stream)
        return stream.getvalue()

    def _document(self) -> tuple[Any, Any]:
        from ruamel.yaml import YAML
        from ruamel.yaml.representer import RoundTripRepresenter

        class Representer(RoundTripRepresenter):
            """Writes None as the word, as people do."""

        Representer.add_representer(type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", NULL))
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
    """Every value that a stage lists, each once."""
    seen = set()
    for param in stage.params:
        prefix = "" if param.file == "params.yaml" else f"{param.file.rpartition('.')[0]} "
        for below, value in files[param.file].leaves(param.key):
            key, template = (".".join(filter(None, (above, below))) for above in (param.key, param.template))
            if (param.file, key) not in seen:
                seen.add((param.file, key))
                comment = files[param.file].comment(key)
                yield Leaf(name_of(prefix + template), name_of(prefix + key), param.file, key, value, comment)


def to_pipeline(value: Any) -> Any:
    """A value as a pipeline parameter has it; None becomes the text `null`."""
    return NULL if value is None else value


def from_pipeline(text: str, like: Any, where: str) -> Any:
    """The value that a parameter's text stands for where `like` stood before; `where` opens the message.

    Text is text; anything else is JSON, and where `like` is None it is YAML.

    Raises:
        ReposeError: it is not of that type.
    """
    if isinstance(like, str):
        return text
    if isinstance(like, bool) and text in ("True", "False"):  # as kfp.local writes them
        text = text.lower()
    try:
        return _typed(_yaml(text) if like is None else json.loads(text), like)
    except (ValueError, TypeError):
        raise ReposeError(f"{where} should be {_KINDS[type(like)]} such as {json.dumps(like)}, not {text!r}.") from None


def from_person(text: str, like: Any, where: str) -> Any:
    """The value that a person wrote, in YAML, for a parameter where `like` stood before.

    Raises:
        ReposeError: it is not of that type.
    """
    if isinstance(like, str) or like is None:
        return from_pipeline(text, like, where)
    try:
        return from_pipeline(json.dumps(_yaml(text)), like, where)
    except ReposeError:
        raise
    except (ValueError, TypeError):
        raise ReposeError(f"{where}: {text!r} is not YAML.") from None


_KINDS = {
    bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "a mapping", type(None): "YAML"
}  # fmt: skip


def _yaml(text: str) -> Any:
    """YAML 1.2, as DVC reads it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ValueError(str(error)) from None


def _typed(value: Any, like: Any) -> Any:
    """A value of the type of the one that it replaces."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        bool: isinstance(value, bool), int: number, float: number,
        list: isinstance(value, list), dict: isinstance(value, dict), type(None): True,
    }  # fmt: skip
    if not fits[type(like)]:
        raise TypeError
    return _alike(value, like)


def _alike(value: Any, like: Any) -> Any:
    """A value with the types of number that `like` has; where it has none, a number without a fraction is an int."""
    if isinstance(value, list):
        likes = like if isinstance(like, list) and like else [None]
        return [_alike(entry, likes[min(place, len(likes) - 1)]) for place, entry in enumerate(value)]
    if isinstance(value, dict):
        return {key: _alike(entry, like.get(key) if isinstance(like, dict) else None) for key, entry in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(like, float):
        return float(value)
    return int(value) if value == value // 1 else value


def _parse(path: Path, text: str) -> dict[str, Any]:
    from dvc.utils.serialize import ParseError, parse_yaml

    try:
        values = json.loads(text) if path.suffix == ".json" else parse_yaml(text, str(path))
    except (ValueError, ParseError) as error:
        raise ReposeError(f"The params file {path} cannot be read: {error}") from None
    if path.suffix not in (".yaml", ".yml", ".json") or not isinstance(values, dict):
        raise ReposeError(
            f"The params file {path} should be a mapping in YAML or JSON: Kubeflow's parameters come from it."
        )
    return _unshared(values)


def _unshared(value: Any) -> Any:
    """A copy in which no two places are one object, as aliases make them."""
    if isinstance(value, dict):
        return {key: _unshared(child) for key, child in value.items()}
    return [_unshared(child) for child in value] if isinstance(value, list) else value


def _child(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value[part]
    if isinstance(value, list) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    raise KeyError(part)


def _at(values: Any, parts: list[str]) -> Any:
    for part in parts:
        values = values[part] if isinstance(values, Mapping) else values[int(part)]
    return values


def _leaves(value: Any, above: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, child in value.items():
            yield from _leaves(child, f"{above}.{key}" if above else str(key))
    else:
        yield above, value


def _same(a: Any, b: Any) -> bool:
    """Whether two values are equal, an int and a float never."""
    return json.dumps(a, sort_keys=True, default=str) == json.dumps(b, sort_keys=True, default=str)


def _is_shared(block: Any) -> bool:
    """Whether anything in a block of a document has an anchor, is an alias or is merged in."""
    if getattr(getattr(block, "anchor", None), "value", None) or getattr(block, "merge", None):
        return True
    children = block.values() if isinstance(block, Mapping) else block if isinstance(block, list) else ()
    return any(_is_shared(child) for child in children)


def _comments(block: Any, above: str, shared: str = "") -> Iterator[tuple[str, str]]:
    """The comment of each key: at the end of its line, going on in lines that hold nothing but a comment.

    What stands in braces shares its line's comment, which is then `shared`.
    """
    if not isinstance(block, Mapping):
        return
    for key, value in block.items():
        path = f"{above}.{key}" if above else str(key)
        tokens, said = block.ca.items.get(key) if hasattr(block, "ca") else None, shared
        if tokens and tokens[2] is not None:
            lines = tokens[2].value.partition("\n\n")[0].splitlines()
            said = " ".join(line.strip().lstrip("#").strip() for line in lines).strip()
        if said:
            yield path, said
        in_braces = hasattr(value, "fa") and value.fa.flow_style()
        yield from _comments(value, path, said if in_braces else "")
