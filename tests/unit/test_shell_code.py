"""Suggested calls as commands for a shell: they parse back to the same words, and say so where there is none."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from restate_lab.analysis.suggestions import Placeholder, SuggestedCall, ask_call, move_call, plan_call, why_call
from restate_lab.cli._run_query import parse_parameters, parse_value
from restate_lab.cli.shell_code import SourceOptions, code_for, commands

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
    """Return the words of the only line."""
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
        (plan_call("restart_as_new", ["inv_1"]), ["restate", "invocations", "restart-as-new", "inv_1"]),
        (SuggestedCall("journal", ("inv_1",)), ["restate", "invocations", "describe", "inv_1"]),
        (
            SuggestedCall("lab.admin.delete_deployment", ("dp_1",), {"force": True}),
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
def test_a_call_has_its_command(call: SuggestedCall, words: list[str]) -> None:
    """What reads is ours, what changes is of the restate CLI."""
    assert one(call) == words


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_stay_texts(name: str) -> None:
    """Quoting is exact: the shell hands over the text that came from the cluster."""
    words = one(ask_call("retry_storm_ids", service=name, step=name))
    assert parse_parameters(words[4::2]) == {"service": name, "step": name}
    words = one(SuggestedCall("lab.sql", ("SELECT :x",), {"x": name}))
    assert parse_value(parse_parameters(words[4::2])["x"]) == name
    assert one(SuggestedCall("lab.admin.list_service_handlers", (name,)))[-1] == name


@pytest.mark.parametrize("text", ["42", "true", "null", '"quoted"', "[1]", "NaN"])
def test_a_text_that_reads_as_json_stays_a_text(text: str) -> None:
    """-p of sql takes JSON, so a text that looks like it is quoted."""
    words = one(SuggestedCall("lab.sql", ("SELECT :x",), {"x": text}))
    assert parse_value(parse_parameters(words[4::2])["x"]) == text


def test_values_of_a_question_are_read_back() -> None:
    """Numbers, flags and ids are written as -p of ask reads them."""
    assert one(ask_call("retry_storm", limit=5))[-1] == "limit=5"
    assert one(ask_call("paused", ids=("inv_1", "inv_2")))[-1] == "ids=inv_1,inv_2"


@pytest.mark.parametrize(
    "call",
    [
        move_call(["inv_1"]),
        SuggestedCall("waits", result="deadlocks"),
        SuggestedCall("lab.ingress.resolve_awakeable", ("sign_1", Placeholder("answer"))),
        SuggestedCall("plan", ("restart_as_new", ("inv_1",)), {"from_index": 3}),
        SuggestedCall("lab.admin.create_deployment", (), {"uri": "http://a", "use_http_11": True}),
        plan_call("resume", []),
        ask_call("retry_storm_ids", step="none"),  # -p reads "none" as no value
        *(ask_call("retry_storm_ids", step=f"a{character}b") for character in "\n\r\t\x1b\u202e\u200b"),
    ],
    ids=lambda call: f"{call.verb} {call.options}",
)
def test_what_has_no_command_is_python(call: SuggestedCall) -> None:
    """Where no program makes the call, or a terminal would change its text, the Python is shown and says that it is."""
    assert commands([call], HERE) is None
    assert commands([why_call("inv_1"), call], HERE) is None
    assert code_for([call], "rl.x(lab)", HERE) == "in Python: rl.x(lab)"
    assert code_for([call], "a\nb", HERE) == "in Python:\na\nb"


def test_several_ids_are_a_loop() -> None:
    """The restate CLI takes one id and asks before it acts; of very many the first are told as such."""
    (line,) = commands([plan_call("cancel", IDS[:3])], SourceOptions("prod")) or []
    assert line == 'for id in inv_0 inv_1 inv_2; do restate invocations cancel -e prod "$id"; done'
    note, line = commands([plan_call("cancel", IDS, total=2_000)], HERE) or []
    assert note == "# the first 20 of 2,000: look again afterwards"
    assert len(shlex.split(line.partition(";")[0])) == len(["for", "id", "in", *IDS[:20]])


def test_comments_have_their_own_line() -> None:
    """Not every shell takes a comment behind a command."""
    call = plan_call("resume", ["inv_1"], comment="once its\ncause is gone")
    assert commands([call], HERE) == ["# once its cause is gone", "restate invocations resume inv_1"]


def test_a_command_goes_to_the_source_that_was_read() -> None:
    """The environment or address that was typed stands in each command; of evidence only what reads it is a command."""
    url, path = "http://127.0.0.1:9070", Path("my evidence")
    assert one(why_call("inv_1"), SourceOptions("prod"))[-2:] == ["-e", "prod"]
    assert one(why_call("inv_1"), SourceOptions(url))[-2:] == ["-e", url]
    assert one(why_call("inv_1"), SourceOptions(evidence=path))[-2:] == ["--evidence", "my evidence"]
    resume = plan_call("resume", ["inv_1"])
    assert one(resume, SourceOptions("prod"))[-3:] == ["inv_1", "-e", "prod"]
    assert one(resume, SourceOptions(url)) == [f"RESTATE_ADMIN_URL={url}", "restate", "invocations", "resume", "inv_1"]
    for call in (resume, SuggestedCall("journal", ("inv_1",)), SuggestedCall("freeze", ("x",))):
        assert commands([call], SourceOptions(evidence=path)) is None
