"""Records on code in TypeScript: each outcome is that of production, no step runs, and no socket is connected."""

from __future__ import annotations

import base64
import json
import os
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.debugging.typescript import HELPER, files_of, run_once
from restate_lab.protocol.entries import FIELDS, message_of
from restate_lab.protocol.messages import MESSAGE_TYPES
from restate_lab.testing import Record
from restate_lab.testing.journal import Failure, Journal
from support.clusters import NEWEST, PLAIN
from support.integrations.environments import NODE, node_environment
from support.sample_rows import SampleRows
from support.typescript_bench import Project, Replays, run_node, typescript_bench
from support.typescript_cases import FAILURES, Case, cases
from support.typescript_services import sdk_home

LONG = pytest.mark.long
ORDERS = "./typescript_orders.ts"
TYPES_OF_ERRORS = {"Error", "TypeError", "RangeError", "SyntaxError", "TerminalError"}
INPUT = {"type": "Command: Input", "value": '{"sku":"A","text":"日本 ü"}'}
PRICE = (
    {"type": "Command: Run", "result_completion_id": 1, "name": "price"},
    {"type": "Notification: Run", "completion_id": 1, "value": '{"amount":-3}'},
)
SKU = {"type": "Command: SetState", "key": "sku", "value": '"A"'}
HIT = "process.getBuiltinModule('fs').writeFileSync('hit', '')"
HOSTILE = f"\"'`); {HIT}; //\n*/ {HIT}; /* ${{{HIT}}} \u2028{HIT}\n</script> ../../discover?x=#"


def journal(handler: str, *entries: Mapping[str, Any], service: str = "Orders", **more: Any) -> Journal:
    identity: dict[str, Any] = {"id": "inv_1abc", "id_bytes": bytes(24), "protocol": 6, "seed": 5, "key": "k"}
    return Journal(service=service, handler=handler, entries=(INPUT, *entries), **{**identity, **more})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path, sdk_home())


def replay_all(project: Project, *cases: tuple[Journal, Mapping[str, Any]]) -> Replays:
    """Run journals on the small app; the second part of a case has options, and another app."""
    rows = []
    for number, (each, more) in enumerate(cases):
        path = project.folder / f"journal{number}.json"
        path.write_text(each.to_json(), "utf-8")
        rows.append({"record": str(path), "app": ORDERS, **more})
    return project.replay(rows)


# Random programs


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((NEWEST, 14, 2), id="newest"),
        pytest.param((NEWEST, 84, 20), id="newest-more", marks=[LONG, pytest.mark.timeout(1_800)]),
        pytest.param((PLAIN, 28, 2), id="plain", marks=[LONG, pytest.mark.timeout(900)]),
    ],
)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RecordedCases:
    """Record random programs on a real server, and replay each with the failing and with the fixed program."""
    kind, count, repeats = request.param
    with typescript_bench(tmp_path_factory.mktemp("typescript"), kind) as bench:
        found = list(cases(count))
        paths = bench.record(found)
    return RecordedCases(bench.project, found, paths, repeats)


class RecordedCases:
    """Cases with their records, and what became of each with the failing and the fixed program."""

    def __init__(self, project: Project, found: list[Case], paths: Mapping[str, Path], repeats: int) -> None:
        self.project, self.cases, self.paths = project, found, paths
        versions = [(each, version) for version in ("failing", "fixed") for each in found]
        self.replays = project.replay([self.case(each, version, repeats=repeats) for each, version in versions])
        rows = iter(self.replays.rows)
        self.failing = {each.name: next(rows) for each in found}
        self.fixed = {each.name: next(rows) for each in found}

    def case(self, case: Case, version: str = "failing", **more: Any) -> dict[str, Any]:
        return {"record": str(self.paths[case.name]), "programs": str(self.project.folder / f"{version}.json"), **more}

    def journal(self, case: Case) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.paths[case.name].read_text("utf-8"))
        return content


@pytest.mark.server
def test_a_record_fails_with_the_error_of_production_at_its_line(recorded: RecordedCases) -> None:
    assert {each.outcome for each in recorded.cases} == {outcome for _, outcome in FAILURES}
    if len(recorded.cases) > 2 * len(FAILURES):  # the SDK does not have GetInvocationOutput
        found = {each["type"] for case in recorded.cases for each in recorded.journal(case)["entries"]}
        assert set(FIELDS) - found == {"Command: GetInvocationOutput", "Notification: GetInvocationOutput"}
    for case in recorded.cases:
        outcomes, error = recorded.failing[case.name], recorded.journal(case)["error"]
        assert {each["outcome"] for each in outcomes} == {case.outcome}, (case, outcomes)
        if case.outcome != "Diverges":  # the clock is in the text
            assert len(outcomes) == 1, (case, outcomes)
        if case.outcome == "fails":
            (outcome,) = outcomes
            assert outcome["reproduces"], (case, outcome, error)
            assert outcome["message"] == error["message"]
            assert error["type"] in TYPES_OF_ERRORS
            assert error["line"] in {None, outcome.get("line")}, (case, outcome, error)
    assert any(recorded.journal(case)["error"]["line"] for case in recorded.cases if case.outcome == "fails")


