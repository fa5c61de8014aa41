"""Suggested calls as shell commands: they parse back to the same arguments, and a call without one is marked."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main

import restate_lab
from restate_lab.analysis.suggestions import ask_call, move_call, plan_call, replay_call, why_call
from restate_lab.calls import Placeholder, SuggestedCall
from restate_lab.cli import app
from restate_lab.cli._options import SourceOptions, parse_parameters, parse_value
from restate_lab.cli.shell_code import COMMANDS, code_for, commands, plan_of_rows

HERE = SourceOptions()
IDS = [f"inv_{n}" for n in range(25)]
NAMES = (
    "charge card",
    "it's",
    'a"b',
    "$(rm -rf /)",
    "`x`",
    "a;b|c>d",
    "!1",
    "-n",
    "back\\slash",
    "=",
    "ключ’s",
    "🩺",
    "",
)


def one(call: SuggestedCall, target: SourceOptions = HERE) -> list[str]:
    lines = commands([call], target)
    assert lines is not None
    (line,) = lines
    return shlex.split(line)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (why_call("inv_1"), ["restate-lab", "why", "inv_1"]),
        (ask_call("overview"), ["restate-lab", "ask", "overview"]),
        (
            ask_call("retry_storm_ids", service="Payments", step="charge card"),
            ["restate-lab", "ask", "retry_storm_ids", "-p", "service=Payments", "-p", "step=charge card"],
        ),
        (SuggestedCall("freeze", ("x.evidence",)), ["restate-lab", "freeze", "x.evidence"]),
        (plan_call("restart_as_new", ["inv_1"]), ["restate-lab", "plan", "restart-as-new", "inv_1"]),
        (
            SuggestedCall("plan", ("restart_as_new", ("inv_1",)), {"from_index": 3}),
            ["restate-lab", "plan", "restart-as-new", "inv_1", "--from-index", "3"],
        ),
        (SuggestedCall("rl.audit_log"), ["restate-lab", "audit"]),
        (SuggestedCall("journal", ("inv_1",)), ["restate-lab", "journal", "inv_1"]),
        (SuggestedCall("journal_diff", ("inv_1",)), ["restate-lab", "journal", "inv_1"]),
        (
            replace(replay_call(["inv_1", "inv_2"]), comment=""),
            ["restate-lab", "replay", "http://…", "--id", "inv_1", "--id", "inv_2"],
        ),
        (SuggestedCall("waits", result="deadlocks"), ["restate-lab", "waits"]),
        (
            SuggestedCall("lab.admin.delete_deployment", ("dp_1",), {"force": True, "reason": "…"}),
            ["restate", "deployments", "remove", "dp_1", "--force"],
        ),
        (
            SuggestedCall("lab.admin.create_deployment", (), {"uri": "http://…", "reason": "…"}),
            ["restate", "deployments", "register", "http://…"],
        ),
        (
            SuggestedCall("lab.admin.resume_vqueue", ("vq_1",), {"reason": "…"}),
            ["restate", "vqueues", "resume", "vq_1"],
        ),
        (SuggestedCall("lab.admin.list_deployments", result="frame()"), ["restate", "deployments", "list"]),
        (SuggestedCall("lab.admin.list_service_handlers", ("A",)), ["restate", "services", "describe", "A"]),
    ],
    ids=lambda each: each.verb if isinstance(each, SuggestedCall) else "",
)
def test_a_read_and_a_plan_are_our_commands_and_another_change_is_one_of_the_restate_cli(
    call: SuggestedCall, words: list[str]
) -> None:
    assert one(call) == words


@pytest.mark.parametrize("name", NAMES)
def test_the_shell_passes_hostile_names_unchanged(name: str) -> None:
    words = one(ask_call("retry_storm_ids", service=name, step=name))
    assert parse_parameters(words[4::2]) == {"service": name, "step": name}
    words = one(SuggestedCall("lab.sql", ("SELECT :x",), {"x": name}))
    assert parse_value(parse_parameters(words[4::2])["x"]) == name
    assert one(SuggestedCall("lab.admin.list_service_handlers", (name,)))[-1] == name


@pytest.mark.parametrize("text", ["42", "true", "null", '"quoted"', "[1]", "NaN"])
def test_a_text_that_looks_like_json_is_quoted_for_sql(text: str) -> None:
    words = one(SuggestedCall("lab.sql", ("SELECT :x",), {"x": text}))
    assert parse_value(parse_parameters(words[4::2])["x"]) == text


def test_numbers_flags_and_ids_are_read_back_by_ask() -> None:
    assert one(ask_call("retry_storm", limit=5))[-1] == "limit=5"
    assert one(ask_call("paused", ids=("inv_1", "inv_2")))[-1] == "ids=inv_1,inv_2"


@pytest.mark.parametrize(
    "call",
    [
        move_call([]),
        replay_call([]),
        SuggestedCall("replay", (("inv_1",), "http://a"), {"confirm": "http://a", "as_restart": True}),
        SuggestedCall("plan", ("restart_as_new", ("inv_1",)), {"check": "http://a"}),
        SuggestedCall("lab.admin.create_deployment", (), {"uri": "http://a", "use_http_11": True}),
        plan_call("resume", []),
        ask_call("retry_storm_ids", step="none"),  # -p reads "none" as a missing value
        *(ask_call("retry_storm_ids", step=f"a{character}b") for character in "\n\r\t\x1b\u202e\u200b"),
    ],
    ids=lambda call: f"{call.verb} {call.options}",
)
def test_a_call_without_a_command_is_shown_as_marked_python(call: SuggestedCall) -> None:
    assert commands([call], HERE) is None
    assert commands([why_call("inv_1"), call], HERE) is None
    assert code_for([call], "rl.x(lab)", HERE) == "in Python: rl.x(lab)"
    assert code_for([call], "a\nb", HERE) == "in Python:\na\nb"


def test_no_suggestion_of_the_doctor_and_why_needs_python_in_a_shell() -> None:
    package = Path(restate_lab.__file__).parent / "analysis"
    texts = [path.read_text("utf-8") for path in package.rglob("*.py")]
    verbs = {verb for text in texts for verb in re.findall(r'SuggestedCall\(\s*"([\w.]+)"', text)}
    assert len(verbs) > 12
    assert verbs <= COMMANDS.keys()


def test_a_move_is_a_plan_after_a_look_at_the_journal() -> None:
    """The code of the other deployment must match the journal."""
    assert commands([move_call(["inv_1"])], SourceOptions("prod")) == [
        "# check that the new code matches the journal",
        "restate-lab journal inv_1 -e prod",
        "restate-lab plan move-to inv_1 --deployment latest -e prod",
    ]


@pytest.mark.parametrize("value", ["sign_1", "sign_1$(id)", "`id`", "'; id; '"])
def test_a_request_with_curl_quotes_a_hostile_id(value: str) -> None:
    resolve = SuggestedCall("lab.ingress.resolve_awakeable", (value, Placeholder("answer")), {"reason": "…"})
    note, line = commands([resolve], SourceOptions()) or []
    assert note == "# first set ANSWER to the answer as JSON, and RESTATE_INGRESS_URL"
    assert shlex.split(line)[-1] == f"${{RESTATE_INGRESS_URL:?}}/restate/awakeables/{value}/resolve"
    assert shlex.split(line)[-3:-1] == ["-d", "${ANSWER:?}"]  # without an answer nothing is sent
    reject = SuggestedCall("lab.ingress.reject_awakeable", (value, "…"), {"reason": "…"})
    _, line = commands([reject], SourceOptions()) or []
    assert shlex.split(line)[-1].endswith(f"/restate/awakeables/{value}/reject")
    update = SuggestedCall("lab.admin.update_deployment", (value,), {"uri": "http://…", "reason": "…"})
    words = one(update, SourceOptions("http://127.0.0.1:9070/"))
    assert words[:3] == ["curl", "-X", "PATCH"]
    assert words[-2:] == ['{"uri": "http://…"}', f"http://127.0.0.1:9070/deployments/{value}"]


def test_several_ids_are_one_plan() -> None:
    """A command parses back to its plan; of very many ids it has only the first, with a note."""
    words = one(plan_call("cancel", IDS[:3]), SourceOptions("prod"))
    assert words[:2] == ["restate-lab", "plan"]
    context = typer.main.get_command(app).commands["plan"].make_context("plan", words[2:])
    wanted = ("action", "ids", "cluster")
    assert [context.params[each] for each in wanted] == ["cancel", IDS[:3], "prod"]
    note, line = commands([plan_call("cancel", IDS, total=2_000)], HERE) or []
    assert note == "# the first 20 of 2,000; check again afterwards"
    assert shlex.split(line) == ["restate-lab", "plan", "cancel", *IDS[:20]]


def test_a_plan_of_the_rows_of_a_question() -> None:
    """A retry storm has one plan for all of its rows, also if they are many; another call has none."""
    plan, rows = plan_call("resume", IDS), ask_call("retry_storm_ids", service="Payments", step="charge card")
    line = "restate-lab plan resume --question retry_storm_ids -p service=Payments -p 'step=charge card'"
    assert plan_of_rows(plan, rows, SourceOptions("prod")) == f"{line} -e prod"
    frozen = SourceOptions(evidence=Path("my evidence"))
    assert plan_of_rows(plan, rows, frozen) == f"# run on the cluster of the evidence\n{line}"
    for other in (ask_call("overview"), ask_call("retry_storm_ids", step="a\x1b"), why_call("inv_1")):
        assert plan_of_rows(plan, other, HERE) == ""


def test_a_replay_asks_and_takes_some_ids() -> None:
    """The command asks in place of confirm=, reads the same evidence, and has only the first ids, with a note."""
    note, line = commands([replay_call(IDS)], SourceOptions(evidence=Path("my evidence"))) or []
    assert note == "# check the corrected code before you deploy it: the first 20 of 25"
    words = shlex.split(line)
    assert words[:3] == ["restate-lab", "replay", "http://…"]
    assert words[-2:] == ["--evidence", "my evidence"]
    context = typer.main.get_command(app).commands["replay"].make_context("replay", words[2:-2])
    assert (context.params["deployment"], context.params["id_"]) == ("http://…", IDS[:20])


def test_a_comment_has_its_own_line_before_its_command() -> None:
    call = plan_call("resume", ["inv_1"], comment="once its\ncause is gone")
    assert commands([call], HERE) == ["# once its cause is gone", "restate-lab plan resume inv_1"]


def test_a_command_goes_to_the_source_that_was_read() -> None:
    """Each command has the environment or address that the user typed; a change never goes to evidence."""
    url, path = "http://127.0.0.1:9070", Path("my evidence")
    assert one(why_call("inv_1"), SourceOptions("prod"))[-2:] == ["-e", "prod"]
    assert one(why_call("inv_1"), SourceOptions(url))[-2:] == ["-e", url]
    assert one(why_call("inv_1"), SourceOptions(evidence=path))[-2:] == ["--evidence", "my evidence"]
    resume = plan_call("resume", ["inv_1"])
    assert one(resume, SourceOptions("prod"))[-3:] == ["inv_1", "-e", "prod"]
    assert one(resume, SourceOptions(url)) == ["restate-lab", "plan", "resume", "inv_1", "-e", url]
    remove = SuggestedCall("lab.admin.delete_deployment", ("dp_1",))
    assert one(remove, SourceOptions(url)) == [f"RESTATE_ADMIN_URL={url}", "restate", "deployments", "remove", "dp_1"]
    note, command = commands([resume], SourceOptions(evidence=path)) or []
    assert (note, command) == ("# run on the cluster of the evidence", "restate-lab plan resume inv_1")
    both = SourceOptions("orders", path, "prod", "14:05Z")
    read = one(why_call("inv_1"), both)
    assert read[3:] == ["--evidence", "my evidence", "-e", "orders", "--live", "prod", "--at", "14:05Z"]
    assert commands([resume], both) == ["restate-lab plan resume inv_1 -e prod"]
