"""The command line."""

from __future__ import annotations

import ast
import io
import re
import shlex
import subprocess
import sys
import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pandas as pd
import pytest
import typer
from rich.cells import cell_len
from typer.testing import CliRunner

import restate_lab
from restate_lab._text import format_duration, short_ids, shorten_id
from restate_lab.analysis.agents.prices import PriceTable
from restate_lab.analysis.contrast import FAILING_KINDS
from restate_lab.analysis.doctor import Diagnosis, doctor
from restate_lab.analysis.doctor.diagnosis import build_diagnosis
from restate_lab.analysis.doctor.model import Blocked, Finding, Severity, fingerprint_of
from restate_lab.analysis.suggestions import ask_call
from restate_lab.cli import ELSEWHERE, app
from restate_lab.cli._errors import exit_on_error
from restate_lab.cli._exit_codes import doctor_exit_code, waits_exit_code
from restate_lab.cli._in_a_shell import in_a_shell
from restate_lab.cli._options import OutputFormat, SourceOptions, output_format, parse_seconds, parse_value, with_output
from restate_lab.cli._page import Part, TextPage
from restate_lab.cli._streams import print_line
from restate_lab.cli._table import TableView, TerminalTable, plain_lines
from restate_lab.cli.diagnose import FailingStatus, _parse_prices
from restate_lab.cli.shell_code import writer
from restate_lab.cli.watch import _print_alert
from restate_lab.errors import ArgumentError, RestateLabError, Truncated
from restate_lab.mcp.reads import ReadTools
from support.sample_rows import BEFORE, SampleRows, invocation, waiting_columns
from support.structure import STRUCTURE


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
        "say": print_line,
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
    *("demo", "sql", "ask", "questions", "doctor", "contrast", "why", "waits", "journal", "agents", "find", "story"),
    *("plan", "execute", "audit", "call", "note"),
    *("debug", "replay", "to-test", "freeze", "archive", "watch", "report", "compare", "serve", "mcp"),
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


def test_help_has_whole_sentences_and_defaults_that_people_can_read() -> None:
    """At 80 columns no line is cut or too wide; no metavar has two brackets, and no default is a float."""
    group = typer.main.get_group(app)
    texts = [call("--help").output, call("history", "--help").output]
    assert not [text for text in texts if "..." in text.partition("Commands:")[2]]
    helps = {name: call(name, "--help").output for name in group.commands}
    texts += [call("history", name, "--help").output for name in ("coverage", "compact", "vacuum", "delete-before")]
    texts.append(call("mcp", "approve", "--help").output)
    wide = [line for text in [*texts, *helps.values()] for line in text.splitlines() if cell_len(line) > 80]
    assert wide == []
    assert {name for name, text in helps.items() if "[[" in text or re.search(r"\[default:\s+\d+\.0\]", text)} == set()
    for name, command in group.commands.items():
        for parameter in command.params:
            if parameter.metavar == "DURATION" and isinstance(parameter.default, float):
                assert f"Default: {format_duration(parameter.default)}." in " ".join(helps[name].split()), name


