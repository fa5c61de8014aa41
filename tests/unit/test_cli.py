"""The command line."""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import typer
from rich.cells import cell_len
from typer.testing import CliRunner

import restate_lab
from restate_lab.cli import app
from restate_lab.cli._errors import exit_on_error
from restate_lab.cli._options import OutputFormat, output_format, parse_seconds, parse_value, with_output
from restate_lab.cli._output import HEADS, table_lines
from restate_lab.cli._page import Part, TextPage
from restate_lab.cli._result_pages import doctor_exit_code, waits_exit_code
from restate_lab.errors import ArgumentError, RestateLabError, Truncated


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_version_prints_the_version_and_nothing_else() -> None:
    assert call("--version").output == f"restate-lab {restate_lab.__version__}\n"


def test_help_names_every_option_of_the_demo() -> None:
    help_text = call("demo", "--help").output
    for option in ("--no-browser", "--once", "--keep", "--vqueues", "--server", "--story"):
        assert option in help_text


@pytest.mark.parametrize("code", [0, 1])
def test_each_option_reaches_the_demo_and_its_exit_code_the_shell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    seen: dict[str, Any] = {}

    def run_demo(**options: Any) -> int:
        seen.update(options)
        return code

    monkeypatch.setattr("restate_lab.demo.run.run_demo", run_demo)
    options = ["--no-browser", "--once", "--keep", str(tmp_path), "--no-vqueues", "--server", "/bin/sh"]
    result = call("demo", *options, "--story", "incident")
    assert result.exit_code == code
    assert seen == {
        "browser": False,
        "once": True,
        "keep": tmp_path,
        "vqueues": False,
        "server": Path("/bin/sh"),
        "story": "incident",
    }


def test_an_error_is_printed_without_a_traceback_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:

    def run_demo(**_: Any) -> int:
        raise RestateLabError("npm could not install it")

    monkeypatch.setattr("restate_lab.demo.run.run_demo", run_demo)
    result = call("demo")
    assert result.exit_code == 1
    assert result.output == "restate-lab: npm could not install it\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "/root/x.csv"), "Permission denied: /root/x.csv"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_a_file_that_cannot_be_written_is_an_error_without_a_traceback(
    error: OSError, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, exit_on_error():
        raise error
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == f"restate-lab: {said}\n"


def test_the_output_options_of_a_command(tmp_path: Path) -> None:
    """A file is replaced only with --overwrite, two formats are refused, and the exit code is that of the command."""
    file = str(tmp_path / "questions.csv")
    calls = (["--csv", file], ["--csv", file], ["--csv", file, "--overwrite"], ["--csv", file, "--json"])
    assert [call("questions", *options).exit_code for options in calls] == [0, 2, 0, 2]
    own = typer.Typer()
    own.command()(with_output(_ends_with_3))
    assert CliRunner().invoke(own, ["--json"]).exit_code == 3


def _ends_with_3(*, form: OutputFormat) -> int:
    return 3 if form.kind == "json" else 0


COMMANDS = (
    *("demo", "sql", "ask", "questions", "doctor", "why", "waits", "journal", "agents"),
    *("replay", "freeze", "archive", "watch", "report", "compare", "mcp"),
)


def test_each_command_is_listed_and_has_an_example() -> None:
    group = typer.main.get_command(app)
    assert tuple(name for name in group.commands if name != "history") == COMMANDS  # type: ignore[attr-defined]
    for command in COMMANDS:
        assert f"  restate-lab {command}" in call(command, "--help").output.partition("Examples:")[2]


