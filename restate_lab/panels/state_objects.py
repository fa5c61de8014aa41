"""Which objects have state: a search by service and by a part of the key, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from restate_lab.client.schema import checked, tables_of, translated
from restate_lab.source import Source

__all__ = ["Objects", "Search", "find_objects", "stateful_services"]

LIMIT = 1_000  # objects
_SERVICES = "SELECT name FROM sys_service WHERE ty <> 'service'"
_UNSCOPED = "SELECT DISTINCT service_name, service_key, CAST(NULL AS VARCHAR) AS scope FROM state"
_SCOPED = "SELECT DISTINCT service_name, service_key, scope FROM state"
_BY_SERVICE = "service_name = :service"
# Not LIKE: a key may have its wildcards in it.
_BY_KEY = "strpos(service_key, :key) > 0"
_NAMES = ["service_name", "service_key", "scope"]


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for: objects of a service (None: of all), with this text somewhere in their key ("": any)."""

    service: str | None = None
    key: str = ""


@dataclass(frozen=True)
class Objects:
    """The objects that were found, one row each, and the statement that found them."""

    frame: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({name: [] for name in _NAMES}, dtype="str"))
    sql: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    is_cut: bool = False

    @property
    def note(self) -> str:
        """Return what is to say of objects that are not in the frame."""
        if self.is_cut:
            return f"These are {len(self.frame):,} objects in no order, and there are more: name a service or a key."
        return ""


@translated
def stateful_services(source: Source) -> list[str]:
    """Return the virtual objects and workflows that are registered, sorted."""
    services = checked(source.arrow(_SERVICES, progress=False), _SERVICES, source)
    return sorted(str(name) for name in services["name"].to_pylist())


@translated
def find_objects(source: Source, search: Search, *, limit: int = LIMIT) -> Objects:
    """Return the objects that have state and meet the search, at most ``limit``, sorted by service and key.

    A scan of the keys of every state, which ends as soon as there are enough.
    """
    tables = tables_of(source)
    has_scope = bool((tables["table"].eq("state") & tables["column"].eq("scope")).any())
    params: dict[str, Any] = {}
    conditions = []
    if search.service is not None:
        conditions.append(_BY_SERVICE)
        params["service"] = search.service
    if search.key:
        conditions.append(_BY_KEY)
        params["key"] = search.key
    where = f"\nWHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"{_SCOPED if has_scope else _UNSCOPED}{where}\nLIMIT :limit"
    params["limit"] = limit + 1  # whether one more comes tells a whole answer from a cut one
    rows = checked(source.sql(sql, params=params, progress=False), sql, source)
    frame = rows.iloc[:limit].sort_values(_NAMES, ignore_index=True)
    return Objects(frame, sql, params, is_cut=len(rows) > limit)
