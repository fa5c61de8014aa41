"""Suggested calls as Python: the code parses back to the same call, whatever its texts are."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab._text import escape_invisible
from restate_lab.analysis.suggestions import ask_call, move_call, plan_call, replay_call, unknown_names, why_call
from restate_lab.calls import Placeholder, SuggestedCall, Value, python_code
from support.sample_rows import SampleRows, invocation

NAMES = (
    "plain",
    "",
    'a"b',
    "it's",
    "back\\slash",
    "line\nbreak\r",
    "nul\x00 esc\x1b[31m",
    "next\x85 line\u2028sep",
    "turned \u202e round",
    "no\u00a0break \u200b",
    "ключ’s",
    "🩺",
    "lone \ud800",
    '"); import os  # ',
)


def read(line: str) -> SuggestedCall:
    """Return the call that a line of Python makes."""
    call = ast.parse(line, mode="eval").body
    result = ""
    if isinstance(call, ast.Attribute):
        result, call = call.attr, call.value
    assert isinstance(call, ast.Call)
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Call):
        result, call = f"{call.func.attr}()", call.func.value
    verb, arguments = ast.unparse(call.func), call.args
    if verb.startswith("rl."):
        assert ast.unparse(arguments.pop(0)) == "lab"
    options = {each.arg: value_of(each.value) for each in call.keywords if each.arg}
    return SuggestedCall(verb.removeprefix("rl."), tuple(map(value_of, arguments)), options, result=result)


def value_of(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return Placeholder(node.id)
    value = ast.literal_eval(node)
    return tuple(value) if isinstance(value, list) else value


CALLS = (
    why_call("inv_1"),
    ask_call("retry_storm_ids", service="Payments", handler=None, step="charge card"),
    plan_call("resume", ["inv_1", "inv_2"]),
    plan_call("cancel", [f"inv_{n}" for n in range(5)]),
    move_call(["inv_1"]),
    replace(replay_call(["inv_1", "inv_2"]), comment=""),
    SuggestedCall("waits", result="deadlocks"),
    SuggestedCall("lab.sql", ("SELECT id FROM t WHERE a <> 'b'",), {"deployment": "dp_1"}),
    SuggestedCall("lab.admin.list_deployments", result="frame()"),
    SuggestedCall("lab.admin.delete_deployment", ("dp_1",), {"force": True, "reason": "…"}),
    SuggestedCall("lab.ingress.resolve_awakeable", ("sign_1", Placeholder("answer")), {"reason": "…"}),
    SuggestedCall("x", (1, 1.5, False)),
)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.verb)
def test_python_code_parses_to_the_verb_arguments_options_and_result_of_the_call(call: SuggestedCall) -> None:
    assert read(python_code([call])) == call


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_from_the_cluster_stays_one_exact_visible_text_in_every_position(name: str) -> None:
    values: tuple[Value, ...] = (name, (name, "b"))
    call = SuggestedCall("ask", values, {"service": name}, comment=f"about {name}")
    line = python_code([call])
    assert read(line) == SuggestedCall("ask", values, {"service": name})
    assert escape_invisible(line) == line
    assert len(line.splitlines()) == 1


def test_more_than_three_ids_are_replaced_with_the_name_for_them() -> None:
    three, four = ("a", "b", "c"), ("a", "b", "c", "d")
    names = {three: "NEVER", four: "diagnosis.findings.ids[3]"}
    assert python_code([plan_call("resume", three)], names) == 'rl.plan(lab, "resume", ["a", "b", "c"])'
    assert python_code([plan_call("resume", four)], names) == 'rl.plan(lab, "resume", diagnosis.findings.ids[3])'
    assert read(python_code([plan_call("resume", (*four, "e"))], names)).ids == (*four, "e")


def test_each_call_is_a_line_with_its_comment() -> None:
    first = SuggestedCall("lab.admin.create_deployment", (), {"uri": "http://…"}, comment="that serves A; then")
    assert python_code([first, move_call(["i"])]).splitlines() == [
        'lab.admin.create_deployment(uri="http://…")  # that serves A; then',
        'rl.move_to(lab, ["i"], deployment="latest")',
    ]
    cut = plan_call("resume", ["a", "b"], total=1_200, comment="once its cause is gone")
    assert python_code([cut]).endswith("  # the first 2 of 1,200; check again afterwards")
    assert python_code([plan_call("resume", ["a"], total=1)]) == 'rl.plan(lab, "resume", ["a"])'
    assert python_code([]) == ""


def test_a_plan_before_another_call_is_executed_in_python_code_but_not_in_the_data() -> None:
    kill, again = python_code([plan_call("kill", ["i"]), plan_call("restart_as_new", ["i"])]).splitlines()
    assert kill == 'rl.plan(lab, "kill", ["i"])  # .execute(reason="…"), and then'
    assert again == 'rl.plan(lab, "restart_as_new", ["i"])'


def test_a_verb_without_a_dot_is_a_public_name() -> None:
    assert {call.verb for call in CALLS if "." not in call.verb and call.verb != "x"} <= set(rl.__all__)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"service": "Paymets"}, [("service", "Paymets", "Payments")]),
        ({"service": "payments"}, [("service", "payments", "Payments")]),
        ({"service": ["Payments", "Old", "Paym"]}, [("service", "Paym", "Payments")]),
        ({"service": "Orders"}, []),
        ({"handler": "chrge"}, [("handler", "chrge", "charge")]),
        ({"service": "Old", "handler": "charge"}, [("handler", "charge", "")]),
        ({"service": "Paymets", "handler": "chrge"}, [("service", "Paymets", "Payments")]),
        ({"status": "backing_off"}, [("status", "backing_off", "backing-off")]),
        ({"deployment": "dp_10"}, [("deployment", "dp_10", "dp_11")]),
        ({"deployment": "dp_11"}, []),
        ({}, []),
    ],
)
def test_a_name_is_unknown_if_it_is_neither_registered_nor_called(
    filters: dict[str, Any], expected: list[tuple[str, str, str]]
) -> None:
    found = unknown_names(payments(), **filters)
    assert [(each.argument, each.value, each.best) for each in found] == expected


def test_an_unknown_service_is_reported_with_the_nearest_or_all_names() -> None:
    source = payments()
    assert [each.message for each in unknown_names(source, service=["Paymets", "zzz"])] == [
        "No service 'Paymets' on made. Did you mean 'Payments'?",
        "No service 'zzz' on made. Choose from Old, Orders, Payments.",
    ]
    assert rl.ask(source, "ids_by_status", status="paused", service="Orders").empty
    with pytest.raises(errors.ArgumentError, match="Did you mean 'Orders'"):
        rl.ask(source, "ids_by_status", status="paused", service="Ordrs")
    source.fails = errors.TimedOut("too late")
    assert unknown_names(source, service="Paymets") == ()


def payments() -> SampleRows:
    old = invocation(2, "failed", target_service_name="Old", target_handler_name="run")
    charge = invocation(1, "succeeded", target_service_name="Payments", target_handler_name="charge")
    services = [{"name": name, "deployment_id": "dp_11"} for name in ("Payments", "Orders")]
    return SampleRows(sys_invocation_status=[charge, old], sys_service=services, sys_deployment=[{"id": "dp_11"}])
