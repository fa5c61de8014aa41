"""The place of the progress: a bar in a notebook, a line in a terminal, and nothing without a reader."""

from __future__ import annotations

import builtins
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from restate_lab.progress import InvocationsLine, NoProgress, RowsLine, StepsLine, notify, notify_during, progress_of

HOSTILE = "<script>alert(1)</script>"


class Shown:
    """The displayed objects of a kernel, in order."""

    def __init__(self) -> None:
        self.html: list[str] = []
        self.text: list[str] = []

    def display(self, drawn: Any, *, display_id: bool = False) -> Shown:
        self.update(drawn)
        return self

    def update(self, drawn: Any) -> None:
        self.html.append(drawn._repr_html_())
        self.text.append(repr(drawn))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two seconds pass between the first reading of the clock and the others."""
    moments = iter([time.monotonic()])
    passed = time.monotonic() + 2
    monkeypatch.setattr(time, "monotonic", lambda: next(moments, passed))


def in_a_shell(patch: pytest.MonkeyPatch, kernel: object) -> Shown:
    shown = Shown()
    patch.setattr(builtins, "get_ipython", lambda: SimpleNamespace(kernel=kernel), raising=False)
    patch.setattr(builtins, "display", shown.display, raising=False)
    return shown


@pytest.mark.usefixtures("later")
def test_a_notebook_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In a kernel a plan has a bar with its share and its counts, which is removed at the end."""
    shown = in_a_shell(monkeypatch, kernel=object())
    line = InvocationsLine(HOSTILE)
    line.update(1_000, 5_000)
    line.close()
    assert shown.html[-2].startswith('<progress max="5000" value="1000"></progress> &lt;script&gt;')
    assert "1,000 of 5,000, 00:02" in shown.text[-2]
    assert (shown.html[-1], shown.text[-1]) == ("", "")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("later")
def test_the_bar_of_a_read_has_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = in_a_shell(monkeypatch, kernel=object())
    RowsLine("query").update(12_345, 3_100_000)
    assert shown.html[-1] == "<progress></progress> query: 12,345 rows, 3.1 MB, 00:02"


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(
    ("line", "values", "text"),
    [
        (RowsLine, (1_234_567, 10_000_000), "query: 1,234,567 rows, 10.0 MB"),
        (InvocationsLine, (1_000, 5_000), "query: 1,000 of 5,000"),
    ],
)
def test_a_terminal_shows_a_line_after_a_second(
    line: Any, values: tuple[int, int], text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    late, early = line("query"), line("query")
    early.update(*values)
    assert capsys.readouterr().err == ""
    late.update(*values)
    late.close()
    assert text in capsys.readouterr().err


@pytest.mark.usefixtures("later")
def test_ipython_in_a_terminal_shows_a_line_and_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = in_a_shell(monkeypatch, kernel=None)
    RowsLine("query").update(1, 1)
    assert shown.html == []


@pytest.mark.usefixtures("later")
def test_a_pipe_or_a_log_gets_no_line_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    line = RowsLine("query")
    line.update(1, 1)
    line.close()
    assert capsys.readouterr().err == ""


def test_a_notebook_shows_messages_without_stderr_and_a_message_of_a_block_until_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = in_a_shell(monkeypatch, kernel=object())
    notify(HOSTILE)
    assert shown.text == [HOSTILE]
    assert "<script>" not in shown.html[0]
    with pytest.raises(ValueError, match="failed"), notify_during("it reads every event"):
        assert shown.text[-1] == "it reads every event"
        raise ValueError("failed")
    assert (shown.text[-1], shown.html[-1]) == ("", "")
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_messages_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with notify_during("it reads every event"):
        notify("waiting")
    assert capsys.readouterr().err == "it reads every event\nwaiting\n"


def test_progress_means_the_same_in_every_call() -> None:
    """None and True show a line, False shows nothing, and a custom object is used directly."""
    own = RowsLine("own")
    assert [type(progress_of(wanted, lambda: InvocationsLine("kill"))) for wanted in (None, True, False)] == [
        InvocationsLine,
        InvocationsLine,
        NoProgress,
    ]
    assert progress_of(own, lambda: InvocationsLine("kill")) is own


def test_a_line_of_steps_appears_without_waiting_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = in_a_shell(monkeypatch, kernel=object())
    line = StepsLine("report: chapter", ("Timeline", HOSTILE))
    line.update(1, 2)
    assert shown.text[-1] == "report: chapter 1 of 2, Timeline, 00:00"
    monkeypatch.setattr("restate_lab.progress.EVERY", 0.0)
    line._next = 0.0
    line.update(2, 2)
    assert "chapter 2 of 2, <script>" in shown.text[-1]
    assert "<script>" not in shown.html[-1]
    line.close()
    assert shown.text[-1] == ""
