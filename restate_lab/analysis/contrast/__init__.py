"""Compare failing invocations with healthy ones, to find what the failing ones share.

``failing`` and ``healthy`` choose the ``sides``, and ``reader`` reads them. ``attributes`` has the table of the
compared attributes, and ``inputs`` makes attributes of payloads. ``decide`` finds the conditions that distinguish the
sides, and ``result`` is the type of the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from restate_lab._text import plural
from restate_lab.analysis.contrast.attributes import RowsRead, nanoseconds, observe
from restate_lab.analysis.contrast.decide import decide
from restate_lab.analysis.contrast.failing import choose_failing
from restate_lab.analysis.contrast.healthy import choose_healthy
from restate_lab.analysis.contrast.inputs import Inputs
from restate_lab.analysis.contrast.model import Counted, Payloads, Sample
from restate_lab.analysis.contrast.reader import ContrastReader
from restate_lab.analysis.contrast.result import Contrast
from restate_lab.analysis.contrast.sides import FAILING_KINDS, ContrastRequest, ContrastSides
from restate_lab.analysis.contrast.steps import steps_of_rows
from restate_lab.analysis.ids import Targets
from restate_lab.analysis.journal.encoding import NO_INPUTS
from restate_lab.client.arguments import check_count
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import ArgumentError
from restate_lab.links import page_link
from restate_lab.progress import in_notebook
from restate_lab.reads import Row, begin
from restate_lab.result import unread
from restate_lab.source import Source

__all__ = ["FAILING_KINDS", "Contrast", "compare_sides", "contrast"]

_LEVELS: tuple[Payloads, ...] = (False, "shape", True)


@translate_errors
def contrast(
    source: Source,
    failing: Targets,
    /,
    *,
    healthy: Targets = None,
    service: str | None = None,
    handler: str | None = None,
    payloads: Payloads = False,
    sample: int = 2_000,
    window: DurationInput | None = None,
    redact: Sequence[str] = (),
    timeout: DurationInput | None = "2m",
) -> Contrast:
    """Find what the failing invocations share that the healthy ones of the same handler do not.

        rl.contrast(lab, "failed", service="Payments")
        rl.contrast(lab, rl.doctor(lab).findings.iloc[0], payloads="shape")
        rl.contrast(lab, panel.selected).conditions

    ``failing`` is ids, a frame with a column ``id`` (and ``created_at``, which selects the runs as in ``plan``), one
    finding of the doctor, or a kind, with ``service`` and ``handler``: "failed", "backing-off" (also in a second or
    later attempt), "paused", "suspended", or "slow": the slowest tenth of the successful ones, compared with the faster
    half. Of several handlers, that with most failing invocations is compared, because handlers are not compared with
    each other; ``handlers`` of the result has the failure rates of all.

    ``healthy`` is ids or a frame. By default these are the successful invocations of the same handler that were created
    in the same time: between the first and the last failing one, widened to an hour if that is less, or by ``window``
    on both sides. With fewer than 200, invocations in progress are healthy, too, if they are in their first attempt and
    passed the step at which most of the failing ones stopped. If almost none was created in that time, those before or
    after are taken, and the result says so. A restart of a failing invocation is on neither side.

    The attributes are columns (deployment with its SDK, caller, scope, key), the time of creation, the steps that were
    taken before the failure, and with ``payloads`` the headers and the paths of the JSON inputs:

    - False: nothing of a payload is read; of journals only the names of steps and whether they succeeded.
    - "shape": inputs are compared in memory, and their values are hidden: whether a path exists, its type, the number
      of its elements. Names that less than 5 % of a side have are ``*``, because the names of a map are data.
    - True: values are shown, except below secret names and the paths in ``redact``, such as "customer.email" or
      "*phone*".

    At most ``sample`` invocations of each side are read, chosen by a hash of their id, so the same ones each time.
    Ids are first looked up, so that only those that exist are counted.
    Larger sides of a kind are counted completely on the server by deployment, protocol, caller and the prefix of
    the key. Inputs of more than 64 KiB, and more than 64 MiB of inputs, are not read; an input that was not read is in
    no count of its paths. ``timeout`` is for the whole call.

    With fewer than 30 healthy invocations, or where only times of creation differ, and by less than a second, ``doubt``
    says that there are too few for a conclusion, and the differences are clues.

    "Nothing distinguishes them" is a result. Conditions are tested with Fisher's exact test and a correction for their
    number, so that at most 5 % of comparisons without a cause report one. A difference that is reported is not
    necessarily the cause.

    In a notebook, the text can have the beginning of keys that at least 5 of them share, elsewhere only their form.

    ``help(rl.Contrast)`` describes the frames of the result.

    Raises:
        ArgumentError: an argument is invalid, no id exists, an invocation is on both sides, or a name does not exist.
        NotOnThisServer: the source is too old, or has no open invocations and ``failing`` needs them.
        TimedOut: not everything was read within ``timeout``.
    """
    return compare_sides(
        source,
        failing,
        healthy=healthy,
        service=service,
        handler=handler,
        payloads=payloads,
        sample=sample,
        window=window,
        redact=redact,
        timeout=timeout,
        shows_keys=in_notebook(),
    )


@translate_errors
def compare_sides(
    source: Source,
    failing: Targets,
    /,
    *,
    healthy: Targets = None,
    service: str | None = None,
    handler: str | None = None,
    payloads: Payloads = False,
    sample: int = 2_000,
    window: DurationInput | None = None,
    redact: Sequence[str] = (),
    timeout: DurationInput | None = None,
    reads_steps: bool = True,
    shows_keys: bool = False,
) -> Contrast:
    """Return the result of ``contrast``; without ``reads_steps``, no journal is read.

    With ``shows_keys``, the texts of the result can have the prefix of a key, else only its pattern.

    Raises:
        As ``contrast``.
    """
    level = _level_of(payloads)
    patterns = (redact,) if isinstance(redact, str) else tuple(redact)
    request = ContrastRequest(
        failing=failing,
        healthy=healthy,
        service=service,
        handler=handler,
        sample=check_count("sample", sample, least=10),
        window=None if window is None else to_timedelta(window, name="window"),
        reads_steps=reads_steps,
    )
    reads = begin(source, "contrast", timeout)
    reader = ContrastReader(reads)
    sides = choose_failing(reader, request)
    if not sides.statement:
        choose_healthy(reader, request, sides)
    comparison = _Comparison(reader, sides, level, patterns)
    decision = None
    if not sides.statement:
        decision = decide(comparison.sample(reads_steps=reads_steps), payloads=level, shows_keys=shows_keys)
    side_frame = comparison.side_frame()
    return Contrast(
        decision=decision,
        statement=sides.statement,
        sides=side_frame,
        handlers=sides.handlers,
        payloads=level,
        not_read=unread(sides=sides.not_read, attributes=comparison.not_read),
        source=reads.name,
        version=reads.version,
        read_at=reads.now,
        queries=tuple(reads.queries),
        link=_link(reads, request, side_frame) if level is False else "",
    )


def _link(source: Source, request: ContrastRequest, sides: pd.DataFrame) -> str:
    """Return the link to the page with this comparison; "" for sides that a page cannot name, such as ids."""
    if not isinstance(request.failing, str) or request.failing not in FAILING_KINDS or request.healthy is not None:
        return ""
    handlers = set(zip(sides["service"], sides["handler"], strict=True))
    if len(handlers) != 1:
        return ""
    ((service, handler),) = handlers
    params = {"service": service, "handler": handler, "status": request.failing}
    return page_link(source, "contrast", params=params)


class _Comparison:
    """Reads the attributes of both sides."""

    def __init__(
        self, reader: ContrastReader, sides: ContrastSides, payloads: Payloads, redact: tuple[str, ...]
    ) -> None:
        self._reader, self._sides, self._payloads, self._redact = reader, sides, payloads, redact
        self._inputs: Inputs | None = None
        self.not_read: list[str] = []

    def sample(self, *, reads_steps: bool) -> Sample:
        """Return the rows of both sides with their attributes."""
        sides = self._sides
        rows = [*sides.failing.rows, *sides.healthy.rows]
        failing = np.arange(len(rows)) < len(sides.failing.rows)
        counted = self._count_all()
        self._inputs = self._read_inputs(rows) if self._payloads else None
        read = RowsRead(
            rows,
            sdks=self._reader.sdks(),
            steps=self._read_steps(rows) if reads_steps else None,
            inputs=self._inputs,
            redact=self._redact,
            has_times=sides.has_times,
        )
        observed = observe(read)
        attributes = {each.attribute for each in observed}
        return Sample(
            failing=failing,
            created_at=np.array([nanoseconds(row["created_at"]) for row in rows], dtype=np.int64),
            callers=[row.get("invoked_by_id") for row in rows],
            observed=observed,
            counted=tuple(each for each in counted if each.attribute in attributes),
        )

    def side_frame(self) -> pd.DataFrame:
        """Return the frame of the sides, with the number of rows whose input was not read."""
        sides, inputs = self._sides, self._inputs
        if inputs is None:
            return sides.frame({})
        both = (sides.failing, sides.healthy)
        return sides.frame({side.name: sum(row["id"] in inputs.unread for row in side.rows) for side in both})

    def _count_all(self) -> tuple[Counted, ...]:
        """Count all rows on the server if a side is larger than its sample, and set the totals of both sides."""
        sides = self._sides
        failing, healthy = sides.failing, sides.healthy
        if healthy.condition is None or (healthy.total is not None and failing.total == len(failing.rows)):
            return ()
        if failing.condition is None:
            total = sides.succeeded if sides.has_all_healthy else self._reader.count(healthy.condition)
            sides.healthy = replace(healthy, total=total)
            return ()
        has_keys = any(row.get("target_service_key") for row in failing.rows)  # a service has none
        known = sides.known_groups()
        totals = self._reader.totals(failing.condition, healthy.condition, has_keys=has_keys, known=known)
        sides.failing = replace(failing, total=totals.failing)
        sides.healthy = replace(healthy, total=totals.healthy)
        return totals.counted

    def _read_steps(self, rows: Sequence[Row]) -> dict[str, frozenset[str]] | None:
        missing = self._reader.reads.missing(["sys_journal.entry_lite_json"])
        if missing:
            self.not_read.append(f"the steps, because the source does not have {', '.join(missing)}")
            return None
        known = self._sides.journals
        journals = known | self._reader.journals([row["id"] for row in rows if row["id"] not in known])
        failing = {row["id"] for row in self._sides.failing.rows}
        if without := len(rows) - sum(row["id"] in journals for row in rows):
            self.not_read.append(f"the steps of {plural(without, 'invocation')}, whose journals are not in the source")
        return steps_of_rows(journals, failing, is_slow=self._sides.is_slow)

    def _read_inputs(self, rows: Sequence[Row]) -> Inputs | None:
        """Return the inputs; None if the source has none, or those of a whole side were not read."""
        inputs = self._reader.inputs(rows, self._sides.known)
        if inputs is None:
            self.not_read.append(f"the inputs: {NO_INPUTS}")
            return None
        for side in (self._sides.failing, self._sides.healthy):
            reasons = Counter(inputs.unread[row["id"]] for row in side.rows if row["id"] in inputs.unread)
            self.not_read += [
                f"the inputs of {count:,} of {plural(len(side.rows), f'{side.name} invocation')}, because {reason}"
                for reason, count in reasons.most_common()
            ]
            if reasons.total() == len(side.rows):
                self.not_read.append(f"all inputs, because no input of a {side.name} invocation could be read")
                inputs.by_id.clear()
        return inputs


def _level_of(payloads: object) -> Payloads:
    for level in _LEVELS:
        if payloads is level or (payloads == level and isinstance(payloads, str)):
            return level
    raise ArgumentError(f"payloads is {payloads!r}: choose from False, 'shape' and True.")