def test_help_loads_no_slow_module() -> None:
    script = (
        "import sys, restate_lab.cli; print([m for m in ('pandas', 'pyarrow', 'httpx', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


NOW = pd.Timestamp("2026-11-25T04:36:00Z").to_pydatetime()
IDS = ("inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9", "inv_16JHhGqVCcTB2NVtMi7Lge0iMyLAx4kVQ9")
FRAME = pd.DataFrame(
    {
        "id": IDS,
        "invocations": pd.array([12_345, None], dtype="Int64"),
        "last_at": pd.to_datetime(["2026-11-25T04:34:50.123Z", None], utc=True),
        "took": pd.to_timedelta([90, None], unit="s"),
        "text": ["a failure " * 20, "\x1b[31mred\u202e\nnext"],
        "other": ["日本語" * 10, "x"],
        "nothing": [None, None],
    }
)


def table(frame: pd.DataFrame, width: int, **options: Any) -> TerminalTable:
    return TerminalTable(frame, TableView(width, NOW, **options))


def lines_of(frame: pd.DataFrame, width: int, **options: Any) -> list[str]:
    return list(table(frame, width, **options).lines())


def test_a_table_has_short_ids_and_ages_and_long_texts_below_their_rows() -> None:
    """Ids that end alike are longer; the terminal obeys nothing; a line is never wider than the terminal."""
    shown = table(FRAME, 80)
    lines = list(shown.lines())
    assert lines[0] == "id         invocations  last         took"
    assert lines[1] == "    text, other"
    assert lines[3] == "inv_…9VQ9       12,345  1m 9s ago  1m 30s"
    assert lines[4].startswith("    a failure a failure")
    assert (len(lines[4]), lines[4][-1]) == (80, "…")
    assert lines[6:9] == ["inv_…kVQ9", "    ‹U+001B›[31mred‹U+202E›↵next", "    x"]
    assert not [character for line in lines for character in line if not character.isprintable()]
    assert shown.note == "1 empty column: --wide · whole ids: --full-ids"


def test_a_table_omits_the_least_important_columns_and_counts_them() -> None:
    """With --wide all columns are there, and with --full-ids whole ids; an id stays, and the last column goes first."""
    shown = table(FRAME, 36)
    assert next(shown.lines()) == "id         invocations  last"
    assert shown.note == "2 more columns (1 is empty): --wide · whole ids: --full-ids"
    wide = table(FRAME, 36, is_wide=True, has_full_ids=True)
    assert "nothing" in next(wide.lines())
    assert (f"    {'a failure ' * 20}".rstrip() in map(str.rstrip, wide.lines()), wide.note) == (True, "")
    assert [line.split()[0] for line in wide.lines() if line.startswith("inv_")] == list(IDS)


def test_a_table_omits_what_is_in_another_column() -> None:
    frame = pd.DataFrame(
        {
            "target": ["Payments/charge", "Orders/place"],
            "target_service_name": ["Payments", "Orders"],
            "target_handler_name": ["charge", "place"],
            "oldest_created_at": pd.to_datetime(["2026-11-25T04:34:50Z", "2026-11-25T04:34:00Z"]),
            "oldest_age": pd.to_timedelta([70, 120], unit="s"),
            "message": ["order #", "x"],
            "example_message": ["order 1", "x"],
        }
    )
    shown = table(frame, 120)
    assert next(shown.lines()).split() == ["target", "oldest", "created", "message"]
    assert shown.note == "4 more columns: --wide"
    assert lines_of(frame, 120, has_names=True)[0].split() == list(frame.columns)


def test_a_day_is_a_date_and_what_is_known_from_another_column_is_omitted() -> None:
    frame = pd.DataFrame(
        {
            "day": pd.to_datetime(["2026-11-24", "2026-11-25"], utc=True),
            "blocked_on": ["lock", "backing-off"],
            "blocked_on_json": ['{"resource": "lock"}', "{}"],
            "wakes_at": pd.to_datetime(["2026-11-25T04:36:05Z", "2026-11-25T04:37:00Z"]),
            "wakes_in": pd.to_timedelta([5.2, 60.4], unit="s"),
            "service_key": ["a", "b"],
            "holder_handler_name": ["hold", "run"],
        }
    )
    lines = lines_of(frame, 120)
    assert lines[0] == "day (UTC)   blocked on   wakes  key  holder handler"
    assert lines[2] == "2026-11-24  lock         in 5s  a    hold"
    assert lines_of(frame[["day", "blocked_on"]].head(1), 12) == ["day (UTC)   2026-11-24", "blocked on  lock"]
    assert {"wakes_in", "blocked_on_json"} <= set(lines_of(frame, 200, has_names=True)[0].split())


def test_the_end_of_an_endpoint_stays_and_a_less_important_column_goes() -> None:
    """Deployments of one host differ in the path, which is the end, as the version of an SDK is."""
    endpoints = [f"http://127.0.0.1:33075/promotions-{number}" for number in (1, 2)]
    frame = pd.DataFrame(
        {
            "deployment_id": ["dp_154ztib7AYaw2PgshJWwG8F", "dp_154ztib7AYaw2PgshJWwG9F"],
            "endpoint": endpoints,
            "is_known": [True, True],
            "pinned": [0, 3],
            "services": ["Promotions", "Promotions and many others"],
            "sdk": ["restate-sdk-python/1.3.0", None],
        }
    )
    lines = lines_of(frame, 84)
    assert lines[0].split() == ["deployment", "id", "endpoint", "pinned", "sdk"]
    assert all(endpoint in line for endpoint, line in zip(endpoints, lines[2:], strict=True))
    assert lines[2].endswith("  restate-sdk-python/1.3.0")


def test_only_a_single_row_that_does_not_fit_is_vertical_with_whole_values() -> None:
    lines = lines_of(FRAME.head(1), 60)
    assert lines[0] == f"id           {IDS[0]}"
    assert lines[2] == "last         2026-11-25 04:34:50 UTC (1m 9s ago)"
    assert max(map(cell_len, lines)) <= 60
    assert "a failure " * 19 in " ".join(line.removeprefix("text").strip() for line in lines)
    long = lines_of(pd.DataFrame({"a": [1], "text": ["a failure " * 90]}), 60)
    assert " ".join(line[6:].strip() for line in long[1:]).split() == ["a", "failure"] * 90
    assert table(FRAME.head(1), 60).note == "1 empty column: --wide"
    assert lines_of(FRAME.head(1)[["id", "invocations"]], 60)[0] == "id         invocations"


def test_22_rows_of_the_overview_fit_40_lines_at_100_columns() -> None:
    ids = [f"inv_1{number:033d}" for number in range(22)]
    frame = pd.DataFrame(
        {
            "target_service_name": ["Warehouse"] * 22,
            "target_handler_name": ["ask_for_review"] * 22,
            "status": ["backing-off"] * 22,
            "invocations": range(22),
            "oldest_id": ids,
            "oldest_created_at": pd.to_datetime(["2026-11-25T04:34:50Z"] * 22),
            "oldest_age": pd.to_timedelta(range(22), unit="s"),
        }
    )
    lines = lines_of(frame, 100)
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    assert len({line.split()[4] for line in lines[2:]}) == 22


def test_ids_are_as_long_as_they_must_be_to_differ() -> None:
    """Without another id that ends alike, the short form is the one of panels, cards and plots."""
    ids = [*IDS, "dp_154ztib7AYaw2PgshJWwG8F"]
    assert short_ids([*ids, "inv_1"]) == {id_: shorten_id(id_) for id_ in ids}
    assert list(short_ids(ids).values()) == ["inv_…9VQ9", "inv_…kVQ9", "dp_…wG8F"]
    alike = IDS[0].replace("39VQ9", "49VQ9")
    assert short_ids([*IDS, alike]) == {IDS[0]: "inv_…39VQ9", IDS[1]: "inv_…4kVQ9", alike: "inv_…49VQ9"}


def test_numbers_are_right_aligned_and_texts_left() -> None:
    frame = pd.DataFrame({"a": [5, 1234], "t": ["a", "bc"], "empty": [None, "x"]})
    assert lines_of(frame, 80) == ["    a  t   empty", "─────  ──  ─────", "    5  a", "1,234  bc  x"]
    assert lines_of(pd.DataFrame({"a": [3230.99991, 0.25]}), 80)[2:] == ["3,231", " 0.25"]
    assert lines_of(pd.DataFrame({"a": [3230.99991]}), 80, has_names=True)[2:] == ["3230.99991"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("漢字" * 9, "漢字漢字漢字漢字漢字 …"),
        ("e\u0301" * 38, "e\u0301" * 21 + "…"),
        ("👩" * 19, "👩👩👩👩👩👩👩👩👩👩 …"),
        ("\x1b[31m漢" * 2, "‹U+001B›[31m漢‹U+001B…"),
        ("[bold]:smile:[/]:smile:", "[bold]:smile:[/]:smil…"),
    ],
)
def test_wide_and_combined_characters_do_not_move_the_next_column(text: str, shown: str) -> None:
    """A character may need two cells of a terminal, or consist of several codes; and markup is text."""
    frame = pd.DataFrame({"text": [text] * 2, "status": ["failed"] * 2})
    assert lines_of(frame, 30)[2] == f"{shown}  failed"


