"""The state of one virtual object or workflow, as a mapping, read from any source."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from restate_lab._html import render
from restate_lab._public import public
from restate_lab._text import format_timestamp
from restate_lab.actions.state.codec import encoding_of, masked, value_words
from restate_lab.analysis.journal.payloads import decode
from restate_lab.client.arguments import check_name, shown
from restate_lab.client.schema import checked, tables_of
from restate_lab.client.state_version import state_version
from restate_lab.errors import ArgumentError, NotFound, NotOnThisServer
from restate_lab.interrupts import Shield
from restate_lab.source import Source, check_tried

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["State", "StateReader"]

_MOST = 20  # rows
_LONGEST_KEY = 80
_LONGEST_VALUE = 300
_ACCENT = "#8a8f98"
_STATE = "SELECT key, value FROM state WHERE service_name = :service AND service_key = :key"
_SCOPED, _UNSCOPED = " AND scope = :scope", " AND scope IS NULL"
_SERVICES = "SELECT name, ty FROM sys_service"
_LONGEST_REPR = 60


def state_card(title: str, where: str, raw: Mapping[str, bytes]) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    total = f"{len(raw):,} key{'s' if len(raw) > 1 else ''}, {sum(map(len, raw.values())):,} bytes"
    more = [f"… and {len(raw) - _MOST:,} more keys; frame() has all"] if len(raw) > _MOST else []
    return render(
        "actions/state/card.html.j2",
        title=title,
        place=where,
        lines=[*more, total] if raw else ["no keys: its state is empty"],
        accent=_ACCENT,
        rows=[_row(key, value) for key, value in islice(raw.items(), _MOST)],
    )


def _row(key: str, value: bytes) -> dict[str, str | int]:
    name = key if len(key) <= _LONGEST_KEY else f"{key[: _LONGEST_KEY - 1]}…"
    return {
        "key": name or "(empty)",
        "letters": min(len(name), 24),
        "text": value_words(key, value, _LONGEST_VALUE),
        "encoding": encoding_of(value),
        "size": len(value),
    }


@public
@dataclass(frozen=True, repr=False, eq=False)
class State(Mapping[str, Any]):
    """The state of one virtual object or workflow at a moment, by key, in the keys' order; ``state()`` reads it.

    A value is what its bytes say: parsed as JSON, else text, else the bytes; None where they are empty. Each look
    gives a value of its own, so changing one changes neither this State nor the cluster. ``scope`` is None for the
    object without a scope; ``read_at`` (UTC) is the source's moment, ``source`` its name.
    """

    service: str
    key: str
    scope: str | None
    read_at: datetime
    source: str
    _raw: Mapping[str, bytes]

    @property
    def raw(self) -> Mapping[str, bytes]:
        """Return the bytes of each key, read-only."""
        return MappingProxyType(dict(self._raw))

    @property
    def version(self) -> str:
        """Return the version of the whole: what the server compares before it takes a change."""
        return state_version(self._raw)

    @property
    def where(self) -> str:
        """Return whose state this is."""
        return f"{self.service}/{self.key}{f' of scope {self.scope}' if self.scope else ''}"

    def frame(self) -> pd.DataFrame:
        """Return one row per key, for the eye: what has a secret name is ••• here (the State itself has it).

        Columns: ``key``, ``value`` (decoded), ``encoding`` ("json", "text", "bytes", or "empty") and ``size`` (bytes).
        """
        with Shield():
            import pandas as pd  # noqa: PLC0415 - a State is made without it

        rows = [(key, masked(key, value), encoding_of(value), len(value)) for key, value in self._raw.items()]
        frame = pd.DataFrame(rows, columns=["key", "value", "encoding", "size"])
        return frame.astype({"key": "str", "value": "object", "encoding": "str", "size": "int64"})

    def __getitem__(self, key: str) -> Any:
        return decode(self._raw[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __repr__(self) -> str:
        keys = ", ".join(map(repr, self._raw))
        keys = keys if len(keys) <= _LONGEST_REPR else f"{len(self)} keys"
        return f"<State {self.where!r}: {keys or 'no keys'}; read {format_timestamp(self.read_at)}>"

    def _repr_html_(self) -> str:
        where = f"{self.source}, read {format_timestamp(self.read_at)}"
        return state_card(self.where, where, self._raw)


class StateReader:
    """Reads the state of one object or workflow, as often as one likes; what is named is checked first."""

    def __init__(self, source: Source, service: str, key: str, scope: str | None) -> None:
        self._source = source
        self._object: dict[str, Any] = {
            "service": check_name("service", service),
            "key": check_name("key", key),
            "scope": None if scope is None else check_name("scope", scope),
        }
        check_tried(source, "state()")
        tables = tables_of(source)
        has_scope = bool((tables["table"].eq("state") & tables["column"].eq("scope")).any())
        if scope is not None and not has_scope:
            raise NotOnThisServer(
                f"state(scope={shown(scope)}) is not on {source.name}: Restate {source.version} has no scopes (they "
                f"came with 1.7)."
            )
        self._statement = _STATE + (_SCOPED if scope is not None else _UNSCOPED if has_scope else "")

    def state(self) -> State:
        """Return the state, or say that there is no such service."""
        now = self._source.now
        raw = self.raw()
        if not raw:
            _check_service(self._source, self._object["service"])
        return State(**self._object, read_at=now, source=self._source.name, _raw=raw)

    def raw(self) -> dict[str, bytes]:
        """Return the bytes of each key, in the keys' order."""
        named = {name: value for name, value in self._object.items() if value is not None}
        answer = self._source.arrow(self._statement, params=named, progress=False)
        rows = checked(answer, self._statement, self._source).to_pylist()
        return {row["key"]: row["value"] for row in sorted(rows, key=lambda row: str(row["key"]))}


def _check_service(source: Source, service: str) -> None:
    """Tell an object that has no state from a service that cannot have any, or that is not there."""
    services = checked(source.arrow(_SERVICES, progress=False), _SERVICES, source)
    kinds = {row["name"]: row["ty"] for row in services.to_pylist()}
    if kinds.get(service) == "service":
        raise ArgumentError(
            f"service {shown(service)} is a plain service, which has no state: virtual objects and workflows have it."
        )
    if service not in kinds:
        near = difflib.get_close_matches(service, kinds, n=3) or sorted(set(kinds) - {"service"})[:5]
        raise NotFound(
            f"there is no service {shown(service)} on {source.name}, and no state of that name. "
            f"{'Is it ' + ', '.join(near) + '?' if near else 'No service is registered.'} Names are case-sensitive.",
            status=404,
            reason="not among the registered services",
        )