@pytest.mark.server
def test_the_fixed_code_goes_on_returns_or_diverges(recorded: RecordedCases) -> None:
    for case in recorded.cases:
        (outcome,) = recorded.fixed[case.name]
        assert {name: outcome.get(name) for name in case.fixed_outcome} == case.fixed_outcome, (case, outcome)
        if "next" in outcome or "returned" in outcome:
            entries = recorded.journal(case)["entries"]
            assert outcome["passed"] == len([each for each in entries if each["type"] != "Command: Output"]) - 1


@pytest.mark.server
def test_no_step_runs_and_no_socket_is_connected(recorded: RecordedCases) -> None:
    """Without the stop command and the hook, the step that has no result runs: the counter works."""
    project = recorded.project
    assert (project.steps("replayed"), recorded.replays.connected, recorded.replays.is_restored) == ([], 0, True)
    failing = [case for case in recorded.cases if case.program[-1][0] == "failing_step"]
    project.replay([recorded.case(case, isFree=True) for case in failing])
    steps = project.steps("replayed")
    (project.folder / "replayed" / "steps.log").unlink(missing_ok=True)
    assert steps == ["seal"] * len(failing) != []


@pytest.mark.server
def test_a_renamed_command_is_refused_at_its_entry(recorded: RecordedCases) -> None:
    """A masked record, whose payloads are not compared, is refused, too."""
    chance, expected, changed = random.Random(0), [], []  # noqa: S311
    for case in recorded.cases:
        content = recorded.journal(case)
        runs = [at for at, each in enumerate(content["entries"]) if each["type"] == "Command: Run"]
        if not runs:
            continue
        at = chance.choice(runs)
        content["entries"][at]["name"] = f"{content['entries'][at].get('name', '')} renamed"
        content["masked"] = chance.choice(([], ["$.text"]))
        path = recorded.project.folder / f"{case.name}.renamed.json"
        path.write_text(json.dumps(content))
        expected.append(f"entry {at}: recorded Run ")
        changed.append(recorded.case(case) | {"record": str(path)})
    assert len(changed) > len(recorded.cases) / 4
    for text, (outcome,) in zip(expected, recorded.project.replay(changed).rows, strict=True):
        assert outcome["outcome"] == "Diverges"
        assert outcome["message"].startswith(text)


@pytest.mark.server
def test_a_masked_record_has_the_same_outcome(recorded: RecordedCases) -> None:
    """All strings in arguments and state are masked; the results, which decide, are kept."""
    masked, names = [], []
    for case in recorded.cases:
        content = recorded.journal(case)
        for entry in content["entries"]:
            for name in ("parameter", "value"):
                if name in entry and entry["type"] in {"Command: Call", "Command: OneWayCall", "Command: SetState"}:
                    entry[name] = json.dumps("x" * 7)
        path = recorded.project.folder / f"{case.name}.masked.json"
        path.write_text(json.dumps(content | {"masked": ["$.text"]}))
        masked.append(recorded.case(case) | {"record": str(path)})
        names.append(case.name)
    for name, outcomes in zip(names, recorded.project.replay(masked).rows, strict=True):
        plain = recorded.failing[name][0]
        if plain["outcome"] != "Diverges":
            assert outcomes == [plain]


# The helper without a server


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, dict[str, Any]]:
    """Run all cases of the small app in one process."""
    project = Project.create(tmp_path_factory.mktemp("orders"), sdk_home())
    for name, text in MODULES.items():
        (project.folder / name).write_text(text)
    replays = replay_all(project, *((each, more) for each, more, _ in CASES.values()))
    assert (replays.connected, replays.is_restored) == (0, True)
    return dict(zip(CASES, (row[0] for row in replays.rows), strict=True))


