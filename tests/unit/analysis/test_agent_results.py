"""Prices by exact name, the turns and messages of a conversation, and the row of a run, from entries in memory."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.analysis.agents.entries import AgentEntry, Content, content_of, with_models
from restate_lab.analysis.agents.model import ModelStep, ToolCall
from restate_lab.analysis.agents.prices import PriceTable, price_table
from restate_lab.analysis.agents.reader import ModelSteps, is_too_deep
from restate_lab.analysis.agents.summary import RunJournals, summarize
from restate_lab.analysis.agents.turns import turns_of
from restate_lab.analysis.journal.entries import Entry, PairedEntries, table_of
from restate_lab.analysis.journal.errors import AttemptErrors
from restate_lab.analysis.journal.payloads import decode

START = datetime(2026, 11, 28, 3, tzinfo=UTC)
NO_PRICES = PriceTable({}, None)
ID = "inv_1" + "a" * 33


def step(model: str | None = None, **fields: Any) -> ModelStep:
    return ModelStep("test", **{"text": "Hi", "model": model, "input_tokens": 1_000, "output_tokens": 500, **fields})


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-4o-2024-08-06", "claude-sonnet-4-5-20250929"])
def test_a_name_with_its_version_has_the_price_of_the_model_and_cached_tokens_cost_less(name: str) -> None:
    table = price_table(None)
    full, cached = table.cost(step(name), START), table.cost(step(name, cached_tokens=1_000), START)
    assert full is not None
    assert cached is not None
    assert 0 < cached < full
    assert table.note == ""


@pytest.mark.parametrize("name", [None, "my-own-model", "claude-sonnet-4-5-foo", "gpt-4o-mine", "gemini-2.5-flash-x"])
def test_an_unknown_model_has_no_cost_and_the_note_names_it(name: str | None) -> None:
    table = price_table(None)
    assert table.cost(step(name), START) is None
    assert (name or "a model without a name in the journal") in table.note


def test_own_prices_come_first_by_the_responding_then_the_requested_model_then_any() -> None:
    table = price_table({"mine": (10, 1, 20), "*": (0, 0, 2)})
    assert table.cost(step("mine", cached_tokens=400), START) == pytest.approx((600 * 10 + 400 + 500 * 20) / 1e6)
    assert table.cost(step("other", model_asked="mine"), START) == pytest.approx(0.02)
    assert table.cost(step(None), START) == pytest.approx(0.001)
    assert table.cost(step("mine", input_tokens=None), START) is None


def test_without_the_package_and_own_prices_no_cost_is_known_and_the_note_tells_what_to_install() -> None:
    table = PriceTable({}, None)
    assert table.cost(step("gpt-4o"), START) is None
    assert "restate-lab[agents]" in table.note


@pytest.mark.parametrize(
    "prices", [["gpt-4o"], {"gpt-4o": 3}, {"gpt-4o": (1, 2)}, {"gpt-4o": (1, -2, 3)}, {3: (1, 2, 3)}]
)
def test_prices_must_be_three_numbers_by_the_name_of_a_model(prices: Any) -> None:
    with pytest.raises(rl.errors.ArgumentError, match="prices must map"):
        price_table(prices)


def entry(kind: str, index: int, payload: Any = None, *, name: str | None = None, **fields: Any) -> AgentEntry:
    """Return an entry; each index is a second. A Run has its result one second later, unless it is open."""
    is_done = kind != "Run" or payload is not None
    own = Entry(
        kind,
        index,
        index + 1 if kind == "Run" and is_done else None,
        index,
        name,
        "done" if is_done else "open",
        START + timedelta(seconds=index) if kind != "Signal" else None,
        START + timedelta(seconds=index + (kind == "Run")) if is_done else None,
        awakeable_id="sign_1" if kind == "Signal" else None,
    )
    return AgentEntry(own, Content(json.dumps(payload).encode() if payload is not None else None), **fields)


def message(text: str | None, *calls: tuple[str, str, Any]) -> Mapping[str, Any]:
    tools = [{"id": id_, "function": {"name": name, "arguments": json.dumps(a)}} for id_, name, a in calls]
    return {"object": "chat.completion", "id": "r", "model": "gpt-4o", "usage": USAGE, "choices": [
        {"message": {"role": "assistant", "content": text, "tool_calls": tools}}
    ]}  # fmt: skip


USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
CALLS = (("call_1", "weather", {"city": "Rome"}), ("call_2", "plain", {}))
JOURNAL = (
    entry("Input", 0, "How warm is it?"),
    entry("Run", 1, message(None, *CALLS), name="call LLM"),
    entry("Run", 3, {"city": "Rome", "headers": {"set-cookie": "canary", "x": "1"}}, name="weather"),
    entry("Run", 5, message("Warm."), name="call LLM"),
    entry("Output", 7, "Warm."),
)


def conversation(*entries: AgentEntry, status: str = "succeeded") -> rl.Conversation:
    turns = tuple(turns_of(ID, with_models(entries, ()), NO_PRICES))
    return rl.Conversation(ID, "agent/run", status, turns, source="lab", version="1.7.12", read_at=START)


def test_an_output_that_repeats_the_last_text_is_no_turn_and_headers_in_results_are_masked() -> None:
    known = conversation(*JOURNAL)
    assert [turn.role for turn in known.turns] == ["user", "assistant", "tool", "tool", "assistant"]
    assert known.turns[2].result == {"city": "Rome", "headers": {"set-cookie": "•••", "x": "1"}}
    assert [turn.how for turn in known.turns] == ["journal", "journal", "by order", "unknown", "journal"]
    assert known.tokens == {
        "input_tokens": 20,
        "cached_tokens": None,
        "output_tokens": 10,
        "reasoning_tokens": None,
    }
    assert known.open_turn is None
    frame = known.frame
    assert list(frame["journal_index"].dropna()) == [0, 1, 3, 5]
    assert pickle.loads(pickle.dumps(known)).turns == known.turns  # noqa: S301 - ours


def test_a_tool_without_a_result_has_no_message_and_the_calls_keep_their_ids() -> None:
    user, calls, result, answer = conversation(*JOURNAL).messages()
    assert user == {"role": "user", "content": "How warm is it?"}
    assert [call["id"] for call in calls["tool_calls"]] == ["call_1", "call_2"]
    assert (result["role"], result["tool_call_id"]) == ("tool", "call_1")
    assert answer == {"role": "assistant", "content": "Warm."}


def test_an_open_step_is_a_call_of_a_model_only_if_it_has_the_name_of_one() -> None:
    known = conversation(*JOURNAL[:3], entry("Run", 5, name="call LLM"), status="running")
    assert [turn.role for turn in known.turns][-1] == "assistant"
    assert known.turns[-1].how == "guessed"
    assert known.open_turn == known.turns[-1]
    other = conversation(JOURNAL[0], entry("Run", 1, name="charge"), status="running")
    assert [turn.role for turn in other.turns] == ["user", "step"]


def test_a_response_after_which_the_handler_fails_is_the_open_turn_with_the_error() -> None:
    failing = AttemptErrors(3, message="ModelRefusalError", code="RT0007")
    known = conversation(JOURNAL[0], entry("Run", 1, message("No."), errors=failing), status="backing-off")
    assert known.open_turn is not None
    assert known.open_turn.error == "ModelRefusalError"
    assert "ModelRefusalError" in known._repr_html_()
    assert conversation(JOURNAL[0], entry("Run", 1, message("No."), errors=failing), status="failed").open_turn is None


def test_records_of_an_integration_are_turns_only_if_their_step_fails() -> None:
    records = [
        entry("Run", at, {"events": ["canary"]}, name=name) for at, name in ((1, "get mcp tools"), (5, "store session"))
    ]
    known = conversation(JOURNAL[0], records[0], entry("Run", 3, message("Hi"), name="call LLM"), records[1])
    assert [turn.role for turn in known.turns] == ["user", "assistant"]
    failing = conversation(*JOURNAL[:2], entry("Run", 3, name="store session"), status="running")
    assert failing.open_turn is not None
    assert failing.open_turn.name == "store session"


def test_encrypted_reasoning_is_masked_in_every_result_and_other_signatures_are_shown() -> None:
    items = [
        {"type": "reasoning", "encrypted_content": "canary"},
        {"part_kind": "thinking", "content": "I think", "signature": "canary"},
        {"thought_signature": "canary", "text": "Hi"},
        {"providerMetadata": {"openai": {"reasoningEncryptedContent": "canary"}}},
        json.dumps({"thoughtSignature": "canary"}),
    ]
    known = conversation(*JOURNAL[:2], entry("Run", 3, {"items": items, "signature": "Ada"}, name="weather"))
    assert "canary" not in str(known) + repr(known.turns) + json.dumps(known.messages())
    assert "Ada" in repr(known.turns)
    assert "I think" in repr(known.turns)


def test_the_open_step_of_a_long_run_is_shown() -> None:
    """A card has the first and the last turns and the number between; the count of attempts may be a minimum."""
    steps = [entry("Run", 1 + 2 * number, number, name=f"step {number}") for number in range(400)]
    failing = entry("Run", 801, name="step 400", errors=AttemptErrors(3, at_least=True, message="no connection"))
    known = conversation(*steps, failing, status="backing-off")
    text, card, hidden = str(known), known._repr_html_(), "… 201 turns not shown …"
    for each in (text, card):
        assert "Run step 0" in each
        assert "Run step 200" not in each
        assert each.count(hidden) == 1
    assert "now  Run step 400 (open, at least 3 failed attempts)" in text
    last = card.rindex("step 400")
    assert card.index(hidden) < last < card.index("at least 3 failed attempts", last)
    assert known.frame["attempts_at_least"].tolist() == [False] * 400 + [True]


def test_hostile_text_in_every_place() -> None:
    """Markup and control characters are text, on the card and in print."""
    bad = "<img src=x onerror=alert(1)>\x1b[31m\u202e"
    entries = (
        entry("Input", 0, bad),
        entry("Run", 1, message(bad, ("call_1", bad, {bad: bad})), name=bad),
        entry("Run", 3, {bad: bad}, name=bad),
        entry("Output", 5, bad + "2"),
    )
    known = conversation(*entries)
    page = known._repr_html_() + str(known) + repr(known)
    assert "<img" not in known._repr_html_()
    assert not {"\x1b", "\u202e"} & set(page)


def run(*entries: Entry, **fields: Any) -> dict[str, Any]:
    row = dict.fromkeys(("service", "handler", "key", "restarted_from", "invoked_by_id", "retry_count", "signals"))
    row |= {"id": ID, "status": "succeeded", "created_at": START, "completed_at": START + timedelta(seconds=30)}
    errors, copies = fields.get("errors", []), fields.get("copies")
    journals = RunJournals(
        {ID: row | fields.get("row", {})},
        [PairedEntries([ID], table_of(entries), [0, len(entries)])] if entries else [],
        {ID: fields["models"]} if "models" in fields else {},
        None if errors is None else {ID: errors},
        {} if copies is None else {ID: copies},
    )
    return rows_of(summarize(journals, NO_PRICES, START + timedelta(seconds=60)))[0]


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {name: None if pd.isna(value) else value for name, value in row.items()} for row in frame.to_dict("records")
    ]


def run_of_journal(**fields: Any) -> dict[str, Any]:
    entries = with_models(JOURNAL, ())
    steps = {each.end: each.model for each in entries if each.model is not None}
    return run(*(each.entry for each in entries), models=ModelSteps(steps), **fields)


def test_the_row_of_a_run_has_the_seconds_of_its_entries_and_each_token_once() -> None:
    row = run_of_journal()
    assert (row["model_calls"], row["tool_calls"], row["retries"]) == (2, 2, 0)
    assert (row["spent_tokens"], row["wasted_tokens"], row["saved_tokens"]) == (30, 0, 0)
    assert (row["model_s"], row["tools_s"], row["people_s"], row["backoff_s"]) == (2.0, 1.0, 0.0, 0.0)
    assert row["note"] is None
    empty = summarize(RunJournals({}, [], {}, {}, {}), NO_PRICES, START)
    assert (list(row), len(empty)) == (list(empty.columns), 0)


def test_a_killed_run_wastes_what_no_restart_copied_and_a_restart_saves_what_is_older() -> None:
    assert run_of_journal(row={"status": "killed"})["wasted_tokens"] == 30
    assert run_of_journal(row={"status": "killed"}, copies=frozenset({2}))["wasted_tokens"] == 15
    later = run_of_journal(row={"created_at": START + timedelta(seconds=4)})
    assert (later["spent_tokens"], later["saved_tokens"]) == (15, 15)
    assert (later["model_s"], later["tools_s"]) == (1.0, 0.0)


def test_a_refused_request_was_not_paid_and_the_time_from_the_first_error_counts() -> None:
    errors = [
        {"appended_at": START + timedelta(seconds=5.5), "command_index": 5, "message": text}
        for text in ("RateLimitError('Error code: 429')", "ValueError('cannot parse')")
    ]
    row = run_of_journal(errors=errors)
    assert (row["retries"], row["possibly_paid_calls"], row["saved_tokens"]) == (2, 1, 15)
    assert (row["model_s"], row["backoff_s"]) == (1.5, 0.5)
    without = run_of_journal(errors=None)
    assert (without["retries"], without["possibly_paid_calls"]) == (None, None)


def test_a_failed_or_open_step_with_the_name_of_a_model_call_may_have_been_paid() -> None:
    failed = replace(entry("Run", 8, "", name="call LLM").entry, status="failed")
    own, other = (replace(failed, name=name, status="open", completion_index=None) for name in ("mine", "other"))
    errors = [{"appended_at": START, "command_index": 8, "message": "Invalid JSON response"}]
    for each, names, paid in ((failed, "x", 1), (own, "mine", 1), (other, "mine", 0)):
        response = replace(JOURNAL[1].entry, name=names)
        row = run(response, each, models=ModelSteps({2: step()}), errors=errors)
        assert row["possibly_paid_calls"] == paid


def test_an_error_without_a_command_belongs_to_the_only_open_step() -> None:
    """A response that is too large for a message may have been paid; with two open steps it is unknown which."""
    too_large = {"appended_at": START + timedelta(seconds=9), "command_index": None, "after_journal_entry_index": 8}
    too_large |= {"message": "hit message size limit", "code": "RT0003"}
    step = replace(entry("Run", 8, "", name="call LLM").entry, status="open", completion_index=None, completed=None)
    done = entry("Run", 2, "", name="call LLM").entry
    other = replace(step, index=9, command_index=9, name="other")
    later = replace(step, status="done", completion_index=11, completed=START + timedelta(seconds=20))
    assert run(done, step, errors=[too_large])["possibly_paid_calls"] == 1
    assert run(done, step, errors=[too_large])["backoff_s"] > 0
    assert run(done, later, models=ModelSteps({11: ModelStep("x")}), errors=[too_large])["possibly_paid_calls"] == 1
    both_open = {**too_large, "after_journal_entry_index": 9}
    assert run(done, step, other, errors=[both_open])["possibly_paid_calls"] == 0
    assert run(done, step, errors=[{**too_large, "after_journal_entry_index": 3}])["possibly_paid_calls"] == 0
    assert run(done, step, errors=[{**too_large, "code": "RT0007"}])["possibly_paid_calls"] == 0


def test_the_row_of_a_run_does_not_depend_on_the_entries_tokens_and_errors_of_another() -> None:
    entries = [each.entry for each in with_models(JOURNAL, ())]
    steps = {each.end: each.model for each in with_models(JOURNAL, ()) if each.model is not None}
    open_step = replace(entry("Run", 8, "", name="mine").entry, status="open", completion_index=None, completed=None)
    ids = ["inv_1" + letter * 33 for letter in "abc"]
    row = {**dict.fromkeys(("service", "handler", "key", "restarted_from", "invoked_by_id", "retry_count", "signals"))}
    row |= {"status": "failed", "created_at": START, "completed_at": START + timedelta(seconds=30)}
    errors = [{"appended_at": START, "command_index": 8, "message": "cannot parse"}]
    named = replace(entries[1], name="mine")
    journals = RunJournals(
        {id_: {**row, "id": id_} for id_ in ids},
        [
            PairedEntries([ids[2]], table_of([open_step]), [0, 1]),
            PairedEntries(ids[:1], table_of([named, open_step]), [0, 2]),
        ],
        {ids[0]: ModelSteps({2: steps[2]}), ids[1]: ModelSteps(steps)},
        {ids[0]: errors, ids[2]: errors},
        {ids[1]: frozenset({2})},
    )
    first, second, third = rows_of(summarize(journals, NO_PRICES, START))
    assert [each["possibly_paid_calls"] for each in (first, second, third)] == [1, 0, 0]
    assert [each["wasted_tokens"] for each in (first, second, third)] == [15, 15, 0]
    assert [each["model_s"] is None for each in (first, second, third)] == [False, True, False]
    assert (second["note"], third["note"]) == (
        "its journal was purged or not retained",
        "no step has the shape of a model response",
    )


def test_runs_with_tools_waits_and_errors_have_the_same_rows_together_and_alone() -> None:
    first, model, tool, second, output = (each.entry for each in with_models(JOURNAL, ()))
    signal = replace(
        tool, entry_type="Signal", index=0, completion_index=None, command_index=None, awakeable_id="sign_1"
    )
    journals = [(first, model), (tool, second), (signal, output), (), (tool,), (first, model, tool, second, output)]
    row = dict.fromkeys(("service", "handler", "key", "restarted_from", "invoked_by_id", "retry_count", "completed_at"))
    row |= {"status": "suspended", "created_at": START, "signals": [17]}
    rows = {f"inv_{number}": {**row, "id": f"inv_{number}"} for number in range(len(journals))}
    response = ModelStep("x", input_tokens=1, output_tokens=2, tool_calls=(ToolCall("call_1", "weather"),))
    errors = [{"appended_at": START + timedelta(seconds=2), "command_index": 5, "message": "cannot parse"}]
    parts = []
    for entries, (id_, own) in zip(journals, rows.items(), strict=True):
        table = PairedEntries([id_], table_of(entries), [0, len(entries)])
        steps = {each.completion_index: response for each in entries if each in {model, second}}
        parts.append(RunJournals({id_: own}, [table], {id_: ModelSteps(steps)}, {id_: errors}, {}))
    whole = RunJournals(
        rows,
        [table for each in parts for table in each.entries],
        {id_: steps for each in parts for id_, steps in each.models.items()},
        dict.fromkeys(rows, errors),
        {},
    )
    now = START + timedelta(seconds=60)
    alone = [rows_of(summarize(each, NO_PRICES, now))[0] for each in parts]
    assert rows_of(summarize(whole, NO_PRICES, now)) == alone
    names = ("backoff_s", "people_s", "model_s", "tools_s")
    assert [tuple(each[name] for name in names) for each in alone] == [
        (0.0, 58.0, 1.0, 0.0),
        (4.0, 54.0, 0.0, 0.0),
        (0.0, 53.0, 0.0, 0.0),
        (None,) * 4,
        (0.0, 56.0, 0.0, 0.0),
        (4.0, 53.0, 1.0, 0.0),
    ]


def test_a_run_without_entries_or_tokens_has_unknown_numbers_and_a_note() -> None:
    purged = run()
    assert purged["note"] == "its journal was purged or not retained"
    assert [purged[name] for name in ("input_tokens", "model_s", "cost")] == [None] * 3
    plain = run(JOURNAL[0].entry, models=ModelSteps({2: ModelStep("message", text="Hi")}, 1))
    assert (plain["input_tokens"], plain["spent_tokens"], plain["model_calls"]) == (None, None, 1)
    assert plain["note"].startswith("not read, because they have more than 16 MiB or are nested too deeply: 1 ")
    assert plain["note"].endswith("the tokens of 1 of 1 model calls are unknown")
    compacted = run(JOURNAL[0].entry, models=ModelSteps({2: ModelStep("message", text="Hi", uncounted="compaction")}))
    assert compacted["note"].startswith("1 response of a model had a compaction, whose tokens are paid")


@pytest.mark.parametrize("content", [b"\xff\xff", b"\x0a", b"", b"\x2a\x02\x0a\x05"])
def test_bytes_that_are_no_entry_have_no_payload_and_raise_nothing(content: bytes) -> None:
    row = {"entry_type": "Notification: Run", "size": 3, "raw": content}
    assert content_of(row, most=10) == Content()
    assert content_of({**row, "raw": None, "entry_json": '{"Notification": 3}'}, most=10) == Content()
    assert content_of({**row, "raw": None, "size": 11}, most=10).is_excluded


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(("depth", "is_unread"), [(1, False), (50, False), (50_000, True)])
def test_a_possible_response_that_is_nested_too_deeply_counts_as_not_read(
    encoding: str, depth: int, is_unread: bool
) -> None:
    for name, expected in (("usage", is_unread), ("other", False)):
        payload = (f'{{"{name}": ' + "[" * depth + "]" * depth + "}").encode(encoding)
        assert is_too_deep(payload, decode(payload)) == expected
    prose = b"usage: [[[["
    assert not is_too_deep(prose, decode(prose))