def test_completion_knows_what_there_is() -> None:
    """A shell completes the commands, the questions, their parameters, the checks, and the frames of a comparison."""
    for line, word in {
        "restate-lab re": "report",
        "restate-lab ask retry": "retry_storm",
        "restate-lab ask wakes_next -p u": "until=",
        "restate-lab doctor --check dead": "deadlocks",
        "restate-lab compare a b --part st": "state",
    }.items():
        env = {"_RESTATE_LAB_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        assert word in CliRunner().invoke(app, [], env=env, prog_name="restate-lab").output.split(), line


def test_help_loads_no_slow_module() -> None:
    script = (
        "import sys, restate_lab.cli; print([m for m in ('pandas', 'pyarrow', 'httpx', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


FRAME = pd.DataFrame(
    {
        "id": ["inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9", "inv_1"],
        "n": pd.array([12_345, None], dtype="Int64"),
        "at": pd.to_datetime(["2026-11-25T04:34:50.123Z", None], utc=True),
        "took": pd.to_timedelta([90, None], unit="s"),
        "text": ["a failure " * 20, "\x1b[31mred\u202e\nnext"],
        "other": ["日本語" * 10, ""],
    }
)


def test_a_table_fits_the_terminal() -> None:
    """Texts are shortened, the longest first; ids, numbers and times are not; the terminal obeys nothing."""
    lines = list(table_lines(FRAME, 120))
    assert max(len(line) + sum(each in "日本語" for each in line) for line in lines) == 120
    assert lines[2].startswith("inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9  12345  2026-11-25 04:34:50  1m 30s  a failure")
    assert lines[2].count("…") == 2
    assert "‹U+001B›[31mred‹U+20…" in lines[3]
    assert not [character for line in lines for character in line if not character.isprintable()]


def test_numbers_are_right_aligned_and_texts_left() -> None:
    frame = pd.DataFrame({"n": [5, 1234], "t": ["a", "bc"], "empty": [None, "x"]})
    assert list(table_lines(frame, 80)) == ["   n  t   empty", "────  ──  ─────", "   5  a", "1234  bc  x"]


def test_columns_that_do_not_fit_are_shown_as_blocks_with_wrapped_texts() -> None:
    lines = list(table_lines(FRAME, 60))
    assert lines[0].startswith("── 1 ──")
    assert lines[1] == "id     inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9"
    assert max(map(len, lines)) <= 60
    text = " ".join(line.removeprefix("text ").strip() for line in lines)
    assert "a failure " * 19 in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("漢字" * 9, "漢字漢字漢 …"),
        ("e\u0301" * 80, "e\u0301" * 11 + "…"),
        ("👩" * 9, "👩👩👩👩👩 …"),
        ("\x1b[31m漢" * 9, "‹U+001B›[31…"),
        ("[bold]:smile:[/]", "[bold]:smil…"),
    ],
)
def test_wide_and_combined_characters_do_not_move_the_next_column(text: str, shown: str) -> None:
    """A character may need two cells of a terminal, or consist of several codes; and markup is text."""
    assert list(table_lines(pd.DataFrame({"text": [text], "n": [7]}), 15))[2] == f"{shown}  7"


def test_a_pipe_gets_whole_texts_and_exact_times_on_one_line_per_row() -> None:
    lines = list(table_lines(FRAME, None))
    assert ("a failure " * 20).strip() in lines[2]
    assert "2026-11-25T04:34:50.123000Z" in lines[2]
    assert len(lines) == 4


def test_a_question_has_readable_headings_and_a_statement_its_own_names() -> None:
    frame = pd.DataFrame({"target_service_name": ["A"], "oldest_created_at": [1]})
    assert next(iter(table_lines(frame, 80, HEADS))) == "service  oldest created at"
    assert next(iter(table_lines(frame, 80))) == "target_service_name  oldest_created_at"


