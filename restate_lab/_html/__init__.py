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
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeAlias

from markupsafe import Markup

from restate_lab._text import escape_invisible, split_ids
from restate_lab.calls import Step
from restate_lab.status import COLOURS, SIGNS
from restate_lab.tokens import INLINE, page_css

if TYPE_CHECKING:
    from jinja2 import Environment


PageOf: TypeAlias = Callable[[Step], tuple[str, str]]


def _no_page(_: Step) -> tuple[str, str]:
    return "", ""


_LINKS: ContextVar[tuple[Callable[[str], str], PageOf]] = ContextVar("links", default=(lambda _: "", _no_page))


@contextmanager
def linked_ids(address_of: Callable[[str], str], page_of: PageOf = _no_page) -> Iterator[None]:
    """Make each id in a template of this block a link to ``address_of(id)``, a URL; "" for an id without a page.

    ``page_of`` returns the label and the address of the page that shows the result of a step.
    """
    reset = _LINKS.set((address_of, page_of))
    try:
        yield
    finally:
        _LINKS.reset(reset)


def render(template: str, **values: Any) -> str:
    """Return a template as HTML; a missing value is an error."""
    return _environment().get_template(template).render(values)


@cache
def stylesheet(name: str) -> Markup:
    """Return the design tokens of pages and a style sheet of this package, such as "serve/page.css"."""
    text = files("restate_lab").joinpath(name).read_text("utf-8")
    return Markup(f"{page_css()}{text}")  # noqa: S704 - a file of this package


def _address_of(id_: str) -> str:
    return _LINKS.get()[0](id_)


def _page_of(step: Step) -> tuple[str, str]:
    return _LINKS.get()[1](step)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - only cards and reports need it

    environment = Environment(
        loader=PackageLoader("restate_lab", ""),
        autoescape=True,
        auto_reload=False,  # templates are files of this package
        undefined=StrictUndefined,
        finalize=lambda value: escape_invisible(value) if type(value) is str else value,  # ``Markup`` does not change
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "address_of": _address_of,
        "page_of": _page_of,
        "colours": COLOURS,
        "signs": SIGNS,
        "token": {name.replace("-", "_"): value for name, value in INLINE.items()},
    }
    environment.filters["thousands"] = "{:,}".format
    environment.filters["split_ids"] = split_ids
    environment.filters["visible"] = escape_invisible
    return environment
