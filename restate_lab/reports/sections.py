"""Anything that can be handed over as a section of a report: what it is decides how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

import pandas as pd
import pyarrow as pa
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from restate_lab._text import escape_invisible, format_age, format_timestamp
from restate_lab.analysis.doctor.diagnosis import Diagnosis, footer_of, gap_reasons, title_of
from restate_lab.analysis.questions.catalog import read_question
from restate_lab.analysis.waits import Waits
from restate_lab.analysis.why.explanation import Explanation
from restate_lab.errors import ArgumentError
from restate_lab.evidence.compare import Comparison
from restate_lab.frames import to_frame
from restate_lab.plots import plot_journal, plot_waits
from restate_lab.reports.figures import drawn, picture
from restate_lab.reports.masking import Masker
from restate_lab.reports.metadata import statement_of, statements_of
from restate_lab.reports.parts import Card, Finding, Findings, Notice, Part, Prose, Section, Statement, Table
from restate_lab.reports.tables import Maker, heading
from restate_lab.status import STATUSES

__all__ = ["paragraphs", "section_of"]

_COLUMNS = {
    "invocations": ("target", "change", "status_before", "status_after", "more_retries", "more_entries", "id"),
    "state": ("service_name", "service_key", "key", "change", "bytes_before", "bytes_after"),
    "deployments": ("kind", "name", "change", "what", "before", "after"),
    "backlog": (
        *("target_service_name", "target_service_key", "waiting_before", "waiting_after", "more"),
        "oldest_wait_after",
    ),
}
_IDS = 5
_LEAD = 3
COLOURS = {
    "critical": STATUSES["failed"].colour,
    "warning": STATUSES["paused"].colour,
    "incomplete": STATUSES["paused"].colour,
    "healthy": STATUSES["succeeded"].colour,
    "note": "#6b7280",  # white letters stand on it
}
_JOURNAL = (
    "index", "entry_type", "name", "status", "started", "duration", "callee_target", "retries", "last_error", "failure",
)  # fmt: skip
_TAKES = (
    "a frame, a Series, a pyarrow.Table, matplotlib Axes or a Figure, text, what doctor, why, waits, journal, plan, "
    "execute, compare or state give, or a panel"
)


def parts_of(comparison: Comparison, maker: Maker, *, rows: int) -> tuple[Part, ...]:
    """Return the summary, what could not be compared, and the frames in which something stands."""
    parts: list[Part] = [Prose((maker.masker.text(escape_invisible(comparison.summary)),))]
    parts += [
        Notice(maker.masker.text(escape_invisible(f"Not compared, {row['part']}: {row['reason']}")))
        for row in comparison.not_compared.to_dict("records")
    ]
    for name, columns in _COLUMNS.items():
        frame = getattr(comparison, name)
        if len(frame):
            parts.append(
                maker.table(frame, title=name.capitalize(), columns=columns, rows=rows, file=name, drop_empty=True)
            )
    return tuple(parts)


def findings_of(diagnosis: Diagnosis, zone: tzinfo, masker: Masker) -> Findings:
    """Return all findings in words, worst first, with what was not checked."""
    rows = diagnosis.findings.to_dict("records")
    return Findings(
        tuple(_finding(row, diagnosis, zone, masker) for row in rows),
        tuple(masker.text(escape_invisible(each)) for each in gap_reasons(diagnosis)),
        footer_of(diagnosis),
        "Nothing was found." if len(diagnosis.checked) else "Nothing was checked.",
    )


def lead_of(diagnosis: Diagnosis, masker: Masker) -> tuple[tuple[str, ...], str]:
    """Return the verdict and the worst findings for the summary, and the colour of the verdict."""
    worst = [row for row in diagnosis.findings.to_dict("records") if row["severity"] == "critical"]
    lines = [masker.text(escape_invisible(row["summary"])) for row in worst[:_LEAD]]
    more = len(worst) - len(lines)
    lines += [f"and {more:,} more critical ones"] if more > 0 else []
    missing = [f"Not checked: {masker.text(escape_invisible(each))}" for each in gap_reasons(diagnosis)]
    colour = COLOURS["critical" if diagnosis.worst == "critical" else diagnosis.verdict]
    return (title_of(diagnosis), *lines, *missing), colour


def _finding(row: dict[Any, Any], diagnosis: Diagnosis, zone: tzinfo, masker: Masker) -> Finding:
    ids = [escape_invisible(str(each)) for each in row["ids"]]
    return Finding(
        severity=row["severity"],
        colour=COLOURS[row["severity"]],
        summary=masker.text(escape_invisible(row["summary"])),
        where=escape_invisible(str(row["where"] or "")),
        since=_since(row["since"], diagnosis, zone),
        affected=f"{row['affected']:,} affected" if row["affected"] > row["count"] else "",
        suggested_code=masker.text(escape_invisible(row["suggested_code"])),
        ids=tuple(ids[:_IDS]),
        more_ids=max(int(row["count"]) - _IDS, 0),
    )


def _since(since: pd.Timestamp | None, diagnosis: Diagnosis, zone: tzinfo) -> str:
    if since is None or pd.isna(since):
        return ""
    return f"since {format_timestamp(since, zone=zone)}, for {format_age(since, diagnosis.at)}"


def section_of(
    thing: Any, maker: Maker, *, title: str | None = None, caption: str = "", sql: str = "", rows: int
) -> Section:
    """Return a section that shows the thing; ``title`` None and ``sql`` "" take what the thing says of itself.

    Raises:
        ArgumentError: it is nothing that a report can show.
    """
    if isinstance(thing, Section):
        return thing
    if isinstance(thing, pd.Series | pa.Table):
        return section_of(_framed(thing), maker, title=title, caption=caption, sql=sql, rows=rows)
    lead: tuple[str, ...] = ()
    accent = ""
    named: str
    parts: tuple[Part, ...]
    if isinstance(thing, Diagnosis):
        named, parts = "What is wrong", (findings_of(thing, maker.zone, maker.masker),)
        lead, accent = lead_of(thing, maker.masker)
    elif isinstance(thing, pd.DataFrame):
        named, parts = _frame(thing, maker, rows)
    elif isinstance(thing, Comparison):
        named, parts = "What changed", parts_of(thing, maker, rows=rows)
    else:
        named, parts = _other(thing, maker)
    above = heading(maker.masker.text(title or named))
    said = maker.masker.text(caption)
    embedded = sum(each.download.size for each in parts if isinstance(each, Table) and each.download)
    return Section(above, parts, said, _statements(thing, sql, maker), lead, accent, embedded)


def paragraphs(text: str) -> tuple[str, ...]:
    """Return the paragraphs of a text; empty lines part them."""
    return tuple(each.strip("\n") for each in text.replace("\r\n", "\n").split("\n\n") if each.strip())


def _framed(thing: Any) -> pd.DataFrame:
    if isinstance(thing, pa.Table):
        return to_frame(thing, None)
    made: pd.DataFrame = thing.to_frame(name=thing.name if thing.name is not None else "value")
    return made


def _frame(frame: pd.DataFrame, maker: Maker, rows: int) -> tuple[str, tuple[Part, ...]]:
    if "entry_type" in frame.columns and "read_at" in frame.attrs:
        return _journal(frame, maker, rows)
    question = read_question(str(frame.attrs.get("question", "")))
    named = question.variants[0].text if question else _outcome(frame.attrs)
    return named, (maker.table(frame, rows=rows, file=str(frame.attrs.get("question", "table"))),)


def _outcome(attrs: Mapping[Any, Any]) -> str:
    return f"What came of {attrs['action']}" if "action" in attrs and "counts" in attrs else "Table"


def _journal(frame: pd.DataFrame, maker: Maker, rows: int) -> tuple[str, tuple[Part, ...]]:
    named = f"Journal of {frame.attrs.get('target', '')} {frame.attrs.get('id', '')}"
    if frame.empty:
        return named, (Prose((f"There is no journal: {frame.attrs.get('note', 'it has no entries')}.",)),)
    table = maker.table(frame, columns=_JOURNAL, rows=rows, file="journal", drop_empty=True)
    return named, (drawn(plot_journal, frame, maker.zone, named), table)


def _other(thing: Any, maker: Maker) -> tuple[str, tuple[Part, ...]]:
    if isinstance(thing, Axes | Figure):
        named = _title_of(thing)
        return named, (picture(thing, named),)
    if isinstance(thing, Explanation):
        return f"Why {thing.target or thing.id} is {thing.status or 'not there'}", (_card(thing, maker),)
    if isinstance(thing, str):
        return "Notes", (Prose(tuple(maker.masker.text(each) for each in paragraphs(thing))),)
    if isinstance(thing, Waits):
        return "Who waits for whom", (drawn(plot_waits, thing, maker.zone, thing.verdict), _card(thing, maker))
    if type(thing).__module__.partition(".")[0] == "restate_lab":
        return _ours(thing, maker)
    raise ArgumentError(f"a report cannot show this ({type(thing).__name__}): give {_TAKES}.")


def _ours(thing: Any, maker: Maker) -> tuple[str, tuple[Part, ...]]:
    """Return what has a card, or a static page for where there is no widget; both are made and escaped here."""
    named = _name_of(type(thing))
    if not hasattr(thing, "_repr_html_") and not hasattr(thing, "_repr_mimebundle_"):
        raise ArgumentError(f"a report cannot show this ({type(thing).__name__}): give {_TAKES}.")
    parts: tuple[Part, ...] = (_card(thing, maker),)
    outcome = getattr(thing, "outcome", None)
    if isinstance(outcome, pd.DataFrame):
        parts += (maker.table(outcome, title="What came of it", file="outcome"),)
    return named, parts


def _name_of(kind: type) -> str:
    """Return a panel's name without the word, and that of anything else."""
    name = kind.__name__
    return name.removesuffix("Panel") or name


def _card(thing: Any, maker: Maker) -> Card:
    made = thing._repr_html_() if hasattr(thing, "_repr_html_") else None
    if not made:
        bundle = thing._repr_mimebundle_()
        made = (bundle[0] if isinstance(bundle, tuple) else bundle).get("text/html")
    if not made:
        raise ArgumentError(f"this {type(thing).__name__} has nothing that stands without a kernel.")
    return Card(Markup(maker.masker.text(made)))  # noqa: S704 - escaped where it was made


def _title_of(shown: Axes | Figure) -> str:
    axes = [shown] if isinstance(shown, Axes) else shown.get_axes()
    titles = [each.get_title(loc=place) for each in axes for place in ("left", "center", "right")]
    suptitle = "" if isinstance(shown, Axes) else shown.get_suptitle()
    return next((each for each in (suptitle, *titles) if each), "Picture")


def _statements(thing: Any, sql: str, maker: Maker) -> tuple[Statement, ...]:
    if not sql:
        return statements_of([thing], maker.masker)
    found = statement_of({"sql": sql}, maker.masker)
    return (found,) if found else ()
