"""A handler that runs on a recorded journal: its printed entries, and standard debuggers at its first line."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
from pathlib import Path

import pexpect
import pytest
from typer.testing import CliRunner, Result

import restate_lab as rl
from restate_lab import errors
from restate_lab.cli import app as cli
from restate_lab.debugging.entries import _line_of, describe_failure
from restate_lab.debugging.session import parse_address, run_session
from restate_lab.demo.server import free_ports
from restate_lab.redaction import MASK
from restate_lab.testing import Record
from restate_lab.testing.journal import Failure
from support.debug_clients import connected
from support.debugged_app import (
    ARGUMENTS,
    CODE,
    ENTRIES,
    FAILING_LINE,
    HOSTILE,
    environment,
    journal,
    line_of,
    start_session,
    write_app,
)
from support.forked import restate_lab
from support.sample_rows import SampleRows

NUMBERS = itertools.count()
RESULTS = (
    ("0: Input", '{"sku": "A"}', ""),
    ("1: Run 'item 0'", "1", "total +="),
    ("3: Run 'item 1'", "4", "total +="),
    ("5: SetState 'total'", "5", "ctx.set"),
    ("6: Run 'load'", '{"a": 0, "b": 52}', "parts = await"),
)
RETURNS = CODE.replace("    return first + parts[1]", "    return first + len(parts)")
FAILS = f"fails: IndexError('list index out of range') at shop.py:{FAILING_LINE}"
SAME = "In production: IndexError('list index out of range') at /app/shop.py:33 (the same error)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_app(tmp_path)


def debug(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str, typed: str = "") -> Result:
    """Run the command in this process; the module of the app has the name of its test."""
    module = f"shop_of_a_session_{next(NUMBERS)}"
    (folder / f"{module}.py").write_text((folder / "shop.py").read_text())
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    return CliRunner().invoke(cli, ["debug", module, "record.json", *options], input=typed)


def entry_lines(shown: str) -> list[str]:
    return re.findall(r"^(?:\(Pdb\) )*(entry .*)", shown, re.MULTILINE)


def assert_in_order(shown: str, *expected: str) -> None:
    at = 0
    for each in expected:
        assert each in shown[at:], (each, shown)
        at = shown.index(each, at) + len(each)


def test_the_entries_are_printed_beside_the_code_and_the_exception_is_raised(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = debug(folder, monkeypatch)
    shown, raised = (re.sub(r"shop_of_a_session_\d+\.py", "shop.py", each) for each in (result.stdout, result.stderr))
    assert_in_order(
        shown,
        f"Orders/place '4711' {journal().id}, 8 entries. No step runs; code outside of steps runs.\n",
        "In production: IndexError('list index out of range') at /app/shop.py:33\n",
    )
    for name, recorded, line in RESULTS:
        beside = f"\n    shop.py:{line_of(line)}: {CODE.splitlines()[line_of(line) - 1].strip()}" if line else ""
        sign = "=" if "SetState" in name else "->"
        assert shown.count(f"entry {name} {sign} {recorded}{beside}\n") == 1, shown
    assert_in_order(shown, f"Here:          {FAILS}\n", SAME)
    assert raised.startswith("Traceback (most recent call last):\n")
    assert re.findall(r"line (\d+), in (\w+)", raised)[-1] == (str(FAILING_LINE), "price_of")
    assert raised.endswith("\nIndexError: list index out of range\n")
    assert "site-packages" not in raised
    assert "restate_lab" not in raised
    assert result.exit_code == 1
    assert not (folder / "ran").exists()


def test_rl_debug_prints_the_entries_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of code that returns, for which the handler runs again."""
    (folder / "shop_that_returns.py").write_text(RETURNS)
    monkeypatch.syspath_prepend(folder)
    rl.debug(SampleRows(), folder / "record.json", "shop_that_returns")
    names = [re.split(" ->| =", each)[0] for each in entry_lines(capsys.readouterr().out)]
    assert names == [f"entry {name}" for name, *_ in RESULTS]


