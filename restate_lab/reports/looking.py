"""What the chapters of an incident report look at: the source, what was read of it, and how to show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from restate_lab.analysis.deadline import within
from restate_lab.analysis.doctor import doctor
from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.analysis.questions import answer
from restate_lab.analysis.waits import Waits, find_waits
from restate_lab.errors import RestateLabError
from restate_lab.reports.parts import Section, Table
from restate_lab.reports.report import Report
from restate_lab.reports.statements import statements_of
from restate_lab.reports.tables import Maker
from restate_lab.source import Source

__all__ = ["Looking"]


@dataclass(frozen=True)
class Looking:
    """Reads each thing once; ``excluded`` collects what could not be read on the way, in words.

    ``reads`` is the source for as long as there is time for the report, ``limit`` the seconds for one reading.
    """

    source: Source
    report: Report
    reads: Source
    limit: float
    maker: Maker = field(init=False)
    excluded: list[str] = field(default_factory=list)
    _read: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "maker", self.report.maker)

    def with_room(self, report: Report) -> Looking:
        """Return the same with the room that is left in the report as it is now; what was read stays read."""
        return replace(self, report=report, _read=self._read, excluded=[])

    def within(self, verb: str) -> Source:
        """Return the source for one reading."""
        return within(self.reads, self.limit, verb=verb)

    @property
    def diagnosis(self) -> Diagnosis:
        """Return what the doctor says."""
        if "doctor" not in self._read:
            self._read["doctor"] = doctor(self.reads, timeout=self.limit)
        found: Diagnosis = self._read["doctor"]
        return found

    @property
    def waits(self) -> Waits:
        """Return who waits for whom."""
        if "waits" not in self._read:
            self._read["waits"] = find_waits(self.within("waits"))
        found: Waits = self._read["waits"]
        return found

    def ask(self, name: str, **params: Any) -> pd.DataFrame:
        """Return the answer to a named question, asked once.

        Raises:
            RestateLabError: it cannot be answered here, or not in the time for one reading.
        """
        key = f"{name} {sorted(params.items(), key=str)}"
        if key not in self._read:
            self._read[key] = answer(self.reads, name, timeout=self.limit, **params)
        found: pd.DataFrame = self._read[key]
        return found

    def try_to_ask(self, name: str, **params: Any) -> pd.DataFrame | None:
        """Return the answer, or None after noting in ``excluded`` why there is none."""
        try:
            return self.ask(name, **params)
        except RestateLabError as error:
            self.excluded.append(f"{name}: {self.maker.masker.text(' '.join(str(error).split()))}")
            return None

    def section(self, title: str, *parts: Any, of: Sequence[Any] = (), caption: str = "") -> Section:
        """Return a section with these parts (None is left out) and the statements behind it, those of ``of``."""
        kept = tuple(each for each in parts if each is not None)
        embedded = sum(each.download.size for each in kept if isinstance(each, Table) and each.download)
        statements = statements_of((each for each in of if each is not None), self.maker.masker)
        return Section(title, kept, caption, statements, embedded=embedded)
