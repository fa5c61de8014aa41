"""What evidence has of its cluster, as its manifest says: which part, what is missing, what is masked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from restate_lab.errors import ArgumentError
from restate_lab.evidence.manifest import Manifest
from restate_lab.evidence.redaction import Pattern, parse_patterns
from restate_lab.source import Coverage

__all__ = ["coverage_of"]

_VIEW = "sys_invocation"
_VIEWED = ("sys_invocation_status", "sys_invocation_state")


def coverage_of(manifest: Manifest, tables: pd.DataFrame) -> Coverage:
    """Return the coverage of evidence with these ``tables()``."""
    return Coverage(
        part="" if manifest.scope is None else _part(manifest.scope),
        payloads=manifest.payloads,
        missing={
            f"{each.table}.{each.column}" if each.column else each.table: each.reason for each in manifest.excluded
        },
        masked=frozenset(_masked(manifest, zip(tables["table"], tables["column"], strict=True))),
        incomplete=frozenset(manifest.new_runs or ()),
    )


def _masked(manifest: Manifest, names: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Give the columns that a pattern of ``redact=`` is about, also where it masks only a part of their values."""
    columns: dict[str, list[str]] = {}
    for table, column in names:
        columns.setdefault(table, []).append(column)
    patterns: list[Pattern] = []
    for text in manifest.redaction.patterns:
        try:
            patterns += parse_patterns(text, columns)
        except ArgumentError:
            continue  # about a column that is not here
    for table, found in columns.items():
        for column in found:
            tables = (table, _VIEW) if table in _VIEWED else (table,)
            if any(each.covers(name, column) for each in patterns for name in tables):
                yield f"{table}.{column}"


def _part(scope: Mapping[str, Any]) -> str:
    asked = dict(scope.get("asked", {})).items()
    said = (f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}" for name, value in asked)
    return ", ".join(said) or "some invocations"
