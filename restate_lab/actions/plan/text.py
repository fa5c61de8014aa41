"""The text and the card of a plan, and the part of it that a person reviews."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab._cells import is_missing
from restate_lab._html import render
from restate_lab._text import escape_invisible, format_duration, format_time, plural
from restate_lab.actions.change import Change
from restate_lab.actions.plan.failures import RepeatedFailures
from restate_lab.actions.plan.gate import CheckedTargets, check_warnings
from restate_lab.actions.plan.places import Places
from restate_lab.actions.plan.preview import describe_command, repeat_frame
from restate_lab.actions.plan.steps import count_steps, describe_repeats, step_frame
from restate_lab.actions.rules import ACTIONS, NOT_BEGUN
from restate_lab.analysis.replay.result import Replay
from restate_lab.client.lab import Lab
from restate_lab.result import Result
from restate_lab.status import STATUSES

LIFETIME = timedelta(minutes=15)
_MAX_ROWS, _MAX_CARD_ROWS = 10, 8  # of each list in the text and in the card; the frames have all
_MAX_CELL = 160  # characters of a cell, such as the key of a target: a caller decides how long a key is
_MAX_STEPS, _MAX_STEP = 5, 60  # names of steps in a warning, and characters of each
_MAX_REASON = 600  # characters of an effect or of a reason to exclude, which can quote names of a journal
_CELL_MARK, _CELL_END = 20, 40  # characters of a longer cell; the end of a target is its handler
_APPROVED_REST, _REVIEWED_REST = "; the tool show_plan lists them", "; --json lists them"
_LOSSES = {
    ACTIONS.KILL: (
        "Kill ends them without clean-up: completed steps are not undone, and no compensation runs. Use cancel if the "
        "handlers must clean up."
    ),
    ACTIONS.PURGE: (
        "Purge permanently removes them, with journal and output, and for a workflow also its state. Finish your "
        "investigation first."
    ),
    ACTIONS.PURGE_JOURNAL: (
        "The journals are permanently removed: after that, these invocations cannot be explained or restarted."
    ),
}
_REMOVED = "they are removed and leave no completed row"
_KEPT = (
    "they remain as completed rows until their retention ends; until then, the key of a workflow and an idempotency "
    "key stay taken"
)
_RED, _ORANGE, _GREY = STATUSES["failed"].colour, STATUSES["backing-off"].colour, STATUSES["ready"].colour


@dataclass(slots=True)
class SharedExecution:
    """The shared data of related plans: when they were made, and which invocations one of them acted on."""

    acted: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    started: float = field(default_factory=time.monotonic)

    def age(self, read_at: datetime) -> timedelta:
        """Return the time since they were made, the longer one of two clocks: one may stop while a laptop sleeps."""
        return max(timedelta(seconds=time.monotonic() - self.started), datetime.now(UTC) - read_at)


@dataclass(slots=True)
class Execution:
    """The targets and the outcome of one plan's execution; None before it."""

    targets: tuple[str, ...] | None = None
    outcome: pd.DataFrame | None = None


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class PlanReview(Result):
    """What a person reviews of a plan, and its text; `Plan` describes the attributes."""

    _whole_list = "What will happen:"
    change: Change
    frame: pd.DataFrame
    impact: pd.DataFrame
    prefixes: pd.DataFrame
    restarted: frozenset[str]
    address: str
    server: str
    _ids: tuple[str, ...]
    _lab: Lab
    open_steps: pd.DataFrame = field(default_factory=lambda: step_frame([]))
    _has_retention: bool = False
    _unrestarted: frozenset[str] = frozenset()
    _created: Mapping[str, datetime] = field(default_factory=dict)
    _checked: CheckedTargets | None = None
    _places: Places | None = None
    _failures: RepeatedFailures = field(default_factory=RepeatedFailures)
    _shared: SharedExecution = field(default_factory=SharedExecution)
    _execution: Execution = field(default_factory=Execution)
    _begin: Callable[[], None] | None = None  # of a stored plan, as in ExecutionRequest

    @property
    def action(self) -> ACTIONS:
        """Return the action."""
        return self.change.action

    @property
    def deployment(self) -> str | None:
        """Return the deployment to continue on; None if none was chosen."""
        return self.change.deployment

    @property
    def from_index(self) -> int | None:
        """Return the index of the last journal entry to keep; None if it was not chosen or differs per target."""
        return self.change.from_index

    @property
    def where(self) -> str:
        """Return the environment's name and address, and the server's version."""
        return f"{self.source} at {self.address} ({self.server})"

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the ids that would be acted on, in order: not excluded, and not acted on through a related plan.

        After execution: the ids that the plan acted on.
        """
        if self._execution.targets is not None:
            return self._execution.targets
        return tuple(id_ for id_ in self._ids if id_ not in self._shared.acted)

    @property
    def is_executed(self) -> bool:
        """Return whether it was executed; a plan can be executed only once."""
        return self._execution.targets is not None

    @property
    def rows(self) -> pd.DataFrame:
        """Return the rows of ``frame`` for ``targets``."""
        return select_rows(self.frame, "id", set(self.targets))

    @property
    def counts(self) -> pd.DataFrame:
        """Return how many invocations would be acted on: one row per service and status, highest number first.

        Columns: ``service, status, invocations``.
        """
        return self._of_source(_count(self.rows))

    @property
    def repeats(self) -> pd.DataFrame:
        """Return what would run again in a redrive: one row per service and failed command; empty for other plans.

        Columns: ``service, failed_type, failed_name`` (the pattern of similar names; None without a failed command),
        ``invocations``, ``failure`` (their messages), ``kept_steps``, ``repeated_steps``, ``repeated_for`` (how long
        these took) and ``repeated_tokens`` (the journaled tokens of their calls of models), in total.
        """
        return self._of_source(repeat_frame(self.rows))

    @property
    def excluded(self) -> pd.DataFrame:
        """Return the excluded invocations with the reason: one row each (``id, target, status, reason``)."""
        rows = self.frame.loc[self.frame["excluded"].notna(), ["id", "target", "status", "excluded"]]
        return rows.rename(columns={"excluded": "reason"}).reset_index(drop=True)

    @property
    def undo(self) -> str:
        """Return whether and how the action can be undone, in one sentence."""
        return f"{self.action.rule.undo}." if self.targets else "It changes nothing."

    @property
    def at_once(self) -> int | None:
        """Return how many targets of a resume could run at once under the limits as they are; None if not known."""
        return None if self._places is None or self._places.failure else self._places.count(self.targets)

    @property
    def capacity(self) -> str:
        """Return the same with the limits that have too few places, as one sentence; "" for other plans."""
        return "" if self._places is None or not self.targets else self._places.describe(self.targets)

    @property
    def places(self) -> pd.DataFrame:
        """Return the limits that apply to the targets of a resume, those with the fewest free places first."""
        return self._of_source((self._places or Places()).frame(self.targets))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings to read before executing."""
        rows = self.rows
        return self._warnings(rows, _count(rows))

    def _warnings(self, rows: pd.DataFrame, counts: pd.DataFrame) -> tuple[str, ...]:
        action = self.action
        warnings = [_LOSSES[action]] if action in _LOSSES and len(counts) else []
        if len(rows):
            indexes = self.change.only(rows["id"]).from_indexes.values() or [self.from_index or 0]
            warnings += check_warnings(self._checked, rows, keeps_entries=max(indexes) > 0)
        warnings += filter(None, [self._failures.warning(list(rows["id"]))])
        warnings += _step_warnings(self, rows)
        kinds = self.impact["kind"].value_counts()
        one_way, calls = int(kinds.get("one-way call", 0)), int(kinds.get("call", 0))
        if action is ACTIONS.KILL and one_way + calls:
            warnings.append(
                f"{plural(one_way + calls, 'callee is', 'callees are')} also killed, "
                f"{one_way:,} of them one-way calls: see plan.impact."
            )
        if action is ACTIONS.CANCEL and calls:
            warnings.append(f"{plural(calls, 'callee is', 'callees are')} also cancelled: see plan.impact.")
        vanish = int(counts.loc[counts["status"].isin(NOT_BEGUN), "invocations"].sum())
        if vanish and action in {ACTIONS.CANCEL, ACTIONS.KILL}:
            warnings.append(f"{vanish:,} have not started: {_KEPT if self._has_retention else _REMOVED}.")
        restarted = len(self.restarted.intersection(rows["id"])) if self.restarted else 0
        if restarted:
            warnings.append(f"{restarted:,} were already restarted: their work would be done again.")
        return tuple(warnings)

    @property
    def approval_text(self) -> str:
        """Return the text that a person approves if another program executes the plan: without the next step in code.

        Warnings, limitations and the titles of lists are always whole; long cells and lists are shortened with a mark.
        """
        return "\n".join(_lines(replace(self, prefixes=self.prefixes.iloc[:0]), self.rows, rest=_APPROVED_REST))

    @property
    def review_text(self) -> str:
        """Return the text that a person reviews in a shell, without the next step, which is another command there."""
        return "\n".join(_lines(self, self.rows, rest=_REVIEWED_REST))

    @property
    def replay(self) -> Replay | None:
        """Return the replay of the targets that ``check=`` made; None without a check."""
        return None if self._checked is None else self._checked.replay

    @property
    def expires_at(self) -> datetime:
        """Return the time until which it can be executed, UTC."""
        return self.read_at + LIFETIME

    @property
    def summary(self) -> str:
        """Return the action, the number of targets, and whether it was executed."""
        done = "executed" if self.is_executed else "nothing sent yet"
        return f"{self.action} {len(self.targets):,} of {len(self.frame):,}, {done}"

    def _text(self) -> str:
        rows = self.rows
        return "\n".join([*_lines(self, rows), _next_step(self, len(rows))])

    def _card(self) -> str:
        rows = self.rows
        counts, number = _count(rows), len(rows)
        accent = _RED if self.action.rule.destructive or self.action is ACTIONS.CANCEL else _ORANGE
        return render(
            "actions/plan/card.html.j2",
            title=f"{self.source} · {self.address}",
            place=self.server,
            lines=[*_notes(self), _next_step(self, number)],
            accent=accent if number else _GREY,
            heading=_title(self, rows),
            undo=self.undo,
            capacity=self.capacity,
            warnings=self._warnings(rows, counts),
            warning=_RED,
            parts=_parts(counts),
            tables=_tables(self, rows, counts),
        )


