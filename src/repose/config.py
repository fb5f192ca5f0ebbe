"""Settings: pydantic dataclasses, filled from a mapping (a block of params.yaml, a checkpoint) and strict about it.

Every key must be known and every value of its field's type. The message names the key, the place and the nearest key. A
whole number may be written 3 or 3.0.
"""

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, dataclass_transform, get_args, get_type_hints

import pydantic.dataclasses
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode

from repose.errors import SettingsError

T = TypeVar("T")
_SYSTEM = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass_transform(frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make a class settings: a frozen pydantic dataclass without unknown keys."""
    return cast(type[T], pydantic.dataclasses.dataclass(cls, frozen=True, config=ConfigDict(extra="forbid")))


class _Constructor(SafeConstructor):
    """What DVC's reader makes of YAML, without dates: DVC fails on a date in a params file."""

    def refuse_date(self, node: ScalarNode) -> None:
        """Refuse a date or a time.

        Raises:
            MarkedYAMLError: always.
        """
        raise MarkedYAMLError(
            problem=f"{node.value} is a date in YAML, and no setting is one. Put it in quotes",
            problem_mark=node.start_mark,
        )


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _Constructor.refuse_date)


def parse_yaml(text: str) -> Any:
    """The value of a YAML document, as DVC reads it: YAML 1.2, in which 1e-5 is a number and `on` is text.

    Raises:
        ValueError: it is not YAML, a key stands twice in a mapping, or there is a date; the message names line and column.
    """
    reader = YAML(typ="safe")  # the library and the version of YAML that DVC uses, with libyaml where that is installed
    reader.Constructor = _Constructor
    try:
        return reader.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}.") from None
    except (YAMLError, RecursionError, IndexError) as error:  # IndexError: ruamel.yaml, of the number `+_` in YAML 1.1
        raise ValueError(f"{error}.") from None


def read_params(path: Path) -> dict[str, Any]:
    """The whole of a params.yaml.

    Raises:
        SettingsError: there is no such file, it cannot be read, or it is not a YAML mapping.
    """
    try:
        params = parse_yaml(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"There is no {path.absolute()}. Run repose in the project's folder, or name one with --params."
        ) from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}. Name a file with --params.") from None
    except ValueError as error:
        raise SettingsError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(params, dict):
        raise SettingsError(f"{path} should be a mapping with one block per stage.")
    return params


def check_system_names(names: Iterable[Any]) -> None:
    """Refuse names of systems that cannot be part of a command, a folder and a key of `dvc exp run --set-param`.

    Raises:
        ValueError: a name is not letters (a to z), digits, - and _, beginning with a letter or _.
    """
    for name in names:
        if not isinstance(name, str) or not _SYSTEM.fullmatch(name):
            why = " A dot is not allowed, as it separates the parts of a key in DVC." if "." in str(name) else ""
            raise ValueError(
                f"{name!r} cannot be the name of a system.{why} Use letters (a to z), digits, - and _, beginning with a "
                "letter or _."
            )


def block(params: Mapping[str, Any], name: str, kind: type[T], where: str) -> T:
    """The settings in block `name` of the params that were read from the file `where`.

    Raises:
        SettingsError: there is no such block, or it does not fit.
    """
    if name not in params:
        raise SettingsError(f"{where} has no block {name!r}{nearest(name, list(params))}")
    return build(kind, params[name], f"{where}: {name}")


def build(kind: type[T], values: Any, where: str) -> T:
    """An instance of the settings class `kind` from a mapping; `where` opens each message.

    Raises:
        SettingsError: an unknown or missing key, a wrong type, or a value that the settings do not allow.
    """
    if not isinstance(values, Mapping):
        raise SettingsError(f"{where} should be a mapping, not {values!r}.")
    # As JSON: what is strict there takes a list for a tuple and a mapping for settings, but not "3" or true for 3.
    try:
        return TypeAdapter(kind).validate_json(json.dumps(_as_json(values, where)), strict=True)
    except ValidationError as error:
        raise SettingsError(_message(kind, error.errors(), values, where)) from None


def as_dict(settings: Any) -> dict[str, Any]:
    """The settings as plain data (dicts, lists, numbers, text), such that `build` gives them back."""
    return cast(dict[str, Any], _plain(dataclasses.asdict(settings)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, tuple | list) else value


def nearest(word: str, known: Sequence[Any]) -> str:
    """The end of a message about an unknown word: the known one that is most like it, or all of them."""
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.5)
    return f". Did you mean {close[0]!r}?" if close else f"; known: {', '.join(map(str, known))}."