def test_a_pipe_gets_whole_texts_and_exact_times_on_one_line_per_row() -> None:
    """A pipe has every column under its own name, also an empty one, and whole ids; no option changes that."""
    lines = list(plain_lines(FRAME))
    assert lines[0].split() == list(FRAME.columns)
    assert lines[2].startswith(IDS[0])
    assert ("a failure " * 20).strip() in lines[2]
    assert "2026-11-25T04:34:50.123000Z" in lines[2]
    assert len(lines) == 4


def test_a_question_has_readable_headings_and_a_statement_its_own_names() -> None:
    frame = pd.DataFrame({"target_service_name": ["A"], "oldest_created_at": pd.to_datetime(["2026-11-25T04:35:00Z"])})
    assert lines_of(frame, 80)[0] == "service  oldest created"
    assert lines_of(frame, 80, has_names=True)[0] == "target_service_name  oldest_created_at"


def test_a_table_without_rows_prints_its_header_in_a_pipe() -> None:
    assert list(plain_lines(FRAME.iloc[:0][["invocations", "text"]])) == ["invocations  text", "───────────  ────"]


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
        ({"FORCE_COLOR": "0"}, False, False),
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


def test_a_long_option_stays_with_its_value_and_a_line_of_python_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    TextPage(stream).commands("restate-lab replay http://new:9080 --yes --id inv_1 --id inv_2 -e http://a:1")
    lines = [line.strip(" \\") for line in stream.getvalue().splitlines()]
    assert lines == ["restate-lab replay http://new:9080 --yes", "--id inv_1 --id inv_2 -e http://a:1"]
    stream = Terminal()
    TextPage(stream).commands('in Python: lab.sql("SELECT 1 AS a_long_name", service="Account")', first="rows: ")
    assert stream.getvalue() == 'rows: in Python: lab.sql("SELECT 1 AS a_long_name", service="Account")\n'


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