def _tables(plan: PlanReview, rows: pd.DataFrame, counts: pd.DataFrame) -> list[dict[str, Any]]:
    repeats, restarts = repeat_frame(rows), _restart_rows(rows)
    effects, excluded = _group_rows(rows, "effect"), _group_rows(plan.frame, "excluded")
    return [
        _table("What will happen", [(f"{n:,}", status, text) for n, status, text in effects], len(effects)),
        _table("Excluded", [(f"{n:,}", status, text) for n, status, text in excluded], len(excluded)),
        _table("Runs again", [_repeat_cells(row) for row in _first(repeats)], len(repeats)),
        _table("Restart from", [_restart_cells(row) for row in _first(restarts)], len(restarts)),
        _table(
            "By service",
            [(f"{row['invocations']:,}", row["status"], row["service"]) for row in _first(counts)],
            len(counts),
        ),
        _table(
            "Invocations",
            [(_invocation_cell(row), row["status"], format_duration(row["age"])) for row in _first(rows)],
            len(rows),
        ),
        _table(
            "Also affected",
            [(row["kind"], _invocation_cell(row), row["effect"]) for row in _first(plan.impact)],
            len(plan.impact),
        ),
        _table(
            "Can be kept in a restart",
            [(row["id"], f"from_index={row['from_index']}", row["entry"]) for row in _first(plan.prefixes)],
            len(plan.prefixes),
        ),
    ]


