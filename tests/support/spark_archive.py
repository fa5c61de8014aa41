"""An archive for the comparison of engines: random rows with odd values in each column, over a change of the zone."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from support.archives import SampleArchive, run

START = datetime(2026, 10, 25, tzinfo=UTC)
"""In a week, the clocks of New York are set back; those of Berlin were set back in this night."""
TEXTS = (
    *(
        None,
        "",
        " ",
        "größe 5",
        "ΑΣ σς İ ı ﬁ",
        "😀 e\u0301 \u2028 \u0085 \xa0",
        "a\rb\x0bc\td",
        "NaN",
        "-0",
        "1e400",
        "on",
    ),
    *('it\'s "50 %" of \\d $1 \\1 _ ${x} :x', "inv_1abcdefghijklmnopqrstuvwx 8e7f0a1b 1.2.3 12", "x" * 300),
)
"""Texts that two engines could read, compare, cut or write differently."""
_CUT = '{"error": {"message": "rate limit, größe \\"q\\" 😀", "code": 429}, "ids": [1, 2], "a": {"b": {"c": []}}}'
_FAILURES = (
    *("[500] no stock of 17\nat line 3", "[409] cancelled", "[409 Aborted] Killed", "[500 Internal] größe 12 zu groß"),
    *(
        "[500] inv_1abcdefghijklmnopqrstuvwx failed for key 8e7f0a1b",
        '[404] it\'s 50 % of \\d "x"',
        "[409] cancelled\n",
    ),
    *("[x] no number", "no brackets", "\nfirst line is empty", "[500]", "[500] ", "[12]] two [3] 4", "[500] a\rb\nc"),
)
_KEYS = ("error_message", "restate_doc_error_code", "related_command_name", "last_failure", "error_code", "x")


def write_archive(path: Path, *, days: int = 10, runs: int = 1_000) -> Path:
    """Write an archive of two services with payloads, and so many ended invocations each day; return it."""
    archive, chance = SampleArchive(path), random.Random(7)  # noqa: S311 - the same rows each time
    for day in range(days):
        end = START + timedelta(days=day + 1)
        rows = [_run(chance, day * runs + number, day, "dp_2" if day > days // 2 else "dp_1") for number in range(runs)]
        again = [_run(chance, number, day, "dp_1") for number in range(3)] if day % 3 == 2 else []
        kept = {"service": "Orders", "handler": "place"} | dict.fromkeys(
            ("completion_retention_ms", "journal_retention_ms"), 86_400_000
        )
        archive.visit(
            end,
            [*rows, *again],
            repeated=[each["id"] for each in again],
            steps=[_step(chance, each) for each in rows[: runs // 5]],
            samples=[_sample(chance, end, status) for status in ("invoked", "paused")],
            retention=[kept],
            payloads=True,
        )
        if day == days // 2:
            archive.deploy("dp_2", "Orders", created=end, seen=end)
    return path


def _text(chance: random.Random) -> str | None:
    return chance.choice(TEXTS)


def _run(chance: random.Random, number: int, day: int, deployment: str) -> dict[str, Any]:
    ended = START + timedelta(days=day, milliseconds=chance.randrange(86_400_000))
    failure = chance.choice([*[None] * 9, *_FAILURES, _text(chance), f"[429] {_cut(chance, _CUT)}"])
    took = timedelta(milliseconds=chance.choice([0, 1, chance.randrange(90_000), chance.randrange(10**8), -5]))
    start = ended - took
    steps = [each for step in range(chance.randrange(3)) for each in _entries(chance, step, start)]
    service, handler = chance.choice(["Orders", "Zahlung ü"]), chance.choice(["place", "list"])
    at = chance.choice([None, None, start])
    return run(
        number,
        ended,
        took=took,
        entries=steps,
        events=[_event(chance, start) for _ in range(chance.choice([0, 0, 0, 1, 2]))],
        target_service_name=service,
        target_handler_name=handler,
        target=f"{service}/{handler}",
        target_service_key=chance.choice([f"eu-{number % 7}", "us/1", _text(chance)]),
        journal_size=chance.choice([0, 2 + len(steps), None, 2**31 - 1]),
        journal_commands_size=chance.choice([2 + len(steps) // 2, None, 2**31 - 1]),
        partition_key=chance.choice([0, chance.randrange(2**64), 2**64 - 1]),
        completion_result=chance.choice([None, *["failure" if failure else "success"] * 50]),
        completion_failure=failure,
        completion_retention=chance.choice(
            [None, timedelta(), timedelta(days=1), timedelta(days=3650, milliseconds=1)]
        ),
        journal_retention=chance.choice([None, timedelta(), timedelta(hours=25)]),
        pinned_deployment_id=chance.choice([None, deployment]),
        pinned_service_protocol_version=chance.choice([None, 6]),
        created_using_restate_version=chance.choice(["1.7.12", _text(chance)]),
        suspended_waiting_for_completions=chance.choice([None, [], [1, 2**31 - 1]]),
        idempotency_key=chance.choice([f"key {number % 50}", "01J9ZXW3T4N8Q2R5V7Y0B1C6D9", _text(chance)]),
        restarted_from=chance.choice([*[None] * 9, run(max(number - 5, 0), ended)["id"]]),
        invoked_by=chance.choice(["ingress", "service"]),
        invoked_by_service_name=_text(chance),
        invoked_by_id=chance.choice([None, run(number + 1, ended)["id"]]),
        scope=_text(chance),
        running_at=chance.choice([None, start + timedelta(milliseconds=chance.randrange(50))]),
        scheduled_at=at,
        scheduled_start_at=chance.choice([None, start + timedelta(milliseconds=1)]),
    )


def _cut(chance: random.Random, text: str) -> str:
    return text[: chance.randrange(len(text))]


def _entries(chance: random.Random, number: int, start: datetime) -> list[dict[str, Any]]:
    name, began = chance.choice(["charge", "reserve 12345", *TEXTS]), start + timedelta(milliseconds=10 * number)
    ended = began + timedelta(milliseconds=chance.choice([0, -3, chance.randrange(5_000)]))
    completion, result = number + 1, chance.choice(["Success", "Failure", None, ""])
    usage = {"choices": [{"message": {"role": "assistant", "content": "x"}}], "usage": {"prompt_tokens": 5}}
    payload = list(json.dumps(usage).encode()) if chance.random() < 0.1 else [34, 120, 34]
    notified: dict[str, Any] = {"Notification": {"id": {"CompletionId": completion}, "result": {"Success": payload}}}
    command = {"Command": {"Run": {"completion_id": completion, "name": name}}}
    lite = json.dumps({"Notification": {"id": {"CompletionId": completion}, "result": "Success"}})
    both = [
        {"entry_type": "Command: Run", "name": name, "appended_at": began, "entry_lite_json": json.dumps(command)},
        {
            "entry_type": "Notification: Run",
            "appended_at": chance.choice([None, ended, ended]),
            "entry_lite_json": chance.choice([lite, lite, _cut(chance, lite), None]),
            "entry_json": chance.choice([None, json.dumps(notified), json.dumps(notified)]),
        },
    ]
    length = chance.choice([None, 0, 20, 2**40])
    of_both = {"completion_id": chance.choice([completion, completion, None]), "result": result, "raw_length": length}
    return [
        {"index": 2 + 2 * number + at, **entry, **of_both} for at, entry in enumerate(both[: chance.choice([1, 2, 2])])
    ]


def event_json(chance: random.Random) -> str | None:
    """Return the content of an event: JSON of a server, also cut off, with a key twice or odd values, or no JSON."""
    odd: list[Any] = [*TEXTS, "[503] no route 42\nmore", 'größe "12" 😀', "a\\b/c\b\f", None, 7, -1.5e3, True, [], {}]
    nested = {"error_message": "inner", "a": [1, {"error_message": "}]"}, [[]], {"b": {"c": {}}}]}
    members = [(key, nested if key == "last_failure" else chance.choice(odd)) for key in _KEYS]
    chance.shuffle(members)
    is_ascii, blank = chance.random() < 0.5, chance.choice(["", " ", "\n\t "])
    pairs = [
        f'{blank}"{key}"{blank}:{blank}{json.dumps(value, ensure_ascii=is_ascii)}{blank}'
        for key, value in (*members, *chance.choices(members, k=chance.choice([0, 0, 1])))
    ]
    whole = f"{blank}{{{','.join(pairs)}}}"
    return chance.choice([whole, whole, whole, _cut(chance, whole), f"[{whole}]", None, "", "null", "no JSON", "{,}"])


def _event(chance: random.Random, at: datetime) -> dict[str, Any]:
    return {
        "after_journal_entry_index": chance.choice([None, 1]),
        "appended_at": at + timedelta(milliseconds=chance.randrange(10**6)),
        "event_type": chance.choice(["TransientError", "TransientError", "Paused"]),
        "event_json": event_json(chance),
    }


def _step(chance: random.Random, row: Mapping[str, Any]) -> dict[str, Any]:
    tokens = [None, 0, chance.randrange(1000), 2**40]
    return {
        "created_at": row["created_at"],
        "day": row["completed_at"].date(),
        "id": row["id"],
        "service": row["target_service_name"],
        "handler": row["target_handler_name"],
        "framework": _text(chance),
        "model": _text(chance),
        "tool_names": chance.choice([None, [], ["größe", "", None]]),
        "index": 3,
        **{f"{kind}_tokens": chance.choice(tokens) for kind in ("input", "cached", "output", "reasoning")},
        "appended_at": chance.choice([None, row["created_at"] + timedelta(microseconds=5001)]),
    }


def _sample(chance: random.Random, at: datetime, status: str) -> dict[str, Any]:
    count = chance.randrange(5)
    return {"sampled_at": at, "service": "Orders", "handler": "place", "status": status, "invocations": count}