@pytest.mark.parametrize("verb", ELSEWHERE)
def test_a_verb_that_does_not_exist_points_to_what_does(verb: str) -> None:
    told = call(verb, "inv_1", "-e", "prod")
    assert told.exit_code == 2
    assert f"restate-lab: unknown command '{verb}'. {ELSEWHERE[verb]}" in told.output
    assert verb not in COMMANDS


def test_a_misspelled_command_has_the_nearest_one() -> None:
    for name, hint in {"doctr": "Did you mean 'doctor'?", "foo": "restate-lab --help lists the commands."}.items():
        told = call(name)
        assert (told.exit_code, told.output) == (2, f"restate-lab: unknown command '{name}'. {hint}\n")


def literals() -> list[str]:
    """Return each text of the package, with "x" for the values in it."""
    texts = []
    for tree in STRUCTURE.trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(str(getattr(each, "value", "x")) if isinstance(each, ast.Constant) else "x"
                                     for each in node.values))  # fmt: skip
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_each_hint_for_python_that_a_shell_translates_is_in_a_message() -> None:
    """A row whose message was reworded would show Python again."""
    messages = [text for text in literals() if "(?" not in text and r"\b" not in text]
    for pattern, replacement in in_a_shell.__globals__["_IN_A_SHELL"]:
        assert [text for text in messages if pattern.search(text)], pattern.pattern
        assert not pattern.search(replacement)


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        (PriceTable({}, None, {"gpt-4o": None}).note, "or add --price '*=2.5,1.25,10' for every model"),
        (PriceTable({"a": (1, 1, 1)}, None, {"gpt-4o": None}).note, "no price for gpt-4o; add --price '*=2.5,1.25,10'"),
        (":x has no value. Pass x=….", ":x has no value. Add -p x=…."),
        ("did not finish within its timeout of 30s; pass a longer timeout=, or", "pass a longer --timeout, or"),
        ("pass another name, or overwrite=True.", "pass another name, or --overwrite."),
    ],
)
def test_a_hint_names_options_in_a_shell(python: str, shell: str) -> None:
    assert shell in in_a_shell(python)