def _step_warnings(plan: PlanReview, rows: pd.DataFrame) -> list[str]:
    if plan.open_steps.empty:
        return []
    open_steps = select_rows(plan.open_steps, "id", set(rows["id"]))
    steps = count_steps(open_steps)
    names = [f"{shorten_cell(name, _MAX_STEP)} ({number:,})" for name, number in steps[:_MAX_STEPS]]
    more = f" and {len(steps) - _MAX_STEPS:,} more" if len(steps) > _MAX_STEPS else ""
    text = describe_repeats(plan.action, open_steps)
    return [f"{text}: {', '.join(names)}{more}."] if steps else []


def _title(plan: PlanReview, rows: pd.DataFrame) -> str:
    if plan.frame.empty:
        return f"{plan.action}: no invocation was selected"
    number, excluded = len(rows), int(plan.frame["excluded"].notna().sum())
    options = "".join(f", {name}={value}" for name, value in plan.change.only(rows["id"]).options.items())
    acted = len(plan.frame) - excluded - number
    rest = [f"{excluded:,} excluded"] if excluded else []
    rest += [f"{acted:,} acted on through a related plan"] if acted else []
    return f"{plan.action} {number:,} of {len(plan.frame):,} invocations{options}" + (
        f" ({', '.join(rest)})" if rest else ""
    )


