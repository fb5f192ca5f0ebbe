"""Values of a project's params files: read with their comments, and changed for a run.

DVC's own readers and writers are used, so YAML, TOML and JSON files work, and comments and order are kept. A pipeline
parameter is a STRING with the value's YAML: `7.5`, `null`, `[JPEG]`. No other type of Kubeflow takes every value that a
setting may have (a number or null, a number or a word), or tells 1 from 1.0.
"""

import io
import json
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from repose.config import instead_of, nearest, parse_yaml
from repose.errors import SettingsError
from repose.storage.atomic import temporary_folder

SUFFIXES = (".yaml", ".yml", ".json", ".toml")
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}


class ParamsFile:
    """A params file: its text and values. Raises a SettingsError if it is not YAML, JSON or TOML, or not a mapping."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        if path.suffix not in SUFFIXES:
            raise SettingsError(f"The params file {path} cannot be used: it should end in {', '.join(SUFFIXES)}.")
        values = parse(text, path.suffix, f"The params file {path}")
        if not isinstance(values, dict):
            raise SettingsError(f"The params file {path} should be a mapping.")
        self.values: dict[str, Any] = values

    @classmethod
    def read(cls, path: Path) -> "ParamsFile":
        """Read a file. Raises a SettingsError if it is missing or cannot be read, or as the class."""
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            raise SettingsError(f"There is no params file {path}.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"The params file {path} cannot be read: {getattr(error, 'strerror', error)}."
            ) from None
        return cls(path, text)

    def __contains__(self, key: str) -> bool:
        return next(_places(self.values, key), None) is not None

    def __getitem__(self, key: str) -> Any:
        """The value at a dotted key, of which parts may be numbers or have dots. Raises a SettingsError if there is none."""
        above, last = self._find(self.values, key)
        return above[last]

    def with_values(self, values: Mapping[str, Any]) -> str:
        """The text with other values at dotted keys. Comments and order are kept, as by `dvc exp run --set-param`.

        Raises:
            SettingsError: there is no such key, or a YAML alias would change another key too.
        """
        from dvc.utils.serialize import MODIFIERS

        changed = {key: value for key, value in values.items() if repr(self[key]) != repr(value)}
        if not changed:
            return self.text
        with temporary_folder() as folder:
            file = folder / self.path.name
            file.write_text(self.text, "utf-8")
            with MODIFIERS[self.path.suffix](str(file)) as document:
                for key, value in changed.items():
                    above, last = self._find(document, key)
                    above[last] = value
            text = file.read_text("utf-8")
        new = ParamsFile(self.path, text)
        for key in self.keys():
            inside = any(f"{key}.".startswith(f"{other}.") for other in changed)
            if not inside and repr(new[key]) != repr(self[key]):
                raise SettingsError(
                    f"{self.path.name}: {key} would change too, because it shares a value by an alias (*)."
                )
        return text

    def comment(self, key: str) -> str:
        """The comment at the end of a key's line, with the comment lines that continue it; only of YAML."""
        if self.path.suffix not in (".yaml", ".yml"):
            return ""
        above, last = self._find(_with_comments(self.text), key)
        tokens = above.ca.items.get(last) if hasattr(above, "ca") else None
        if not tokens or tokens[2] is None:
            return ""
        lines = tokens[2].value.partition("\n\n")[0].splitlines()
        return " ".join(line.strip().lstrip("#").strip() for line in lines).strip()

    def keys(self) -> list[str]:
        """The dotted key of each value that is not a mapping."""
        return list(_leaves(self.values, ""))

    def _find(self, values: Any, key: str) -> tuple[Any, Any]:
        """The mapping or list that holds the value at a dotted key, and the value's own key there."""
        found = next(_places(values, key), None)
        if found is None:
            raise SettingsError(f"{self.path} has no key {key!r}{nearest(key, self.keys())}")
        return found


def parse(text: str, suffix: str, where: str) -> Any:
    """The value of a document in JSON or TOML, else YAML. Another format is a SettingsError about `where`."""
    from dvc.utils.serialize import PARSERS, ParseError

    try:
        return PARSERS[suffix](text, where) if suffix in (".json", ".toml") else parse_yaml(text)
    except (ValueError, ParseError) as error:
        raise SettingsError(f"{where} cannot be read: {error.__cause__ or error}") from None


def split_address(address: str) -> tuple[str, str]:
    """The params file and key of an address KEY or FILE:KEY."""
    file, _, key = address.rpartition(":")
    return file or "params.yaml", key