def test_prices_are_options() -> None:
    assert _parse_prices([]) is None
    assert _parse_prices(["*=2.5,1.25,10", "a=b=1,0,2"]) == {"*": (2.5, 1.25, 10.0), "a=b": (1.0, 0.0, 2.0)}
    for wrong in ("2.5,1.25,10", "x=1,2", "x=a,b,c"):
        told = call("agents", "--price", wrong)
        assert told.exit_code == 2
        assert "use MODEL=IN,CACHED,OUT" in " ".join(told.output.split())


def test_an_alert_leads_with_what_is_wrong_and_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alert: Any = SimpleNamespace(
        severity="critical",
        title="15 invocations of Payments/charge retry the step “charge card”",
        cluster="prod",
        rule="retry_storm",
        fingerprint="06f07fc5ff48e7e7",
        blocks="3 Orders/place",
        cause="",
        additions={"shared": "All 15 failing were called by Backfill.", "draining": ""},
        link="",
        page="https://pages.example.com/?source=prod",
        next_step="restate-lab why inv_1",
        note="known until 03:20 UTC (mara): INC-42",
    )
    event: Any = "opened"
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    _print_alert(event, alert)
    assert sys.stdout.getvalue().splitlines()[:2] == [  # type: ignore[attr-defined]
        "OPENED critical: 15 invocations of Payments/charge retry the",
        "                 step “charge card” (prod)",
    ]
    monkeypatch.undo()
    _print_alert(event, alert)
    assert capsys.readouterr().out.splitlines() == [
        "OPENED critical: 15 invocations of Payments/charge retry the step “charge card” (prod)",
        "  retry_storm 06f07fc5ff48e7e7",
        "  Known until 03:20 UTC (mara): INC-42",
        "  Blocks 3 Orders/place.",
        "  All 15 failing were called by Backfill.",
        "  https://pages.example.com/?source=prod",
        "  next: restate-lab why inv_1",
    ]


def test_the_command_line_and_the_assistant_know_each_word_for_failing_invocations() -> None:
    literal, *_ = get_args(FailingStatus)
    tool = get_type_hints(ReadTools.contrast, include_extras=True)["status"]
    assert get_args(literal) == get_args(get_args(tool)[0]) == tuple(FAILING_KINDS)


def test_a_finding_leads_with_its_sentence_and_not_with_the_name_of_its_check() -> None:
    shown = {}
    for name in ("overview", "retry_storm", "retry_storm_ids"):
        found = Finding(
            severity=Severity.CRITICAL,
            title="15 retry “charge card”",
            where="Payments/charge",
            count=1,
            ids=("inv_1",),
            evidence=ask_call(name),
            suggested=(ask_call("retry_storm"),),
            since=NOW,
            blocked=Blocked(("inv_2",), 3, "3 Orders/place"),
            check="retry_storm",
        )
        diagnosis = build_diagnosis(
            source="x", version="y", at=NOW, seconds=0, findings=[found], checked=[], gaps=[], skipped=0
        )
        noted = diagnosis.findings.assign(note="noted at 02:00 UTC (mara): INC-42")
        page = io.StringIO()
        TextPage(page).document(replace(diagnosis, findings=noted).document(), writer(SourceOptions()))
        shown[name] = page.getvalue().splitlines()[3:]
    assert shown["overview"] == [
        "CRITICAL 15 retry “charge card”",
        "  noted at 02:00 UTC (mara): INC-42",
        "  Blocks 3 Orders/place.",
        f"  for 0s · retry_storm · {fingerprint_of('retry_storm', 'Payments/charge')}",
        "  next: restate-lab ask retry_storm",
        "  rows: restate-lab ask overview",
    ]
    assert shown["retry_storm"] == shown["overview"][:-1], "a command is shown once"
    assert shown["retry_storm_ids"][-2:] == [
        "  plan: restate-lab plan resume --question retry_storm_ids",
        "  rows: restate-lab ask retry_storm_ids",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inc.html"], "restate-lab report -o inc.html"),
        ([], "restate-lab report -o report.html"),
        (["a.ipynb"], "RESTATE_LAB_READ_ONLY=1 jupyter nbconvert --execute --to html a.ipynb"),
        (["a b.IPYNB", "-o", "inc.html"], "jupyter nbconvert --execute --to html 'a b.IPYNB'"),
        (["-o", "inc.html", "--length", "brief"], "'short', 'full'"),
        (["-o", "inc.docx", "-e", "http://127.0.0.1:1"], "unknown format of 'inc.docx'"),
    ],
)
def test_a_report_states_what_is_missing_before_anything_is_read(arguments: list[str], message: str) -> None:
    told = call("report", *arguments)
    assert (told.exit_code, message in " ".join(told.output.split())) == (2, True), told.output


