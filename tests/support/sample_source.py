"""A source for tests: it answers panels from frames that a test sets, slowly or with an error if asked to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pandas as pd

from restate_lab.audit import AuditLog
from support.row_source import RowSource

COLUMNS = {
    "id": "str", "target": "str", "target_service_name": "str", "target_handler_name": "str",
    "target_service_key": "str", "target_service_ty": "str", "status": "str", "created_at": "datetime64[ms, UTC]",
    "modified_at": "datetime64[ms, UTC]", "scheduled_start_at": "datetime64[ms, UTC]",
    "completed_at": "datetime64[ms, UTC]", "retry_count": "Int64", "next_retry_at": "datetime64[ms, UTC]",
    "error_code": "str", "failure": "str", "step": "str", "deployment_id": "str", "invoked_by_id": "str",
    "journal_size": "Int64", "in_vqueue": "bool",
}  # fmt: skip
EMPTY = {
    "FROM sys_service": pd.DataFrame({"name": pd.Series(["agent", "Payments"], dtype="str")}),
    "FROM last_errors": pd.DataFrame({"id": [], "error_code": [], "failure": [], "step": []}, dtype="str"),
}


def invocations(*rows: Mapping[str, Any]) -> pd.DataFrame:
    """Return rows as a selection returns them; ``id`` may be a number, and missing columns are null."""
    full = [
        {
            "target": "agent/run",
            "target_service_name": "agent",
            "status": "running",
            "created_at": datetime(2026, 11, 25, tzinfo=UTC),
            "in_vqueue": False,
        }
        | dict(row)
        for row in rows
    ]
    for row in full:
        if isinstance(row["id"], int):
            row["id"] = f"inv_1{row['id']:033}"
    return pd.DataFrame(full, columns=list(COLUMNS)).astype(COLUMNS)


class SampleSource(RowSource):
    """A Source over one frame of invocations; ``asked`` has the statements, ``fails`` the error that it raises.

    ``agents`` has the ids of those whose journal has a response of a model.
    """

    name = "made"
    version = "1.7.12"
    now = datetime(2026, 11, 25, 4, tzinfo=UTC)

    def __init__(self, frame: pd.DataFrame, *, vqueues: bool = False) -> None:
        self.features = {"vqueues": vqueues}
        self.frame = frame
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.fails: Exception | None = None
        self.agents: set[str] = set()
        self.on_ask: Callable[[], object] = lambda: None
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()

    def rows(self, statement: str, params: Mapping[str, Any], **_: Any) -> pd.DataFrame:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self._answer(statement, dict(params))
        finally:
            with self._lock:
                self.at_once -= 1

    def _journals(self, params: dict[str, Any]) -> pd.DataFrame:
        """Return the columns of the payloads, or the ids of agents, each with the index of a response."""
        if "ids" not in params:
            return pd.DataFrame({"table": ["sys_journal"] * 2, "column": ["raw", "entry_json"]})
        return pd.DataFrame({"id": sorted(self.agents & set(params["ids"]))}, dtype="str").assign(index=2)

    def _answer(self, statement: str, params: dict[str, Any]) -> pd.DataFrame:
        self.asked.append((statement, params))
        self.on_ask()
        if self.fails is not None:
            raise self.fails
        if "FROM sys_journal\n" in statement or "information_schema" in statement:
            return self._journals(params)
        for text, frame in EMPTY.items():
            if text in statement and "sys_invocation_status s" not in statement:
                return frame.copy()
        if "is_retried" in statement:
            counts = self.frame.groupby(["target_service_name", "status"], dropna=False).size().rename("invocations")
            return counts.reset_index().assign(is_retried=False)
        if "date_bin" in statement:
            return pd.DataFrame({"kind": [], "start": [], "result": [], "invocations": []})
        if "count(*)" in statement:
            return pd.DataFrame({"invocations": [len(self.frame)]})
        frame = self.frame[self.frame["id"].isin(params["id"])] if "id" in params else self.frame
        return frame.head(params["limit"]).copy()


class LiveSource(SampleSource):
    """A source that panels accept as a live connection: nothing is sent through its transport."""

    address = "http://127.0.0.1:1"
    ingress = SimpleNamespace(address="http://127.0.0.1:2")
    live = True

    def __init__(self, frame: pd.DataFrame, *, read_only: bool = False) -> None:
        super().__init__(frame)
        self.transport = SimpleNamespace(audit=AuditLog())
        self.read_only = read_only