def _notes(plan: PlanReview) -> list[str]:
    duplicates = plan.frame.attrs.get("duplicates", 0)
    notes = [f"{duplicates:,} duplicate ids were merged"] if duplicates else []
    return [*notes, *plan.reasons]


def _next_step(plan: PlanReview, number: int) -> str:
    if plan.is_executed:
        return "The plan was executed; plan.outcome has the result."
    if not number:
        return "There is nothing to do."
    expect = f", expect={number}" if number > plan.action.rule.expect_above else ""
    return f'Nothing was sent. To execute before {format_time(plan.expires_at)}: plan.execute(reason="…"{expect})'


def _group_rows(rows: pd.DataFrame, column: str) -> list[tuple[int, str, str]]:
    """Return the number of rows for each status and text of a column: number, status, text; highest number first."""
    counts = Counter(
        (status or "–", text) for status, text in zip(rows["status"], rows[column], strict=True) if not is_missing(text)
    )
    return [(n, status, shorten_cell(text, _MAX_REASON)) for (status, text), n in counts.most_common()]


def _lines(plan: PlanReview, rows: pd.DataFrame, *, rest: str = "") -> Iterator[str]:
    """Yield the lines of the plan; ``rest`` tells where the rows of a shortened list are."""
    yield plan.where
    yield _title(plan, rows)
    yield plan.undo
    yield from filter(None, [plan.capacity])
    counts = _count(rows)
    yield from (f"! {warning}" for warning in plan._warnings(rows, counts))  # noqa: SLF001 - of this module
    for title, groups in (
        ("What will happen", _group_rows(rows, "effect")),
        ("Excluded", _group_rows(plan.frame, "excluded")),
    ):
        lines = [f"{n:>9,}  {status:<11}  {text}" for n, status, text in groups[:_MAX_ROWS]]
        yield from _section(title, lines, len(groups), rest)
    for title, frame, cells_of in (
        ("Runs again", repeat_frame(rows), _repeat_cells),
        ("Restart from", _restart_rows(rows), _restart_cells),
    ):
        lines = ["  " + "  ".join(cells_of(row)).replace("\n", " · ") for row in _first(frame, _MAX_ROWS)]
        yield from _section(title, lines, len(frame), rest)
    for title, frame, layout in (
        ("By service", counts, "{invocations:>9,}  {status:<11}  {service}"),
        ("Invocations", rows, "  {id}  {status:<11}  {age:>{width}}  {target}"),
        ("Also affected", plan.impact, "  {kind:<12}  {target}  {effect}"),
        ("Can be kept in a restart", plan.prefixes, "  {id}  from_index={from_index}  {entry}"),
    ):
        first = [row | {"age": format_duration(row.get("age"))} for row in _first(frame, _MAX_ROWS)]
        width = max((len(row["age"]) for row in first), default=0)
        lines = [layout.format(**row, width=width) for row in first]
        yield from _section(title, lines, len(frame), rest)
    yield from (f"- {note}" for note in _notes(plan))


