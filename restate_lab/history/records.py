"""The records of visits: one row of the archive's table ``visits`` each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, TypeAlias

import pyarrow as pa

from restate_lab.audit import process_info
from restate_lab.client.lab import Lab
from restate_lab.durations import DurationInput
from restate_lab.history.store import ArchiveStore
from restate_lab.history.tables import SCHEMA_VERSION, TABLES

Record: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitOptions:
    """The options of a visit; ``cluster`` is the name of the cluster in the archive."""

    cluster: str
    payloads: bool
    redact: tuple[str, ...]
    samples: bool
    timeout: DurationInput | None
    same_cluster: bool = False


def common_record(lab: Lab, options: VisitOptions, started: datetime) -> Record:
    """Return the values of a record that each visit has."""
    info = process_info()
    return {
        "cluster_name": options.cluster,
        "day": started.date(),
        "visit": None,
        "schema_version": SCHEMA_VERSION,
        "started_at": started,
        "address": lab.address,
        "archived_by": f"{info['user']}@{info['host']} {info['pid']}",
        "restate_lab_version": version("restate-lab"),
        "new_runs": 0,
        "payloads": options.payloads,
        "redact": list(options.redact),
    }


def failed_record(lab: Lab, options: VisitOptions, error: Exception, started: datetime) -> Record:
    """Return the record of a failed visit; its times are those of this machine's clock."""
    return {
        **common_record(lab, options, started),
        "ended_at": datetime.now(UTC),
        "outcome": "failed",
        "error": f"{type(error).__name__}: {error}"[:2_000],
    }


def write_record(store: ArchiveStore, record: Record) -> None:
    """Write the record of a visit that wrote nothing else."""
    store.append(store.open("visits"), table_of_records([record]), cluster=record["cluster_name"])


def table_of_records(records: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return records as rows of ``visits``; missing values are null."""
    own = TABLES["visits"].own
    return pa.table({name: pa.array([each.get(name) for each in records], kind) for name, kind in own.items()})
