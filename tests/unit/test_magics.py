"""The magics without a server: their arguments, their output, their cleanup, and their completions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from restate_lab import errors
from restate_lab.client.sql.bind import bind
from restate_lab.magics import completion as completion_module
from restate_lab.magics.parser import MagicRequest, parse
from restate_lab.magics.sql_context import tables_in
from restate_lab.source import Coverage
from support.shell import Shell, shell

COLUMNS = {"sys_invocation": ("id", "target", "status"), "sys_inbox": ("service_key", "id"), "state": ("key", "value")}


class Known:
    """A source of three tables, which answers every statement with its parameters."""

    name, address, version, features = "known", "", "1.7.12", {}
    live, coverage = False, Coverage()
    now = datetime(2026, 11, 25, tzinfo=UTC)

    def __init__(self) -> None:
        self.wait = threading.Event()
        self.wait.set()
        self.reads = 0

    def tables(self) -> pd.DataFrame:
        self.reads += 1
        self.wait.wait(10)
        return pd.DataFrame(
            [(table, name) for table, names in COLUMNS.items() for name in names], columns=["table", "column"]
        )

    def sql(
        self, statement: str, /, *, params: Mapping[str, Any], timeout: float | None = None, **_: Any
    ) -> pd.DataFrame:
        if "boom" in statement:
            raise ZeroDivisionError("a bug")
        if "ORDR" in statement:
            reason = f'SQL error: ParserError("Expected: end, found: ORDR at Line: 1, Column: {self.column}")'
            raise errors.QueryRefused(f"the server refused the query: {reason}", status=500, reason=reason)
        bind(statement, params)
        return pd.DataFrame([{"statement": statement.strip(), "timeout": timeout, **params}])

    arrow = stream = sql
    column = 1


@pytest.fixture
def source() -> Known:
    return Known()


@pytest.fixture
def ip(capsys: pytest.CaptureFixture[str], source: Known) -> Iterator[Shell]:
    """Give a shell with the extension, which reads from ``source``."""
    with shell(capsys) as running:
        running.ip.user_ns["known"] = source
        running.run("%load_ext restate_lab")
        running.run("%restate use known")
        yield running


@pytest.mark.parametrize(
    ("line", "cell", "expected"),
    [
        ("", None, MagicRequest("status")),
        ("status", None, MagicRequest("status")),
        ("connect", None, MagicRequest("connect")),
        ("connect prod --read-only", None, MagicRequest("connect", "prod", read_only=True)),
        ("use old", None, MagicRequest("use", "old")),
        ("frames off", None, MagicRequest("frames", "off")),
        ("SELECT '-o x' -- --ask", None, MagicRequest("sql", "SELECT '-o x' -- --ask")),
        ("-o df --timeout 5 SELECT 1", None, MagicRequest("sql", "SELECT 1", out="df", timeout=5)),
        ("--timeout=0.5", "\nSELECT 'it''s'\n", MagicRequest("sql", "\nSELECT 'it''s'\n", timeout=0.5)),
        ("SELECT 1", "FROM x", MagicRequest("sql", "SELECT 1\nFROM x")),
        ("--ask overview", None, MagicRequest("ask", "overview")),
        ("--ask q a=1 -o df b=':x y'", None, MagicRequest("ask", "q", out="df", parameters={"a": "1", "b": ":x y"})),
        (
            "-o df --ask q",
            "a=1\nb=2  # a comment\n",
            MagicRequest("ask", "q", out="df", parameters={"a": "1", "b": "2"}),
        ),
    ],
)
def test_what_the_magic_takes(line: str, cell: str | None, expected: MagicRequest) -> None:
    """Options come first, SQL keeps its quotes, a question's parameters are arguments in the line or the cell."""
    assert parse(line, cell) == expected


@pytest.mark.parametrize(
    ("line", "cell", "told"),
    [
        ("-x SELECT 1", None, "unknown option -x"),
        ("-o", None, "-o needs a value"),
        ("-o class SELECT 1", None, "needs a variable name"),
        ("-o df", None, "the SQL statement is missing"),
        ("", " \n", "the SQL statement is missing"),
        ("--timeout soon SELECT 1", None, "use seconds"),
        ("--timeout 0 SELECT 1", None, "greater than 0"),
        ("connect a b", None, "unexpected argument b for connect"),
        ("connect --readonly", None, "unexpected argument --readonly for connect"),
        ("use", None, "use needs the name"),
        ("frames", None, "frames is ''; use %restate frames on"),
        ("frames of", None, "frames is 'of'; use %restate frames on"),
        ("--ask q a", None, "invalid parameter 'a'"),
        ("--ask q a=1 a=2", None, "duplicate parameter a"),
        ("--ask q a='1", None, "Close the quotation mark"),
    ],
)
def test_a_mistake_in_the_line_is_reported_with_the_correct_form(line: str, cell: str | None, told: str) -> None:
    with pytest.raises(errors.ArgumentError, match=told):
        parse(line, cell)