def _section(title: str, lines: list[str], total: int, rest: str) -> Iterator[str]:
    if not lines:
        return
    yield f"{title}:"
    yield from lines
    if total > _MAX_ROWS:
        yield f"  … and {total - _MAX_ROWS:,} more{rest}"


def shorten_cell(text: str, most: int = _MAX_CELL) -> str:
    """Return a text as one line; a long one as its beginning, the number of missing characters, and its end."""
    shown = escape_invisible(text, lines=False)
    if len(shown) <= most:
        return shown
    start = most - _CELL_MARK - _CELL_END
    return f"{shown[:start]}… {len(shown) - start - _CELL_END:,} more characters …{shown[-_CELL_END:]}"


def _restart_rows(rows: pd.DataFrame) -> pd.DataFrame:
    return rows if "from_index" in rows else rows.iloc[:0]


def _repeat_cells(row: dict[Any, Any]) -> tuple[str, str, str]:
    return f"{row['invocations']:,}", f"{_failed_command(row)}\n{row['failure']}", _describe_steps(row)


def _restart_cells(row: dict[Any, Any]) -> tuple[str, str, str]:
    return _invocation_cell(row), f"from_index={row['from_index']}", f"{_failed_command(row)}\n{_describe_steps(row)}"


def _failed_command(row: dict[Any, Any]) -> str:
    return describe_command(row["failed_type"], row["failed_name"]) if row["failed_type"] else "no failed command"


def _describe_steps(row: dict[Any, Any]) -> str:
    repeated = plural(row["repeated_steps"], "step")
    took = f" ({format_duration(row['repeated_for'])})" if row["repeated_steps"] else ""
    spends, tokens = "", row["repeated_tokens"]
    if is_missing(tokens):
        spends = ", and calls models again, with an unknown number of tokens"
    elif tokens:
        spends = f", and spends about {plural(tokens, 'journaled token')} again"
    return f"keeps {plural(row['kept_steps'], 'step')}, repeats {repeated}{took}{spends}"


def _parts(counts: pd.DataFrame) -> list[tuple[str, int, str]]:
    numbers = counts.groupby("status")["invocations"].sum()
    return [(word, int(numbers[word]), status.colour) for word, status in STATUSES.items() if word in numbers.index]


def _table(title: str, rows: Sequence[Sequence[str]], total: int) -> dict[str, Any]:
    return {
        "title": title,
        "rows": [tuple(map(str, row)) for row in rows[:_MAX_CARD_ROWS]],
        "more": total - _MAX_CARD_ROWS,
    }


def _first(frame: pd.DataFrame, most: int = _MAX_CARD_ROWS) -> list[dict[Any, Any]]:
    rows = frame.head(most).to_dict("records")
    return [
        {name: shorten_cell(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows
    ]


def _invocation_cell(row: dict[Any, Any]) -> str:
    return f"{row['target']}\n{row['id'] or ''}".rstrip()


def select_rows(frame: pd.DataFrame, column: str, ids: set[str]) -> pd.DataFrame:
    """Return the rows with one of these ids in the column."""
    # isin() is slow for texts.
    wanted = pd.Series([each in ids for each in frame[column]], index=frame.index, dtype=bool)
    return frame[wanted].reset_index(drop=True)


def _count(rows: pd.DataFrame) -> pd.DataFrame:
    counts = rows.groupby(["service", "status"], sort=False).size().rename("invocations").reset_index()
    return counts.sort_values(["invocations", "service", "status"], ascending=[False, True, True], ignore_index=True)
