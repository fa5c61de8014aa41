"""The state of one virtual object or workflow, as a mapping, with its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from types import MappingProxyType
from typing import Any

import pandas as pd

from restate_lab._public import did_you_mean, public
from restate_lab._text import plural, truncate
from restate_lab.actions.state.codec import encoding_of, format_value, mask_value
from restate_lab.analysis.journal.payloads import decode
from restate_lab.client.state_version import state_version
from restate_lab.document import Document, Item, Items, Row, Table, Word
from restate_lab.frames import BuiltRows
from restate_lab.payload_json import Decoding
from restate_lab.protocol.entries import is_encrypted
from restate_lab.result import ORIGIN, Result

_HEADS = ("key", "value", "encoding", "bytes")
_MAX_KEY_LENGTH = 80
_MAX_VALUE_LENGTH = 300
_MAX_REPR_LENGTH = 60


@public
@dataclass(frozen=True, repr=False, eq=False)
class State(Result, Mapping[str, Any]):
    """The state of one virtual object or workflow at one time, by key, sorted by key; ``state()`` reads it.

    A value is parsed as JSON if possible, otherwise it is text or bytes; None if its bytes are empty. Values that an
    SDK encoded are decoded by ``connect(decode=…)``; ``raw`` has the stored bytes. Each access returns a new value, so
    changing it changes neither this State nor the cluster. ``scope`` has the value None for an object without a scope.
    ``warnings`` are texts to read before the state is changed, such as a fault of this version of the server; normally
    empty. ``near`` are similar keys of objects with state, if this object has none.
    """

    _json = (*ORIGIN, "not_read", "service", "key", "scope", "frame")
    service: str
    key: str
    scope: str | None
    _raw: Mapping[str, bytes]
    warnings: tuple[str, ...] = ()
    _decoded: Mapping[str, bytes] = field(default_factory=dict)
    """The keys whose values are shown as other bytes than the stored ones."""
    near: tuple[str, ...] = ()

    @property
    def raw(self) -> Mapping[str, bytes]:
        """Return the bytes of each key, read-only."""
        return MappingProxyType(dict(self._raw))

    @property
    def shown(self) -> Mapping[str, bytes]:
        """Return the bytes that are shown for each key, read-only: decoded, or "not decoded: …" with the reason."""
        return MappingProxyType({**self._raw, **self._decoded})

    def decode_with(self, decoding: Decoding | None, /) -> State:
        """Return the same state with its values decoded for showing."""
        if decoding is None:
            return self
        decoded = {key: decoding(value) for key, value in self._raw.items()}
        return replace(self, _decoded={key: value for key, value in decoded.items() if value != self._raw[key]})

    def is_encoded(self, key: str, /) -> bool:
        """Return whether an SDK encoded or encrypted the value of a key; False without such a key."""
        return key in self._decoded or is_encrypted(self._raw.get(key, b""))

    @property
    def state_version(self) -> str:
        """Return the version of the complete state, which the server compares before it applies a change."""
        return state_version(self._raw)

    @property
    def object(self) -> str:
        """Return the object: service, key, and scope if there is one."""
        return f"{self.service}/{self.key}{f' of scope {self.scope}' if self.scope else ''}"

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per key for display: values with a secret name are ••• here, but not in the State itself.

        Columns: ``key``, ``value`` (decoded), ``encoding`` ("json", "text", "bytes", or "empty") and ``size`` (bytes);
        encoding and size are those of the stored bytes.
        """
        values = [mask_value(key, value) for key, value in self.shown.items()]
        columns = {
            "key": pd.Series(list(self._raw), dtype="str"),
            "value": pd.Series(values, dtype="object"),  # as it is: pandas' texts cannot hold half of a character
            "encoding": pd.Series(list(map(encoding_of, self._raw.values())), dtype="str"),
            "size": pd.Series(list(map(len, self._raw.values())), dtype="int64"),
        }
        return pd.DataFrame(columns)

    def __getitem__(self, key: str) -> Any:
        return decode(self._decoded[key] if key in self._decoded else self._raw[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    @property
    def summary(self) -> str:
        """Return the keys, or their number if there are many."""
        keys = ", ".join(map(repr, self._raw))
        text = (keys if len(keys) <= _MAX_REPR_LENGTH else f"{len(self)} keys") or "no keys"
        return f"{self.object!r}: {text}{self._hint}"

    @property
    def _hint(self) -> str:
        return f". {did_you_mean(self.near)}" if self.near else ""

    def document(self, zone: tzinfo = UTC, /) -> Document:
        """Return the keys and their values as blocks."""
        total = f"{plural(len(self), 'key')}, {sum(map(len, self._raw.values())):,} bytes"
        keys = pd.DataFrame({"key": pd.Series(list(self), dtype="object")})
        blocks = (
            Items(tuple(Item(each, Word("warning", "warning")) for each in self.warnings)),
            Table(_HEADS, BuiltRows(keys, self._row), shown=20),
        )
        foot = (total if self else f"no keys: its state is empty{self._hint}",)
        return replace(super().document(zone), title=self.object, blocks=blocks, foot=foot)

    def _row(self, row: Mapping[Any, Any]) -> Row:
        key, value = row["key"], self._raw[row["key"]]
        shown = format_value(key, self._decoded.get(key, value), _MAX_VALUE_LENGTH)
        name = truncate(key, _MAX_KEY_LENGTH) or "(empty)"
        return Row((Word(name, "value"), Word(shown, "value"), encoding_of(value), f"{len(value):,}"))