MODULES = {
    "only_serves.mjs": """
import * as restate from "@restatedev/restate-sdk";
restate.serve({ services: [restate.service({ name: "Orders", handlers: { place: async () => 1 } })], port: 1 });
""",
    "serves.mjs": """
import * as restate from "@restatedev/restate-sdk";
export const orders = restate.service({ name: "Orders", handlers: { place: async () => 1 } });
restate.serve({ services: [orders], port: 1 });
""",
    "connects.mjs": """
import { connect } from "node:net";
import * as restate from "@restatedev/restate-sdk";
export const orders = restate.service({ name: "Orders", handlers: { place: async () => 1 } });
connect(9, "127.0.0.1").on("error", () => {});
""",
    "common.cjs": """
const restate = require("@restatedev/restate-sdk");
exports.orders = restate.service({ name: "Orders", handlers: { place: async (ctx) => {
  try {
    await restate.RestatePromise.all([ctx.run("a", () => 1), ctx.run("b", () => 2)]);
  } catch (error) {
    return error instanceof restate.TerminalError ? "terminal" : "another error";
  }
} } });
""",
    "broken.ts": "throw new Error('no KEY in the environment');",
    "enum.ts": "export enum Kind { One }",
}
FIXED = journal("place", PRICE[0], {**PRICE[1], "value": '{"amount":3}'}, SKU)
UNNAMED = replace(FIXED, entries=(*FIXED.entries, {"type": "Command: Run", "result_completion_id": 2, "name": "ship"}))
OPEN = replace(UNNAMED, error=Failure("", "no ship", 500, 4, in_step=True))
ANSWERS = {"Run ship": "ok", "Payments/charge": {"id": 3}}
RETURNED = {"outcome": "returns", "returned": {"id": 3}}
MASKED = replace(FIXED, masked=("$.sku",), entries=(*FIXED.entries[:3], {**SKU, "value": '"x"'}))
CASES: Mapping[str, tuple[Journal, Mapping[str, Any], Mapping[str, Any]]] = {
    "it fails": (
        journal("place", *PRICE, SKU, error=Failure("RangeError", "the price of 日本 ü is -3", 500, 3)),
        {},
        {
            "outcome": "fails",
            "name": "RangeError",
            "message": "the price of 日本 ü is -3",
            "file": "typescript_orders.ts",
            "line": 11,
            "reproduces": True,
        },
    ),
    "it fails with another message": (
        journal("place", *PRICE, SKU, error=Failure("RangeError", "another", 500, 3)),
        {},
        {"outcome": "fails", "reproduces": False},
    ),
    "it fails with another type": (
        journal("place", *PRICE, SKU, error=Failure("TypeError", "the price of 日本 ü is -3", 500, 3)),
        {},
        {"outcome": "fails", "reproduces": False},
    ),
    "another result": (
        journal("place", *PRICE, SKU),
        {"options": {"results": {"Run price": {"amount": 7}}}},
        {"outcome": "continues", "next": "Run 'ship'", "passed": 3},
    ),
    "another result of no command": (
        FIXED,
        {"options": {"results": {"Run prize": 1}}},
        {"outcome": "fails", "message": "results has 'Run prize', which has no result in the record"},
    ),
    "it goes on": (FIXED, {}, {"outcome": "continues", "next": "Run 'ship'", "passed": 3}),
    "it goes on with an answer": (
        FIXED,
        {"options": {"answers": {"Run ship": "ok"}}},
        {"outcome": "continues", "next": "Call Payments/charge", "passed": 5},
    ),
    "it goes on to its end": (FIXED, {"options": {"answers": ANSWERS}}, RETURNED),
    "a step without result": (
        OPEN,
        {},
        {
            "outcome": "StepWithoutResult",
            "message": "stops at step 'ship', which failed in production with 'no ship': no recorded result. "
            'It was not run. Give answers: { "Run ship": … }',
        },
    ),
    "a step with an answer": (OPEN, {"options": {"answers": ANSWERS}}, RETURNED),
    "two open steps": (
        journal("parallel", *({"type": "Command: Run", "result_completion_id": n, "name": str(n)} for n in ())),
        {},
        {"outcome": "continues", "next": "Run 'one'"},
    ),
    "swallowed errors": (journal("swallows"), {}, {"outcome": "continues", "next": "Run 'one'", "passed": 0}),
    "an awakeable": (journal("waits"), {}, {"outcome": "waits"}),
    "signals with answers": (
        journal("waits"),
        {"options": {"answers": {"awakeable": "a", "signal ding": "b"}}},
        {"outcome": "returns", "returned": "a b"},
    ),
    "state, a send and a sleep with answers": (
        journal("asks"),
        {"options": {"answers": {"GetLazyState state": None, "Sleep nap": None}}},
        {"outcome": "returns", "returned": {"state": None, "called": "inv_1abc"}},
    ),
    "hooks of a service": (
        journal("fail", service="Hooked", key="", error=Failure("TypeError", "behind a hook", 500, 0)),
        {},
        {"outcome": "fails", "name": "TypeError", "reproduces": True},
    ),
    "a recorded result is dropped": (
        replace(FIXED, entries=(*FIXED.entries, {"type": "Command: Output", "value": "1"})),
        {},
        {"outcome": "continues", "next": "Run 'ship'"},
    ),
    "another value": (
        replace(FIXED, entries=(*FIXED.entries[:3], {**SKU, "value": '"B"'})),
        {},
        {"outcome": "Diverges", "message": "entry 3: recorded SetState 'sku', now SetState with another value"},
    ),
    "another value that is not compared": (
        replace(FIXED, entries=(*FIXED.entries[:3], {**SKU, "value": '"B"'})),
        {"options": {"checkPayloads": False}},
        {"outcome": "continues", "next": "Run 'ship'"},
    ),
    "a masked record": (MASKED, {}, {"outcome": "continues", "next": "Run 'ship'"}),
    "a masked record to its end": (MASKED, {"options": {"answers": ANSWERS}}, RETURNED),
    "a masked record with another command": (
        replace(MASKED, entries=(*MASKED.entries[:3], {**SKU, "key": "other"})),
        {},
        {"outcome": "Diverges"},
    ),
    "a body that is not decoded": (
        replace(FIXED, entries=(*FIXED.entries[:3], {"type": SKU["type"], "body": "CgNza3UaBQoDIkEi"})),
        {},
        {"outcome": "continues", "next": "Run 'ship'"},
    ),
    "protocol 5": (replace(FIXED, protocol=5), {}, {"outcome": "continues"}),
    "protocol 7": (
        replace(FIXED, protocol=7, scope="s", limit_key="l", idempotency_key="i"),
        {},
        {"outcome": "continues"},
    ),
    "it hangs": (
        journal("hang"),
        {"options": {"timeout": 0.2}},
        {"outcome": "ReplayTimedOut", "message": "the handler did not end within 0.2 s"},
    ),
    "a connection": (
        journal("connects", service="Orders"),
        {},
        {
            "outcome": "NetworkUsed",
            "message": "the code opened a connection to 127.0.0.1:1 outside of a step; set allowNetwork to allow it",
        },
    ),
    "a swallowed connection": (journal("fetches"), {}, {"outcome": "NetworkUsed"}),
    "no such handler": (
        journal("paint"),
        {},
        {"outcome": "HandlerNotFound"},
    ),
    "no such export": (
        FIXED,
        {"options": {"exports": ["order"]}},
        {
            "outcome": "AppNotFound",
            "message": 'the module has no export "order"; it has hooked, notAService, orders',
        },
    ),
    "an export that is not a service": (FIXED, {"options": {"exports": ["notAService"]}}, {"outcome": "AppNotFound"}),
    "one export": (FIXED, {"options": {"exports": ["orders"]}}, {"outcome": "continues"}),
    "a module that only serves": (
        FIXED,
        {"app": "./only_serves.mjs"},
        {
            "outcome": "AppNotFound",
            "message": "the module exports no service of Restate (it only serves them): export the services",
        },
    ),
    "a module that serves": (
        journal("place", key=""),
        {"app": "./serves.mjs"},
        {"outcome": "returns", "returned": 1},
    ),
    "a module of CommonJS": (
        journal("place", key=""),
        {"app": "./common.cjs", "options": {"answers": {"Run a": 1, "Run b": 2}}},
        {"outcome": "returns", "returned": None},
    ),
    "a recorded failure in a module of CommonJS": (
        journal(
            "place",
            {"type": "Command: Run", "result_completion_id": 1, "name": "a"},
            {"type": "Command: Run", "result_completion_id": 2, "name": "b"},
            {"type": "Notification: Run", "completion_id": 2, "failure": {"code": 500, "message": "no"}},
            key="",
        ),
        {"app": "./common.cjs"},
        {"outcome": "returns", "returned": "terminal"},
    ),
    "a module that connects": (journal("place", key=""), {"app": "./connects.mjs"}, {"outcome": "NetworkUsed"}),
    "a module that fails": (FIXED, {"app": "./broken.ts"}, {"outcome": "AppNotFound"}),
    "a module that Node.js cannot strip": (FIXED, {"app": "./enum.ts"}, {"outcome": "AppNotFound"}),
}
"""Journals on the small app, the options, and members of the outcome."""