def test_pdb_stops_at_the_first_line_of_the_handler(folder: Path) -> None:
    """It is the standard pdb in the terminal: its commands, breakpoints and stack; each entry is shown as it comes."""
    command, *arguments = restate_lab()
    session = pexpect.spawn(command, [*arguments, *ARGUMENTS, "--pdb"], cwd=folder, env=environment(), encoding="utf-8")
    answers = (
        ("p order", "{'sku': 'A'}"),
        ("n", f"shop.py({line_of('for i in')})place()"),
        ("n", f"shop.py({line_of('total +=')})place()"),
        ("n", f"entry 1: Run 'item 0' -> 1\r\n    shop.py:{line_of('total +=')}: total +="),
        ("p total", "1"),
        (f"b shop.py:{FAILING_LINE}", "Breakpoint 1 at"),
        ("c", "entry 6: Run 'load'"),
        ("p parts", "[52]"),
        ("up", f"shop.py({line_of('return total')})place()"),
        ("p total", "5"),
    )
    with contextlib.closing(session):
        session.expect_exact("(Pdb) ", timeout=60)
        assert f"> {folder}/shop.py({line_of('total = 0')})place()" in str(session.before)
        for command, answer in answers:
            session.sendline(command)
            session.expect_exact("(Pdb) ", timeout=60)
            assert answer in str(session.before), (command, session.before)
        assert "Internal StopIteration" not in str(session.before)
        session.sendline("c")
        session.expect_exact(pexpect.EOF, timeout=60)
        assert_in_order(str(session.before), f"Here:          {FAILS}", SAME, "IndexError: list index out of range")
        session.wait()
    assert session.exitstatus == 1
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(("options", "stops"), [((), 1), (("--pdb",), 2)])
def test_a_breakpoint_in_the_code_opens_pdb(folder: Path, options: tuple[str, ...], stops: int) -> None:
    """With and without an option, it is that of Python."""
    write_app(folder, CODE.replace("    first = parts[0]\n", "    breakpoint()\n    first = parts[0]\n"))
    with start_session(folder, *options) as session:
        shown, _ = session.communicate("c\n" * (stops - 1) + "p parts\nc\n", timeout=60)
    assert_in_order(shown, "first = parts[0]", "[52]", "Here:          fails: IndexError", "\nIndexError: list index")
    assert len(entry_lines(shown)) == len(RESULTS)
    assert session.returncode == 1


