"""Convert values to sections of a report, depending on their type."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa
from markupsafe import Markup

from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.analysis.journal.drawing import journal_document
from restate_lab.analysis.questions.catalog import read_question
from restate_lab.analysis.replay.result import Replay
from restate_lab.analysis.story.result import Story
from restate_lab.analysis.story.text import title_of
from restate_lab.analysis.waits import Waits
from restate_lab.analysis.why.explanation import Explanation
from restate_lab.document import Picture, Text
from restate_lab.errors import ArgumentError
from restate_lab.evidence.compare import Comparison
from restate_lab.frames import to_frame
from restate_lab.reports.first_page import lead_of
from restate_lab.reports.metadata import statement_of, statements_of
from restate_lab.reports.parts import Card, OmittedPicture, Part, Section, Statement
from restate_lab.reports.pictures import drawing_of, plot_of
from restate_lab.reports.tables import ROWS, TableBuilder, heading
from restate_lab.result import Result
from restate_lab.status import COLOURS

_COLUMNS = {
    "invocations": ("target", "change", "status_before", "status_after", "more_retries", "more_entries", "id"),
    "state": ("service_name", "service_key", "key", "change", "bytes_before", "bytes_after"),
    "deployments": ("kind", "name", "change", "field", "before", "after"),
    "backlog": (
        *("target_service_name", "target_service_key", "waiting_before", "waiting_after", "more"),
        "oldest_wait_after",
    ),
}
_JOURNAL = (
    "index", "entry_type", "name", "status", "started", "duration", "callee_target", "retries", "last_error", "failure",
)  # fmt: skip
_MEMBERS = (
    "target", "status", "created_at", "ended_at", "critical", "found_by", "failure", "cost", "origin", "id",
)  # fmt: skip
_MOST_MEMBERS = 20  # rows of a table below a waterfall
_TAKES = (
    "a frame, a Series, a pyarrow.Table, matplotlib Axes or a Figure, text, the result of doctor, why, waits, journal, "
    "conversation, story, plan, execute, compare, replay or state, or a panel"
)


def section_of(
    content: Any,
    builder: TableBuilder,
    *,
    title: str | None = None,
    caption: str = "",
    sql: str = "",
    rows: int,
    payloads: bool = False,
) -> Section:
    """Return a section that shows a value; ``title`` None and ``sql`` "" use the title and SQL of the value.

    A conversation is shown without its payloads, unless ``payloads`` is True.

    Raises:
        ArgumentError: a report cannot show the value.
    """
    if isinstance(content, Section):
        return content
    if isinstance(content, pa.Table):
        content = to_frame(content, None)
    elif isinstance(content, pd.Series):
        content = content.to_frame(name=content.name if content.name is not None else "value")
    if isinstance(content, Conversation) and not payloads:
        content = content.without_payloads()
    lead: tuple[str, ...] = ()
    accent = ""
    default_title: str
    parts: tuple[Part, ...]
    if isinstance(content, Diagnosis):
        default_title, parts = "What is wrong", (diagnosis_part(content, builder),)
        lead = lead_of(content, builder.masker, builder.zone)
        # red if any finding is critical, even in an incomplete diagnosis
        accent = COLOURS["critical" if content.worst == "critical" else content.verdict]
    elif isinstance(content, pd.DataFrame):
        default_title, parts = _frame_parts(content, builder, rows)
    elif isinstance(content, Comparison):
        default_title, parts = "What changed", comparison_parts(content, builder, rows=rows)
    elif isinstance(content, Story):
        default_title, parts = f"Story of {title_of(content)}", _story_parts(content, builder)
    else:
        default_title, parts = _other_parts(content, builder)
    above = heading(builder.masker.text(title or default_title))
    masked_caption = builder.masker.text(caption)
    return Section(above, parts, masked_caption, _statements(content, sql, builder), lead, accent)


def comparison_parts(comparison: Comparison, builder: TableBuilder, *, rows: int) -> tuple[Part, ...]:
    """Return what changed, the parts that could not be compared, and the frames that have rows."""
    parts: list[Part] = [card_of(comparison, builder)]
    for name, columns in _COLUMNS.items():
        frame = getattr(comparison, name)
        if len(frame):
            parts.append(
                builder.table(frame, title=name.capitalize(), columns=columns, rows=rows, file=name, drop_empty=True)
            )
    return tuple(parts)


def diagnosis_part(diagnosis: Diagnosis, builder: TableBuilder, *, is_short: bool = False) -> Card:
    """Return the findings, worst first, with the checks that did not run; a short one has no folded findings."""
    return builder.document(replace(diagnosis.document(builder.zone), title=""), is_short=is_short)


def waits_parts(waits: Waits, builder: TableBuilder) -> tuple[Part, ...]:
    """Return the plot, which also fits on paper, and the waits; without a plot these have their own picture."""
    plot = plot_of("waits", waits, builder.zone, f"Wait-for graph: {waits.summary}")
    document = waits.document(builder.zone)
    kept = [each for each in document.blocks if isinstance(plot, OmittedPicture) or not isinstance(each, Picture)]
    return plot, builder.document(replace(document, title="", blocks=tuple(kept)))


def paragraphs(text: str) -> tuple[str, ...]:
    """Split a text into paragraphs at empty lines."""
    return tuple(each.strip("\n") for each in text.replace("\r\n", "\n").split("\n\n") if each.strip())


def _frame_parts(frame: pd.DataFrame, builder: TableBuilder, rows: int) -> tuple[str, tuple[Part, ...]]:
    if "entry_type" in frame.columns and "depth" in frame.attrs:
        title = f"Journal of {frame.attrs.get('target', '')} {frame.attrs.get('id', '')}"
        return title, journal_parts(frame, builder, file="journal", rows=rows)
    question = read_question(str(frame.attrs.get("question", "")))
    default_title = f"Result of {frame.attrs['action']}" if {"action", "counts"} <= frame.attrs.keys() else "Table"
    if question:
        default_title = question.text
    return default_title, (builder.table(frame, rows=rows, file=str(frame.attrs.get("question", "table"))),)


def journal_parts(frame: pd.DataFrame, builder: TableBuilder, *, file: str, rows: int = ROWS) -> tuple[Part, ...]:
    """Return a journal: a time bar for each entry, then the entries in a folded table.

    A journal without entries is a sentence with the reason.
    """
    part = builder.document(journal_document(frame, zone=builder.zone))
    if frame.empty:
        return (part,)
    table = builder.table(frame, columns=_JOURNAL, rows=rows, file=file, drop_empty=True)
    return part, replace(table, folded="The entries as a table")


def _story_parts(story: Story, builder: TableBuilder) -> tuple[Part, ...]:
    """Return the waterfall, then the members in a folded table."""
    table = builder.table(story.members, columns=_MEMBERS, rows=_MOST_MEMBERS, file="story", drop_empty=True)
    part = card_of(story, builder)
    return part, replace(table, folded="The members as a table")


def _other_parts(content: Any, builder: TableBuilder) -> tuple[str, tuple[Part, ...]]:
    if drawing := drawing_of(content):
        return drawing[0], (drawing[1],)
    if isinstance(content, Explanation):
        return f"Why {content.target or content.id} is {content.status or 'not found'}", (card_of(content, builder),)
    if isinstance(content, str):
        return "Notes", (builder.blocks(*map(Text, paragraphs(content))),)
    if isinstance(content, Waits):
        return "Wait-for graph", waits_parts(content, builder)
    if isinstance(content, Replay):
        rows = builder.table(content.rows, title="Invocations", file="replay", drop_empty=True)
        return "Replay check", (card_of(content, builder), rows)
    if type(content).__module__.partition(".")[0] == "restate_lab":
        return _card_parts(content, builder)
    raise ArgumentError(f"a report cannot show {type(content).__name__}; add {_TAKES}.")


def _card_parts(content: Any, builder: TableBuilder) -> tuple[str, tuple[Part, ...]]:
    is_conversation = isinstance(content, Conversation)
    kind = type(content).__name__
    default_title = f"Conversation of {content.target} {content.id}" if is_conversation else kind.removesuffix("Panel")
    if not hasattr(content, "_repr_html_") and not hasattr(content, "_repr_mimebundle_"):
        raise ArgumentError(f"a report cannot show {kind}; add {_TAKES}.")
    parts: tuple[Part, ...] = (card_of(content, builder),)
    outcome = getattr(content, "outcome", None)
    if isinstance(outcome, pd.DataFrame):
        parts += (builder.table(outcome, title="Result", file="outcome"),)
    return default_title or kind, parts


def card_of(content: Any, builder: TableBuilder, *, title: str = "") -> Card:
    """Return a result as its document below a title, or what has none as its card of a notebook.

    Raises:
        ArgumentError: it has neither.
    """
    if isinstance(content, Result):
        return builder.document(content.document(builder.zone), title=title)
    html = content._repr_html_() if hasattr(content, "_repr_html_") else None
    if not html:
        bundle = content._repr_mimebundle_()
        html = (bundle[0] if isinstance(bundle, tuple) else bundle).get("text/html")
    if not html:
        raise ArgumentError(f"a report cannot show this {type(content).__name__}: it has no static form.")
    return Card(Markup(builder.masker.text(html)), builder.masker.text(title))  # noqa: S704 - already escaped


def _statements(content: Any, sql: str, builder: TableBuilder) -> tuple[Statement, ...]:
    if not sql:
        return statements_of([content], builder.masker)
    statement = statement_of({"sql": sql}, builder.masker)
    return (statement,) if statement else ()
