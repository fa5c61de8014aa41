"""Agents in a panel: a conversation that is read only on request, and columns of lists for the rows in view."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.analysis.agents.turns import Turn
from restate_lab.analysis.invocations.filters import Filters
from restate_lab.errors import QueryRefused, TimedOut
from restate_lab.panels.invocation import conversation as module, detail
from restate_lab.panels.invocation.conversation import ConversationSection, run_of
from restate_lab.panels.invocation.reader import AgentContent, InvocationContent
from restate_lab.panels.invocations import agents as columns
from restate_lab.panels.invocations.agents import AgentColumns
from restate_lab.panels.panel import Panel
from restate_lab.result import unread
from support.sample_source import SampleSource, invocations

ATTACK = "<img src=x onerror=alert(1)>"
START = datetime(2026, 11, 25, tzinfo=UTC)
ROWS = invocations(
    *({"id": number, "target_handler_name": "run", "journal_size": 5} for number in range(1, 101)),
    {"id": 200, "target_service_name": "Payments", "target_handler_name": "charge", "journal_size": 5},
)
AGENT, OTHER = ROWS["id"].iloc[0], ROWS["id"].iloc[-1]
NO_NOTES: tuple[str, ...] = ()


def content(id_: str = AGENT, **row: Any) -> Any:
    """Return the content of an invocation."""
    first = ROWS[ROWS["id"] == id_].to_dict("records")[0]
    return SimpleNamespace(row={**first, **row}, errors=SimpleNamespace(frame=pd.DataFrame({"at": []})), agent=None)


class Page:
    """A section that is read and shown as a panel does; ``read`` has the ids whose conversation was read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source, self.section = SampleSource(ROWS), ConversationSection()
        self.source.agents = {AGENT}
        self.read: list[str] = []
        self.result: Any = ("user", ATTACK)
        self.notes = NO_NOTES
        monkeypatch.setattr(module, "read_conversation", self._conversation)

    def refresh(self, *, is_open: bool = True, **row: Any) -> Any:
        shown = content(**row)
        shown.agent = self.section.read(self.source, shown, is_open=is_open)
        self.section.show(shown, is_open=is_open)
        return shown.agent

    @property
    def html(self) -> str:
        return str(self.section.children[0].value)

    @property
    def searches(self) -> list[int]:
        """Return from which entry on each search for responses of models began."""
        asked = [re.search(r"index >= (\d+)", statement) for statement, _ in self.source.asked]
        return [int(each[1]) for each in asked if each]

    def _conversation(self, _: Any, id_: str, **__: Any) -> rl.Conversation:
        self.read.append(id_)
        if isinstance(self.result, Exception):
            raise self.result
        turns = [] if self.result is None else [Turn(id_, 1, self.result[0], "journal", text=self.result[1])]
        facts: dict[str, Any] = {
            "source": "lab",
            "version": "1.7.12",
            "read_at": START,
            "not_read": unread(turns=self.notes),
        }
        return rl.Conversation(id_, "agent/run", "running", tuple(turns), **facts)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    return Page(monkeypatch)


def test_a_conversation_is_read_on_request(page: Page) -> None:
    """Nothing is read before the section is opened, nor for another run, and nothing stays after it is closed."""
    assert page.refresh(is_open=False).is_agent
    assert page.refresh().conversation is None, "an open section of another invocation is not a request"
    assert (page.read, page.html, page.section.shown) == ([], "", None)
    page.section.request(run_of(content().row))
    assert "Reading" in page.html
    assert page.refresh(is_open=False).conversation is None
    assert page.read == []
    page.refresh()
    assert page.read == [AGENT]
    assert "&lt;img" in page.html
    assert "<img" not in page.html
    assert page.section.shown is not None
    page.refresh(created_at=datetime(2026, 11, 26, tzinfo=UTC))
    assert (page.read, page.html) == ([AGENT], ""), "a new run of the id was not requested"
    page.refresh()
    page.section.request(None)
    assert (page.html, page.section.shown) == ("", None)
    assert page.refresh().conversation is None
    assert [statement for statement, _ in page.source.asked if "AS raw" in statement] == []


def test_a_request_that_ends_during_the_read_shows_nothing(page: Page) -> None:
    """The result of a read is not shown if the user closed the section meanwhile."""
    page.section.request(run_of(content().row))
    shown = content()
    shown.agent = page.section.read(page.source, shown, is_open=True)
    assert shown.agent.conversation is not None
    page.section.request(None)
    page.section.show(shown, is_open=True)
    assert page.html == ""


def test_it_follows_the_journal(page: Page) -> None:
    """An invocation that made no progress is not read again; with a new entry it is."""
    page.section.request(run_of(content().row))
    for size in (5, 5, 6, 6):
        page.refresh(journal_size=size)
    assert len(page.read) == 2
    page.refresh(journal_size=6, retry_count=3)
    assert len(page.read) == 3
    assert page.searches == [0], "an agent is not searched again"


def test_another_invocation_is_searched_once_per_entry(page: Page) -> None:
    """An invocation that is not an agent's has no conversation, and each entry is searched once."""
    for size in (0, 5, 5, 9):
        assert not page.refresh(id_=OTHER, journal_size=size).is_agent
    assert page.searches == [0, 5]
    assert page.read == []