def incident_source(**tables: Any) -> SampleRows:
    holder = invocation(1, handler="hold", target_service_key="k", **waiting_columns(signals=(17,)))
    waiting = [invocation(2 + at, "inboxed", target_service_key="k", inboxed_at=BEFORE) for at in range(3)]
    return SampleRows(
        sys_invocation_status=[holder, *waiting],
        sys_inbox=[{"id": row["id"], "service_name": "Svc", "service_key": "k"} for row in waiting],
        sys_keyed_service_status=[{"service_name": "Svc", "service_key": "k", "invocation_id": holder["id"]}],
        **tables,
    )


@pytest.mark.parametrize(("length", "chapters"), [("short", 2), ("full", 10)])
def test_a_report_in_a_shell_has_the_length_that_was_asked_for_and_runs_the_doctor_once(
    length: str, chapters: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The verdict that is printed is the one in the report."""
    diagnoses: list[Diagnosis] = []

    def count(*arguments: Any, **options: Any) -> Diagnosis:
        diagnoses.append(doctor(*arguments, **options))
        return diagnoses[-1]

    monkeypatch.setattr("restate_lab.reports.reader.doctor", count)
    monkeypatch.setattr("restate_lab.analysis.doctor.doctor", count)
    monkeypatch.setattr("restate_lab.cli.report.open_source", lambda *_, **__: nullcontext(incident_source()))
    path = tmp_path / "inc.html"
    told = call("report", "-o", str(path), "--length", length)
    (diagnosis,) = diagnoses
    assert (told.exit_code, told.stdout.splitlines()) == (
        0,
        [str(path), diagnosis.summary, diagnosis.findings["title"][0]],
    )
    assert len(re.findall(r"<h2", path.read_text("utf-8"))) >= chapters
    assert ("Not in this short report" in path.read_text("utf-8")) == (length == "short")


def test_a_report_without_a_diagnosis_gives_the_reason_and_the_exit_code_of_an_incomplete_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any, **__: Any) -> Diagnosis:
        raise RestateLabError("the clock could not be read")

    monkeypatch.setattr("restate_lab.reports.reader.doctor", fail)
    monkeypatch.setattr("restate_lab.cli.report.open_source", lambda *_, **__: nullcontext(incident_source()))
    path = tmp_path / "inc.html"
    told = call("report", "-o", str(path), "--length", "short")
    assert told.exit_code == 4
    assert told.stdout.splitlines() == [str(path), "Not read: What is wrong: the clock could not be read"]


def test_every_timeout_takes_seconds_and_durations() -> None:
    commands = typer.main.get_group(app).commands
    options = {
        name: parameter
        for name, command in commands.items()
        for parameter in command.params
        if "--timeout" in parameter.opts
    }
    assert set(COMMANDS) - {"demo", "questions", "mcp", "execute", "audit"} == options.keys()
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
            assert (answer.exit_code, "use 30s, 5m" in answer.output) == (2, True), (arguments, wrong)
    assert "greater than 0" in call("sql", "SELECT 1", "--timeout", "0").output


def test_the_list_and_one_question_need_no_server() -> None:
    assert "wakes_next" in call("questions").output
    shown = call("questions", "wakes_next").output
    assert re.search(r"^-p until=1h +\(time ahead\) only times before this time", shown, re.MULTILINE)
    starts = {line.index(" (") for line in shown.splitlines() if line.startswith("-p ")}
    assert len(starts) == 1, "the descriptions are aligned"
    assert "FROM sys_invocation_status" in shown
