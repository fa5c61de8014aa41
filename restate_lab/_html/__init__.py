"""HTML for notebooks and reports: templates in one jinja2 environment, with the macros that cards are made of.

A template lives beside the code that it renders; its name is its path in the package, such as
``analysis/doctor/card.html.j2``. Whatever a template is given is text: it is escaped, and its invisible characters
become codes. Only ``Markup`` is HTML, so nothing that came from a cluster may become one.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from restate_lab._text import escape_invisible, split_ids
from restate_lab.interrupts import Shield

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render"]


def render(template: str, **values: Any) -> str:
    """Return a template as HTML; a value that the template names and is not given is an error."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    with Shield():
        from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - the first card or report pays

    environment = Environment(
        loader=PackageLoader("restate_lab", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = "{:,}".format
    environment.filters["split_ids"] = split_ids
    return environment


def _finalize(value: Any) -> Any:
    """Return a value in which no character is hidden; ``Markup`` stays as it is."""
    return escape_invisible(value) if type(value) is str else value
