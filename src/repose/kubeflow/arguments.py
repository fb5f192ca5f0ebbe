"""A parser for the command line of a task. argparse would take a value such as -1e-05 for an option."""

from collections.abc import Mapping, Sequence

from repose.errors import ReposeError


def read_arguments(
    words: Sequence[str], single: Mapping[str, str | None], repeated: Mapping[str, int]
) -> tuple[dict[str, str], dict[str, list[tuple[str, ...]]]]:
    """Read the options of a task.

    Args:
        words: The command line.
        single: Default of each option with one value; None: it is required.
        repeated: Number of values of each option that may be repeated.

    Returns:
        The value of each single option, and the values of each repeated one.

    Raises:
        ReposeError: an option is unknown, missing, or lacks values.
    """
    values, groups = dict(single), {name: list[tuple[str, ...]]() for name in repeated}
    rest = list(words)
    while rest:
        name, count = rest[0], repeated.get(rest[0], 1)
        given = tuple(rest[1 : 1 + count])
        if name not in {*single, *repeated} or len(given) < count:
            raise ReposeError(f"The task's command is invalid at {name}: unknown option, or missing values.")
        if name in repeated:
            groups[name].append(given)
        else:
            values[name] = given[0]
        rest = rest[1 + count :]
    if missing := [name for name, value in values.items() if value is None]:
        raise ReposeError(f"The task's command lacks {', '.join(missing)}.")
    return {name: str(value) for name, value in values.items()}, groups
