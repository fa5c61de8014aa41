"""The worst queues with the resource that their heads wait for, and the rules that limit them: ``read_queues()``.

``reader`` reads the questions ``queues`` and ``limits``, and the holders of the keys. ``text`` describes a row, and
``result`` is the type of the result.
"""

from __future__ import annotations

from restate_lab._text import join
from restate_lab.analysis.queues.reader import MOST, QueueReader
from restate_lab.analysis.queues.result import Queues
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import NotOnThisServer
from restate_lab.links import page_link
from restate_lab.reads import Reads, begin
from restate_lab.source import Source

__all__ = ["MOST", "QueueReader", "Queues", "read_queues", "why_without_queues"]

_NEEDS = ("feature vqueues", "sys_vqueues", "sys_vqueue_meta", "sys_scheduler", "sys_rules", "sys_user_limits")


def why_without_queues(reads: Reads) -> str:
    """Return why a source has no queues to show; "" if it has them."""
    missing = reads.missing(_NEEDS)
    if not missing:
        return ""
    if reads.coverage.is_past:
        return f"Queues and limits are not recorded for an earlier time, such as that of {reads.name}."
    return (
        f"Queues and limits need vqueues, which Restate 1.8 has and 1.7 can enable. {reads.name} (restate "
        f"{reads.version}) does not have {join(missing, len(_NEEDS))}."
    )


@translate_errors
def read_queues(source: Source, *, timeout: DurationInput | None = "30s") -> Queues:
    """Return the queues with open calls, the oldest wait first, and the counters of all rules, the fullest first.

    The result has the first ``MOST`` queues, and counts the others.

    Raises:
        NotOnThisServer: the source has no vqueues, is too old, or has only invocations that have ended.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: any error of ``source.arrow``.
    """
    reader = QueueReader(begin(source, "queues", timeout, needs_open=True))
    reason = why_without_queues(reader.reads)
    if reason:
        raise NotOnThisServer(reason)
    limits = reader.limits()
    queues, hidden = reader.queues(limits)
    reads = reader.reads
    return Queues(
        queues=queues,
        limits=limits,
        hidden=hidden,
        source=reads.name,
        version=reads.version,
        read_at=reads.now,
        queries=tuple(reads.queries),
        link=page_link(source, "queues"),
    )