@pytest.mark.parametrize(
    ("result", "notes", "text"),
    [
        (TimedOut("conversation() took too long"), (), "The conversation was not read: conversation() took too long"),
        (None, ("no step", "it has 25,000 entries"), "There is no conversation to show: it has 25,000 entries."),
        (None, (), "There is no conversation to show: the journal is empty."),
    ],
)
def test_a_problem_is_one_line(page: Page, result: Any, notes: tuple[str, ...], text: str) -> None:
    """An error, a purged journal and a journal that is too long are reported in the section, and read again later."""
    page.result, page.notes = result, notes
    page.section.request(run_of(content().row))
    page.refresh()
    assert text in page.html
    page.result = ("user", "Hello")
    page.refresh(journal_size=7)
    assert "Hello" in page.html


def test_a_failed_search_offers_nothing(page: Page) -> None:
    """An error of the search is not one of the panel; the next read searches again."""
    page.source.fails = QueryRefused("no", status=400)
    assert not page.refresh().is_agent
    page.source.fails = None
    assert page.refresh().is_agent


class Detail:
    """The detail of an invocation: ``reads`` has the ids that were read with everything, ``asked`` counts requests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads: list[str] = []
        self.is_same_run = True
        self.asked = 0
        monkeypatch.setattr(detail, "read_invocation", self._read)
        monkeypatch.setattr(detail, "is_same_run", lambda *_: self.is_same_run)
        self.detail = detail.InvocationDetail(
            SampleSource(ROWS),
            guard=lambda act: act,
            open_invocation=print,
            show_waits=print,
            list_invocations=print,
            write=print,
            ask=self._ask,
        )
        self.detail.folds.offer("conversation", on=True)
        self.detail.conversation.read = lambda *_, **__: AgentContent(is_agent=True)  # type: ignore[method-assign]

    def read(self, id_: str = AGENT) -> InvocationContent:
        content = self.detail.read(SampleSource(ROWS), id_)
        self.detail.content = content
        return content

    def click(self) -> None:
        self.detail.folds.toggle("conversation")

    def click_again(self) -> None:
        """Close the section, and open it again."""
        self.click()
        self.click()

    def _ask(self) -> None:
        self.asked += 1

    def _read(self, _: Any, id_: str, **__: Any) -> InvocationContent:
        self.reads.append(id_)
        row: Any = content(id_).row
        no_errors: Any = SimpleNamespace(frame=pd.DataFrame())
        explanation: Any = None
        return InvocationContent(row, {}, explanation, pd.DataFrame(), no_errors)


def test_a_click_reads_the_conversation_before_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for a long journal, which the next read has; another run or invocation is read as a whole."""
    page = Detail(monkeypatch)
    page.click()
    assert not page.read().has_new_conversation_only, "nothing was shown before"
    page.click_again()
    assert page.read().has_new_conversation_only
    assert page.reads == [AGENT]
    assert not page.read().has_new_conversation_only
    page.click_again()
    page.is_same_run = False
    assert not page.read().has_new_conversation_only
    page.click_again()
    page.is_same_run = True
    assert not page.read(OTHER).has_new_conversation_only
    assert page.reads == [AGENT, AGENT, AGENT, OTHER]
    assert page.asked == 4, "closing the section requests nothing"


@pytest.mark.parametrize(
    ("status", "count", "text"),
    [
        ("backing-off", 412, "backing-off · 412th attempt"),
        ("running", 2, "running · 2nd attempt"),
        ("running", 1, "running"),
        ("backing-off", 1_421, "backing-off · 1,421st attempt"),
        ("backing-off", 11, "backing-off · 11th attempt"),
        ("backing-off", 113, "backing-off · 113th attempt"),
        ("paused", None, "paused"),
        ("failed", 7, "failed"),
    ],
)
def test_the_title_has_the_status_with_its_attempt(
    monkeypatch: pytest.MonkeyPatch, status: str, count: int | None, text: str
) -> None:
    shown = Detail(monkeypatch).detail
    shown.begin({"id": AGENT, "target": "agent/run", "status": status, "retry_count": count})
    assert f">{text}</span>" in shown.title.value


