"""Read the journals of failed invocations with the failures of their commands, and the tokens of repeated steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from restate_lab.actions.plan.preview import read_entries
from restate_lab.actions.redrive.model import FailedJournal, RestartPoint
from restate_lab.analysis.agents.model import total
from restate_lab.analysis.agents.reader import AgentReader, ModelSteps
from restate_lab.analysis.journal.entries import DONE, FAILED
from restate_lab.analysis.journal.payloads import Payloads, payloads_of
from restate_lab.analysis.journal.reader import final_failure
from restate_lab.client.sql.bind import chunks
from restate_lab.reads import Reads

_IDS_PER_QUERY = 500
_ENDED = """
SELECT id, completion_failure, CAST(pinned_service_protocol_version AS BIGINT) AS protocol
FROM sys_invocation_status WHERE id IN :ids"""
# entry_json of these rows has the code and the message; no other column has them.
_FAILURES = """
SELECT id, index, entry_json FROM sys_journal
WHERE id IN :ids AND entry_type LIKE 'Notification%'
  AND json_get_str(json_get_json(entry_lite_json, 'Notification'), 'result') = 'Failure'"""
_WITH_IDEMPOTENCY_KEY = """
SELECT id FROM sys_invocation_status WHERE id IN :ids AND idempotency_key IS NOT NULL"""


def read_journals_of_failed(reads: Reads, ids: Sequence[str]) -> dict[str, FailedJournal]:
    """Return id → its journal, for invocations that have ended; some hundred journals are read at a time."""
    return {id_: each for chunk in chunks(ids, _IDS_PER_QUERY) for id_, each in _read_journals(reads, chunk).items()}


def read_repeated_tokens(reads: Reads, points: Mapping[str, RestartPoint]) -> dict[str, int | None]:
    """Return id → the journaled tokens of the responses of models in repeated steps; None if a number is unknown.

    Payloads are read only of invocations that repeat a step with a result.
    """
    indexes = {
        id_: {each.completion_index for each in point.repeated if each.entry_type == "Run" and each.status == DONE}
        for id_, point in points.items()
    }
    ids = [id_ for id_, each in indexes.items() if each]
    models = AgentReader(reads).model_steps(ids, ()) if ids else {}
    tokens: dict[str, int | None] = {}
    for id_, wanted in indexes.items():
        read = models.get(id_, ModelSteps({}))
        steps = [step for index, step in read.steps.items() if index in wanted]
        known = total(*(number for step in steps for number in (step.input_tokens, step.output_tokens)))
        tokens[id_] = None if read.excluded or not wanted.isdisjoint(read.encoded) else known
    return tokens


def _read_journals(reads: Reads, ids: Sequence[str]) -> dict[str, FailedJournal]:
    ended = {row["id"]: row for row in reads.query_of(_ENDED, ids)}
    entries = read_entries(reads, list(ended))
    with_failures = [id_ for id_, (each, _) in entries.items() if any(entry.status == FAILED for entry in each)]
    failures = _read_failures(reads, with_failures)
    callees = [entry.callee for each, _ in entries.values() for entry in each if entry.status == FAILED]
    with_key = reads.query_of(_WITH_IDEMPOTENCY_KEY, [id_ for id_ in callees if id_])
    kept_calls = frozenset(row["id"] for row in with_key)
    return {
        id_: FailedJournal(
            entries=each,
            length=length,
            failure=final_failure(ended[id_]["completion_failure"]),
            failures=failures.get(id_, {}),
            protocol=ended[id_]["protocol"],
            kept_calls=kept_calls,
        )
        for id_, (each, length) in entries.items()
    }


def _read_failures(reads: Reads, ids: Sequence[str]) -> Mapping[str, Mapping[int, Payloads]]:
    failures: defaultdict[str, dict[int, Payloads]] = defaultdict(dict)
    for row in reads.query_of(_FAILURES, ids):
        failures[row["id"]][row["index"]] = payloads_of(row["entry_json"])
    return failures
