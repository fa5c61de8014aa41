"""The shards of an archive: several archivers write it at the same time, each for some services of the cluster.

A cluster is archived as a whole or by shards, and no service is in two of them. A shard is active from its first visit
until it is released. No time decides that: the layout is a property of the table ``invocations``, and Delta refuses a
commit by a program that opened the table before a change of its properties. So no archiver can commit runs that it
selected under an earlier layout. Runs that a shard has committed before it was released are there for the next one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from restate_lab._public import did_you_mean, nearest_names
from restate_lab._text import join
from restate_lab.client.arguments import check_name
from restate_lab.errors import ArgumentError
from restate_lab.history.cluster import NAME
from restate_lab.history.commits import ClusterTables
from restate_lab.history.store import ArchiveStore, set_properties
from restate_lab.history.tables import describe_format

if TYPE_CHECKING:
    from deltalake import DeltaTable

_PROPERTY = "restate_lab.shards."
_FEW = 5
_RELEASE = "stop its archiver, and then release it: restate-lab history release"


@dataclass(frozen=True, slots=True)
class ShardLayout:
    """Which archivers a cluster has in an archive.

    ``active`` has the services of each active shard, ``released`` the names of earlier shards. ``is_whole``: its only
    archiver visits the whole cluster. ``is_stored`` is False while the archive has never had a shard.
    """

    active: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    released: frozenset[str] = frozenset()
    is_whole: bool = True
    is_stored: bool = False

    @classmethod
    def of(cls, invocations: DeltaTable, cluster: str) -> ShardLayout:
        """Return the layout of a cluster at the version of the table ``invocations``."""
        text = invocations.metadata().configuration.get(_PROPERTY + cluster)
        if text is None:
            return cls()
        value = json.loads(text)
        active = {name: tuple(services) for name, services in value["active"].items()}
        return cls(active, frozenset(value["released"]), value["whole"], is_stored=True)

    def store_in(self, invocations: DeltaTable, cluster: str) -> None:
        """Commit the layout."""
        value = {"active": self.active, "released": sorted(self.released), "whole": self.is_whole}
        set_properties(invocations, {_PROPERTY + cluster: json.dumps(value, sort_keys=True)})

    @property
    def shards(self) -> frozenset[str]:
        """Return the names of all shards, active and released."""
        return self.released | self.active.keys()

    def inactive(self, shard: str | None) -> list[str | None]:
        """Return the archivers, None for the whole cluster, whose last visit ``shard`` may have to complete."""
        if not self.is_stored:
            return []
        others: set[str | None] = {*self.released, *([] if self.is_whole else [None])}
        return sorted(others - {shard}, key=lambda name: name or "")

    def has(self, shard: str | None, services: tuple[str, ...]) -> bool:
        """Return whether this archiver is active with these services."""
        return self.is_whole if shard is None else self.active.get(shard) == services

    def with_archiver(self, shard: str | None, services: tuple[str, ...]) -> ShardLayout:
        """Return the layout in which this archiver is active, too."""
        if shard is None:
            return replace(self, is_whole=True, is_stored=True)
        active = {**self.active, shard: services}
        return ShardLayout(active, self.released - {shard}, is_whole=False, is_stored=True)

    def without(self, shard: str | None) -> ShardLayout:
        """Return the layout without an active shard, or without any active archiver."""
        ended = self.active.keys() if shard is None else {shard}
        active = {name: services for name, services in self.active.items() if name not in ended}
        return ShardLayout(active, self.released | ended, is_whole=False, is_stored=True)


def parse_shard(shard: object, service: str | Iterable[str] | None) -> tuple[str | None, tuple[str, ...]]:
    """Return the name of a shard with its services, sorted; None and () for the whole cluster.

    Raises:
        ArgumentError: one of both is missing or malformed.
    """
    services = tuple(sorted({service} if isinstance(service, str) else set(service or ())))
    if (shard is None) != (not services):
        missing, there = ("shard", "service") if shard is None else ("service", "shard")
        raise ArgumentError(
            f"{there}= (--{there}) needs {missing}= (--{missing}): an archiver of some services has a name, such as "
            f"shard='orders', and its services, such as service=['Orders', 'Parcels']."
        )
    for name in services:
        check_name("service", name)
    if shard is not None and not (isinstance(shard, str) and NAME.fullmatch(shard)):
        raise ArgumentError(
            f"shard {shard!r} is not valid; use at most 100 ASCII letters, digits, '_', '-', '.' and spaces, beginning "
            f"with a letter or a digit."
        )
    return shard, services


def check_services(services: Iterable[str], known: Collection[str]) -> None:
    """Check that a cluster or its archive has these services; a misspelled name has no invocations.

    Raises:
        ArgumentError: it has not.
    """
    for name in services:
        if name not in known:
            hint = did_you_mean(nearest_names(name, sorted(known)))
            raise ArgumentError(
                f"the cluster has no service {name!r}, only {join(sorted(known), _FEW)}. {hint}".rstrip()
            )


def claim(tables: ClusterTables, services: tuple[str, ...], known: Collection[str], *, is_first: bool) -> ShardLayout:
    """Check that an archiver may visit these services, let its shard be active, and return the layout.

    ``known`` are the services of the cluster and its archive. ``is_first``: the archiver has made no visit since it was
    started. A later visit does not take up a shard that was released meanwhile. Tables whose properties change here are
    opened again.

    Raises:
        ArgumentError: another archiver has one of the services, or the shard was released.
    """
    store, cluster, shard = tables.store, tables.cluster, tables.shard
    layout = ShardLayout.of(tables.tables["invocations"], cluster)
    if layout.has(shard, services):
        return layout
    visited = "AND outcome IN ('complete', 'part', 'repaired', 'invalid')"
    is_whole = layout.is_whole and (
        layout.is_stored or bool(replace(tables, shard=None).rows_of_shard("visits", ["outcome"], visited))
    )
    _check_free(layout, tables, services, is_whole=is_whole)
    if not is_first:
        raise ArgumentError(
            f"{store}: {describe(shard)} of {cluster} was released while it was archived. Start the archiver again to "
            f"claim its services."
        )

    check_services(services, known)

    def add(invocations: DeltaTable) -> ShardLayout:
        newest = ShardLayout.of(invocations, cluster)
        began = newest.is_stored or invocations.transaction_version(cluster) is not None
        _check_free(newest, tables, services, is_whole=is_whole or (newest.is_whole and began))
        changed = newest.with_archiver(shard, services)
        changed.store_in(invocations, cluster)
        return changed

    _refuse_earlier_programs(store)
    added: ShardLayout = store.change("invocations", add)
    for name in ("visits", "invocations"):
        tables.reopen(name)
    return added


def release(store: ArchiveStore, cluster: str, shard: str | None) -> pd.DataFrame:
    """End a shard, or without a name all shards or the archiver of the whole cluster; nothing is deleted.

    Columns: ``shard, services``.

    Raises:
        ArgumentError: no such archiver is active.
    """

    def end(invocations: DeltaTable) -> ShardLayout:
        layout = ShardLayout.of(invocations, cluster)
        if (shard is not None and shard not in layout.active) or not (layout.active or layout.is_whole):
            wanted = "active shard" if shard is None else f"active shard {shard!r}"
            raise ArgumentError(f"{store}: {cluster} has no {wanted}: it is archived by {describe_active(layout)}.")
        layout.without(shard).store_in(invocations, cluster)
        return layout

    _refuse_earlier_programs(store)
    before: ShardLayout = store.change("invocations", end)
    ended = before.active if shard is None else {shard: before.active[shard]}
    rows = [{"shard": name, "services": ", ".join(services)} for name, services in sorted(ended.items())]
    return pd.DataFrame(rows or [{"shard": describe(None), "services": "all"}])


def describe(shard: str | None) -> str:
    """Return the name of an archiver in a sentence."""
    return "the whole cluster" if shard is None else f"the shard {shard!r}"


def describe_active(layout: ShardLayout) -> str:
    """Return the names of the active archivers with their services."""
    if layout.is_whole:
        return describe(None)
    names = [f"{name!r} ({join(services, _FEW)})" for name, services in sorted(layout.active.items())]
    return join(names, _FEW) or "no archiver"


def _check_free(layout: ShardLayout, tables: ClusterTables, services: tuple[str, ...], *, is_whole: bool) -> None:
    where, cluster, shard = tables.store.where, tables.cluster, tables.shard
    if shard is None:
        if layout.active:
            raise ArgumentError(
                f"{where}: {cluster} is archived by the shards {describe_active(layout)}, so its whole cluster cannot "
                f"be archived. Pass service= and shard= (--service, --shard); or stop the archivers of the shards and "
                f"release them: restate-lab history release."
            )
        return
    if is_whole:
        raise ArgumentError(
            f"{where}: an archiver visits the whole cluster {cluster}, so {describe(shard)} would archive its services "
            f"a second time. To archive shards instead, {_RELEASE}."
        )
    mine = layout.active.get(shard, services)
    if mine != services:
        raise ArgumentError(
            f"{where}: {describe(shard)} of {cluster} has the services {join(mine, _FEW)}; this visit has "
            f"{join(services, _FEW)}. Choose another name; to change its services, {_RELEASE} --shard {shard}."
        )
    for other, taken in sorted(layout.active.items()):
        common = sorted(set(taken) & set(services))
        if other != shard and common:
            raise ArgumentError(
                f"{where}: {join(common, _FEW)} of {cluster} is archived by {describe(other)}, which has the services "
                f"{join(taken, _FEW)}. A service can be in one shard only. To move it, {_RELEASE} --shard {other}."
            )


def _refuse_earlier_programs(store: ArchiveStore) -> None:
    """Give the archive the version in which it can have shards."""

    def mark(visits: DeltaTable) -> Any:
        if visits.metadata().description != describe_format():
            visits.alter.set_table_description(describe_format())

    store.change("visits", mark)
