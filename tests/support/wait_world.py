"""A source with rows made by hand in which invocations wait for each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any

import pandas as pd

from restate_lab.analysis.questions import catalog
from restate_lab.client.sql.parts import complete_for
from support.blocked_rows import HOUR_AGO, NOW, command_rows, inv, suspended_rows
from support.row_source import RowSource
from support.shaped import reshape

QUESTIONS = ("blocked_keys",)
QUESTION_COLUMNS = {
    "suspended": "id status target modified_at created_at invoked_by_id completions signals",
    "suspended_of": "id status target modified_at created_at invoked_by_id completions signals",
    "counts": "suspended pending entries",
    "commands": "id entry_index entry_type name body",
    "commands_of_suspended": "id entry_index entry_type name body",
    "blocked_keys": "holder_id waiting",
    "key_waiters": "id target key since created_at invoked_by_id holder_id is_known",
    "open_calls": "id target callee_id since created_at invoked_by_id",
    "combinations": "id future_json",
    "states": "id target status created_at modified_at scheduled_start_at attempts next_retry_at",
    "last_errors": "id code message step",
}


@dataclass
class World(RowSource):
    """A source with rows made by hand; invocations are referred to by names."""

    made: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in QUESTION_COLUMNS})
    entries: int = 1_000_000_000
    """The total length of all journals: so large that those of suspended invocations are read by id."""
    things: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    name: str = "prod"
    version: str = "1.7.12"
    features: Mapping[str, bool] = field(default_factory=lambda: {"vqueues": False})
    now: datetime = NOW

    def suspend(self, waiter: str, kind: str, callee: str | None = None, *, minute: int = 0, **more: Any) -> World:
        """Add one more wait to an invocation; ``minute`` is its beginning, in minutes after an hour ago."""
        began = HOUR_AGO + timedelta(minutes=minute)
        row = {"id": inv(waiter), "target": more.pop("target", f"Svc/{waiter}/go"), "waits_for": kind}
        row |= {"callee_id": inv(callee) if callee else None, "waiting_since": began, "created_at": began}
        self.things.append(row | more)
        return self

    def queue(self, waiter: str, key: str, holder: str | None, *, caller: str | None = None) -> World:
        self.made["key_waiters"].append(
            {
                "id": inv(waiter),
                "target": f"{key}/take",
                "key": key,
                "since": HOUR_AGO,
                "created_at": HOUR_AGO,
                "invoked_by_id": inv(caller) if caller else None,
                "holder_id": inv(holder) if holder else None,
                "is_known": True,
            }
        )
        return self

    def be(self, name: str, status: str, **more: Any) -> World:
        row = {"id": inv(name), "target": f"Svc/{name}/go", "status": status}
        self.made["states"].append(row | {"created_at": HOUR_AGO, "modified_at": HOUR_AGO} | more)
        return self

    def ring(self, *names: str) -> World:
        """Make each hold its key and call the key of the next."""
        for minute, (here, there) in enumerate(zip(names, [*names[1:], names[0]], strict=True)):
            call = f"{here}>{there}"
            self.suspend(here, "Call", call, minute=minute).queue(call, f"Svc/{there}", there, caller=here)
        return self

    def tables(self) -> pd.DataFrame:
        needs = {need for name in QUESTIONS for need in _question(name).needs}
        columns = [("sys_invocation_status", "suspended_waiting_future_json")]
        columns += [(need, "id") for need in sorted(needs | TABLES)]
        return pd.DataFrame(columns, columns=["table", "column"])

    def rows(self, statement: str, given: Mapping[str, Any], **_: Any) -> pd.DataFrame:
        name = _NAMES[statement]
        self.asked.append(name)
        rows = self._made(name)
        if "ids" in given:
            wanted = set(given["ids"])
            rows = [row for row in rows if row["id"] in wanted]
        nothing = dict.fromkeys(QUESTION_COLUMNS[name].split())
        rows = [nothing | row for row in rows[: given.get("limit")]]
        return reshape(pd.DataFrame(rows, columns=list(nothing), dtype="object"), statement)

    def _made(self, name: str) -> list[dict[str, Any]]:
        if name == "counts":
            suspended = len(suspended_rows(self.things))
            return [{"suspended": suspended, "pending": len(self.made["key_waiters"]), "entries": self.entries}]
        if name.startswith("commands"):
            return command_rows(self.things)
        if name.startswith("suspended"):
            return sorted(suspended_rows(self.things), key=lambda row: row["modified_at"])
        return self.made[name]


def _question(name: str) -> catalog.Question:
    question = catalog.read_question(name)
    assert question is not None
    return question


TABLES = {"sys_inbox", "sys_keyed_service_status"}
_TEXTS = {_question(name).sql: name for name in QUESTIONS} | {
    file.read_text("utf-8"): file.name.removesuffix(".sql")
    for file in files("restate_lab.analysis").joinpath("waits", "sql").iterdir()
}
_HAS = (TABLES | {"sys_invocation_status.suspended_waiting_future_json"}).__contains__
_NAMES = {complete_for(text, _HAS): name for text, name in _TEXTS.items()}
