"""Settings: pydantic dataclasses, built from a mapping (a block of params.yaml, a checkpoint's record).

Unknown keys and values of another type are errors; a whole number may be written 3 or 3.0. A message gives the file, the key,
the expected value and the nearest known key, for example "params.yaml: train.threads should be at least 1, not 0."
"""

import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, dataclass_transform, get_args, get_type_hints

import pydantic.dataclasses
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent
from ruamel.yaml.nodes import ScalarNode

from repose.errors import SettingsError

T = TypeVar("T")
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what both torch and NumPy take
_MAX_DEPTH, _MAX_VALUES = 100, 1_000_000  # of a YAML document, with what its aliases repeat
_SYSTEM = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass_transform(frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Turns a class into settings: a frozen pydantic dataclass that accepts no unknown key, no infinity and no NaN."""
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    return cast(type[T], pydantic.dataclasses.dataclass(cls, frozen=True, config=config))


class _Constructor(SafeConstructor):
    """DVC's YAML constructor, except that it rejects dates: DVC fails on a date in a params file."""

    def reject_date(self, node: ScalarNode) -> None:
        problem = f"{node.value} is a date in YAML, and no setting is a date. Put it in quotes"
        raise MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _Constructor.reject_date)


def parse_yaml(text: str) -> Any:
    """The value of a YAML document, read as DVC does: YAML 1.2, in which 1e-5 is a number and `on` is text.

    Raises:
        ValueError: the text is not YAML, repeats a key, has a date, or is deeper or larger than any file of DVC. The message
            has the line and column.
    """
    reader = YAML(typ="safe")  # DVC's library, with libyaml where that is installed
    reader.Constructor = _Constructor
    try:
        _check_size(YAML(typ="safe").parse(text))
        return reader.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(
            f"line {mark.line + 1}, column {mark.column + 1}: {str(error.problem).partition(' with value')[0]}."
        ) from None
    except (YAMLError, RecursionError, IndexError) as error:  # IndexError: ruamel.yaml on the number `+_` in YAML 1.1
        raise ValueError(f"{error}.") from None


def _check_size(events: Iterable[Any]) -> None:
    """Reject a document that ends the process when it is read (deep), or fills the memory when it is used (aliases)."""
    named: dict[str, tuple[int, int]] = {}  # height and number of values of each node with an anchor
    open_nodes: list[tuple[str | None, int, int]] = [(None, 0, 0)]
    for event in events:
        anchor, height, count = event.anchor if isinstance(event, ScalarEvent) else None, 0, 1
        if isinstance(event, CollectionStartEvent):
            open_nodes.append((event.anchor, 0, 0))
        elif isinstance(event, CollectionEndEvent):
            anchor, height, count = open_nodes.pop()
            height += 1
        elif isinstance(event, AliasEvent):
            if event.anchor not in named:
                raise MarkedYAMLError(problem=f"*{event.anchor} is not defined before", problem_mark=event.start_mark)
            height, count = named[event.anchor]
        if anchor:
            named[anchor] = height, count
        above, highest, counted = open_nodes[-1]
        open_nodes[-1] = above, max(highest, height), counted + count
        if len(open_nodes) + height > _MAX_DEPTH or counted + count > _MAX_VALUES:
            why = f"the values are more than {_MAX_DEPTH} levels deep, or with aliases more than {_MAX_VALUES:,}"
            raise MarkedYAMLError(problem=why, problem_mark=event.start_mark)


def read_params(path: Path) -> dict[str, Any]:
    """All blocks of a params.yaml.

    Raises:
        SettingsError: the file is missing or unreadable, is not a YAML mapping, or has a wrong name under systems.
    """
    try:
        params = parse_yaml(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"There is no {path.absolute()}. Run repose in the project's folder, or give a file with --params."
        ) from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}. Give a file with --params.") from None
    except ValueError as error:
        raise SettingsError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(params, dict):
        raise SettingsError(f"{path} should be a mapping with one block per stage.")
    systems = params.get("systems")
    try:
        check_system_names(systems if isinstance(systems, dict) else [])
    except ValueError as error:
        raise SettingsError(f"{path}: systems: {error}") from None
    return params


def check_system_names(names: Iterable[Any]) -> None:
    """Check that names of systems can be part of a command, a folder and a key of `dvc exp run --set-param`.

    Raises:
        ValueError: a name has characters other than letters (a to z), digits, - and _, or starts with a digit or -; or it is
            baselines.
    """
    for name in names:
        if not isinstance(name, str) or not _SYSTEM.fullmatch(name):
            why = " A dot is not allowed, as it separates the parts of a key in DVC." if "." in str(name) else ""
            raise ValueError(
                f"{name!r} cannot be the name of a system.{why} Use letters (a to z), digits, - and _, starting with a "
                "letter or _."
            )
        if name == "baselines":  # evaluate's folder of their scores
            raise ValueError("'baselines' cannot be the name of a system, as the baselines have it. Use another one.")


