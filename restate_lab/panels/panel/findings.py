"""The findings of the doctor at the top of a panel, with buttons to show, explain, plan or note."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter

from restate_lab._text import format_duration, one_line, plural
from restate_lab.actions.note import note
from restate_lab.analysis.contrast.model import LEAST
from restate_lab.analysis.doctor import Diagnosis
from restate_lab.analysis.doctor.checks import CHECKS
from restate_lab.analysis.doctor.diagnosis import (
    addition_lines,
    gap_reasons,
    headline_of,
    item_of,
    planned_call,
    unread_notes,
    with_notes,
)
from restate_lab.client.lab import is_lab
from restate_lab.document import Fold, Items, Text
from restate_lab.document.html import blocks_html
from restate_lab.errors import ArgumentError
from restate_lab.frames import records
from restate_lab.notes import LONGEST
from restate_lab.panels._assets import read_assets
from restate_lab.panels._base.content import ContentWidget, ViewMessage
from restate_lab.panels.contrast import QUESTION
from restate_lab.panels.panel.done import ActionLog
from restate_lab.source import Source
from restate_lab.status import SIGNS

_SHOWN = 200
_GROUPED = 3  # findings of one check after its first one that share a line, or more


class _Run(ViewMessage):
    type: Literal["run"]


class _Act(ViewMessage):
    type: Literal["act"]
    finding: int
    act: Literal["show", "queue", "why", "share", "plan"]
    revision: int


class _Note(ViewMessage):
    type: Literal["note"]
    finding: int | None
    text: Annotated[str, Field(max_length=LONGEST)]
    until: Annotated[str, Field(max_length=40)]
    revision: int


_Message: TypeAlias = _Run | _Act | _Note


class FindingsView(ContentWidget):
    """Show a diagnosis.

    ``act`` is called with "show", "queue", "why", "share" or "plan" and the index of the finding. ``run`` is called
    without arguments to run the doctor again. A note of the user is written here, because it changes no cluster.
    """

    labels: Mapping[str, str] = MappingProxyType({"note": "text", "until": "until"})

    _esm = read_assets("_assets/elements.js", "_assets/roving.js", "panel/findings.js")
    _css = read_assets("panel/findings.css")
    messages = TypeAdapter(Annotated[_Message, Field(discriminator="type")])

    def __init__(
        self,
        source: Source,
        *,
        guard: Callable[[Callable[..., object]], Callable[..., None]],
        act: Callable[[str, int], object],
        run: Callable[[], object],
    ) -> None:
        self._act_on, self._run = act, run
        self._source, self._log = source, ActionLog(source)
        self._can_plan = False
        self._revision = 0
        self.diagnosis: Diagnosis | None = None
        self._entered = {"text": "", "until": _UNTIL}
        super().__init__(guard(self._act))
        begin = {"state": "none", "revision": 0, "folded": False, "noted": 0, "done": []}
        self.show({**begin, "can_note": is_lab(source), "signs": dict(SIGNS)})

    def fold(self, *, on: bool) -> None:
        """Show only the counts, or also the findings."""
        self.show({**self.content, "folded": on})

    def begin(self) -> None:
        """Show that the doctor is running; the previous findings stay."""
        self.show({**self.content, "state": "running"})

    def fail(self, reason: str) -> None:
        """Show why the doctor failed."""
        self.show({**self.content, "state": "failed", "reason": reason})

    def show_notes(self) -> None:
        """Show what this user did and noted, and the present notes about the findings."""
        if not self.content["can_note"]:
            return
        self.show({**self.content, "done": self._log.read()})
        if self.diagnosis is None:
            return
        noted = with_notes(self.diagnosis, self._log.notes)
        if not noted.findings[_NOTED].equals(self.diagnosis.findings[_NOTED]):
            self.show_diagnosis(noted, can_plan=self._can_plan)

    def enter(self, name: str, value: str, /) -> None:
        """Enter the text of the next note, or the end of its acknowledgement, such as "4h"."""
        self._entered[name] = value

    def show_diagnosis(self, diagnosis: Diagnosis, *, can_plan: bool) -> None:
        """Show the findings of the doctor."""
        self._revision += 1
        self.diagnosis, self._can_plan = diagnosis, can_plan
        rows = records(diagnosis.findings)[:_SHOWN]
        gaps, checked = [*gap_reasons(diagnosis), *unread_notes(diagnosis)], diagnosis.checked
        self.show(
            {
                **{name: self.content[name] for name in ("folded", "can_note", "noted", "done", "signs")},
                "state": "done",
                "revision": self._revision,
                "verdict": diagnosis.verdict,
                "headline": headline_of(diagnosis).capitalize(),
                "counts": [[name, int((diagnosis.findings["severity"] == name).sum())] for name in SIGNS],
                "at": diagnosis.read_at.timestamp(),
                "checks": f"{plural(len(checked), 'check')} in {format_duration(diagnosis.seconds)}",
                "gaps": blocks_html(Fold(f"Not checked: {len(gaps)}", tuple(map(Text, gaps)))) if gaps else "",
                "known": int(diagnosis.findings["known"].sum()),
                "rows": [_row(row, diagnosis, at, can_plan=can_plan) for at, row in enumerate(rows)],
                "groups": _groups(rows, dict(zip(checked["check"], checked["description"], strict=True))),
                "more": len(diagnosis.findings) - len(rows),
            }
        )

    def controls(self, row: Any, /) -> dict[str, dict[str, Any]]:
        """Return the message of a click: "Run doctor" or "Run again", or on the buttons of the finding ``row``."""
        if row is None:
            run = "Run doctor" if self.content["state"] == "none" else "Run again"
            return {run: {"type": "run"}, **self._note_control(None)}
        rows = self.content.get("rows", ())
        buttons = rows[row]["buttons"] if row in range(len(rows)) else ()
        message = {"type": "act", "finding": row, "revision": self._revision}
        acts = {button["label"]: {**message, "act": button["act"]} for button in buttons}
        return acts | (self._note_control(row) if row in range(len(rows)) else {})

    def _note_control(self, finding: int | None) -> dict[str, dict[str, Any]]:
        """Return the message of "Note" with the entered text; without a finding it acknowledges nothing."""
        if not self.content["can_note"]:
            return {}
        until = self._entered["until"] if finding is not None else ""
        values = {"finding": finding, "text": self._entered["text"], "until": until, "revision": self._revision}
        return {"Note…": {"type": "note", **values}}

    def _act(self, message: _Message) -> None:
        if isinstance(message, _Run):
            self._run()
        elif isinstance(message, _Note):
            self._write_note(message)
        elif message.revision == self._revision:  # otherwise the click was on outdated findings
            self._act_on(message.act, message.finding)

    def _write_note(self, message: _Note) -> None:
        """Write a note; its finding must be the one that the user saw."""
        is_outdated = message.revision != self._revision or message.finding not in range(
            len(self.content.get("rows", ()))
        )
        if message.finding is not None and is_outdated:
            raise ArgumentError("the findings have changed, so nothing was noted: look at them, and note again.")
        finding = None
        if message.finding is not None and self.diagnosis is not None:
            finding = self.diagnosis.findings.iloc[[message.finding]]
        note(self._source, message.text, finding=finding, until=message.until or None)
        self._entered["text"] = ""
        self.show_notes()
        self.show({**self.content, "noted": self.content["noted"] + 1})  # which closes the form


_NOTED = ["known", "note"]  # columns of findings
_UNTIL = "1h"  # the usual end of an acknowledgement
_NOUNS = {"retry_storm": "retries", "blocked_keys": "holder"}
_LONGEST_PLACE = 60  # characters


def name_of_finding(row: Mapping[Any, Any], *, queue: bool = False) -> str:
    """Return the name of a finding as a filter: "finding: Payments/charge retries (15)"."""
    noun = "queue" if queue else _NOUNS.get(row["check"], row["check"].replace("_", " "))
    number = row["queued"] if queue else len(row["ids"])
    return f"finding: {one_line(row['where'], _LONGEST_PLACE)} {noun} ({number:,})"


def _groups(rows: Sequence[Mapping[Any, Any]], descriptions: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the findings that share a line: those of one check and severity after its first one, if they are many."""
    members: dict[tuple[str, str], list[int]] = {}
    for at, row in enumerate(rows):
        if row["known"]:
            continue
        members.setdefault((row["severity"], row["check"]), []).append(at)
    return [
        {"rows": rest, "label": f"{len(rest)} more: {descriptions.get(check, check)}"}
        for (_, check), (_, *rest) in members.items()
        if len(rest) >= _GROUPED
    ]


