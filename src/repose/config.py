"""Settings: frozen dataclasses, filled from a mapping (a block of params.yaml, a checkpoint) and strict about it.

Every key must be known, every value of its field's type; the message names the key, the place and the nearest key. A whole
number may be written 3 or 3.0.
"""

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode

from repose.errors import ReposeError, SettingsError

T = TypeVar("T")
_SYSTEM = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


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


def block(params: Mapping[str, Any], name: str, settings: type[T], where: str) -> T:
    """The settings in block `name` of the params that were read from the file `where`.

    Raises:
        SettingsError: there is no such block, or it does not fit.
    """
    if name not in params:
        raise SettingsError(f"{where} has no block {name!r}{nearest(name, list(params))}")
    return build(settings, params[name], f"{where}: {name}")


def build(settings: type[T], values: Any, where: str) -> T:
    """An instance of the dataclass `settings` from a mapping; `where` opens each message.

    Raises:
        SettingsError: an unknown or missing key, a wrong type, or a value that the dataclass refuses with a ValueError.
    """
    if not isinstance(values, Mapping):
        raise SettingsError(f"{where} should be a mapping, not {values!r}.")
    hints = get_type_hints(settings)
    fields = {field.name: field for field in dataclasses.fields(cast(Any, settings))}
    for key in values:
        if key not in fields:
            raise SettingsError(f"{where}: unknown key {key!r}{nearest(str(key), list(fields))}")
    required = [
        n for n, f in fields.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in values]
    if missing:
        raise SettingsError(f"{where}: missing key(s) {', '.join(missing)}.")
    filled = {key: _value(hints[key], value, f"{where}.{key}") for key, value in values.items()}
    try:
        return settings(**filled)
    except ValueError as error:  # from a __post_init__: values that fit their types but not each other
        raise SettingsError(f"{where}: {error}") from None


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


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _choice(arguments, value, where)
    if origin in (Union, types.UnionType):
        return _first_that_fits(arguments, value, where)
    if origin is tuple:
        return _sequence(arguments, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong(kind, value, where)
        return {_value(arguments[0], k, where): _value(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        return build(cast(type[Any], kind), value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise _wrong(kind, value, where)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is int and isinstance(value, bool):
        raise _wrong(kind, value, where)
    if kind is not Any and not isinstance(value, kind):
        raise _wrong(kind, value, where)
    return value


def _choice(choices: Sequence[Any], value: Any, where: str) -> Any:
    for choice in choices:
        if value == choice and isinstance(value, bool) == isinstance(choice, bool):
            return choice
    hint = nearest(value, choices) if isinstance(value, str) else "."
    raise SettingsError(f"{where} should be one of {', '.join(map(str, choices))}, not {value!r}{hint}")


def _first_that_fits(kinds: Sequence[Any], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in kinds:
        if kind is not type(None):
            try:
                return _value(kind, value, where)
            except ReposeError as error:
                errors.append(error)
    raise errors[-1]


def _sequence(kinds: Sequence[Any], value: Any, where: str) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise SettingsError(f"{where} should be a list, not {value!r}.")
    if kinds[-1] is Ellipsis:
        kinds = [kinds[0]] * len(value)
    if len(kinds) != len(value):
        raise SettingsError(f"{where} should have {len(kinds)} entries, not {len(value)}: {list(value)!r}.")
    return tuple(_value(kind, entry, f"{where}[{i}]") for i, (kind, entry) in enumerate(zip(kinds, value, strict=True)))


def _wrong(kind: Any, value: Any, where: str) -> SettingsError:
    name = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(kind, str(kind))
    quote = " Put it in quotes." if kind is str and isinstance(value, int | float) else ""
    return SettingsError(f"{where} should be {name}, not {value!r}.{quote}")