@pytest.mark.parametrize("name", CASES)
def test_the_outcome_of_a_record(name: str, outcomes: Mapping[str, dict[str, Any]]) -> None:
    *_, expected = CASES[name]
    assert {key: outcomes[name].get(key) for key in expected} == expected, outcomes[name]


def test_a_handler_that_blocks_ends_the_process_with_a_message(project: Project) -> None:
    path = project.folder / "journal.json"
    path.write_text(journal("block").to_json(), "utf-8")
    code = """
import { Record } from "./restate_lab_testing.mjs";
await Record.load(import.meta.url, "journal.json").run(() => import("./typescript_orders.ts"), { timeout: 0.1 });
"""
    (project.folder / "block.mjs").write_text(code)
    output = run_node(project, "block.mjs", fails=True)
    assert "restate-lab: ReplayTimedOut: the code blocks this process, which is now ended" in output


@LONG
def test_a_debugger_switches_the_time_limit_off(project: Project) -> None:
    """A person who waits at a breakpoint is not interrupted."""
    (project.folder / "journal.json").write_text(journal("hang").to_json(), "utf-8")
    code = """
import { Record } from "./restate_lab_testing.mjs";
const run = Record.load(import.meta.url, "journal.json").run(() => import("./typescript_orders.ts"), { timeout: 0.1 });
console.log(await Promise.race([run, new Promise((done) => setTimeout(done, 2000, "no limit"))]));
process.exit(0);
"""
    (project.folder / "hang.mjs").write_text(code)
    assert "no limit" in run_node(project, "--inspect=127.0.0.1:0", "hang.mjs")


