"""The kinds of server that a test runs on: the newest one, and those that its marker ``also_on`` names.

A test that asks for a kind of server, with a fixture such as ``incident`` or as a parameter, has a case on each kind.
The case on the newest server is always part of the suite. A case on another kind is part of it only if the behavior
under test differs there, which the test states in one line:

@pytest.mark.also_on(PLAIN, reason="each kind has its own SQL")

Every other case is marked ``long``: it runs at night, and with ``-m long``.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from support.clusters import KINDS, NEWEST

OTHERS = frozenset(KINDS) - {NEWEST}


def mark_kinds(items: Iterable[pytest.Item]) -> None:
    """Mark each case on a kind of server that its test does not name in ``also_on`` as ``long``.

    Raises:
        pytest.UsageError: a marker has no reason, no kind, or a kind that does not exist.
    """
    for item in items:
        named = _also_on(item)
        if not kinds_of(item) <= named | {NEWEST}:
            item.add_marker(pytest.mark.long)


def kinds_of(item: pytest.Item) -> set[str]:
    """Return the kinds of server that are parameters of a case, of its fixtures or its own."""
    callspec = getattr(item, "callspec", None)
    params = callspec.params.values() if callspec else ()
    return {value for value in params if isinstance(value, str) and value in KINDS}


def _also_on(item: pytest.Item) -> set[str]:
    named: set[str] = set()
    for marker in item.iter_markers("also_on"):
        if not marker.args or not set(marker.args) <= OTHERS:
            raise pytest.UsageError(
                f"{item.nodeid}: also_on names {list(marker.args)}; choose from {', '.join(sorted(OTHERS))}"
            )
        if not marker.kwargs.get("reason"):
            raise pytest.UsageError(f"{item.nodeid}: also_on has no reason; say what differs on these servers")
        named.update(marker.args)
    return named
