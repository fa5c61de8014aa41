"""The manifest of evidence: the time and content of the freeze, its exclusions, and the sha256 of each file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from restate_lab.errors import EvidenceBroken
from restate_lab.server import complete_features

FORMAT = 2
NAME = "manifest.json"
MOST_BYTES = 64 << 20
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)  # pandas has nanoseconds for them

ONE_AFTER_ANOTHER = (
    "The tables were read one after another, in the order of this list. If data changed during the freeze, one table "
    "can have the old value and another table the new value. Ages are relative to `now`, the server's clock directly "
    "after the invocations were read; tables that were read later can have newer data."
)


@dataclass(frozen=True, slots=True)
class FrozenServer:
    """The cluster that was frozen; ``features`` has also the flags that its version does not report."""

    name: str
    version: str
    features: Mapping[str, bool]

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", complete_features(self.version, self.features))


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """One column of a file: the server's name of its type, whether it can be null, and Arrow's name of the type."""

    name: str
    type: str
    nullable: bool
    arrow: str


@dataclass(frozen=True, slots=True)
class TableFile:
    """One table in one Parquet file; ``read_at`` is the server's clock at the start of the read."""

    table: str
    file: str
    sql: str
    read_at: datetime
    rows: int
    size: int
    sha256: str
    columns: tuple[StoredColumn, ...]


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """One column of a table or view; ``type`` is the server's name of its type, None if it is not reported."""

    name: str
    type: str | None
    nullable: bool


@dataclass(frozen=True, slots=True)
class StoredView:
    """A view, which ``definition``, the server's own statement, creates from the files."""

    name: str
    definition: str
    columns: tuple[SourceColumn, ...]


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A table, view or column that is not frozen, with the reason; without ``column``, the whole table or view."""

    table: str
    column: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Redaction:
    """The redaction: the patterns, the number of masked values per pattern, and unreadable values by column.

    ``unread`` values were masked as a whole. ``not_json`` values, in evidence of earlier versions, were not changed.
    """

    patterns: tuple[str, ...]
    masked: Mapping[str, int]
    not_json: Mapping[str, int] = field(default_factory=dict)
    unread: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of evidence; timestamps are the server's clock, in UTC.

    ``new_runs`` are the ids that got a new run during the freeze; only their rows of sys_invocation_status are frozen.
    None means that these ids are unknown.
    """

    format: int
    server: FrozenServer
    restate_lab: str
    started_at: datetime
    now: datetime
    ended_at: datetime
    consistency: str
    payloads: bool
    scope: Mapping[str, Any] | None
    redaction: Redaction
    files: tuple[TableFile, ...]
    views: tuple[StoredView, ...]
    excluded: tuple[Exclusion, ...]
    new_runs: tuple[str, ...] | None = None

    def to_json(self) -> bytes:
        """Return the manifest as canonical JSON: sorted keys, UTF-8, one line feed at the end."""
        plain = _ADAPTER.dump_python(self, mode="json")
        return (json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, *, where: str) -> Manifest:
        """Read a manifest; ``where`` is the folder, for messages.

        Raises:
            EvidenceBroken: the content is not a manifest, or has another format version.
        """
        try:
            version = json.loads(content)["format"]
            if type(version) is not int or version != FORMAT:
                raise EvidenceBroken(
                    f"{where}: {NAME} has format {repr(version)[:40]}, but this version of restate_lab reads only "
                    f"format {FORMAT}: install the version that froze it, or a newer one."
                )
            manifest = _ADAPTER.validate_json(content, strict=True)
        except (ValidationError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = str(error).partition("\n")[0]
            raise EvidenceBroken(
                f"{where}: {NAME} is not a manifest of restate_lab, or is incomplete ({reason})."
            ) from error
        for name in ("started_at", "now", "ended_at"):
            time = getattr(manifest, name)
            if time.tzinfo is None or not _FIRST < time < _LAST:
                raise EvidenceBroken(f"{where}: {NAME} has {name} {time}, which is not a plausible time.")
        return manifest


def type_name(kind: pa.DataType) -> str:
    """Return Arrow's name of a type after a round trip through Parquet, which renames the items of lists."""
    return str(kind).replace("list<item:", "list<element:")


_ADAPTER: TypeAdapter[Manifest] = TypeAdapter(Manifest)