def test_sockets_are_connected_without_the_guard(project: Project) -> None:
    """The counter of the other tests moves."""
    replays = replay_all(project, (journal("connects"), {"options": {"allowNetwork": True}}))
    assert replays.rows[0][0]["outcome"] == "fails"
    assert "ECONNREFUSED" in replays.rows[0][0]["message"]
    assert replays.connected > 0


def test_the_codec_of_an_app_reads_its_payloads(project: Project) -> None:
    def encrypt(text: str) -> dict[str, str]:
        return {"base64": base64.b64encode(bytes(each ^ 0xAA for each in text.encode())).decode()}

    record = journal(
        "place", PRICE[0], {**PRICE[1], "value": encrypt('{"amount":3}')}, {**SKU, "value": encrypt('"A"')}
    )
    record = replace(record, entries=({**INPUT, "value": encrypt('{"sku":"A"}')}, *record.entries[1:]))
    (project.folder / "journal.json").write_text(record.to_json(), "utf-8")
    code = """
import { Record } from "./restate_lab_testing.mjs";
const flip = (bytes) => bytes.map((each) => each ^ 0xaa);
const codec = async () => ({ encode: flip, decode: async (bytes) => flip(bytes) });
const record = Record.load(import.meta.url, "journal.json");
console.log((await record.run(() => import("./typescript_orders.ts"), { codec })).next);
"""
    (project.folder / "codec.mjs").write_text(code)
    assert run_node(project, "codec.mjs").strip() == "Run 'ship'"


# The encoding of entries

_VALUES: Mapping[str, tuple[Any, ...]] = {
    "number": (0, 1, 127, 128, 300, 2**31, 1796083200123),
    "text": ("", "a", "日本 ü", "x" * 200),
    "payload": ("", '{"a": 1}', "\u2028", {"base64": base64.b64encode(b"\x00\xff").decode()}),
    "void": (True,),
    "failure": (
        {},
        {"code": 0},
        {"code": 500, "message": ""},
        {"code": 409, "message": "ü", "metadata": [["k", "v"], ["", ""]]},
    ),
    "headers": ([], [["a", "b"]], [["", "ü"], ["x", ""]]),
    "keys": ([], [""], ["a", "日本"]),
    "idempotent": ({}, {"service": "s", "key": "", "handler": "h", "idempotency_key": "ü"}),
    "workflow": ({}, {"workflow": "w", "key": "ü"}),
}
_VALUES = {**_VALUES, "value": _VALUES["payload"]}


def _entries(chance: random.Random) -> Iterator[dict[str, Any]]:
    for kind, fields in FIELDS.items():
        yield {"type": kind}
        yield {"type": kind, "body": base64.b64encode(b"\x08\x00").decode()}
        for _ in range(20):
            chosen = [each for each in fields if chance.random() < 0.6]
            yield {"type": kind, **{name: chance.choice(_VALUES[form]) for _, name, form in chosen}}


def test_javascript_encodes_entries_like_python(project: Project) -> None:
    """The table is the same, and each entry has the same bytes."""
    entries = list(_entries(random.Random(0)))  # noqa: S311
    (project.folder / "entries.json").write_text(json.dumps(entries))
    code = """
import { readFileSync } from "node:fs";
import { TYPES, encodeEntry } from "./restate_lab_testing.mjs";
const bodies = JSON.parse(readFileSync("entries.json", "utf8")).map((each) => encodeEntry(each).toString("hex"));
console.log(JSON.stringify({ TYPES, bodies }));
"""
    (project.folder / "encode.mjs").write_text(code)
    found = json.loads(run_node(project, "encode.mjs"))
    types = {kind: {"number": MESSAGE_TYPES[kind], "fields": [list(each) for each in FIELDS[kind]]} for kind in FIELDS}
    assert found["TYPES"] == types
    expected = [message_of(entry)[1].hex() for entry in entries]
    assert [pair for pair in zip(entries, expected, found["bodies"], strict=True) if pair[1] != pair[2]] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": 2}, "the record has format 2; this file reads format 1. Update restate-lab"),
        ({"entries": [INPUT, {"type": "Command: Dance"}]}, 'unknown type of entry "Command: Dance"'),
        ({"entries": [INPUT, {"type": "__proto__"}]}, 'unknown type of entry "__proto__"'),
        ({"entries": [INPUT, {**SKU, "speed": 1}]}, 'Command: SetState has the unknown field "speed"'),
        ({"protocol": 99}, None),
    ],
    ids=["format", "type", "prototype", "field", "protocol"],
)
def test_a_record_of_another_form_is_refused(content: dict[str, Any], message: str | None, project: Project) -> None:
    path = project.folder / "other.json"
    path.write_text(json.dumps(json.loads(FIXED.to_json()) | content))
    ((outcome,),) = project.replay([{"record": str(path), "app": ORDERS}]).rows
    assert outcome["outcome"] == "UnusableRecord"
    assert message is None or outcome["message"] == message


