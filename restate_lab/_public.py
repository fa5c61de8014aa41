"""Common parts of public classes and functions: their module, suggestions for a misspelled name, and their extras."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any, TypeVar

from restate_lab.errors import MissingExtra

Class = TypeVar("Class", bound=type)

_SHORTEST_PART = 3  # characters; names often contain shorter texts by chance


def public(kind: Class) -> Class:
    """Make a class report ``restate_lab`` as its module, where users import it from; return it.

    ``inspect.getsource`` cannot find its source, because with a line number Python 3.13 would show another module.
    """
    kind.__module__ = "restate_lab"
    if "__firstlineno__" in vars(kind):
        del kind.__firstlineno__  # type: ignore[attr-defined]
    return kind


def import_extra(module: str, extra: str, *, purpose: str, advice: str = "") -> Any:
    """Return a module that an extra installs; ``purpose`` is the first part of the error, such as "x requires y".

    Raises:
        MissingExtra: the module is not installed. The message has the command that installs it, and the advice.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        command = f"pip install 'restate-lab[{extra}]'"
        text = f"{purpose}, which is not installed: run {command}."
        raise MissingExtra(f"{text} {advice}".rstrip()) from error


def nearest_names(name: str, known: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """Return the known names that are most similar to a name, best first; case is ignored.

    Names with similar spelling are first, followed by names that contain the whole name.
    """
    import difflib  # noqa: PLC0415 - only needed for a wrong name

    spelled = {each.casefold(): each for each in sorted(known, reverse=True)}
    wanted = name.strip().casefold()
    close = difflib.get_close_matches(wanted, spelled, n=most)
    longer = [each for each in spelled if len(wanted) >= _SHORTEST_PART and wanted in each and each not in close]
    return tuple(spelled[each] for each in (close + sorted(longer, key=len))[:most])


def did_you_mean(names: Iterable[str]) -> str:
    """Return "Did you mean 'a' or 'b'?" for suggested names; "" if there are none."""
    quoted = [repr(name) for name in names]
    return f"Did you mean {' or '.join(quoted)}?" if quoted else ""
