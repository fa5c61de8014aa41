"""Read the data for an incident report: each query once, within the remaining time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pandas as pd

from restate_lab.analysis.doctor import doctor
from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.analysis.questions import run_question
from restate_lab.analysis.waits import Waits, find_waits
from restate_lab.document import Gaps
from restate_lab.errors import RestateLabError
from restate_lab.reads import Reads
from restate_lab.reports.metadata import statements_of
from restate_lab.reports.parts import FrameTable, Section
from restate_lab.reports.report import Report
from restate_lab.reports.tables import TableBuilder
from restate_lab.source import Source

_CREATED = """
SELECT date_bin(:bin, created_at) AS span_start, count(*) AS invocations
FROM sys_invocation_status
WHERE created_at >= :start
GROUP BY 1
ORDER BY 1
"""
T = TypeVar("T")
DEPLOYMENTS = "SELECT id, endpoint, created_at FROM sys_deployment"


@dataclass(frozen=True)
class ReportContext:
    """Reads data for the chapters and keeps the results; ``excluded`` collects the reasons for failed reads.

    ``reads`` has the time limit of the whole report. ``seconds`` is the limit of one read. A short report has
    fewer chapters and rows.
    """

    source: Source
    report: Report
    reads: Reads
    seconds: float
    is_short: bool = False
    builder: TableBuilder = field(init=False)
    excluded: list[str] = field(default_factory=list)
    _results: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "builder", self.report.maker)

    def with_report(self, report: Report) -> ReportContext:
        """Return a context for the updated report, with the same results and an empty ``excluded``."""
        return replace(self, report=report, _results=self._results, excluded=[])

    def limit_reads(self, verb: str) -> Reads:
        """Return the reads with the time limit of one result."""
        return Reads(self.reads, self.seconds, verb=verb)

    @property
    def diagnosis(self) -> Diagnosis:
        """Return the doctor's diagnosis."""
        return self._read_once("doctor", lambda: doctor(self.reads, timeout=self.seconds))

    @property
    def read_diagnosis(self) -> Diagnosis | None:
        """Return the diagnosis if a chapter has read it; None if it could not be read."""
        diagnosis: Diagnosis | None = self._results.get("doctor")
        return diagnosis

    @property
    def waits(self) -> Waits:
        """Return the wait-for graph."""
        return self._read_once("waits", lambda: find_waits(self.limit_reads("waits")))

    def ask(self, name: str, **params: Any) -> pd.DataFrame:
        """Return the result of a named question; each question is sent once.

        Raises:
            RestateLabError: the source does not support the question, or the read took too long.
        """
        key = f"{name} {sorted(params.items(), key=str)}"
        return self._read_once(key, lambda: run_question(self.reads, name, timeout=self.seconds, **params))

    def _read_once(self, key: str, read: Callable[[], T]) -> T:
        if key not in self._results:
            self._results[key] = read()
        result: T = self._results[key]
        return result

    def try_to_ask(self, name: str, **params: Any) -> pd.DataFrame | None:
        """Return the result of a named question; on failure, add the reason to ``excluded`` and return None."""
        return self._try_to_read(name, lambda: self.ask(name, **params))

    def table(self, frame: pd.DataFrame | None, **options: Any) -> FrameTable | None:
        """Return a frame as a table, with the options of ``TableBuilder.table``; None stays None."""
        return None if frame is None else self.builder.table(frame, **options)

    def section(self, title: str, *parts: Any, of: Sequence[Any] = (), caption: str = "") -> Section:
        """Return a section with these parts (None is skipped), the parts that could not be read, and its statements.

        The statements are those of the values in ``of``.
        """
        gaps = self.builder.blocks(Gaps(self.excluded)) if self.excluded else None
        kept = tuple(each for each in (*parts, gaps) if each is not None)
        statements = statements_of((each for each in of if each is not None), self.builder.masker)
        return Section(title, kept, caption, statements)

    def try_to_read_deployments(self) -> pd.DataFrame | None:
        """Return ``id, endpoint, created_at``, one row per deployment.

        On failure, add the reason to ``excluded`` and return None.
        """
        return self._try_to_read("deployments", lambda: self.limit_reads("deployments").query_frame(DEPLOYMENTS))

    def try_to_count_created(self, start: datetime, length: timedelta) -> pd.DataFrame | None:
        """Count the invocations created since ``start``: ``span_start, invocations``, one row per ``length``.

        On failure, add the reason to ``excluded`` and return None.
        """
        reads = self.limit_reads("created")
        return self._try_to_read("created invocations", lambda: reads.sql(_CREATED, start=start, bin=length))

    def _try_to_read(self, name: str, read: Callable[[], pd.DataFrame]) -> pd.DataFrame | None:
        try:
            return read()
        except RestateLabError as error:
            self.excluded.append(f"{name}: {self.builder.masker.text(' '.join(str(error).split()))}")
            return None

    def blocked_targets(self) -> dict[str, str]:
        """Return the targets of the waiting invocations by id, or {} if they could not be read."""
        try:
            edges = self.waits.edges
        except RestateLabError:  # the wait-for chapter shows why
            return {}
        return dict(zip(edges["waiter"], edges["waiter_target"], strict=True))