# The files of a test

FAILING = replace(FIXED, entries=(INPUT, *PRICE, SKU), error=Failure("", "the price of 日本 ü is -3", 500, 3))
RUN = {
    "node": ("--test", "tests/orders_1abc.test.mjs"),
    "vitest": ("node_modules/vitest/vitest.mjs", "run", "tests/orders_1abc.test.mjs"),
}


@pytest.fixture
def in_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Work in the folder of the project, with the Node.js of these tests."""
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("PATH", f"{NODE.parent}{os.pathsep}{os.environ['PATH']}")
    return project


def write_test(project: Project, record: Journal, app: str, runner: str = "node") -> dict[str, str]:
    folder = project.folder / "tests"
    (folder / "journals").mkdir(parents=True, exist_ok=True)
    files = files_of(app, folder=folder, stem="orders_1abc", kind="fails", last=3, runner=runner)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    Record(record).save(folder / "journals" / "orders_1abc.json")
    return files


@pytest.mark.parametrize("runner", ["node", pytest.param("vitest", marks=LONG)])
def test_a_written_test_fails_as_in_production_and_passes_with_the_fix(
    runner: str, in_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    if runner == "vitest":
        (in_project.folder / "node_modules").unlink()
        (in_project.folder / "node_modules").symlink_to(node_environment("vitest") / "node_modules")
    files = write_test(in_project, FAILING, "typescript_orders.ts:orders", runner)
    assert set(files) == {HELPER, "orders_1abc.test.mjs"}
    assert files["orders_1abc.test.mjs"].count("\n") < 20
    output = run_node(in_project, *RUN[runner], fails=True)
    assert "RangeError" in output
    assert "the price of 日本 ü is -3" in output
    assert re.search(r"typescript_orders\.ts:\S*11:", output)
    app = in_project.folder / "typescript_orders.ts"
    app.write_text(app.read_text("utf-8").replace("price.amount < 0", "price.amount === 0"), "utf-8")
    assert re.search(r"pass(?:ed)?\D* 1|1 passed", run_node(in_project, *RUN[runner]))
    assert in_project.steps("replayed") == []


STEP = ({"type": "Command: Run", "result_completion_id": 1, "name": "price"},)
PRICED = (*STEP, {"type": "Notification: Run", "completion_id": 1, "value": "1"})
OUTPUT = {"type": "Command: Output", "value": "1"}
KINDS: Mapping[str, tuple[str, Journal, str, tuple[str, ...]]] = {
    "returns": ("returns", journal("place", *PRICED, OUTPUT), "price", ("another", "same", "nothing", "more", "waits")),
    "nothing": ("returns", journal("place", *PRICED, {**OUTPUT, "value": ""}), "nothing", ("price", "more", "waits")),
    "ends": ("ends", journal("place", *PRICED, OUTPUT, masked=("$",)), "price", ("more", "waits")),
    "waits": ("waits", journal("place", *PRICED, status="suspended"), "waits", ("price", "nothing", "more")),
    "continues": ("continues", journal("place", *PRICED), "more", ("waits",)),
}
"""The kind of a test, its record, the right code and wrong code: exports of ``VARIANTS``."""
VARIANTS = """
import * as restate from "@restatedev/restate-sdk";
const never = () => { throw new Error("a step ran"); };
const variant = (end) => restate.service({ name: "Orders", handlers: { place: async (ctx) => {
  return end(await ctx.run("price", never), ctx);
} } });
export const price = variant((price) => price);
export const another = variant((price) => price + 1);
export const same = variant((price) => price === 1);
export const nothing = variant(() => {});
export const more = variant((price, ctx) => ctx.run("more", never));
export const waits = variant((price, ctx) => ctx.awakeable().promise);
"""


@pytest.mark.parametrize("runner", ["node", pytest.param("vitest", marks=LONG)])
def test_a_written_test_passes_on_right_code_and_fails_on_wrong_code(runner: str, in_project: Project) -> None:
    """Code that returns another value, or of another type, or nothing; a step more; code that waits, or does not."""
    if runner == "vitest":
        (in_project.folder / "node_modules").unlink()
        (in_project.folder / "node_modules").symlink_to(node_environment("vitest") / "node_modules")
    (in_project.folder / "variants.mjs").write_text(VARIANTS)
    expected = {}
    for name, (kind, record, right, wrong) in KINDS.items():
        last = len(record.entries) - 1 - (record.entries[-1]["type"] == "Command: Output")
        for variant in (right, *wrong):
            stem = f"{name}_{variant}"
            files = files_of(
                "variants.mjs:" + variant, folder=in_project.folder, stem=stem, kind=kind, last=last, runner=runner
            )
            (in_project.folder / "journals").mkdir(exist_ok=True)
            Record(record).save(in_project.folder / "journals" / f"{stem}.json")
            (in_project.folder / f"{stem}.test.mjs").write_text(files[f"{stem}.test.mjs"], "utf-8")
            expected[stem] = variant == right
    if runner == "node":  # in one process
        (in_project.folder / "all.mjs").write_text("".join(f'import "./{stem}.test.mjs";\n' for stem in expected))
        output = run_node(in_project, "--test-reporter=tap", "--test", "all.mjs", fails=True)
        found = re.findall(r"^ *(not ok|ok) \d+ - (\w+)$", output, re.MULTILINE)
    else:
        output = run_node(in_project, *RUN["vitest"][:2], "--reporter=tap-flat", fails=True)
        found = re.findall(r"^ *(not ok|ok) \d+ - \S+ > (\w+)", output, re.MULTILINE)
    assert {stem: result == "ok" for result, stem in found if stem in expected} == expected, output
    assert "a step ran" not in output


def test_programs_and_threads_are_refused(in_project: Project) -> None:
    """With the names that a module imports, also where the error is swallowed; then they work again."""
    code = """
