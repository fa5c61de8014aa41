"""Explanations of rows made by hand: chains, bounds, cases without a demo, hostile texts, failing sources."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.journal.errors import JournalEvent, describe_code
from restate_lab.analysis.why import reader as why_reader, why
from restate_lab.analysis.why.chain import Chain
from restate_lab.analysis.why.details import InvocationDetails
from restate_lab.analysis.why.options import list_options
from restate_lab.analysis.why.rules import RULES
from restate_lab.cli._options import SourceOptions
from restate_lab.cli.shell_code import commands
from restate_lab.client.sql.parts import complete_for
from restate_lab.errors import ArgumentError, NotOnThisServer, ServerFailed, TimedOut
from restate_lab.reads import Reads
from restate_lab.status import PAST_ONLY, STATUSES
from support.blocked_rows import HOUR_AGO, NOW, command_rows, inv, suspended_rows
from support.row_source import RowSource
from support.shaped import reshape

DAY = pd.Timedelta(days=1)
FOLDERS = ("why", "waits")
TABLES = {"sys_inbox", "sys_keyed_service_status", "sys_vqueue_meta", "sys_scheduler"}
FILES = {
    complete_for(file.read_text("utf-8"), TABLES.__contains__): file.name.removesuffix(".sql")
    for folder in FOLDERS
    for file in files("restate_lab.analysis").joinpath(folder, "sql").iterdir()
}
COLUMNS = {
    "suspended_of": "id status target modified_at created_at invoked_by_id completions signals",
    "commands": "id entry_index entry_type name body",
    "invocations": "id partition_key target target_service_name target_service_key target_handler_name"
    " target_service_ty vqueue_id scope status created_at modified_at inboxed_at scheduled_at scheduled_start_at"
    " running_at completed_at completion_failure completion_retention journal_retention journal_size invoked_by"
    " invoked_by_id invoked_by_target restarted_from idempotency_key pinned_deployment_id"
    " last_attempt_deployment_id next_retry_at failed_attempts",
    "open_calls": "id target callee_id since created_at invoked_by_id",
    "holders": "key scope holder_id",
    "queues": "key scope id waiting",
    "deployments": "id endpoint is_latest",
    "restarts": "id created_at",
    "back_offs": "id next_retry_at failed_attempts",
    "vqueue": "id is_paused lock_name limit_key last_start_at status blocked_on since",
    "first_attempt": "first_at",
    "queued_changes": "changes since",
    "stale_timers": "timers since",
}
VQUEUE = dict.fromkeys(COLUMNS["vqueue"].split()) | {"id": "vq_1x", "is_paused": False}
COUNTS = ("queued_changes", "stale_timers")
NONE = {"changes": 0, "timers": 0, "since": None}
ROW = dict.fromkeys(COLUMNS["invocations"].split())


@dataclass
class World(RowSource):
    """A source with rows made by hand; invocations are referred to by names."""

    made: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [NONE] for name in COUNTS})
    things: list[dict[str, Any]] = field(default_factory=list)
    journals: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    fails: dict[str, Exception] = field(default_factory=dict)
    features: Mapping[str, bool] = field(default_factory=lambda: {"vqueues": False})
    name: str = "prod"
    version: str = "1.7.12"
    now: datetime = NOW
    timeouts: list[float | None] = field(default_factory=list)

    def be(self, name: str, status: str, /, **more: Any) -> World:
        row = ROW | {"id": inv(name), "partition_key": 7, "target": f"Svc/{name}/go", "target_service_name": "Svc"}
        row |= {"target_service_ty": "virtual_object", "target_service_key": name, "status": status}
        row |= {"created_at": HOUR_AGO, "modified_at": HOUR_AGO, "journal_size": 3, "journal_retention": DAY}
        self.made.setdefault("invocations", []).append(row | more)
        return self

    def suspend(self, name: str, kind: str, callee: str | None = None, /, **more: Any) -> World:
        if inv(name) not in {row["id"] for row in self.made.get("invocations", ())}:
            self.be(name, "suspended", **{key: more.pop(key) for key in list(more) if key in ROW and key != "name"})
        row = {"id": inv(name), "target": f"Svc/{name}/go", "waits_for": kind, "waiting_since": HOUR_AGO}
        self.things.append(row | {"callee_id": inv(callee) if callee else None} | more)
        return self

    def queue(self, name: str, key: str, holder: str, *, waiting: int = 1, **more: Any) -> World:
        self.be(name, "pending", target=f"Svc/{key}/take", target_service_key=key, inboxed_at=HOUR_AGO, **more)
        self.hold(key, holder)
        row = {"key": f"Svc/{key}", "scope": None, "id": inv(name), "waiting": waiting}
        self.made.setdefault("queues", []).append(row)
        return self

    def hold(self, key: str, holder: str) -> World:
        held = {"key": f"Svc/{key}", "scope": None, "holder_id": inv(holder)}
        if held not in self.made.setdefault("holders", []):
            self.made["holders"].append(held)
        return self

    def fail(self, name: str, error: Exception) -> World:
        self.fails[name] = error
        return self

    def tables(self) -> pd.DataFrame:
        pairs = [("sys_invocation_status", "id"), ("sys_journal", "id"), ("sys_journal_events", "event_json")]
        pairs += [(table, "id") for table in sorted(TABLES)]
        return pd.DataFrame(pairs, columns=["table", "column"])

    def rows(self, statement: str, params: Mapping[str, Any], *, timeout: Any = None) -> Any:
        self.timeouts.append(timeout)
        if statement not in FILES:
            return self._journal_rows(statement, params["ids"])
        name = FILES[statement]
        if name in self.fails:
            raise self.fails[name]
        made = {"suspended_of": suspended_rows, "commands": command_rows}
        rows = made[name](self.things) if name in made else self.made.get(name, [])
        if name in {"invocations", *made}:
            rows = [row for row in rows if row["id"] in params["ids"]]
        if name == "queues":
            rows = [row for row in rows if row["key"] in {f"Svc/{key}" for key in params["keys"]}]
        columns = list(rows[0]) if rows else [*COLUMNS.get(name, "id").split()]
        return reshape(pd.DataFrame(rows, columns=columns), statement)

    def _journal_rows(self, statement: str, ids: list[str]) -> pa.Table:
        if "sys_journal_events" in statement:
            events = [{"id": id_, **row} for id_ in ids for row in self.events.get(id_, ())]
            return reshape(pa.Table.from_pylist(events), statement)
        if "sys_journal " in statement:
            entries = [{"id": id_, **row} for id_ in ids for row in self.journals.get(id_, ())]
            return reshape(pa.Table.from_pylist(entries), statement)
        rows = [row for row in self.made["invocations"] if row["id"] in ids]
        names = ("id", "target", "journal_size", "completed_at", "completion_failure", "pinned_deployment_id")
        more = {
            "word": None,
            "ended": False,
            "retry_count": None,
            "journal_retention": None,
            "signals": [],
            "future": "",
        }
        table = pa.Table.from_pylist(
            [more | {each: row[each] for each in names} | {"word": row["status"]} for row in rows]
        )
        return reshape(table, statement)


def explained(world: World, name: str, **more: Any) -> Any:
    return why(world, inv(name), **more)


def test_suspended_on_its_own_step_wakes_by_a_resume() -> None:
    """Made rows, since no demo has it: a wait for a Run is named, and resume comes first."""
    found = explained(World().suspend("stuck", "Run", name="charge"), "stuck")
    assert "its own step “charge” (Run), which does not wake it" in found.summary
    assert found.options["action"].iloc[0] == "resume"


def test_a_long_back_off_is_read_from_its_vqueue() -> None:
    world = World(features={"vqueues": True}).be("slow", "ready", vqueue_id="vq_1x")
    world.made["back_offs"] = [{"id": inv("slow"), "next_retry_at": NOW + timedelta(hours=1), "failed_attempts": 7}]
    found = explained(world, "slow")
    assert (found.status, "7 attempts" in found.summary) == ("backing-off", True)
    other = World(features={"vqueues": True}).be("calls", "suspended", vqueue_id="vq_1x")
    assert explained(other.fail("back_offs", TimedOut("no")), "calls").status == "suspended"


def test_a_paused_vqueue_is_the_cause_and_its_resume_is_offered() -> None:
    world = World(features={"vqueues": True}).be("p", "pending", vqueue_id="vq_1x", inboxed_at=HOUR_AGO)
    world.made["vqueue"] = [VQUEUE | {"is_paused": True, "lock_name": "Svc/p"}]
    found = explained(world, "p")
    assert "in the vqueue vq_1x, which is paused" in found.summary
    assert 'lab.admin.resume_vqueue("vq_1x"' in found.options["code"].iloc[0]
    assert found.chain["waits_for"].iloc[-1] == "turn"


def test_the_summary_says_what_blocks_the_head_of_the_vqueue() -> None:
    world = World(features={"vqueues": True}).be("r", "ready", vqueue_id="vq_1x")
    world.made["vqueue"] = [VQUEUE | {"status": "blocked", "blocked_on": "limit-key-concurrency"}]
    assert "blocked on limit-key-concurrency" in explained(world, "r").summary


def test_of_several_root_blockers_the_chain_follows_the_worst() -> None:
    world = World().suspend("top", "Call", "works").suspend("top", "Call", "sleeps").suspend("top", "Call", "stopped")
    world.be("works", "running").be("stopped", "paused")
    world.suspend("sleeps", "Sleep", wakes_at=HOUR_AGO + 2 * DAY)
    found = explained(world, "top")
    assert list(found.chain["id"]) == [inv("top"), inv("stopped")]
    assert (
        "There are 2 other root blockers; this one is the worst. The end of a single root blocker may" in found.summary
    )


@pytest.mark.parametrize(("links", "more"), [(20, "14 more invocations"), (7, "1 more invocation;")])
def test_every_link_of_a_long_chain_has_a_row_and_the_sentence_is_shortened(links: int, more: str) -> None:
    world = World()
    for number in range(links):
        world.suspend(f"c{number}", "Call", f"c{number + 1}")
    world.be(f"c{links}", "paused")
    found = explained(world, "c0", timeout=60)
    assert list(found.chain["id"]) == [inv(f"c{number}") for number in range(links + 1)]
    assert f"waits through {more}" in found.summary
    assert inv(f"c{links}") in found.summary


def test_a_chain_with_too_many_links_is_cut_with_a_message() -> None:
    world = World()
    for number in range(why_reader.MAX_HOPS + 5):
        world.suspend(f"c{number}", "Call", f"c{number + 1}")
    found = explained(world, "c0", timeout="5m")
    assert f"only the first {why_reader.MAX_HOPS} links of the chain were followed" in found.reasons
    assert "Not read: only" in str(found)


def test_an_invocation_that_waits_for_itself_through_others_is_in_a_deadlock() -> None:
    world = World().suspend("out", "Call", "a").suspend("a", "Call", "b").suspend("b", "AttachInvocation", "a")
    found = explained(world, "out")
    assert "It is blocked by a deadlock: " in found.summary
    assert list(found.chain["blocker"]) == [inv("a"), inv("b"), inv("a")]
    inside = explained(world, "b")
    assert "It is in a deadlock: " in inside.summary
    assert "1 other invocation waits for those in the deadlock" not in inside.summary


def test_a_chain_ends_at_a_callee_that_no_longer_exists() -> None:
    found = explained(World().suspend("alone", "Call", "gone"), "alone")
    assert f"{inv('gone')}, which no longer exists" in found.summary
    assert found.chain["blocker"].iloc[-1] == inv("gone")
    assert set(found.options["id"]) == {inv("alone")}


def test_the_queue_has_the_count_of_the_server_if_not_all_calls_were_read() -> None:
    world = World().suspend("holder", "Sleep").hold("holder", "holder")
    world.queue("first", "holder", "holder", waiting=900)
    found = explained(world, "holder")
    assert "At least 900 invocations wait for it: 900 calls in the queue of its key Svc/holder." in found.summary


def test_a_caller_that_waits_for_something_else_is_not_a_waiter() -> None:
    world = World().be("sent", "running", invoked_by_id=inv("sender"), invoked_by_target="Svc/sender/go")
    world.suspend("sender", "Sleep", wakes_at=HOUR_AGO + DAY)
    assert "No invocation waits for it." in explained(world, "sent").summary


def called(world: World, name: str, caller: str, **more: Any) -> World:
    return world.be(name, "running", invoked_by_id=inv(caller), invoked_by_target=f"Svc/{caller}/go", **more)


def test_the_callers_are_followed_to_the_root_and_the_whole_story_is_suggested() -> None:
    world = called(called(called(World(), "step", "place"), "place", "checkout"), "checkout", "root").be(
        "root", "running"
    )
    found = explained(world, "step")
    assert found.callers == tuple((inv(name), f"Svc/{name}/go") for name in ("place", "checkout", "root"))
    line = f"Svc/place/go {inv('place')}, which Svc/root/go {inv('root')} called through 1 more invocation"
    assert dict(found.facts)["called by"] == line
    assert f"called by Svc/place/go ({inv('place')}), which Svc/root/go ({inv('root')}) called" in found.summary
    assert f'All invocations that belong to it:\n    rl.story(lab, "{inv("step")}")' in str(found)
    assert "rl.story(lab, &#34;" in found._repr_html_()
    assert commands([found.story_call], SourceOptions("prod")) == [f"restate-lab story {inv('step')} -e prod"]
    assert dict(explained(world, "place").facts)["called by"] == (
        f"Svc/checkout/go {inv('checkout')}, which Svc/root/go {inv('root')} called"
    )
    alone = explained(World().be("alone", "running"), "alone")
    assert (alone.callers, alone.story_call) == ((), None)


@pytest.mark.parametrize(
    "later_run",
    [
        {"created_at": HOUR_AGO + pd.Timedelta(minutes=1)},
        {"created_at": HOUR_AGO - DAY, "status": "succeeded", "completed_at": HOUR_AGO - pd.Timedelta(minutes=1)},
    ],
    ids=["created after the call", "ended before the call"],
)
def test_a_run_that_did_not_exist_at_the_time_of_the_call_has_no_callers_here(later_run: dict[str, Any]) -> None:
    """An id is reused: the caller is named from the row of the callee, and the callers of another run are not."""
    world = called(called(World(), "step", "place"), "place", "stranger", **later_run).be("stranger", "running")
    assert explained(world, "step").callers == ((inv("place"), "Svc/place/go"),)


def test_callers_that_call_each_other_end_after_a_limited_number_of_reads() -> None:
    """Only a damaged source can have them."""
    found = explained(called(called(World(), "a", "b"), "b", "a"), "a")
    assert len(found.callers) == why_reader.MAX_CALLERS


def test_a_failed_read_loses_only_its_part_and_is_in_not_read() -> None:
    world = World().suspend("a", "Awakeable", signal=17).hold("a", "a")
    world.fail("queues", TimedOut("too slow")).fail("deployments", NotOnThisServer("no sys_deployment"))
    found = explained(world, "a")
    assert "which is not resolved" in found.summary
    assert tuple(found.reasons) == (
        "its deployment could not be read: no sys_deployment",
        "the queues of their keys could not be read: the timeout is over",
    )
    assert "could not be read" in found._repr_html_()
    with pytest.raises(TimedOut):
        explained(World().be("b", "running").fail("invocations", TimedOut("too slow")), "b")


def test_an_error_that_no_source_raises_is_reported_as_server_failed() -> None:
    with pytest.raises(ServerFailed, match="or this is a bug of restate_lab") as told:
        explained(World().suspend("a", "Sleep").fail("deployments", KeyError("x")), "a")
    assert isinstance(told.value.__cause__, KeyError)


def test_each_statement_gets_the_rest_of_the_timeout_which_must_be_positive() -> None:
    world = World().suspend("a", "Sleep")
    explained(world, "a", timeout=5)
    assert all(timeout is not None and 0 < timeout <= 5 for timeout in world.timeouts)
    assert world.timeouts == sorted(world.timeouts, reverse=True)
    for wrong in (0, -1):
        with pytest.raises(ArgumentError, match="timeout is"):
            explained(World(), "a", timeout=wrong)


def test_a_restart_is_not_offered_for_workflows_and_without_a_journal() -> None:
    ended = {"completed_at": HOUR_AGO, "completion_retention": DAY, "target_service_ty": "service"}
    plain = explained(World().be("a", "failed", **ended), "a")
    assert list(plain.options["action"]) == ["restart_as_new", "purge"]
    for more in ({"target_service_ty": "workflow"}, {"journal_size": 0}):
        assert list(explained(World().be("a", "failed", **(ended | more)), "a").options["action"]) == ["purge"]


def test_markup_and_quotes_of_the_cluster_are_text() -> None:
    nasty = "<script>alert('x')</script>"
    world = World().suspend("a", "GetPromise", promise=nasty, target_service_name='a"b', target=nasty)
    html = explained(world, "a")._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert 'list_service_handlers("a\\"b")' in str(explained(world, "a"))


def test_an_explanation_can_be_pickled_with_its_text_and_frames() -> None:
    found = explained(World().be("a", "paused"), "a")
    again = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own
    assert str(again) == str(found)
    pd.testing.assert_frame_equal(again.chain, found.chain)
    assert again.options.equals(found.options)
    with pytest.raises(AttributeError):
        found.chain = None


def test_the_rules_have_every_status_and_no_other() -> None:
    assert set().union(*(rule.statuses for rule in RULES)) <= set(STATUSES)
    ways_out = {status for rule in RULES if rule.action in {"cancel", "kill", "purge"} for status in rule.statuses}
    assert ways_out == set(STATUSES) - {"yielded", *PAST_ONLY}


def test_the_rules_agree_with_the_table_of_actions() -> None:
    rules = [(rule, ACTIONS(rule.action)) for rule in RULES if rule.action in set(ACTIONS)]
    assert {action for _, action in rules} == set(ACTIONS) - {ACTIONS.PURGE_JOURNAL}
    for rule, action in rules:
        assert rule.statuses <= set(action.rule.statuses), rule


def test_a_known_code_has_a_meaning_and_an_unknown_one_is_unchanged() -> None:
    assert describe_code("RT0011") == "RT0011: its deployment was removed"
    assert (describe_code("RT9999"), describe_code(None)) == ("RT9999", "")


def test_a_parameter_that_a_statement_does_not_name_is_not_sent() -> None:
    seen: list[set[str]] = []

    @dataclass
    class Named(World):
        has: tuple[str, ...] = ()

        def tables(self) -> pd.DataFrame:
            return pd.DataFrame([(table, "id") for table in self.has], columns=["table", "column"])

        def rows(self, statement: str, params: Mapping[str, Any], **_: Any) -> Any:
            seen.append(set(params))
            return reshape(pd.DataFrame(), statement)

    everything = {"services": ["S"], "keys": ["k"], "locks": ["S/k"], "partitions": [7]}
    legacy, locks = "sys_keyed_service_status", "sys_locks"
    for tables in ((legacy,), (locks,), (legacy, locks)):
        source: Any = Named(has=tables)
        Reads(source).frame("why/holders", **everything)
    assert seen == [{"services", "keys"}, {"locks", "partitions"}, set(everything)]


def test_an_entry_that_the_scheduler_does_not_count_is_the_cause() -> None:
    quiet = VQUEUE | {"status": "empty", "since": HOUR_AGO, "last_start_at": HOUR_AGO}
    busy = {"last_start_at": pd.Timestamp(NOW)}
    for queue, is_cause in ((quiet, True), (quiet | {"status": "blocked"}, False), (quiet | busy, False)):
        world = World(features={"vqueues": True}).be("p", "pending", vqueue_id="vq_1x", target_service_ty="service")
        world.made["vqueue"] = [queue]
        assert ("the scheduler does not count it" in explained(world, "p").summary) is is_cause, queue


def test_a_refused_protocol_names_the_deployment_and_the_upgrade() -> None:
    failure = "[500] service Svc is exposed by the deprecated deployment dp_1, please upgrade the SDK"
    found = explained(World().be("f", "failed", completion_failure=failure, completed_at=HOUR_AGO), "f")
    assert "The deployment dp_1 speaks service protocol 3 or older" in found.summary
    assert list(found.options["action"])[:2] == ["upgrade the SDK", "restart_as_new"]


def test_a_foreign_result_is_not_repaired_by_retries() -> None:
    """#5425: without a timer in the journal the cause is probable; an end is offered first, and a resume last."""
    world = World().be("w", "backing-off", failed_attempts=9)
    world.events[inv("w")] = [
        {"event_type": "TransientError", "appended_at": HOUR_AGO, "after_journal_entry_index": 1}
        | {"message": "Unexpected variant in async result: {}", "code": "RT0007"}
        | dict.fromkeys(("command_index", "command_type", "command_name"))
    ]
    found = explained(world, "w")
    assert "Probably, a timer of an earlier invocation with this id" in found.summary
    assert list(found.options["action"]) == ["kill", "cancel", "resume"]
    assert found.options["effect"].iloc[-1].startswith("will fail again: its journal has a result")