def test_values_come_from_variables(ip: Shell) -> None:
    """:name is the variable of that name, in a function its own; nothing else is put into the SQL."""
    ip.run("service, x = 'agent', 'no'")
    row = ip.run("%restate SELECT :service AS s, '{x} $x' AS t").value.iloc[0]
    assert (row.statement, row.service) == ("SELECT :service AS s, '{x} $x' AS t", "agent")
    ip.run("def f(service):\n    return get_ipython().run_line_magic('restate', 'SELECT :service')")
    assert ip.run("f('mine')").value.service[0] == "mine"
    assert ":missing has no value" in ip.run("%restate SELECT :missing").shown


def test_the_frame_is_the_value_or_goes_into_a_variable(ip: Shell) -> None:
    """Without -o a cell has the frame as its value, also if the SQL ends in a semicolon; with -o it shows five rows."""
    assert len(ip.run("%%restate\nSELECT 1;\n").value) == 1
    cell = ip.run("%%restate -o df --timeout 7\nSELECT 1")
    assert (cell.value, cell.shown.splitlines()[0]) == (None, "df: 1 row × 2 columns")
    assert "SELECT 1" in cell.shown.splitlines()[-1]
    assert ip.ip.user_ns["df"].timeout[0] == 7


def test_an_error_is_one_line_with_a_mark(ip: Shell, source: Known) -> None:
    """An error of ours has no traceback; the mark is at the wrong place of the statement as it was written."""
    ip.run("s = 'a long value'")
    source.column = len("SELECT 'a long value' ") + 1
    cell = ip.run("%restate SELECT :s ORDR BY 1")
    parser_error = 'SQL error: ParserError("Expected: end, found: ORDR at line 1, column 11")'
    assert type(cell.error) is errors.QueryRefused
    assert cell.shown.splitlines() == [
        f"QueryRefused: the server refused the query: {parser_error}",
        "  SELECT :s ORDR BY 1",
        "            ^",
    ]
    caught = ip.run("try:\n    %restate SELEC\nexcept Exception as error:\n    kind = type(error).__name__\nkind")
    assert caught.value == "StatementError"


def test_an_internal_error_is_shown_with_its_traceback(ip: Shell) -> None:
    cell = ip.run("%restate SELECT 'boom'")
    assert isinstance(cell.error, ZeroDivisionError)
    assert "Traceback" in cell.shown


def test_a_missing_variable_or_one_of_another_type_is_named(ip: Shell) -> None:
    assert "no variable nothing" in ip.run("%restate use nothing").shown
    ip.run("df = 1")
    assert ip.run("%restate use df").shown == "ArgumentError: df is of type int; use takes a Lab or Evidence.\n"
    assert "unknown question 'overvew'. Did you mean 'overview'" in ip.run("%restate --ask overvew").shown
    assert "no variable ids" in ip.run("%restate --ask callers ids=:ids").shown


@pytest.mark.parametrize(("line", "near"), [("conect prod", "connect"), ("conect", "connect"), ("statsu", "status")])
def test_a_misspelled_command_has_the_nearest_one(ip: Shell, line: str, near: str) -> None:
    word = line.partition(" ")[0]
    shown = f"ArgumentError: unknown command '{word}'. Did you mean %restate {near}?\n"
    assert ip.run(f"%restate {line}").shown == shown


