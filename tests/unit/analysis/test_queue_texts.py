"""What a person reads about a queue and a rule, and the calls that would change them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from restate_lab.analysis.queues import Queues
from restate_lab.analysis.queues.result import bar_of_counter, bar_of_queue
from restate_lab.analysis.queues.text import describe_queue, describe_wait, mark_counter, resume_call, upsert_call
from restate_lab.calls import python_code
from restate_lab.client.models import UpsertRule
from restate_lab.status import COLOURS
from support.queue_rows import counter, queue, queues_of
from support.sample_rows import NOW, sample_id

HOSTILE = {
    "markup": "</script><img src=x onerror=alert(1)>",
    "quotes": "\" onmouseover='alert(1)' x=\"",
    "code": "'); import os; os.abort()  # \\",
    "lines": "one\r\ntwo\u2028three",
    "invisible": "\x1b[31mred\u202etxt\0",
}
ID = sample_id(1)
BETWEEN = {
    "waiting": 0,
    "running": 0,
    "backing_off": 15,
    "next_attempt_at": NOW + timedelta(seconds=2),
    "blocked_on": None,
}
HOLDER = {"holder_id": ID, "since": NOW - timedelta(minutes=5), "status": "running"}


@pytest.mark.parametrize(
    ("row", "holder", "text"),
    [
        ({}, HOLDER, "key Item/k, held for 5m by a call that is running"),
        ({}, {**HOLDER, "holder_id": "mut_1", "status": None}, "key Item/k, held for 5m by a change of state"),
        ({}, None, "key Item/k, held by another call"),
        (
            {"blocked_on": "limit-key-concurrency", "blocked_rule": "blue"},
            None,
            "a free place in rule blue (2 of 2 used)",
        ),
        ({"blocked_on": "queue paused"}, None, "paused: nothing starts until the queue is resumed"),
        ({"blocked_on": "invoker-concurrency"}, None, "a slot of the invoker"),
        ({"blocked_on": "invoker-memory"}, None, "free memory of the invoker"),
        ({"blocked_on": "something-new"}, None, "something-new"),
        ({"blocked_on": None}, None, "its start: nothing blocks it"),
        ({"waiting": 0, "blocked_on": None}, None, "nothing waits"),
        (BETWEEN, None, "15 between attempts; next in 2s"),
        ({**BETWEEN, "next_attempt_at": NOW}, None, "15 between attempts; next now"),
        ({**BETWEEN, "next_attempt_at": None}, None, "15 between attempts; next now"),
        ({**BETWEEN, "waiting": 1, "blocked_on": "invoker-memory"}, None, "free memory of the invoker"),
    ],
)
def test_the_head_waits_for_something_in_words(row: dict[str, Any], holder: Any, text: str) -> None:
    assert describe_wait(queue(**row), counter(), holder, NOW) == text


@pytest.mark.parametrize(
    ("columns", "mark"),
    [
        ({}, "▲ full"),
        ({"usage_share": 0.81}, "▲ above 80%"),
        ({"usage_share": 0.8}, ""),
        ({"usage": None, "usage_share": None}, "not used now"),
        ({"disabled": True}, "disabled"),
    ],
)
def test_a_rule_that_needs_attention_is_marked(columns: dict[str, Any], mark: str) -> None:
    assert mark_counter(counter(**columns)) == mark


def test_a_bar_has_the_limit_in_its_middle_and_never_overflows() -> None:
    """Without a limit, its end is the largest queue."""
    assert bar_of_queue(queue(running=1, waiting=4), 10).lengths == [0.1, 0, 0.4, 0, -1]
    assert bar_of_queue(queue(running=1, waiting=4, backing_off=3), 10).lengths == [0.1, 0, 0.4, 0.3, -1]
    assert bar_of_queue(queue(running=1, waiting=1, used=3, limit=4), 10).lengths == [0.125, 0.25, 0.125, 0, 0.5]
    assert bar_of_queue(queue(running=2, waiting=10_000, used=2, limit=2), 10).lengths == [0.5, 0, 0.5, 0, 0.5]
    assert bar_of_queue(queue(running=0, waiting=0), 0).lengths == [0, 0, 0, 0, -1]
    assert bar_of_counter(counter(usage=9, waiting=9)).lengths == [1, 0, 0, 0, 0.5]
    assert bar_of_counter(counter(usage=None, concurrency_limit=None, waiting=0)).lengths == [0, 0, 0, 0, 0.5]


def test_calls_between_attempts_do_not_wait() -> None:
    """The summary, the description, the card and its bar have them as a part of their own."""
    mixed = queue(backing_off=2, next_attempt_at=NOW)
    result = queues_of([mixed, queue(**BETWEEN, queue="Payments", waits_for="15 between attempts; next in 2s")])
    assert result.summary == "4 calls in 1 queue wait · 1 limit above 80% · 17 between attempts"
    assert queues_of([queue(**BETWEEN)]).summary == "1 queue with open calls; no call waits · 15 between attempts"
    assert next(describe_queue(mixed)) == "4 calls wait, the oldest for 2m, 2 between attempts, 1 running."
    assert f"linear-gradient(45deg,{COLOURS['backing-off']} " in result._repr_html_()
    assert " orange is between attempts" in result._repr_html_()


class _Admin:
    """Record the arguments of the calls that a text makes."""

    def __init__(self) -> None:
        self.admin, self.got = self, list[Any]()

    def upsert_rules(self, rules: list[UpsertRule], *, reason: str) -> None:
        self.got.append((rules, reason))

    def resume_vqueue(self, vqueue_id: str, *, reason: str) -> None:
        self.got.append((vqueue_id, reason))


@pytest.mark.parametrize("name", ["plain", *HOSTILE])
def test_the_calls_can_be_run_and_keep_the_rule_as_it_is(name: str) -> None:
    """Names of the cluster are quoted, so that a copied call does nothing else."""
    text = HOSTILE.get(name, "blue")
    lab = _Admin()
    exec(upsert_call(counter(rule=text, description=text, disabled=True)), {"lab": lab})  # noqa: S102 - the code is ours
    kept = {"limits": {"concurrency": 2}, "description": text, "disabled": True, "precondition": 3}
    assert lab.got == [([UpsertRule(text, **kept)], "…")]
    exec(python_code([resume_call(text)]), {"lab": lab})  # noqa: S102 - the code is ours
    assert lab.got[-1] == (text, "…")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text_in_the_card(name: str) -> None:
    text = HOSTILE[name]
    rows = [
        queue(
            queue=text, waits_for=text, rule=text, used=1, limit=2, paused_vqueue_id="vq_1", blocked_on="queue paused"
        )
    ]
    limits = pd.DataFrame([counter(rule=text, counted=text, description=text)])
    hidden = {"queues": 7, "waiting": 9, "waiting_queues": 3}
    queues = Queues(queues=pd.DataFrame(rows), limits=limits, hidden=hidden, source="x", version="1.7", read_at=NOW)
    html = queues._repr_html_()
    assert not any(each in html for each in ("<img", "</script", "\x1b", "\u202e", "\0", " onmouseover='"))
    assert "lab.admin.resume_vqueue(&#34;vq_1&#34;" in html
    assert "9 calls more wait in the other 7 queues" in html
    assert queues.summary == "13 calls in 4 queues wait · 1 queue paused · 1 limit above 80%"