class Runs:
    """Stands for ``agent_runs``: ``asked`` has the ids of each call."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.fails: Exception | None = None

    def __call__(self, _: Any, *, ids: list[str], timeout: Any) -> pd.DataFrame:
        assert timeout is not None
        self.asked.append(ids)
        if self.fails is not None:
            raise self.fails
        rows = [self._row(id_, at) for at, id_ in enumerate(ids)]
        frame = pd.DataFrame(rows, columns=["id", "model_calls", "input_tokens", "output_tokens", "cost", "note"])
        frame.attrs["cost_note"] = "cost unknown: no price for mine"
        return frame

    @staticmethod
    def _row(id_: str, at: int) -> Mapping[str, Any]:
        cost = 0.00012345 if at else None
        return {"id": id_, "model_calls": 3, "input_tokens": 1_000, "output_tokens": 24, "cost": cost, "note": None}


@pytest.fixture
def runs(no_doctor: None, monkeypatch: pytest.MonkeyPatch) -> Runs:
    runs = Runs()
    monkeypatch.setattr(columns, "agent_runs", runs)
    return runs


def panel_of(source: Any, **options: Any) -> Panel:
    panel = Panel(source, status="all", refresh=None, **options)
    assert panel.wait()
    return panel


def cells(panel: Panel, start: int) -> Mapping[str, Any]:
    """Return the cells of a line after a view has requested it with the next ones."""
    sent: list[Any] = []
    grid = panel.view.grid
    grid.controller.send = sent.append
    message = {"type": "page", "view": "v1", "seq": 1, "start": start, "count": 10}
    grid.receive(message)
    assert panel.wait()
    grid.receive(message)
    row = next(each for each in reversed(sent) if each["type"] == "page")["rows"][0][2]
    return dict(zip(grid.columns, row, strict=True))


def test_a_list_of_agents_has_columns_for_the_rows_in_view(runs: Runs) -> None:
    """Turn, tokens and cost are read for the rows that a page shows; a missing cost has its reason."""
    source = SampleSource(ROWS.iloc[:-1])
    source.agents = set(source.frame["id"])
    panel = panel_of(source, service="agent", sort="newest", group=False)
    assert [len(ids) for ids in runs.asked] == [50]
    assert panel.view.grid.columns[2:5] == ["turn", "tokens", "cost"]
    first, later = cells(panel, 0), cells(panel, 80)
    assert [first[name] for name in ("turn", "tokens", "cost")] == [
        "3",
        "1024",
        [None, "cost unknown: no price for mine"],
    ]
    assert runs.asked[1:] == [list(panel.frame["id"][80:90])]
    assert later["tokens"] == "1024"
    assert cells(panel, 81)["cost"] == "0.000123"
    assert list(panel.frame["cost"].notna())[:3] == [False, True, True]
    assert panel.frame["agent_note"].iloc[70].startswith("Not read yet")
    panel.close()


def test_a_run_that_makes_progress_is_read_again(runs: Runs) -> None:
    """Only rows that changed are read again; a large journal is not read, and the note says so."""
    source = SampleSource(ROWS.iloc[:5].assign(journal_size=[5, 5, 5, 5, 9_000]))
    source.agents = set(source.frame["id"])
    panel = panel_of(source, service="agent")
    assert len(runs.asked[0]) == 4
    source.frame = source.frame.assign(journal_size=[5, 6, 5, 5, 9_000])
    panel.refresh()
    assert runs.asked[1:] == [[source.frame["id"].iloc[1]]]
    notes = panel.frame.set_index("id")["agent_note"]
    assert "9,000 entries" in notes[source.frame["id"].iloc[4]]
    panel.close()


def test_other_lists_cost_nothing(runs: Runs) -> None:
    """A list of all services is not searched; one of another service is searched once, and has no columns."""
    source = SampleSource(ROWS)
    source.agents = {AGENT}

    def searches() -> int:
        return sum("Notification: Run" in statement for statement, _ in source.asked)

    panel = panel_of(source)
    assert searches() == 0
    source.frame = ROWS.iloc[-1:]
    panel.show_invocations(status="all", service="Payments")
    assert panel.wait()
    for size in (6, 7):
        source.frame = source.frame.assign(journal_size=size)
        panel.refresh()
    assert searches() == 1, "a search that found nothing is paced"
    assert not {"turn", "tokens", "cost"} & {*panel.view.grid.columns, *panel.frame}
    assert runs.asked == []
    panel.close()


def test_an_error_of_the_columns_is_paced(runs: Runs) -> None:
    """It is not repeated with each read, and the list stays."""
    runs.fails = QueryRefused("no", status=400)
    source, now = SampleSource(ROWS), [0.0]
    source.agents = {AGENT}
    wanted, filters = AgentColumns(source, clock=lambda: now[0]), Filters(status=("all",), service=("agent",))
    with pytest.raises(QueryRefused):
        wanted.read(ROWS.iloc[:1], filters)
    assert not wanted.read(ROWS.iloc[:1], filters)
    runs.fails, now[0] = None, 100.0
    assert wanted.read(ROWS.iloc[:1], filters)
    assert len(runs.asked) == 2


class Upgraded(SampleSource):
    """A source whose tables have payloads only after an upgrade."""

    has_payloads = False

    def _journals(self, params: dict[str, Any]) -> pd.DataFrame:
        journals = super()._journals(params)
        return journals if self.has_payloads or "ids" in params else journals.iloc[:0]


def test_the_columns_of_the_source_are_read_again(runs: Runs) -> None:
    """A panel stays open during an upgrade of the server, and then finds agents with the new columns."""
    source, now, filters = Upgraded(ROWS), [0.0], Filters(status=("all",), service=("agent",))
    source.agents = {AGENT}
    wanted = AgentColumns(source, clock=lambda: now[0])
    assert not wanted.read(ROWS.iloc[:1], filters)
    source.has_payloads, now[0] = True, 100.0
    assert wanted.read(ROWS.iloc[:1].assign(journal_size=9), filters)
