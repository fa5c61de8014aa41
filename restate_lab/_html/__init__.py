"""HTML for notebooks and reports: templates in one jinja2 environment, with macros for cards.

A template is in the folder of the code that uses it; its name is its path in the package, such as
``analysis/doctor/card.html.j2``. All values of a template are text: they are escaped, and invisible characters become
codes. Only ``Markup`` is HTML, so a value from a cluster must never be ``Markup``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from restate_lab._text import escape_invisible, split_ids

if TYPE_CHECKING:
    from jinja2 import Environment


_ADDRESS_OF: ContextVar[Callable[[str], str]] = ContextVar("address_of", default=lambda _: "")


@contextmanager
def linked_ids(address_of: Callable[[str], str]) -> Iterator[None]:
    """Make each id in a template of this block a link to ``address_of(id)``, a URL; "" for an id without a page."""
    reset = _ADDRESS_OF.set(address_of)
    try:
        yield
    finally:
        _ADDRESS_OF.reset(reset)


def render(template: str, **values: Any) -> str:
    """Return a template as HTML; a missing value is an error."""
    return _environment().get_template(template).render(values)


def _address_of(id_: str) -> str:
    return _ADDRESS_OF.get()(id_)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - only cards and reports need it

    environment = Environment(
        loader=PackageLoader("restate_lab", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: escape_invisible(value) if type(value) is str else value,  # ``Markup`` does not change
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["address_of"] = _address_of
    environment.filters["thousands"] = "{:,}".format
    environment.filters["split_ids"] = split_ids
    environment.filters["visible"] = escape_invisible
    return environment
