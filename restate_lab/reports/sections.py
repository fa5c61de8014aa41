"""Anything that can be handed over as a section of a report: what it is decides how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.analysis.questions.catalog import read
from restate_lab.analysis.waits import Waits
from restate_lab.analysis.why import Explanation
from restate_lab.errors import ArgumentError
from restate_lab.evidence.compare import Comparison
from restate_lab.frames import to_frame
from restate_lab.plots import plot_journal, plot_waits
from restate_lab.reports.cells import heading
from restate_lab.reports.comparison import parts_of
from restate_lab.reports.diagnosis import findings_of, lead_of
from restate_lab.reports.drawing import drawn
from restate_lab.reports.parts import Card, Part, Prose, Section, Statement, Table
from restate_lab.reports.pictures import picture
from restate_lab.reports.statements import statement_of, statements_of
from restate_lab.reports.tables import Maker

__all__ = ["paragraphs", "section_of"]

_JOURNAL = (
    "index", "entry_type", "name", "status", "started", "duration", "callee_target", "retries", "last_error", "failure",
)  # fmt: skip
_TAKES = (
    "a frame, a Series, a pyarrow.Table, matplotlib Axes or a Figure, text, what doctor, why, waits, journal, plan, "
    "execute, compare or state give, or a panel"
)


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
    question = read(str(frame.attrs.get("question", "")))
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
