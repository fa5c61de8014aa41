"""HTML for notebooks and reports: templates in one jinja2 environment, with macros for cards.

A template is in the folder of the code that uses it; its name is its path in the package, such as
``analysis/doctor/card.html.j2``. All values of a template are text: they are escaped, and invisible characters become
codes. Only ``Markup`` is HTML, so a value from a cluster must never be ``Markup``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeAlias

from markupsafe import Markup

from restate_lab._text import escape_invisible, split_ids
from restate_lab.calls import Step, without_options
from restate_lab.status import COLOURS, SIGNS
from restate_lab.tokens import INLINE, page_css

if TYPE_CHECKING:
    from jinja2 import Environment


PageOf: TypeAlias = Callable[[Step], tuple[str, str]]


def _no_address(_: str) -> str:
    return ""


def _no_page(_: Step) -> tuple[str, str]:
    return "", ""


_LINKS: ContextVar[tuple[Callable[[str], str], PageOf] | None] = ContextVar("links", default=None)
"""The links of a surface without code; None for a notebook, whose cards have Python."""


@contextmanager
def linked_ids(address_of: Callable[[str], str], page_of: PageOf = _no_page) -> Iterator[None]:
    """Make each id in a template of this block a link to ``address_of(id)``, a URL; "" for an id without a page.

    ``page_of`` returns the label and the address of the page that shows the result of a step. A step without a page is
    not shown: Python is only for notebooks.
    """
    reset = _LINKS.set((address_of, page_of))
    try:
        yield
    finally:
        _LINKS.reset(reset)


def without_code() -> AbstractContextManager[None]:
    """Show no step in the templates of this block: a panel has buttons, and a report has readers without a notebook."""
    return linked_ids(_no_address)


def render(template: str, **values: Any) -> str:
    """Return a template as HTML; a missing value is an error."""
    return _environment().get_template(template).render(values)


@cache
def stylesheet(name: str) -> Markup:
    """Return the design tokens of pages and a style sheet of this package, such as "serve/page.css"."""
    text = files("restate_lab").joinpath(name).read_text("utf-8")
    return Markup(f"{page_css()}{text}")  # noqa: S704 - a file of this package


def _address_of(id_: str) -> str:
    links = _LINKS.get()
    return links[0](id_) if links else ""


def _link_or_code(step: Step) -> tuple[str, str, str]:
    """Return the label and the address of the page of a step, or its Python; only empty texts if it is not shown."""
    links = _LINKS.get()
    if links is None:
        return "", "", step.python
    return (*(links[1](step) if step.calls else ("", "")), "")


def _reason(text: str) -> str:
    return text if _LINKS.get() is None else without_options(text)


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
        "link_or_code": _link_or_code,
        "reason": _reason,
        "colours": COLOURS,
        "signs": SIGNS,
        "token": {name.replace("-", "_"): value for name, value in INLINE.items()},
    }
    environment.filters["thousands"] = "{:,}".format
    environment.filters["split_ids"] = split_ids
    environment.filters["visible"] = escape_invisible
    return environment
