"""The manifest of evidence: what was frozen, when and how, what is excluded, and the sha256 of each file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from restate_lab.errors import EvidenceBroken

__all__ = [
    "FORMAT",
    "NAME",
    "Exclusion",
    "FrozenServer",
    "Manifest",
    "Redaction",
    "StoredColumn",
    "StoredView",
    "TableFile",
    "ViewColumn",
    "type_name",
]

FORMAT = 2
NAME = "manifest.json"
MOST_BYTES = 64 << 20
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

ONE_AFTER_ANOTHER = (
    "The tables were read one after another, in the order of this list, and not at a single instant: what changed "
    "meanwhile can stand in one table as it was before and in another as it was after. Ages count from `now`, the "
    "server's clock right after the invocations were read; what was read later can be newer."
)


@dataclass(frozen=True, slots=True)
class FrozenServer:
    """The cluster that was frozen."""

    name: str
    version: str
    features: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """One column of a file: the server's name for its type, whether it may be null, and Arrow's name of the type."""

    name: str
    type: str
    nullable: bool
    arrow: str


@dataclass(frozen=True, slots=True)
class TableFile:
    """One table in one Parquet file; ``read_at`` is the server's clock when its reading began."""

    table: str
    file: str
    sql: str
    read_at: datetime
    rows: int
    size: int
    sha256: str
    columns: tuple[StoredColumn, ...]


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """One column of a view."""

    name: str
    type: str | None
    nullable: bool


@dataclass(frozen=True, slots=True)
class StoredView:
    """A view, which is created again from the files by ``definition``, the server's own statement."""

    name: str
    definition: str
    columns: tuple[ViewColumn, ...]


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A table, view or column that is not frozen, and why; ``column`` None means the whole table or view."""

    table: str
    column: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Redaction:
    """What was masked: the patterns, how often each hit, and values that could not be read, by column.

    ``unread`` values were masked whole. ``not_json`` values, in evidence of earlier versions, were left as they were.
    """

    patterns: tuple[str, ...]
    masked: Mapping[str, int]
    not_json: Mapping[str, int] = field(default_factory=dict)
    unread: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description that evidence has of itself; timestamps are the server's clock, UTC.

    ``new_runs`` are the ids that got a new run while they were frozen: of these only the row of sys_invocation_status
    is frozen. None means that it is not known which they are.
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
        """Return the manifest as canonical JSON: keys sorted, UTF-8, one line feed at the end."""
        plain = _ADAPTER.dump_python(self, mode="json")
        return (json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, *, where: str) -> Manifest:
        """Read a manifest; ``where`` is the folder, for messages.

        Raises:
            EvidenceBroken: it is none, or of a newer version of restate_lab.
        """
        try:
            version = json.loads(content)["format"]
            if type(version) is not int or version != FORMAT:
                raise EvidenceBroken(
                    f"{where}: {NAME} has format {repr(version)[:40]}, and this restate_lab reads {FORMAT}: install "
                    f"the version that froze it, or a newer one."
                )
            manifest = _ADAPTER.validate_json(content, strict=True)
        except (ValidationError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = str(error).partition("\n")[0]
            raise EvidenceBroken(f"{where}: {NAME} is no manifest of restate_lab, or is cut off ({reason}).") from error
        for name in ("started_at", "now", "ended_at"):
            if not _is_plausible(getattr(manifest, name)):
                raise EvidenceBroken(
                    f"{where}: {NAME} has {name} {getattr(manifest, name)}, which no server's clock says."
                )
        return manifest

    @property
    def digest(self) -> str:
        """Return the sha256 of the manifest, which stands for all of the evidence."""
        return hashlib.sha256(self.to_json()).hexdigest()


def _is_plausible(timestamp: datetime) -> bool:
    """Return whether a timestamp has a zone, and lies where pandas can count nanoseconds."""
    return timestamp.tzinfo is not None and _FIRST < timestamp < _LAST


def type_name(kind: pa.DataType) -> str:
    """Return Arrow's name of a type, as it comes back from Parquet, which renames what lists hold."""
    return str(kind).replace("list<item:", "list<element:")


_ADAPTER: TypeAdapter[Manifest] = TypeAdapter(Manifest)