@pytest.mark.parametrize("typed", ["q\n", ""], ids=["quit", "end of the input"])
def test_quitting_pdb_ends_the_replay(folder: Path, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    shown = debug(folder, monkeypatch, "--pdb", typed=typed)
    assert shown.output.endswith("The replay was ended.\n")
    assert (shown.exit_code, "Here:" in shown.output) == (0, False)


def test_pdb_stops_in_the_first_attempt_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay of code that returns has a second attempt, in which neither the first line nor a breakpoint stops."""
    write_app(folder, RETURNS)
    shown = debug(folder, monkeypatch, "--pdb", typed=f"b {line_of('ctx.set')}\nc\nc\n")
    assert shown.output.count("total = 0") == shown.output.count('-> ctx.set("total", total)') == 1
    assert "Here:          returns 58" in shown.output
    assert shown.exit_code == 0


def test_text_of_the_cluster_is_escaped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name, result, key, error or line reaches the terminal with characters that change what it shows."""
    entries = [dict(each) for each in ENTRIES]
    in_json = HOSTILE.replace("\x1b", "\\u001b")
    entries[0]["value"] = f'{{"sku": "A{in_json}"}}'
    entries[7]["value"] = f'{{"a": "{in_json}"}}'
    error = Failure(f"{HOSTILE}Error", f"{HOSTILE}\nnext", 500, 7, file=f"/app/{HOSTILE}.py", line=1)
    code = CODE.replace("    first = parts[0]", "    raise ValueError(parts[0])")
    write_app(folder, code.replace('ctx.set("total", total)', f'ctx.set("total", total)  # {HOSTILE[1:]}'))
    Record(journal(entries, key=HOSTILE, error=error)).save(folder / "record.json")
    shown = debug(folder, monkeypatch).output
    assert "raise ValueError(parts[0])" in shown
    assert "ValueError: ‹U+001B›[2J‹U+202E›‹U+009B›31m" in shown
    assert shown.count("‹U+202E›") >= 5
    assert not [each for each in HOSTILE if each in shown and not each.isprintable()]


def test_secrets_in_results_are_masked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a journal: secret headers, fields with a secret name, and the value of a state with one."""
    entries = [dict(each) for each in ENTRIES]
    entries[0]["value"] = '{"headers": {"authorization": "Bearer canary"}, "password": "canary"}'
    entries[5] |= {"key": "api_key", "value": '"canary"'}
    write_app(folder, CODE.replace('"total", total', '"api_key", "canary"'))
    Record(journal(entries)).save(folder / "record.json")
    shown = debug(folder, monkeypatch).output
    assert f"SetState 'api_key' = {MASK}\n" in shown
    assert entry_lines(shown)[0].count(MASK) == 2
    assert "canary" not in "\n".join(entry_lines(shown))


def test_what_is_said_of_commands_and_results() -> None:
    recorded = journal(
        [
            {"type": "Command: Input", "value": {"base64": "AAEC"}},
            {
                "type": "Command: Call",
                "service": "Pay",
                "handler": "charge",
                "parameter": "3",
                "result_completion_id": 2,
                "invocation_id_completion_id": 1,
            },
            {"type": "Notification: CallInvocationId", "completion_id": 1, "invocation_id": "inv_1"},
            {"type": "Notification: Call", "completion_id": 2, "failure": {"code": 402, "message": "no money"}},
            {"type": "Command: Sleep", "wake_up_time": 1, "result_completion_id": 3},
            {"type": "Notification: Sleep", "completion_id": 3, "void": True},
            {"type": "Command: GetEagerState", "key": "total", "void": True},
            {"type": "Command: Run", "name": "open", "result_completion_id": 4},
        ]
    )
    assert [_line_of(recorded, each) for each in recorded.commands] == [
        "entry 0: Input -> 3 bytes",
        "entry 1: Call Pay/charge 3 -> failure 402: no money",
        "entry 4: Sleep -> nothing",
        "entry 6: GetEagerState 'total' -> nothing",
        "entry 7: Run 'open' -> no recorded result",
    ]
    assert [describe_failure(each) for each in (None, Failure())] == ["not known", "an unknown error"]
    assert describe_failure(Failure("OSError", "full", 500, 3, in_step=True)) == "OSError: full inside of the step"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--listen", "0.0.0.0:5678"], "0.0.0.0 is not a loopback address"),
        (["--listen", "shop.example:5678"], "shop.example is not a loopback address"),
        (["--listen", "x"], "invalid address 'x' for a debugger"),
        (["--listen", "5678", "--pdb"], "--pdb and --listen cannot be combined"),
    ],
)
def test_invalid_options(options: list[str], text: str, folder: Path) -> None:
    result = CliRunner().invoke(cli, ["debug", "shop", str(folder / "record.json"), *options])
    assert result.exit_code == 2
    assert text in " ".join(result.stderr.split())


def test_sources_that_cannot_be_debugged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "other.json").write_text("{}")
    result = CliRunner().invoke(cli, ["debug", "shop", str(folder / "other.json")])
    assert (result.exit_code, "it has no format" in result.stderr) == (1, True)
    monkeypatch.chdir(folder)
    with pytest.raises(errors.ArgumentError, match="there is no module 'not_there'"):
        run_session(Record(journal()), "not_there")


def test_a_closed_stdout_is_not_an_error_of_the_code(folder: Path) -> None:
    """The entries cannot be printed; the exception is still that of the code, and not that of the output."""
    reader, writer = os.pipe()
    os.close(reader)
    with start_session(folder, stdout=writer, stderr=subprocess.PIPE) as session:
        os.close(writer)
        _, raised = session.communicate(timeout=60)
    assert raised.endswith("IndexError: list index out of range\n")


def test_a_written_test_is_named_on_stderr_if_stdout_is_full(folder: Path) -> None:
    arguments = ["to-test", "record.json", "--app", "shop", "--folder", "."]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*restate_lab(), *arguments], cwd=folder, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 0
    assert b"the test was written to .; the result could not be printed (No space left" in done.stderr
    assert len(list(folder.glob("test_*.py"))) == 1


@pytest.mark.parametrize("options", [["debug", "shop"], ["to-test", "--app", "shop"]], ids=["debug", "to-test"])
def test_a_text_too_long_for_a_path_is_no_file(options: list[str]) -> None:
    result = CliRunner().invoke(cli, [*options, "x" * 5_000])
    assert (result.exit_code, "name too long" in result.stderr) == (1, False)


def test_an_address_is_of_this_machine() -> None:
    assert [parse_address(each) for each in ("5678", "localhost:1", "[::1]:65535")] == [
        ("127.0.0.1", 5678),
        ("localhost", 1),
        ("::1", 65535),
    ]


def test_an_editor_stops_at_the_first_line_and_steps_through_the_code(folder: Path) -> None:
    """A breakpoint of the editor and breakpoint() are hit, and locals are readable."""
    write_app(folder, CODE.replace("    total = 0\n", "    total = 0\n    breakpoint()\n"))
    (port,) = free_ports(1)
    with start_session(folder, "--listen", str(port)) as session, contextlib.ExitStack() as stack:
        stack.callback(session.kill)
        assert session.stdout is not None
        head = ""
        while "Waiting for a debugger" not in head:
            head += session.stdout.readline()
        assert f'"port": {port}' in head
        assert '"type": "debugpy"' in head
        with connected(port) as client:
            assert client.attach(str(folder / "shop.py"), FAILING_LINE)
            thread, frames, values = client.stopped()
            assert frames[0] == ("place", line_of("total = 0"))
            assert values["order"] == "{'sku': 'A'}"
            client.request("next", threadId=thread)
            assert client.stopped()[1][0] == ("place", line_of("total = 0") + 1)
            client.request("continue", threadId=thread)
            thread, frames, values = client.stopped()
            assert (frames[0], values["total"]) == (("place", line_of("for i in") + 1), "0")
            client.request("continue", threadId=thread)
            thread, frames, values = client.stopped()
            assert (frames[0], values["parts"]) == (("price_of", FAILING_LINE), "[52]")
            client.request("continue", threadId=thread)
            client.event("terminated")
        output, _ = session.communicate(timeout=60)
    assert FAILS in output
    assert len(entry_lines(output)) == len(RESULTS)
    assert session.returncode == 1
    assert not (folder / "ran").exists()
