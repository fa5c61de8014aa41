"""``restate-lab story`` and the tool of the assistant, on rows that the test makes."""

from __future__ import annotations

import dataclasses
import io
import json
from contextlib import ExitStack, nullcontext
from typing import Any

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.cli import app
from restate_lab.cli._options import SourceOptions
from restate_lab.cli._page import TextPage
from restate_lab.cli.shell_code import writer
from restate_lab.errors import ArgumentError
from restate_lab.export.json_text import json_text
from restate_lab.mcp.budget import fit
from restate_lab.mcp.reads import _MEDIUM, ReadTools, _story_data
from restate_lab.sources import Sources
from support.stories import large_story, sample_story
from support.story_rows import StoryRows, call as call_entries, id_of, run

NOBODY = "inv_1" + "0" * 33
CALLER, CALLEE, OTHER = map(id_of, (1, 2, 3))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def rows() -> StoryRows:
    """Return a caller with its callee, and an invocation of the same key of another service."""
    return StoryRows(
        run(CALLER, 0, None, target="Svc/k/do", target_service_key="k", entries=call_entries(CALLEE, 1, 2)),
        run(CALLEE, 1, 2, invoked_by_id=CALLER),
        run(OTHER, 3, 4, target="Other/k/do", target_service_name="Other", target_service_key="k"),
    )


def call(monkeypatch: pytest.MonkeyPatch, source: Any, *arguments: str, text: str | None = None) -> Any:
    monkeypatch.setattr("restate_lab.cli._options.open_source", lambda *_: nullcontext(source))
    return CliRunner().invoke(app, ["story", *arguments], input=text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no invocation: name ids or - for ids on standard input, or use --key SERVICE/KEY, or --trace."),
        ([CALLER, "--key", "Svc/k"], "several ways are combined"),
        (["--key", "Svc/k", "--trace", "0" * 32], "several ways are combined"),
        ([CALLER, "--since", "2h"], "--since is only for --key"),
        ([f"{CALLER} {CALLEE}"], "ID has 2 invocation ids; pass one of them"),
        (["inv_1abc…"], "the short form of an invocation id"),
        (["-"], "standard input has no id"),
        ([CALLER, "--timeout", "0"], "greater than 0"),
        (["--key", "k"], 'pass one of --key "Other/k", --key "Svc/k"'),
        (["--key", "Svc/nobody"], "Add --key Service/key, or a longer --since"),
        ([NOBODY], f"made has no invocation {NOBODY}"),
    ],
)
def test_bad_input_is_one_line_in_the_words_of_a_shell(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = call(monkeypatch, rows(), *arguments, text="")
    assert told.exit_code in {1, 2}
    assert message in " ".join(told.output.split())
    assert "search=" not in told.output
    assert "Traceback" not in told.output


def test_a_live_cluster_is_only_for_an_archive() -> None:
    told = CliRunner().invoke(app, ["story", CALLER, "--live", "http://127.0.0.1:9"])
    assert (told.exit_code, "--live needs --evidence" in told.output) == (2, True)


def test_an_empty_cluster_and_an_unreachable_one_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, StoryRows(), CALLER).exit_code == 1
    monkeypatch.undo()
    told = CliRunner().invoke(app, ["story", CALLER, "-e", "http://127.0.0.1:9"])
    assert (told.exit_code, told.stdout) == (1, "")


def test_json_is_that_of_the_library_and_stdin_has_the_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = json.loads(json_text(rl.story(rows(), CALLER).to_json()))
    for arguments, text in (([CALLEE], None), (["-"], f"{CALLEE}\n{CALLER}\n"), ([f"WARN {CALLEE} failed"], None)):
        found = json.loads(call(monkeypatch, rows(), *arguments, "--json", text=text).stdout)
        assert found.keys() == expected.keys()
        assert [row["id"] for row in found["members"]] == [CALLER, CALLEE]
    assert [row["id"] for row in expected["members"]] == [CALLER, CALLEE]


def print_story(story: rl.Story, terminal: Terminal) -> None:
    TextPage(terminal).document(story.document(), writer(SourceOptions("prod")))


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The critical path, the parts that were not read, and the next command are below the tree."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    reason = sample_story().not_read.assign(reason="pass search=True, which reads all journals")
    long = dataclasses.replace(sample_story(), members=sample_story().members.assign(target="Order/" + "4711" * 40))
    for story in (dataclasses.replace(sample_story(), not_read=reason), large_story(500), long):
        terminal = Terminal()
        print_story(story, terminal)
        lines = terminal.getvalue().splitlines()
        assert [line for line in lines if cell_len(line) > width] == []
        assert len(lines) < 40
    terminal = Terminal()
    print_story(dataclasses.replace(sample_story(), not_read=reason), terminal)
    shown = terminal.getvalue()
    assert "Critical path 2m: queued 47.9s (Stock/berlin/reserve), retrying 35s" in " ".join(shown.split())
    assert "Not read: pass --search, which reads all journals." in " ".join(shown.split())
    assert f"next: restate-lab why {sample_story().ids[4]} -e prod" in " ".join(shown.split())


def test_texts_of_the_cluster_reach_a_terminal_as_codes() -> None:
    story = sample_story()
    members = story.members.assign(target="Order/\x1b[31m\u202e/place\n", failure="\x1b]0;x\x07")
    terminal = Terminal()
    print_story(dataclasses.replace(story, members=members), terminal)
    assert not {"\x1b[31m", "\u202e", "\x07"} & {*terminal.getvalue().partition("\n")[2]}
    assert "\x1b]0" not in terminal.getvalue()


def test_an_assistant_passes_an_id_or_a_key() -> None:
    with ExitStack() as stack:
        tools = ReadTools(Sources(stack, [rows()]))  # type: ignore[list-item]
        for arguments in ({}, {"invocation_id": CALLER, "key": "Svc/k"}):
            with pytest.raises(ArgumentError, match="pass either invocation_id or key"):
                tools.story(**arguments)
        data = tools.story(key="Svc/k")["data"]
    assert [row["id"] for row in data["members"]] == [CALLER, CALLEE]


def test_a_large_story_fits_the_budget_of_an_assistant_and_the_rest_can_be_read() -> None:
    """The critical path is a sum per member and kind, the longest first, and its seconds are those of the story."""
    large = fit(_story_data(large_story(1_000)), _MEDIUM)
    assert [(note["part"], note["shown"]) for note in large.truncated] == [("members", 50), ("edges", 50)]
    data = _story_data(sample_story())
    path = data["critical_path"]
    assert [row["seconds"] for row in path] == sorted((row["seconds"] for row in path), reverse=True)
    assert (path[0]["kind"], path[0]["target"]) == ("queued", "Stock/berlin/reserve")
    assert sum(row["seconds"] for row in path) == pytest.approx(120)
    assert all(None not in row.values() for row in [*data["members"], *data["edges"]])