def changed_files(folder: Path, changes: Mapping[str, Any], where: str) -> dict[str, str]:
    """The text of each params file of a project with other values, given by KEY or FILE:KEY; text is read as YAML.

    Raises:
        SettingsError: a file is outside the project, a key is unknown, or a value is not YAML or of another type. `where` and
            the address open the message.
    """
    files: dict[str, ParamsFile] = {}
    values: dict[str, dict[str, Any]] = {}
    for address, value in changes.items():
        name, key = split_address(address)
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise SettingsError(f"{where} {address} is of a file outside the project.")
        file = files[name] = files.get(name) or ParamsFile.read(folder / name)
        if isinstance(value, str):
            value = from_text(value, file[key], f"{where} {address}")
        else:
            check_type(value, file[key], f"{where} {address}")
        values.setdefault(name, {})[key] = value
    return {name: files[name].with_values(changed) for name, changed in values.items()}


@lru_cache(maxsize=8)
def _with_comments(text: str) -> Any:
    """A YAML document with its comments; reading it takes ten times as long as without."""
    return YAML().load(text)


def _places(values: Any, key: str) -> Iterator[tuple[Any, Any]]:
    """The places that a dotted key can mean, the one with the shortest first part first."""
    entries = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else ()
    for name, child in sorted(entries, key=lambda entry: len(str(entry[0]))):
        if str(name) == key:
            yield values, name
        elif key.startswith(f"{name}."):
            yield from _places(child, key.removeprefix(f"{name}."))


def _leaves(value: Any, above: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, child in value.items():
            yield from _leaves(child, f"{above}.{key}" if above else str(key))
    else:
        yield above


def to_text(value: Any) -> str:
    """The text of a pipeline parameter for a value: its YAML, on one line."""
    if isinstance(value, str):
        return value if _reads_as_itself(value) else _quoted(value)
    writer: Any = YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.width, writer.sort_base_mapping_type_on_output = True, sys.maxsize, False
    stream = io.StringIO()
    writer.dump(value, stream)
    return stream.getvalue().removesuffix("...\n").rstrip("\n")


def from_text(text: str, like: Any, where: str) -> Any:
    """The value of a parameter's text, which replaces the value `like` of the params file; `where` opens the message.

    The text is YAML. If `like` is text, the parameter is text too, unless it is `null` or quoted. A value of another type,
    such as a word for a number, is an error unless it is null or quoted text.

    Raises:
        SettingsError: the text is not YAML, or its value is of another type.
    """
    quoted = text.startswith(('"', "'"))
    if isinstance(like, str) and text != "null" and not quoted:
        return text
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise SettingsError(f"{where} should be YAML{instead_of(text)}: {error}") from None
    if not (isinstance(value, str) and quoted):
        check_type(value, like, where)
    return value


def check_type(value: Any, like: Any, where: str) -> None:
    """Raise a SettingsError if a value has another type than the value `like` that it replaces; null fits all."""
    if value is not None and like is not None and _kind(value) != _kind(like):
        hint = (
            f" If you mean text, quote it: '{_quoted(value)}'." if instead_of(value) and isinstance(value, str) else ""
        )
        raise SettingsError(
            f"{where} should be {_kind(like)} such as {to_text(like)}, or null{instead_of(value)}.{hint}"
        )


def parse_overrides(text: str) -> dict[str, Any]:
    """The values or texts in the parameter `overrides`, by KEY or FILE:KEY. Raises a SettingsError if it is no JSON object."""
    try:
        values = json.loads(text or "{}")
        if not isinstance(values, dict):
            raise ValueError("it is no object")
        parse_yaml(json.dumps(values, ensure_ascii=False, allow_nan=False))  # rejects what is too deep there
        return values
    except (ValueError, RecursionError) as error:
        raise SettingsError(
            f'The parameter overrides should be a JSON object such as {{"train.seed": 3}}{instead_of(text)}: {error}.'
        ) from None


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _quoted(text: str) -> str:
    """The text in double quotes, with YAML's escapes, as Python writes them. JSON's for characters above U+FFFF are others."""
    escaped = text.encode("unicode_escape").decode().replace('"', '\\"')
    return f'"{escaped}"'


def _reads_as_itself(text: str) -> bool:
    try:
        return text == parse_yaml(text) and text == text.strip()
    except ValueError:
        return False
