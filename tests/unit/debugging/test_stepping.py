"""A session of a debugger on a recorded journal: at its prompt, and with an editor."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from restate_lab import errors
from restate_lab.cli import app as cli
from restate_lab.debugging.stepping import step_through
from restate_lab.debugging.stepping.entries import JournalCursor, describe_failure
from restate_lab.debugging.stepping.remote import parse_address
from restate_lab.demo.server import free_ports
from restate_lab.testing import Record
from restate_lab.testing.journal import Failure
from support.debug_clients import connected
from support.debugged_app import (
    CODE,
    ENTRIES,
    FAILING_LINE,
    HOSTILE,
    journal,
    line_of,
    run_session,
    start_session,
    write_app,
)

NUMBERS = itertools.count()
PROMPTS = re.compile(r"^(?:\(Pdb\) )*", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_app(tmp_path)


def step(folder: Path, monkeypatch: pytest.MonkeyPatch, *commands: str, record: Record | None = None) -> str:
    """Return what a session in this process shows; the module of the app has the name of its test."""
    module = f"shop_of_a_session_{next(NUMBERS)}"
    (folder / f"{module}.py").write_text((folder / "shop.py").read_text())
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    out = io.StringIO()
    text = "".join(f"{each}\n" for each in commands)
    step_through(record or Record(journal()), module, stdin=io.StringIO(text), stdout=out)
    return PROMPTS.sub("", out.getvalue())


def test_a_session_finds_the_cause(folder: Path) -> None:
    """The prompt is at the user's lines, a result is shown before it is delivered, and the end is beside production."""
    shown = PROMPTS.sub(
        "",
        run_session(
            folder,
            *("p order", "ne", "p total", "n", "p total", "until 5", "w", f"b shop.py:{FAILING_LINE}", "c"),
            *("p parts", "up", "p order['parts']", "c", "p first", "up", "ne"),
        ),
    )
    lines = shown.splitlines()
    assert lines[:2] == [
        f"Orders/place '4711' {journal().id}, 8 entries. No step runs; code outside of steps runs.",
        "In production: IndexError('list index out of range') at /app/shop.py:33",
    ]
    first = f"> {folder}/shop.py({line_of('total = 0')})place()"
    assert shown.count(">> entry ") == 3
    assert_in_order(
        lines,
        *('>> entry 0: Input -> {"sku": "A"}', first, "{'sku': 'A'}"),
        *(">> entry 1: Run 'item 0' -> 1", f"> {folder}/shop.py({line_of('total +=')})place()", "0"),
        *(f"> {folder}/shop.py({line_of('log.info')})place()", "1"),
        *(">> entry 5: SetState 'total' = 5", '-> ctx.set("total", total)'),
        *(f"> {folder}/shop.py({FAILING_LINE})price_of()", "[52]", "{'a': 0, 'b': 52}"),
        f"Here:          fails: IndexError('list index out of range') at shop.py:{FAILING_LINE}",
        "In production: IndexError('list index out of range') at /app/shop.py:33 (the same error)",
        *("52", "*** the replay has ended"),
    )
    assert "site-packages" not in shown
    assert "asyncio" not in shown
    assert shown.count("log: item") == 2, "the SDK hides logs in a replay"
    assert not (folder / "ran").exists()


def assert_in_order(lines: list[str], *expected: str) -> None:
    at = 0
    for each in expected:
        assert each in lines[at:], (each, lines)
        at = lines.index(each, at) + 1