def _as_json(value: Any, where: str) -> Any:
    """The value with whole numbers as such; refuses what JSON has not."""
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise SettingsError(f"{where}: the key {wrong[0]!r} should be text. Put it in quotes.")
        return {key: _as_json(entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(entry, f"{where}[{i}]") for i, entry in enumerate(value)]
    if isinstance(value, str | int) or value is None:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else value
    raise SettingsError(
        f"{where} should be {'a number' if isinstance(value, float) else 'a number or text'}, not {value!r}."
    )


_KINDS = {
    "int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number", "string_type": "text",
    "bool_type": "true or false", "tuple_type": "a list", "dict_type": "a mapping", "dataclass_type": "a mapping",
}  # fmt: skip
_BOUNDS = {
    "greater_than_equal": "at least {ge:g}", "greater_than": "more than {gt:g}",
    "less_than_equal": "at most {le:g}", "less_than": "less than {lt:g}",
}  # fmt: skip


def _message(kind: type[Any], errors: Sequence[ErrorDetails], values: Any, where: str) -> str:
    """The message of the error that lies deepest: a union has an error for each of its members."""
    placed = [(_place(error, values), error) for error in errors]
    place, error = max(reversed(placed), key=lambda found: len(found[0]))
    outer, value, what = place[:-1], error["input"], error["type"]
    if what == "unexpected_keyword_argument":
        return f"{where}{_path(outer)}: unknown key {place[-1]!r}{nearest(str(place[-1]), _known_keys(kind, outer))}"
    if what == "missing" and isinstance(value, list):
        lacking = sum(other["type"] == what and found[:-1] == outer for found, other in placed)
        return f"{where}{_path(outer)} should have {len(value) + lacking} entries, not {len(value)}: {value!r}."
    if what == "missing":
        lacked = [str(found[-1]) for found, other in placed if other["type"] == what and found[:-1] == outer]
        return f"{where}{_path(outer)}: missing key(s) {', '.join(lacked)}."
    path, context = f"{where}{_path(place)}", error.get("ctx", {})
    if what == "value_error":
        return f"{path}: {context['error']}"
    if what == "too_long":
        return f"{path} should have {context['max_length']} entries, not {len(value)}: {value!r}."
    if what == "literal_error":
        choices = [choice.strip("'") for choice in re.split(", | or ", context["expected"])]
        hint = nearest(value, choices) if isinstance(value, str) else "."
        return f"{path} should be one of {', '.join(choices)}, not {value!r}{hint if 'mean' in hint else '.'}"
    if what in _BOUNDS:
        return f"{path} should be {_BOUNDS[what].format(**context)}, not {value!r}."
    quote = " Put it in quotes." if what == "string_type" and isinstance(value, int | float) else ""
    return f"{path} should be {_KINDS[what]}, not {value!r}.{quote}" if what in _KINDS else f"{path}: {error['msg']}."


def _place(error: ErrorDetails, values: Any) -> tuple[int | str, ...]:
    """The keys and indices of an error's location, without the names of a union's members."""
    place: list[int | str] = []
    for step in error["loc"]:
        if (isinstance(values, Mapping) and step in values) or (
            isinstance(values, list | tuple) and step in range(len(values))
        ):
            values = cast(Any, values)[step]
            place.append(step)
    return (*place, error["loc"][-1]) if error["type"] == "missing" else tuple(place)


def _path(place: Iterable[int | str]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)


def _known_keys(kind: Any, place: Iterable[int | str]) -> list[str]:
    """The keys of the settings that lie at a place of the settings class `kind`."""
    kinds = [kind]
    for step in place:
        kinds = [inner for outer in kinds for inner in _members(outer, step)]
    return [field.name for found in kinds if dataclasses.is_dataclass(found) for field in dataclasses.fields(found)]


def _members(kind: Any, step: int | str) -> list[Any]:
    """The kinds of values that may lie at a step of a value of some kind."""
    if dataclasses.is_dataclass(kind):
        inner = get_type_hints(kind).get(str(step))
        return [inner, *get_args(inner)]
    return [member for argument in get_args(kind) for member in (argument, *get_args(argument))]
