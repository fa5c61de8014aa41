"""Mark a class as public: it reports ``restate_lab`` as its module, which is where users import it from."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["public"]

Class = TypeVar("Class", bound=type)


def public(kind: Class) -> Class:
    """Return the class, which reports ``restate_lab`` as its module.

    ``inspect.getsource`` finds no source of it: with its line number, Python 3.13 would show lines of another module.
    """
    kind.__module__ = "restate_lab"
    if "__firstlineno__" in vars(kind):
        del kind.__firstlineno__  # type: ignore[attr-defined]
    return kind