def test_the_entries_are_listed_with_their_results(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = step(folder, monkeypatch, "ne", "ne", "entries", "until 1", "until 99", "until x", "q")
    assert (
        """\
   entry 0: Input -> {"sku": "A"}
   entry 1: Run 'item 0' -> 1
-> entry 3: Run 'item 1' -> 4
   entry 5: SetState 'total' = 5
   entry 6: Run 'load' -> {"a": 0, "b": 52}
*** entry 1 has passed
*** there is no entry 99 with a command; entries lists them, and unt N is for lines
*** there is no entry x with a command; entries lists them, and unt N is for lines
"""
        in shown
    )
    assert shown.endswith("The replay was ended.\n")


def test_until_stops_at_the_command_of_a_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entry 4 is the result of entry 3, and ``unt`` is the command of pdb for lines."""
    shown = step(folder, monkeypatch, "until 4", f"unt {line_of('log.info')}", "q")
    assert ">> entry 3: Run 'item 1' -> 4" in shown
    assert f"({line_of('log.info')})place()" in shown


def test_quitting_ends_code_that_catches_all_errors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = '    while True:\n        try:\n            await ctx.run_typed("item 0", step)\n        except Exception:\n'
    code = CODE.replace("    total = 0\n", f"    total = 0\n{loop}            pass\n", 1)
    write_app(folder, code)
    assert step(folder, monkeypatch, "ne", "q").endswith("The replay was ended.\n")
    assert step(folder, monkeypatch).endswith("The replay was ended.\n"), "the end of the input"


def test_single_steps_do_not_enter_the_sdk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = step(folder, monkeypatch, "ne", *["s"] * 20, "q")
    files = set(re.findall(r"^> (\S+)\(\d+\)", shown, re.MULTILINE))
    assert {Path(each).parent.name for each in files} == {folder.name, "logging"}, "the code logs"


def test_breakpoint_in_the_code_opens_this_prompt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_app(folder, CODE.replace("    first = parts[0]\n", "    breakpoint()\n    first = parts[0]\n"))
    shown = step(folder, monkeypatch, "c", "p parts", "ne")
    assert_in_order(shown.splitlines(), "-> breakpoint()", "[52]")


def test_code_that_takes_another_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry is shown with what the code issues instead; after the record, the new command is shown."""
    write_app(folder, CODE.replace('"total", total', '"sum", total'))
    shown = step(folder, monkeypatch, "until 5", "c")
    assert "   the code issues SetState 'sum' instead: the replay ends here" in shown
    assert "Here:          diverges at entry 5: recorded SetState 'total', now " in shown
    write_app(
        folder, CODE.replace("    return total + price_of(", '    await ctx.run_typed("ship", step)\n    return len(')
    )
    shown = step(folder, monkeypatch, "until 6", "ne", "c")
    assert ">> after the record: Run 'ship'. It is new, so the replay ends here" in shown
    assert "Here:          continues with Run 'ship'" in shown
    assert not (folder / "ran").exists()


def test_text_of_the_cluster_is_escaped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name, result, key or error reaches the terminal with characters that change what it shows."""
    entries = [dict(each) for each in ENTRIES]
    in_json = HOSTILE.replace("\x1b", "\\u001b")
    entries[0]["value"] = f'{{"sku": "A{in_json}"}}'
    entries[7]["value"] = f'{{"a": "{in_json}"}}'
    error = Failure(f"{HOSTILE}Error", f"{HOSTILE}\nnext", 500, 7, file=f"/app/{HOSTILE}.py", line=1)
    code = CODE.replace("    first = parts[0]", "    raise ValueError(parts[0])")
    write_app(folder, code)
    record = Record(journal(entries, key=HOSTILE, service="Orders", error=error))
    shown = step(
        folder,
        monkeypatch,
        "entries",
        "ne",
        "ne",
        "c",
        "p parts[0]",
        "parts[0]",
        "!raise ValueError(parts[0])",
        record=record,
    )
    assert "raise ValueError(parts[0])" in shown
    assert "‹U+001B›" in shown
    assert not [each for each in HOSTILE if each in shown and not each.isprintable()]


def test_what_is_said_of_commands_and_results() -> None:
    entries = [
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
        {"type": "Notification: Signal", "signal_name": "ding", "value": "1"},
    ]
    assert JournalCursor(journal(entries)).lines() == [
        "-> entry 0: Input -> 3 bytes",
        "   entry 1: Call Pay/charge 3 -> failure 402: no money",
        "   entry 4: Sleep -> nothing",
        "   entry 6: GetEagerState 'total' -> nothing",
        "   entry 7: Run 'open' -> no recorded result",
        "   entry 8: Signal 'ding' -> 1",
    ]
    assert describe_failure(Failure()) == "an unknown error"
    assert describe_failure(Failure("OSError", "full", 500, 3, in_step=True)) == "OSError: full inside of the step"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--listen", "0.0.0.0:5678"], "0.0.0.0 is not a loopback address"),
        (["--listen", "shop.example:5678"], "shop.example is not a loopback address"),
        (["--listen", "x"], "invalid address 'x' for a debugger"),
        (["--stop-at", "99"], "entry 99 is not in the journal"),
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
        step_through(Record(journal()), "not_there", stdin=io.StringIO(), stdout=io.StringIO())


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


def test_an_editor_steps_through_the_code(folder: Path) -> None:
    """A breakpoint is verified and hit, --stop-at suspends at the line before the result, and locals are readable."""
    (port,) = free_ports(1)
    with (
        start_session(folder, "--listen", str(port), "--stop-at", "3") as session,
        contextlib.ExitStack() as stack,
    ):
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
            assert frames[0] == ("place", line_of("total +="))
            assert (values["i"], values["total"]) == ("1", "1")
            client.request("next", threadId=thread)
            thread, frames, values = client.stopped()
            assert (frames[0], values["total"]) == (("place", line_of("log.info")), "5")
            client.request("continue", threadId=thread)
            thread, frames, values = client.stopped()
            assert (frames[0], values["parts"]) == (("price_of", FAILING_LINE), "[52]")
            client.request("continue", threadId=thread)
            client.event("terminated")
        output, _ = session.communicate(timeout=60)
    assert f"fails: IndexError('list index out of range') at shop.py:{FAILING_LINE}" in output
    assert session.returncode == 0
    assert not (folder / "ran").exists()