import { exec, execFileSync, execSync, fork, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import * as restate from "@restatedev/restate-sdk";
import { Record } from "./restate_lab_testing.mjs";

const script = "require('fs').writeFileSync('sent', '')";
const starts = {
  spawn: () => spawn(process.execPath, ["-e", script]),
  exec: () => exec("touch sent"),
  fork: () => fork("typescript_serve.mjs"),
  spawnSync: () => spawnSync(process.execPath, ["-e", script]),
  execSync: () => execSync("touch sent"),
  execFileSync: () => execFileSync("touch", ["sent"]),
  Worker: () => new Worker(script, { eval: true }),
  required: () => createRequire(import.meta.url)("child_process").spawnSync("touch", ["sent"]),
};
let start;
const place = async () => { try { start(); } catch {} return 1; };
const app = async () => ({ orders: restate.object({ name: "Orders", handlers: { place } }) });
const record = Record.load(import.meta.url, "journal.json");
for (const [name, each] of Object.entries(starts)) {
  start = each;
  console.log(name, await record.run(app).then((outcome) => outcome.outcome, (error) => error.message));
}
console.log(existsSync("sent"));
start = starts.execFileSync;
console.log((await record.run(app, { allowNetwork: true })).returned, existsSync("sent"));
await new Promise((done) => new Worker("", { eval: true }).on("exit", done));
process.exit(0);
"""
    (in_project.folder / "programs.mjs").write_text(code)
    (in_project.folder / "journal.json").write_text(journal("place").to_json(), "utf-8")
    *lines, before, after = run_node(in_project, "programs.mjs").splitlines()
    refused = "the code started a {} outside of a step; set allowNetwork to allow it"
    names = ("spawn", "exec", "fork", "spawnSync", "execSync", "execFileSync", "Worker", "required")
    assert lines == [f"{name} {refused.format('thread' if name == 'Worker' else 'program')}" for name in names]
    assert (before, after) == ("false", "1 true")


def test_no_text_of_the_cluster_is_in_the_files(in_project: Project) -> None:
    """A record with hostile texts everywhere compiles and does nothing."""
    texts = dict.fromkeys(("service", "handler", "key", "id", "sdk", "status", "created_at", "scope"), HOSTILE)
    step = {"type": "Command: Run", "result_completion_id": 1, "name": HOSTILE}
    error = Failure(HOSTILE, HOSTILE, 500, 2, file=HOSTILE, line=1, function=HOSTILE)
    hostile = replace(FIXED, **texts, entries=({**INPUT, "value": HOSTILE}, step), error=error, masked=(HOSTILE,))
    for runner in ("node", "vitest"):
        assert write_test(in_project, hostile, "typescript_orders.ts:orders", runner) == write_test(
            in_project, replace(FIXED, error=error), "typescript_orders.ts:orders", runner
        )
    write_test(in_project, hostile, "typescript_orders.ts:orders")
    output = run_node(in_project, *RUN["node"], fails=True)
    assert "HandlerNotFound" in output or "the app has no handler" in output
    assert not list(in_project.folder.rglob("hit"))


def test_names_of_the_user_are_texts_in_the_files(in_project: Project) -> None:
    folder = in_project.folder / 'a "quoted" # ü%20'
    folder.mkdir()
    (in_project.folder / "typescript_orders.ts").rename(folder / "app.ts")
    write_test(in_project, FAILING, f'{folder / "app.ts"}:orders,"); hit("')
    output = run_node(in_project, *RUN["node"], fails=True)
    assert "the module has no export" in output
    write_test(in_project, FAILING, f"{folder / 'app.ts'}")
    assert "the price of" in run_node(in_project, *RUN["node"], fails=True)


@pytest.mark.parametrize(
    ("record", "app", "text"),
    [
        (
            FAILING,
            "typescript_orders.ts:orders",
            "fails: RangeError: the price of 日本 ü is -3 at typescript_orders.ts:11",
        ),
        (FIXED, "typescript_orders.ts", "continues with Run 'ship'"),
        (journal("place", key=""), "serves.mjs:orders", "returns 1"),
        (FIXED, "broken.ts", "not run: the app cannot be imported: Error: no KEY in the environment"),
        *(
            pytest.param(*each, marks=LONG)
            for each in (
                (journal("waits"), "typescript_orders.ts", "waits for "),
                (OPEN, "typescript_orders.ts", "stops at step 'ship', which failed in production with 'no ship'"),
                (CASES["another value"][0], "typescript_orders.ts", "diverges: entry 3: recorded SetState 'sku'"),
                (FIXED, "only_serves.mjs", "not run: the module exports no service of Restate (it only serves them)"),
                (journal("block"), "typescript_orders.ts", "not run: restate-lab: ReplayTimedOut: the code blocks"),
            )
        ),
    ],
    ids=["fails", "continues", "returns", "import", "waits", "step", "diverges", "serves", "blocks"],
)
def test_a_record_is_run_once(record: Journal, app: str, text: str, in_project: Project) -> None:
    for name, code in MODULES.items():
        (in_project.folder / name).write_text(code)
    outcome = run_once(Record(record), app, folder=in_project.folder)
    assert outcome is not None
    assert str(outcome).startswith(text)
    assert in_project.steps("replayed") == []


def test_to_test_writes_a_masked_record_and_a_test_and_reports_the_run(
    in_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = Record(FAILING).save(in_project.folder / "record.json"), in_project.folder / "tests"
    folder.mkdir()
    app = "typescript_orders.ts:orders"
    made = rl.to_test(SampleRows(), file, folder, app=app, mask="text")
    stem = "orders_place_inv1abc"
    assert [each.relative_to(folder).as_posix() for each in made.paths] == [
        *(f"journals/{stem}.json", f"{stem}.test.mjs", HELPER)
    ]
    assert made.outcome == "fails as in production: RangeError: the price of xxxx is -3 at typescript_orders.ts:11"
    assert "日本" not in "".join(each.read_text("utf-8") for each in made.paths)
    assert "RangeError" in run_node(in_project, "--test", f"tests/{stem}.test.mjs", fails=True)
    with pytest.raises(errors.ArgumentError, match=r"runner is 'jest'; for this app, choose from node, vitest"):
        rl.to_test(SampleRows(), file, folder, app=app, runner="jest")
    with pytest.raises(errors.ArgumentError, match="there is no file"):
        rl.to_test(SampleRows(), file, folder, app="nothing.ts:orders", force=True)
    (in_project.folder / "node_modules").unlink()
    made = rl.to_test(SampleRows(), file, folder, app=app, mask="text", force=True)
    assert made.is_as_recorded is None
    assert "日本" not in made.paths[0].read_text("utf-8")


def test_it_is_not_run_without_node_or_the_sdk(in_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (in_project.folder / "node_modules").unlink()
    assert run_once(Record(FIXED), "typescript_orders.ts", folder=in_project.folder) is None
    (in_project.folder / "node_modules").symlink_to(sdk_home() / "node_modules")
    old = in_project.folder / "node"
    old.write_text("#!/bin/sh\necho v20.1.0\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(in_project.folder))
    outcome = run_once(Record(FIXED), "typescript_orders.ts", folder=in_project.folder)
    assert str(outcome) == "not run: node is version 20.1; the SDK and the test need 22.6 or newer"
    old.unlink()
    assert run_once(Record(FIXED), "typescript_orders.ts", folder=in_project.folder) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"app": "missing.ts:orders"}, "there is no file 'missing.ts'"),
        (
            {"app": "shop.app:app"},
            "'shop.app:app' is not a module of Node.js; pass a path such as 'src/app.ts:orders'.",
        ),
        ({"stem": "a b"}, "stem has only a-z, 0-9 and _, not 'a b'."),
        ({"runner": "jest"}, "unknown runner 'jest'; choose from node, vitest."),
    ],
    ids=["file", "python", "stem", "runner"],
)
def test_an_argument_is_refused(change: dict[str, str], message: str, in_project: Project) -> None:
    arguments = {"app": "typescript_orders.ts:orders", "stem": "a", "runner": "node", **change}
    app = arguments.pop("app")
    with pytest.raises(errors.ArgumentError, match=re.escape(message)):
        files_of(app, folder=in_project.folder, kind="fails", last=3, **arguments)
