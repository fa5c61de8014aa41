"""Suggestions for users: the next call to make, as data, and the correct name for a misspelled one.

``unknown_names`` explains an empty result by a name that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from restate_lab._public import did_you_mean, nearest_names
from restate_lab._text import join
from restate_lab.calls import Placeholder, SuggestedCall, Value
from restate_lab.client.arguments import time_limit
from restate_lab.client.lab import registered_services
from restate_lab.errors import ArgumentError, NotOnThisServer, RestateLabError
from restate_lab.reads import Reads
from restate_lab.source import Source
from restate_lab.status import STATUSES

_MOST_NAMES = 8  # known names that a message lists
_MOST_SECONDS = 5.0  # limit for reading the names


def ask_call(question: str, *, comment: str = "", **params: Value | None) -> SuggestedCall:
    """Return the call that asks a named question; a parameter with the value None is omitted."""
    options = {name: value for name, value in params.items() if value is not None}
    return SuggestedCall("ask", (question,), options, comment=comment)


def plan_call(action: str, ids: Sequence[str], *, comment: str = "", total: int = 0) -> SuggestedCall:
    """Return the call that plans an action on these invocations."""
    return SuggestedCall("plan", (action, tuple(ids)), comment=comment, total=total)


def move_call(ids: Sequence[str], *, total: int = 0) -> SuggestedCall:
    """Return the call that plans to move these invocations to the latest deployment of their service."""
    return SuggestedCall("move_to", (tuple(ids),), {"deployment": "latest"}, total=total)


def replay_call(ids: Sequence[str]) -> SuggestedCall:
    """Return the call that replays these invocations on corrected code; the user fills in its address."""
    address = "http://…"
    comment = "check the corrected code before you deploy it"
    return SuggestedCall("replay", (tuple(ids), address), {"confirm": address}, comment=comment)


def debug_calls(invocation: str) -> tuple[SuggestedCall, ...]:
    """Return the calls that replay one invocation on the code of the user; the name of the app is open."""
    app = Placeholder("app")
    comment = 'app is your Python code, as "package.module:attribute"'
    return (
        SuggestedCall("debug", (invocation, app), comment=comment),
        SuggestedCall("to_test", (invocation, "tests"), {"app": app}, comment="keeps it as a test"),
    )


def why_call(invocation: str) -> SuggestedCall:
    """Return the call that explains one invocation."""
    return SuggestedCall("why", (invocation,))


def story_call(invocation: str) -> SuggestedCall:
    """Return the call that shows everything that belongs to one invocation."""
    return SuggestedCall("story", (invocation,))


@dataclass(frozen=True, slots=True)
class NameSuggestion:
    """A name in a filter that does not exist, and the most similar existing names.

    ``argument`` is the name of the filter ("service"), ``value`` is the unknown name, ``source`` is the name of the
    cluster. ``nearest`` has up to three names, best first; ``known`` has all names, sorted.
    """

    argument: str
    value: str
    nearest: tuple[str, ...]
    known: tuple[str, ...]
    source: str

    @property
    def best(self) -> str:
        """Return the best replacement for ``value``; "" if no name is similar."""
        return self.nearest[0] if self.nearest else ""

    @property
    def message(self) -> str:
        """Return the message for users: "No service 'Paymets' on demo. Did you mean 'Payments'?"."""
        there = f"Choose from {join(self.known, _MOST_NAMES)}." if self.known else f"No {self.argument} exists there."
        return f"No {self.argument} {self.value!r} on {self.source}. {did_you_mean(self.nearest) or there}"


def unknown_names(
    source: Source,
    *,
    service: str | Iterable[str] | None = None,
    handler: str | Iterable[str] | None = None,
    status: str | Iterable[str] | None = None,
    deployment: str | Iterable[str] | None = None,
) -> tuple[NameSuggestion, ...]:
    """Return the names in filters that do not exist, to explain an empty result; () if all names exist.

    A service or handler exists if it is registered or has an invocation; only a live cluster can list handlers that
    were never called. No error is raised: the result is also () if the names cannot be read within five seconds.
    """
    suggestions: list[NameSuggestion] = list(_suggestions("status", _as_list(status), STATUSES, source))
    with suppress(RestateLabError), time_limit(_MOST_SECONDS):
        if service is not None or handler is not None:
            suggestions += _unknown_targets(source, _as_list(service), _as_list(handler))
        if deployment is not None:
            ids = Reads(source).frame("deployment_ids")["id"]
            suggestions += _suggestions("deployment", _as_list(deployment), ids, source)
    return tuple(suggestions)


def refuse_unknown_names(source: Source, *, service: str | None = None, handler: str | None = None) -> None:
    """Raise ArgumentError if a filter has a service or handler that does not exist; the message lists similar names.

    A misspelled name is an error and not a warning, because an empty result for it looks as if there were no problems.
    """
    unknown = unknown_names(source, service=service, handler=handler)
    if unknown:
        raise ArgumentError(" ".join(each.message for each in unknown))


def _as_list(names: str | Iterable[str] | None) -> list[str]:
    return [] if names is None else [names] if isinstance(names, str) else list(names)


def _suggestions(argument: str, names: Iterable[str], known: Iterable[str], source: Source) -> Iterator[NameSuggestion]:
    existing = tuple(sorted(set(known)))
    for name in names:
        if name not in existing:
            yield NameSuggestion(argument, name, nearest_names(name, existing), existing, source.name)


def _unknown_targets(source: Source, services: list[str], handlers: list[str]) -> list[NameSuggestion]:
    """Return the unknown services, or else the unknown handlers; invocations are scanned only if a name is missing."""
    known = _registered_handlers(source)
    if not (known.keys() >= set(services) and _handlers_of(known, services) >= set(handlers)):
        rows = Reads(source).frame("handlers")
        for service, handler in zip(rows["target_service_name"], rows["target_handler_name"], strict=True):
            known.setdefault(service, set()).add(handler)
    unknown = list(_suggestions("service", services, known, source))
    return unknown or list(_suggestions("handler", handlers, _handlers_of(known, services), source))


def _handlers_of(known: Mapping[str, set[str]], services: list[str]) -> set[str]:
    return set().union(*(known.get(service, set()) for service in services or known))


def _registered_handlers(source: Source) -> dict[str, set[str]]:
    """Return the registered services with their handlers; without the Admin API the handlers are empty."""
    services = registered_services(source)
    if services is not None:
        return {service.name: {handler.name for handler in service.handlers or ()} for service in services}
    try:
        return {name: set() for name in Reads(source).frame("services")["name"]}
    except NotOnThisServer:  # evidence without this table
        return {}