def test_unloading_removes_magic_matcher_and_connection(ip: Shell) -> None:
    ip.run("%reload_ext restate_lab")
    matchers = ip.ip.Completer.custom_matchers
    assert [matcher.matcher_identifier for matcher in matchers].count("restate_lab") == 1
    ip.run("%unload_ext restate_lab")
    assert [matcher.matcher_identifier for matcher in matchers].count("restate_lab") == 0
    assert "not found" in ip.run("%restate").shown
    assert "RestateMagics" not in ip.ip.magics_manager.registry


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%restate SELECT id FROM sys_in|", ["sys_invocation table", "sys_inbox table"]),
        ("df = %restate SELECT i.| FROM sys_inbox AS i", ["service_key column", "id column"]),
        ("%%restate -o df\nSELECT v.st| FROM sys_inbox i\nJOIN sys_invocation v ON v.id = i.id", ["status column"]),
        ("%%restate\nSELECT ta| FROM sys_invocation", ["target column"]),
        ("%%restate\nSELECT ke| FROM sys_invocation", []),
        ("%%restate\nSELECT id FROM sys_invocation, st|", ["state table"]),
        ("%%restate\nWITH mine AS (SELECT 1) SELECT * FROM mi|", ["mine table"]),
        ("%restate SELE|", ["SELECT keyword"]),
        ("%restate sele|", ["select keyword"]),
        ("%%restate\nSELECT id FROM sys_invocation ord|", ["order by keyword"]),
        ("%%restate\nSELECT json_get_s|", ["json_get_str function"]),
        ("%restate SELECT id FROM state WHERE key = :mi|", ["mine parameter"]),
        ("%restate --ask wak|", ["wakes_next question"]),
        ("%restate --ask wakes_next un|", ["until= parameter"]),
        ("%%restate --ask wakes_next\nlim|", ["limit= parameter"]),
        ("%restate connect lo|", ["local environment"]),
        ("%restate con|", ["connect option"]),
        ("%restate use kn|", ["known variable"]),
        ("%%restate --a|", ["--ask option"]),
        ("import restate_lab as rl\nrl.ask(lab, 'wak|')", ["wakes_next question"]),
        ('frame = ask(labs[0], "wak|', []),
        ('rl.plan(lab, "res|', ["resume action", "restart_as_new action"]),
        ("rl.Panel(lab, status=['paused', 'retr|", ["retrying status"]),
        ('rl.Panel(lab, service="Payments", view="wai|', ["waits view"]),
        ('rl.doctor(lab, checks=["deadlocks", "retry_st|', ["retry_storm check"]),
        ('print("view=", "wai|', []),
    ],
)
def test_what_is_completed(ip: Shell, text: str, expected: list[str]) -> None:
    """Tables, columns (also after an alias), keywords in the typed case, questions, parameters, environments."""
    ip.run("mine = 1")
    kinds = ("table", "column", "keyword", "function", "question", "parameter", "environment", "option", "variable")
    kinds += ("action", "view", "status", "check")
    assert [each for each in ip.complete(text) if each.endswith(kinds)] == expected


def test_outside_of_magics_and_ask_nothing_is_completed(ip: Shell) -> None:
    for text in (
        "sta|",
        "x = 'SELECT id FROM sys_in|'",
        "%time sys_in|",
        "ask_them(lab, 'wak|')",
        "# %restate sys_in|",
    ):
        assert not [each for each in ip.complete(text) if "sys_" in each or "wakes_next" in each], text


PIECES = st.sampled_from(
    ["%%restate", "%restate ", "--ask ", "-o x", "SELECT ", "FROM ", "sys_inbox i", ".", ",", "'", '"', "(", ")", ":",
     "$$", "--", "/*", "\n", " ", "x", "9", "é", "WITH a AS (", "rl.ask(lab, '"]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(pieces=st.lists(PIECES, max_size=12), data=st.data())
def test_completion_has_an_answer_for_everything(ip: Shell, pieces: list[str], data: st.DataObject) -> None:
    """However unfinished the text is, completion never fails, and it replaces only typed text."""
    text = "".join(pieces)
    at = data.draw(st.integers(0, len(text)))
    completion = ip.ip.magics_manager.registry["RestateMagics"].completion
    typed, _ = completion.complete(text, at)
    assert text[:at].endswith(typed)


def test_typing_does_not_wait_for_the_server(
    ip: Shell, source: Known, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the tables have arrived there are only keywords; they are read once, and again with a new connection."""
    monkeypatch.setattr(completion_module, "MAX_WAIT", 0.01)
    source.wait.clear()
    ip.run("%restate use known")
    assert ip.complete("%restate SELECT id FROM sys_in|") == []
    assert ip.complete("%restate SELE|") == ["SELECT keyword"]
    assert source.reads == 2
    source.wait.set()
    deadline = time.monotonic() + 5
    while not ip.complete("%restate SELECT id FROM sys_in|") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(ip.complete("%restate SELECT id FROM sys_in|")) == 2
    assert source.reads == 2


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ('SELECT a, b FROM t x, u AS y JOIN "s"."w" ON x.i, y.k', {"x": "t", "y": "u", "w": "w"}),
        ("SELECT 'FROM nothing', x FROM t -- FROM no\n WHERE a IN (SELECT b FROM c)", {"t": "t", "c": "c"}),
        ("WITH m AS (SELECT 1), n AS (SELECT 2) SELECT * FROM m LEFT JOIN n", {"m": "", "n": ""}),
        ("SELECT * FROM t WHERE a = 1 ORDER BY a, b", {"t": "t"}),
    ],
)
def test_tables_are_known_by_their_aliases(statement: str, expected: dict[str, str]) -> None:
    """FROM and JOIN name tables, with AS or without; commas elsewhere, texts and comments do not."""
    assert tables_in(statement) == expected
