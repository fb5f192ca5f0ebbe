"""Pages of Markdown from the templates of this room."""

from typing import Any

from repose.metrics.provenance import cell


def render(name: str, **content: Any) -> str:
    """The page of a template in `templates`."""
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 (Markdown, in which HTML's escapes would show)
        loader=jinja2.PackageLoader("repose.report"), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"thousands": "{:,}".format, "cell": cell, "number": _number}
    return environment.get_template(name).render(content)


def _number(value: float | None, form: str, none: str = "") -> str:
    return none if value is None else f"{value:{form}}"