def test_a_table_without_rows_prints_its_header() -> None:
    assert list(table_lines(FRAME.iloc[:0][["n", "text"]], 80)) == ["n  text", "─  ────"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(stream: io.StringIO, *parts: Part, first: str = "") -> str:
    TextPage(stream).paragraph(*parts, first=first)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("env", "at_a_terminal", "in_a_pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
    ],
    ids=str,
)
def test_colours_follow_no_color_force_color_and_term_and_a_pipe_has_none(
    env: dict[str, str], at_a_terminal: bool, in_a_pipe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"TERM": "xterm-256color"} | env).items():
        monkeypatch.setenv(name, value)
    assert ("\x1b" in printed(Terminal(), ("CRITICAL", "bold red"))) == at_a_terminal
    assert ("\x1b" in printed(io.StringIO(), ("CRITICAL", "bold red"))) == in_a_pipe


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_paragraphs_are_wrapped_with_a_hanging_indent(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is wider than the terminal, later lines are indented below the first, and in a pipe there is one line."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    text = "15 invocations of Payments/charge retry the step “charge card” 漢字漢字 " * 5
    lines = printed(Terminal(), text, first="  next: ").splitlines()
    assert max(map(cell_len, lines)) <= width
    assert {line[:8] for line in lines[1:]} <= {" " * 8}
    assert " ".join(line[8:] for line in lines).split() == text.split()
    assert printed(io.StringIO(), text, first="  next: ") == f"  next: {text.rstrip()}\n"


def test_text_of_a_cluster_is_neither_markup_nor_a_control(monkeypatch: pytest.MonkeyPatch) -> None:
    """Markup, emoji codes, links, escapes and right-to-left text are shown unchanged or as codes."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    hostile = "[bold red]x[/] :boom: http://a \x1b[31mred\x1b]0;title\x07 \u202egnp \nnext"
    shown = "[bold red]x[/] :boom: http://a ‹U+001B›[31mred‹U+001B›]0;title‹U+0007› ‹U+202E›gnp ↵next"
    assert printed(Terminal(), hostile) == f"{shown}\n"
    stream = io.StringIO()
    TextPage(stream).commands(f"echo {shlex.quote(hostile.replace(chr(10), ' '))}", first="next: ")
    assert not [each for each in stream.getvalue()[:-1] if not each.isprintable()]


COMMAND = """for id in inv_1 inv_2 inv_3; do RESTATE_ADMIN_URL=http://127.0.0.1:9070 restate why -p 'a b' "$id"; done"""


@pytest.mark.parametrize("width", [30, 60, 200])
def test_a_long_command_can_be_copied(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal a long command is split with a backslash between arguments, and a shell reads the same command."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    TextPage(stream).commands(f"# why\n{COMMAND}", first="next: ")
    note, *lines = stream.getvalue().splitlines()
    assert note == "next: # why"
    assert all(len(line) <= width or len(line.split()) <= 2 for line in lines)
    assert [line.endswith(" \\") for line in lines] == [*[True] * (len(lines) - 1), False]
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == shlex.split(COMMAND)
    assert not any(line.strip(" \\").endswith("-p") for line in lines)  # an option stays with its value


@pytest.mark.parametrize(
    ("options", "told_"),
    [
        ({"as_json": True, "csv": Path("-")}, "--json and --csv cannot be combined"),
        ({"csv": Path("a.txt")}, "--csv; it must end with .csv or .csv.gz"),
        ({"parquet": Path("nowhere/a.parquet")}, "the folder nowhere does not exist"),
        ({"csv": Path("there.csv")}, "--overwrite"),
    ],
)
def test_two_formats_and_a_file_that_cannot_be_written_are_usage_errors(
    options: dict[str, Any], told_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.csv").touch()
    with pytest.raises(ArgumentError, match=told_):
        output_format(**{"as_json": False, "csv": None, "parquet": None, "overwrite": False, **options})


@pytest.mark.parametrize(
    ("severities", "missing", "plain", "strict"),
    [
        ([], [], 0, 0),
        (["note"], [False], 0, 0),
        (["warning", "note"], [], 0, 3),
        (["warning"], [True], 4, 3),
        ([], [False, True], 4, 4),
        (["critical"], [True], 3, 3),
    ],
)
def test_the_doctor_ends_with_3_for_critical_and_4_for_incomplete(
    severities: list[str], missing: list[bool], plain: int, strict: int
) -> None:
    diagnosis: Any = SimpleNamespace(
        findings=pd.DataFrame({"severity": pd.Series(severities, dtype=object)}),
        not_read=pd.DataFrame({"applies": pd.Series(missing, dtype=bool)}),
    )
    assert (doctor_exit_code(diagnosis, strict=False), doctor_exit_code(diagnosis, strict=True)) == (plain, strict)


@pytest.mark.parametrize(
    ("certain", "excluded", "code"), [([], (), 0), ([False], (), 0), ([], ("x",), 4), ([False, True], ("x",), 3)]
)
def test_waits_ends_with_3_for_a_deadlock_and_4_for_incomplete(
    certain: list[bool], excluded: tuple[str, ...], code: int
) -> None:
    waits: Any = SimpleNamespace(deadlocks=pd.DataFrame({"certain": pd.Series(certain, dtype=bool)}), reasons=excluded)
    assert waits_exit_code(waits) == code


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("-1.5", -1.5), ("true", True), ("null", None), ('["a", 1]', ["a", 1]), ('"42"', "42"), ("007", "007"),
     ("agent", "agent"), ("", ""), ("2h", "2h"), ("it's", "it's"), ("9007199254740993", 9007199254740993)],
)  # fmt: skip
def test_parameters_of_sql_are_json_or_text(text: str, value: Any) -> None:
    """A value that parses as JSON is JSON; everything else is text, and so is a number with a leading zero."""
    assert parse_value(text) == value


def test_a_warning_is_one_line_on_stderr_without_a_file_and_a_line_number(capsys: pytest.CaptureFixture[str]) -> None:
    with exit_on_error():
        warnings.warn("cut\n\x1b[31m", Truncated, stacklevel=1)
    assert capsys.readouterr().err == "restate-lab: Truncated: cut ‹U+001B›[31m\n"


def test_an_unknown_option_command_question_or_parameter_is_code_2() -> None:
    for arguments in (
        ["sql"],
        ["nope"],
        ["ask", "overview", "--nope"],
        ["questions", "nope"],
        ["ask", "overview", "-p", "x"],
        ["ask", "overview", "limit=3"],
    ):
        assert call(*arguments).exit_code == 2, arguments


def test_every_timeout_takes_seconds_and_durations() -> None:
    commands = typer.main.get_group(app).commands
    options = {
        name: parameter
        for name, command in commands.items()
        for parameter in command.params
        if "--timeout" in parameter.opts
    }
    assert set(COMMANDS) - {"demo", "questions", "mcp"} == options.keys()
    assert {option.metavar for option in options.values()} == {"DURATION"}
    assert [parse_seconds(text) for text in ("90", "1.5", "90s", "2m", "500ms")] == [90, 1.5, 90, 120, 0.5]
    for arguments in (
        ["sql", "SELECT 1"],
        ["doctor"],
        ["why", "inv_1"],
        ["waits"],
        ["journal", "inv_1"],
        ["freeze", "x"],
    ):
        for wrong in ("soon", "-1s", "nan"):
            answer = call(*arguments, "--timeout", wrong)
            assert (answer.exit_code, "use a duration" in answer.output) == (2, True), (arguments, wrong)
    assert "greater than 0" in call("sql", "SELECT 1", "--timeout", "0").output


def test_the_list_and_one_question_need_no_server() -> None:
    assert "wakes_next" in call("questions").output
    shown = call("questions", "wakes_next").output
    assert "-p until=1h  (time ahead) only times before this time" in shown
    assert "FROM sys_invocation_status" in shown