FAILS_AGAIN: dict[str, tuple[dict[str, Any], str, str]] = {
    "a journaled refusal": (
        {"response_problem": "a refusal of the model"},
        "kill, change the code, restart",
        "a refusal of the model is in its journal",
    ),
    "a foreign result": ({"stale_timer": HOUR_AGO}, "kill and restart", "a result that the code did not ask for"),
    "a removed deployment": ({"deployments": {}}, "move_to", "its deployment dp_1 was removed"),
    "changed code": ({}, "bring the code back", "the code does not match its journal (RT0016)"),
}


IN_CODE = JournalEvent("TransientError", HOUR_AGO, message="KeyError('price')", code="RT0007")


@pytest.mark.parametrize(
    ("status", "event", "is_offered"),
    [
        ("backing-off", IN_CODE, True),
        ("paused", IN_CODE, True),
        ("failed", None, True),
        ("succeeded", None, False),
        ("suspended", IN_CODE, False),
        ("paused", replace(IN_CODE, command_index=2, command_name="charge"), False),
        ("paused", None, False),
    ],
)
def test_the_debugger_is_offered_for_errors_outside_of_steps(
    status: str, event: JournalEvent | None, is_offered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay of the journal raises these errors again; the error of a step it cannot show."""
    monkeypatch.setattr(InvocationDetails, "_events", (event,) if event else ())
    row = World().be("a", status, target_service_ty="service", journal_size=2).made["invocations"][0]
    details = InvocationDetails(row, NOW, journal=pd.DataFrame({"status": ["completed"], "entry_type": ["Input"]}))
    options = {each.action: each for each in list_options(details, details, Chain((row["id"],)))}
    assert ("debug" in options) == is_offered
    if is_offered:
        call, test = options["debug"].calls
        assert options["debug"].code.splitlines()[0].startswith(f'rl.debug(lab, "{row["id"]}", app)')
        assert commands([call, test], SourceOptions("prod")) == [
            '# app is your Python code, as "package.module:attribute"',
            f"restate-lab debug APP {row['id']} -e prod",
            "# keeps it as a test",
            f"restate-lab to-test {row['id']} -e prod --app APP",
        ]


@pytest.mark.parametrize("status", ["backing-off", "paused"])
@pytest.mark.parametrize("cause", FAILS_AGAIN)
def test_what_fails_again_is_resumed_last(cause: str, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known, first, reason = FAILS_AGAIN[cause]
    row = World().be("a", status, target_service_ty="service", pinned_deployment_id="dp_1").made["invocations"][0]
    if cause == "changed code":
        monkeypatch.setattr(InvocationDetails, "mismatch", object())
        monkeypatch.setattr(InvocationDetails, "_events", (replace(IN_CODE, code="RT0016"),))
    details = InvocationDetails(row, NOW, **{"deployments": {"dp_1": "http://a"}, "latest": "dp_2", **known})
    options = list_options(details, details, Chain((row["id"],)))
    assert options[0].action == first
    assert options[-1].action == "resume"
    assert options[-1].effect.startswith("will fail again: ")
    assert reason in options[-1].effect
    assert [option.action for option in options].count("resume") == 1
    assert "repair" not in {option.action for option in options}


@pytest.mark.parametrize("status", ["backing-off", "paused"])
def test_what_may_succeed_is_resumed_before_it_is_ended(status: str) -> None:
    row = World().be("a", status, pinned_deployment_id="dp_1").made["invocations"][0]
    details = InvocationDetails(row, NOW, deployments={"dp_1": "http://a"}, latest="dp_1")
    actions = [option.action for option in list_options(details, details, Chain((row["id"],)))]
    assert actions.index("resume") < actions.index("kill")
