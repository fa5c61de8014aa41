"""An archive for the comparison of engines: failures, retries, steps, agents, samples and repeated ids."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from support.archives import DAY, SampleArchive, run


def write_archive(path: Path, *, days: int = 20, runs: int = 60) -> Path:
    """Write an archive of two services with failures, retries, steps, agents, samples and repeated ids; return it."""
    archive, chance = SampleArchive(path), random.Random(7)  # noqa: S311 - the same rows each time
    for day in range(days):
        end = DAY + timedelta(days=day + 1)
        rows = [_run(chance, day * runs + number, day) for number in range(runs)]
        again = [_run(chance, number, day) for number in range(3)] if day % 5 == 4 else []
        archive.visit(
            end,
            [*rows, *again],
            repeated=[each["id"] for each in again],
            steps=[_step(chance, each) for each in rows[: runs // 5]],
            samples=[_sample(chance, end, status) for status in ("invoked", "paused")],
            retention=[
                {
                    "service": "Orders",
                    "handler": "place",
                    "completion_retention_ms": 86_400_000,
                    "journal_retention_ms": 86_400_000,
                }
            ],
        )
        if day == days // 2:
            archive.deploy("dp_2", "Orders", created=end, seen=end)
    return path


def _run(chance: random.Random, number: int, day: int) -> dict[str, Any]:
    ended = DAY + timedelta(days=day, milliseconds=chance.randrange(86_400_000))
    failure = chance.choice([*[None] * 7, *_FAILURES])
    took = timedelta(milliseconds=chance.randrange(1, 90_000))
    steps = [each for step in range(chance.randrange(3)) for each in _entries(chance, step, ended - took)]
    return run(
        number,
        ended,
        took=took,
        entries=steps,
        events=[_event(chance, ended - took) for _ in range(chance.choice([0, 0, 0, 1, 2]))],
        target_service_name=(service := chance.choice(["Orders", "Zahlung ü"])),
        target_handler_name=(handler := chance.choice(["place", "list"])),
        target=f"{service}/{handler}",
        target_service_key=chance.choice([None, f"eu-{number % 7}", "us/1"]),
        journal_size=2 + len(steps),
        journal_commands_size=2 + len(steps) // 2,
        completion_result="failure" if failure else "success",
        completion_failure=failure,
        pinned_deployment_id=f"dp_{1 + (day > 10)}",
        idempotency_key=chance.choice([None, None, f"key {number % 50}"]),
        restarted_from=chance.choice([*[None] * 9, run(max(number - 5, 0), ended)["id"]]),
        invoked_by="ingress",
        running_at=ended - took + timedelta(milliseconds=chance.randrange(50)),
        scheduled_at=(at := chance.choice([None, None, ended - took])),
        scheduled_start_at=at and at + timedelta(milliseconds=1),
    )


_FAILURES = (
    *("[500] no stock of 17\nat line 3", "[409] cancelled", "[409 Aborted] Killed", "[500 Internal] größe 12 zu groß"),
    *("[500] inv_1abcdefghijklmnopqrstuvwx failed for key 8e7f0a1b", '[404] it\'s 50 % of \\d "x"'),
)


def _entries(chance: random.Random, number: int, start: datetime) -> list[dict[str, Any]]:
    name, began = chance.choice(["charge", "größe 5", "reserve 12345"]), start + timedelta(milliseconds=10 * number)
    ended = began + timedelta(milliseconds=chance.randrange(5_000))
    command = {"Command": {"Run": {"completion_id": number + 1, "name": name}}}
    result = {"Notification": {"id": {"CompletionId": number + 1}, "result": "Success"}}
    pair = [("Command: Run", name, began, command), ("Notification: Run", None, ended, result)]
    return [
        {
            "index": 2 + 2 * number + at,
            "entry_type": kind,
            "name": of,
            "appended_at": when,
            "entry_lite_json": json.dumps(lite),
            "completion_id": number + 1,
        }
        for at, (kind, of, when, lite) in enumerate(pair[: chance.choice([1, 2, 2, 2])])
    ]


def _event(chance: random.Random, at: datetime) -> dict[str, Any]:
    content = {
        "error_message": chance.choice(["[503] no route 42\nmore", 'größe "12" 😀', "timeout after 1500 ms"]),
        "error_code": 503,
        "restate_doc_error_code": chance.choice([None, "RT0016"]),
        "related_command_name": chance.choice([None, "charge"]),
        "related_command_index": 1,
    }
    return {
        "after_journal_entry_index": 1,
        "appended_at": at + timedelta(milliseconds=chance.randrange(900)),
        "event_type": "TransientError",
        "event_json": json.dumps(content, ensure_ascii=False),
    }


def _step(chance: random.Random, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "created_at": row["created_at"],
        "day": row["completed_at"].date(),
        "id": row["id"],
        "service": row["target_service_name"],
        "handler": row["target_handler_name"],
        "framework": "openai",
        "model": chance.choice(["gpt-5", None]),
        "tool_names": chance.choice([None, [], ["größe", "search"]]),
        "index": 3,
        "input_tokens": chance.randrange(1000),
        "cached_tokens": 0,
        "output_tokens": chance.randrange(100),
        "reasoning_tokens": None,
        "appended_at": row["created_at"] + timedelta(milliseconds=5),
    }


def _sample(chance: random.Random, at: datetime, status: str) -> dict[str, Any]:
    count = chance.randrange(5)
    return {"sampled_at": at, "service": "Orders", "handler": "place", "status": status, "invocations": count}