def block(params: Mapping[str, Any], name: str, kind: type[T], where: str) -> T:
    """The settings in block `name` of params read from the file `where`.

    Raises:
        SettingsError: there is no such block, or see `build`.
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
        raise SettingsError(f"{where} should be a mapping{instead_of(values)}.")
    # From JSON, pydantic's strict mode accepts a list as a tuple and a mapping as settings, but not "3" or true as 3.
    try:
        return TypeAdapter(kind).validate_json(json.dumps(_as_json(values, where)), strict=True)
    except ValidationError as error:
        raise SettingsError(_message(kind, error.errors(), values, where)) from None


def as_dict(settings: Any) -> dict[str, Any]:
    """The settings as plain data (dicts, lists, numbers, text), which `build` turns back into equal settings."""
    return cast(dict[str, Any], to_jsonable_python(settings))


def nearest(word: str, known: Sequence[Any]) -> str:
    """The end of a message about an unknown name: the most similar known name, or all of them."""
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.5)
    return f". Did you mean {close[0]!r}?" if close else f"; known: {', '.join(map(str, known)) or 'none'}."


def instead_of(value: Any) -> str:
    """The part of a message that shows a wrong value, cut to 200 characters; empty if that may be an address with a login."""
    text = repr(value)
    return (
        ""
        if ":/" in text or (":" in text and "@" in text)
        else f", not {text if len(text) <= 200 else f'{text[:200]}...'}"
    )


def _as_json(value: Any, where: str) -> Any:
    """The value with 3.0 as 3; rejects values that JSON cannot represent."""
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise SettingsError(f"{where}: the key {wrong[0]!r} should be text. Put it in quotes.")
        return {key: _as_json(entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(entry, f"{where}[{i}]") for i, entry in enumerate(value)]
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**63 else value
    if isinstance(value, str | int) or value is None:
        return value
    raise SettingsError(f"{where} should be a number or text{instead_of(value)}.")


# What a value should be or have, by the type of the pydantic error.
_EXPECTED = {
    "int_type": "be a whole number", "int_from_float": "be a whole number", "float_type": "be a number",
    "string_type": "be text", "bool_type": "be true or false", "tuple_type": "be a list", "list_type": "be a list",
    "dict_type": "be a mapping", "dataclass_type": "be a mapping",
    "greater_than_equal": "be at least {ge:.15g}", "greater_than": "be more than {gt:.15g}",
    "less_than_equal": "be at most {le:.15g}", "less_than": "be less than {lt:.15g}",
    "too_short": "have {min_length} or more entries", "too_long": "have at most {max_length} entries",
    "string_too_short": "have {min_length} or more characters",
}  # fmt: skip


def _message(kind: type[Any], errors: Sequence[ErrorDetails], values: Any, where: str) -> str:
    """The message of the deepest error. Of several, it is the last: an unknown key, probably a typo, follows missing keys."""
    placed = [(_place(error, values), error) for error in errors]
    place, error = max(reversed(placed), key=lambda found: len(found[0]))
    what, value, outer = error["type"], error["input"], place[:-1]
    path, inside = f"{where}{_path(place)}", f"{where}{_path(outer)}"
    if what == "unexpected_keyword_argument":
        return f"{inside}: unknown key {place[-1]!r}{nearest(str(place[-1]), _known_keys(kind, outer))}"
    if what == "missing":
        lacking = [str(found[-1]) for found, other in placed if other["type"] == what and found[:-1] == outer]
        if isinstance(value, list):
            return f"{inside} should have {len(value) + len(lacking)} entries{instead_of(value)}."
        return f"{inside}: missing key(s) {', '.join(lacking)}."
    if what == "value_error":
        return f"{path}: {error['ctx']['error']}"
    alternatives = [other for found, other in placed if found == place]  # of a union: one for each member
    expected = " or ".join(dict.fromkeys(map(_expected, alternatives))).replace(" or be ", " or ")
    hint = nearest(value, [choice for other in alternatives for choice in _choices(other)]) if value else "."
    quote = " Put it in quotes." if what == "string_type" and isinstance(value, int | float) else ""
    return f"{path} should {expected}{instead_of(value)}{hint if 'Did' in hint else '.'}{quote}"


def _expected(error: ErrorDetails) -> str:
    """The expectation for a value, with its verb: "be ..." or "have ..."."""
    if choices := _choices(error):
        return f"be {'one of ' * (len(choices) > 1)}{', '.join(choices)}"
    if error["type"] in _EXPECTED:
        return _EXPECTED[error["type"]].format(**error.get("ctx", {}))
    return error["msg"].partition(" should ")[2]  # pydantic's own: "Input should be a multiple of 8"


def _choices(error: ErrorDetails) -> list[str]:
    """The values of a Literal."""
    expected = error["ctx"]["expected"] if error["type"] == "literal_error" else ""
    return [choice.strip("'") for choice in re.split(", | or ", expected) if choice]


def _place(error: ErrorDetails, values: Any) -> tuple[int | str, ...]:
    """The keys and indices of an error's location, without the names of union members."""
    place: list[int | str] = []
    for step in error["loc"]:
        known = (
            values if isinstance(values, Mapping) else range(len(values)) if isinstance(values, list | tuple) else ()
        )
        if step in known:
            values = values[step]
            place.append(step)
    return (*place, error["loc"][-1]) if error["type"] == "missing" else tuple(place)


def _path(place: Iterable[int | str]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)


def _known_keys(kind: Any, place: Iterable[int | str]) -> list[str]:
    """The keys of the settings at a place of the settings class `kind`."""
    kinds = [kind]
    for step in place:
        kinds = [inner for outer in kinds for inner in _members(outer, step)]
    return [field.name for found in kinds if dataclasses.is_dataclass(found) for field in dataclasses.fields(found)]


def _members(kind: Any, step: int | str) -> list[Any]:
    """The types of the values at a step of a value of type `kind`."""
    if dataclasses.is_dataclass(kind):
        inner = get_type_hints(kind).get(str(step))
        return [inner, *get_args(inner)]
    return [member for argument in get_args(kind) for member in (argument, *get_args(argument))]