def _row(row: Mapping[Any, Any], diagnosis: Diagnosis, at: int, *, can_plan: bool) -> dict[str, Any]:
    ids = row["ids"]
    buttons = []
    if row["queued"]:
        buttons += [("show", "Holder"), ("queue", f"Queue {row['queued']:,}"), ("why", "Why")]
    elif ids and ids[0].startswith("inv_"):
        buttons += [("show", f"Show {len(ids):,}"), ("why", "Why")]
    elif ids and ids[0].startswith("dp_"):
        buttons.append(("show", f"Show {len(ids):,}"))
    if len(ids) >= LEAST and row["check"] in CHECKS and CHECKS[row["check"]].is_compared:
        buttons.append(("share", QUESTION))
    call = planned_call(diagnosis.suggested_calls[at], row) if can_plan else None
    if call is not None:
        name = "move to" if call.verb == "move_to" else str(call.arguments[0]).replace("_", " ")
        buttons.append(("plan", f"Plan {name}…"))
    item = item_of({**row, "at": at}, diagnosis)
    return {
        **{name: row[name] for name in ("severity", "title", "blocks", "fingerprint", "note", "known")},
        "details": " ".join(filter(None, (row["details"], *addition_lines(row)))),
        "age": item.age,
        "html": blocks_html(Items((replace(item, title="", mark=None, age=""),))),
        "buttons": [{"act": act, "label": label} for act, label in buttons],
    }
