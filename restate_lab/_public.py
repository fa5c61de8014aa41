"""Common parts of public classes and functions: their module, the error for a misspelled name, and their extras."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from restate_lab.errors import ArgumentError, MissingExtra

P = ParamSpec("P")
R = TypeVar("R")
Class = TypeVar("Class", bound=type)

_BY_KEYWORD = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_CHECKED = "_checks_keywords"  # attribute of a wrapped function, so that it is not wrapped again for a subclass
_SHORTEST_PART = 3  # characters; names often contain shorter texts by chance


def public(kind: Class) -> Class:
    """Make a class report ``restate_lab`` as its module and check the keywords of its public methods; return it.

    ``inspect.getsource`` cannot find its source, because with a line number Python 3.13 would show another module.
    """
    check_methods(kind)
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


def check_methods(kind: type) -> None:
    """Make ``__init__`` and the public methods of a class check their keywords, if this package defines them."""
    for name, method in inspect.getmembers_static(kind, inspect.isfunction):
        is_ours = method.__module__.startswith("restate_lab") and not hasattr(method, _CHECKED)
        is_ours = is_ours and not hasattr(method, "__deprecated__")  # its warning must have the line of the caller
        if is_ours and (name == "__init__" or not name.startswith("_")) and _options(method):
            setattr(kind, name, check_keywords(method))


def check_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function refuse an unknown keyword with ArgumentError, which suggests the most similar one.

    Python's own TypeError has no suggestion, and a notebook shows it with a full traceback.
    """
    error_for = keyword_check(function)

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        error = error_for(kwargs)
        calls = [functools.partial(function, *args, **kwargs)] if error is None else []
        del args, kwargs  # they can have a token, and a verbose traceback shows the variables of each frame
        if error is not None:
            raise error
        return calls.pop()()

    setattr(wrapper, _CHECKED, True)
    return wrapper


def keyword_check(function: Callable[..., Any]) -> Callable[[Iterable[str]], ArgumentError | None]:
    """Return a function that returns the error for keywords that ``function`` does not have, or None."""
    parameters = inspect.signature(function).parameters.values()
    known = frozenset(each.name for each in parameters if each.kind in _BY_KEYWORD)
    options = _options(function)
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    name = function.__qualname__.removesuffix(".__init__")

    def error_for(keywords: Iterable[str]) -> ArgumentError | None:
        unknown = [] if takes_any else [each for each in keywords if each not in known]
        if not unknown:
            return None
        hint = did_you_mean(nearest_names(unknown[0], options)) or f"Choose from: {', '.join(options) or 'none'}."
        return ArgumentError(f"{name}() has no argument {unknown[0]!r}. {hint}")

    return error_for


def _options(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]


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
