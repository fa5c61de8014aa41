"""The result of ``contrast()``: its frames and its document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from functools import partial
from typing import Any

import pandas as pd

from restate_lab._public import public
from restate_lab.analysis.contrast.model import Claim, Compared, Decision, Payloads, Role
from restate_lab.analysis.contrast.sides import BY_ID
from restate_lab.analysis.contrast.text import (
    causes_of,
    lines_of,
    unnamed,
    write_burst,
    write_cause,
    write_causes,
    write_doubt,
    write_tests,
)
from restate_lab.document import Block, Document, Gaps, Picture, Text, Word
from restate_lab.result import ORIGIN, Result
from restate_lab.status import STATUSES

_MOST_LINES = 10  # of the summary
_FAILING, _HEALTHY = STATUSES["failed"].colour, STATUSES["succeeded"].colour
_NOTHING = STATUSES["suspended"].colour
_COLUMNS = {
    "group": "int64",
    **dict.fromkeys(("role", "condition", "where", "path", "op"), "str"),
    "value": "object",
    **dict.fromkeys(("failing_with", "failing", "healthy_with", "healthy"), "int64"),
    **dict.fromkeys(("gap", "low", "high", "adjusted_p"), "float64"),
    **dict.fromkeys(("all_with", "all_failing"), "Int64"),
    "sql": "str",
}
_ATTRIBUTES = {
    **dict.fromkeys(("where", "path"), "str"),
    **dict.fromkeys(("conditions", "unknown"), "int64"),
    **dict.fromkeys(("gap", "low", "high"), "float64"),
    "verdict": "str",
}


@public
@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Contrast(Result):
    """What failing invocations share that healthy ones do not; ``contrast()`` returns it.

    - ``.conditions``: one row per condition that passed the test, best first. ``group`` (the number of the cause; the
      same number for conditions that select the same invocations or cannot be distinguished; 0 in a burst), ``role``
      ("distinguishes", "further": a cause of other failing ones, "same rows", "cannot be distinguished", "in a burst"),
      ``condition`` (text), ``where`` ("column", "time", "key", "header", "step", "input"), ``path``, ``op``, ``value``
      (None if it is hidden), ``failing_with, failing, healthy_with, healthy`` (invocations), ``gap, low, high`` (the
      difference of both shares and its 95 % interval, percentage points), ``adjusted_p``, ``all_with, all_failing``
      (invocations of the whole population that meet it, and the failing ones of them; null if unknown), ``sql`` (a
      filter on ``sys_invocation_status``; "" for other conditions).
    - ``.attributes``: one row per attribute that was compared, with its best condition's ``gap, low, high`` (null if it
      has none), ``conditions``, ``unknown`` (invocations of which it was not read) and ``verdict``: a role with its
      group, "explained by 1", "no clear difference", "nothing to compare" or "not read".
    - ``.sides``: one row per side, how it was chosen, its period (UTC) and counts. ``.handlers``: the failing and
      healthy invocations per handler, if the failing ones have several.
    - ``.verdict``: the first cause, or that no cause was found, as one sentence. ``.summary``: all causes, at most 10
      lines. ``.doubt``: why the causes are only clues, the first line of both then; "" if they are not.
      ``.sentences``: one for each cause. ``.notes``: the sides, how much was compared, and the reasons of ``not_read``.
    - ``.tests``: the number of distinct conditions that were tested.

    At most 5 % of comparisons without a cause claim a cause. A gap below 10 points, at the
    lower end of its interval, is not claimed. The result does not store values that it hides.
    """

    _json = ("verdict", *ORIGIN, "payloads", "tests", "conditions", "attributes", "sides", "not_read")
    decision: Decision | None
    payloads: Payloads
    sides: pd.DataFrame
    statement: str = ""
    """Why nothing was compared, as one sentence; "" if it was."""
    handlers: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def conditions(self) -> pd.DataFrame:
        """Return the conditions that passed the test."""
        claims = self.decision.claims if self.decision else ()
        return self._of_source(_frame([_row(each) for each in claims], _COLUMNS))

    @property
    def attributes(self) -> pd.DataFrame:
        """Return the attributes that were compared."""
        compared = self.decision.attributes if self.decision else ()
        return self._of_source(_frame([_row(each) for each in compared], _ATTRIBUTES))

    @property
    def tests(self) -> int:
        """Return the number of distinct conditions that were tested."""
        return self.decision.tests if self.decision else 0

    @property
    def sentences(self) -> list[str]:
        """Return one sentence for each cause, best first; [] if nothing distinguishes the failing ones."""
        return list(lines_of(write_causes(self.decision))) if self.decision else []

    @property
    def verdict(self) -> str:
        """Return the first cause, or that no cause was found, as one sentence."""
        return next(iter(lines_of(self._verdicts())), "")

    @property
    def summary(self) -> str:
        """Return all causes, the burst and how much was compared on at most 10 lines."""
        lines = list(lines_of(self._verdicts()))
        return "\n".join(lines[:_MOST_LINES])

    @property
    def doubt(self) -> str:
        """Return why the causes are only clues: too few healthy ones, or times that hardly differ; "" otherwise."""
        return next(iter(lines_of(self._doubt())), "")

    def _doubt(self) -> list[str]:
        doubt = write_doubt(self.decision) if self.decision else ""
        return [doubt] if doubt else []

    def _verdicts(self) -> list[str]:
        if self.decision is None:
            return [self.statement]
        texts = [*self._doubt(), *write_causes(self.decision)]
        burst = self._burst()
        return [*texts, *burst] if texts or burst else [self._nothing()]

    def _burst(self) -> list[str]:
        """Return the text about bursts if some conditions are true only within bursts."""
        if self.decision is None or self.decision.burst is None:
            return []
        is_needed = any(each.role is Role.IN_A_BURST for each in self.decision.claims)
        return [write_burst(self.decision.burst)] if is_needed else []

    def _nothing(self) -> str:
        decision = self.decision
        failing, healthy = (decision.failing, decision.healthy) if decision else (0, 0)
        handler = f" of {self._handler}" if self._handler else ""
        return f"nothing distinguishes the {failing:,} failing from {healthy:,} healthy invocations{handler}"

    @property
    def _handler(self) -> str:
        """Return the handler of both sides, "" if there are several."""
        names = {(row.get("service"), row.get("handler")) for row in self.sides.to_dict("records")}
        service, handler = names.pop() if len(names) == 1 else ("", "")
        return f"{service}/{handler}" if service and handler else ""

    @property
    def notes(self) -> list[str]:
        """Return how both sides were chosen, how much was compared, and the reasons of ``not_read``."""
        return [*self._method(), *(f"Not read: {reason}." for reason in self.reasons)]

    def _method(self) -> list[str]:
        """Return how both sides were chosen, and how much was compared."""
        notes = [f"Compared: {write_tests(self.decision)}"] if self.decision else []
        if self.payloads is False:
            notes.append("inputs were not compared; they can be, with their values hidden")
        return [*_side_lines(self.sides), *lines_of(notes)]

    def _brief(self) -> str:
        return f"{self.where}: {self.verdict}"

    def document(self, zone: tzinfo = UTC, /) -> Document:
        """Return each cause with its bars, and how the sides were compared as blocks."""
        causes = causes_of(self.decision.claims) if self.decision else []
        verdicts = list(lines_of(self._verdicts()))
        is_sure, method = bool(causes) and not self.doubt, self._method()
        blocks = (
            *(block for claims in causes for block in _cause(claims, is_sure=is_sure)),
            *map(Text, verdicts[max(len(causes) + (not is_sure), 1) :]),
            *((Text(Word(" ".join(method), "quiet")),) if method else ()),
            Gaps(self.reasons),
        )
        title, tone = (self._title(), "failed") if is_sure else (verdicts[0], "suspended")
        return replace(super().document(zone), title=title, blocks=blocks, tone=tone)

    def _title(self) -> str:
        failing = self.decision.failing if self.decision else 0
        return f"What the {failing:,} failing{f' of {self._handler}' if self._handler else ''} share"


def _row(value: Claim | Compared) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _frame(rows: list[dict[str, Any]], kinds: dict[str, str]) -> pd.DataFrame:
    columns = {name: [row[name] for row in rows] for name in kinds}
    return pd.DataFrame({name: pd.Series(columns[name], dtype=kind) for name, kind in kinds.items()})


def _side_lines(sides: pd.DataFrame) -> Iterator[str]:
    """Yield how both sides were chosen."""
    for side in sides.to_dict("records"):
        read, total = side["read"], side["total"]
        if side["chosen"] == BY_ID:
            part = f"; {read:,} of them were read" if read != total else ""
            yield f"{total:,} {side['side']} ones were chosen{part}."
        else:
            count = f"{read:,} of {total:,}" if read != total else f"{total:,}"
            yield f"{side['side'].capitalize()}: {count}, {side['chosen']}."


def _cause(claims: list[Claim], *, is_sure: bool) -> Iterator[Block]:
    """Yield a cause: its sentence, the interval of the difference, and the conditions that are not in the sentence."""
    first, *others = claims
    parts = next(lines_of([write_cause(claims)])).split("`")
    yield Text(tuple(Word(part, "code") if at % 2 else part for at, part in enumerate(parts)))
    yield Picture("analysis/contrast/bars.html.j2", partial(_bars, first, is_sure=is_sure))
    also = "".join(f" · also {each}" for each in unnamed(others))
    yield Text(Word(f"95 % interval of the difference: {first.low:.0f} to {first.high:.0f} points{also}", "quiet"))


def _bars(claim: Claim, *, is_sure: bool) -> Mapping[str, Any]:
    """Return a bar for each side, in percent, and the interval of their difference."""
    failing, healthy = 100 * claim.failing_with / claim.failing, 100 * claim.healthy_with / claim.healthy
    counts = (f"{claim.failing_with:,} of {claim.failing:,}", f"{claim.healthy_with:,} of {claim.healthy:,}")
    ends = (max(0.0, healthy + claim.low), min(100.0, healthy + claim.high))
    colours = (_FAILING, _HEALTHY) if is_sure else (_NOTHING, _NOTHING)
    sides = zip(("failing", "healthy"), (failing, healthy), colours, counts, (ends, None), strict=True)
    return {"bars": list(sides)}
