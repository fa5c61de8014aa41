"""The form in which a command gives its rows, and whether it can; decided before anything is read."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from restate_lab.errors import ArgumentError

__all__ = ["ENDINGS", "Form", "form_of"]

STDOUT = Path("-")
ENDINGS = {"csv": (".csv", ".csv.gz"), "parquet": (".parquet",)}


@dataclass(frozen=True, slots=True)
class Form:
    """The form that was asked for: ``kind`` is table, json, csv or parquet; ``file`` is None for stdout."""

    kind: str
    file: Path | None = None
    overwrite: bool = False

    @property
    def is_for_people(self) -> bool:
        """Tell whether a person reads it."""
        return self.kind == "table"


def form_of(*, as_json: bool, csv: Path | None, parquet: Path | None, overwrite: bool) -> Form:
    """Return the form that the options ask for.

    Raises:
        ArgumentError: more than one is asked for, or the file cannot be written; before anything is read.
    """
    wanted = [("json", STDOUT)] * as_json + [
        (kind, file) for kind, file in (("csv", csv), ("parquet", parquet)) if file
    ]
    if len(wanted) > 1:
        raise ArgumentError(f"{' and '.join(f'--{kind}' for kind, _ in wanted)} are both given: ask for one.")
    if not wanted:
        return Form("table")
    kind, file = wanted[0]
    if file == STDOUT:
        if kind == "parquet" and sys.stdout.isatty():
            raise ArgumentError("Parquet is nothing for a terminal: name a file, or pipe it to a program.")
        return Form(kind)
    _check(file, kind, overwrite=overwrite)
    return Form(kind, file, overwrite)


def _check(file: Path, kind: str, *, overwrite: bool) -> None:
    if not file.name.lower().endswith(ENDINGS[kind]):
        raise ArgumentError(f"--{kind} writes {' or '.join(ENDINGS[kind])}, and {file.name} is none.")
    if not file.expanduser().parent.is_dir():
        raise ArgumentError(f"the folder {file.parent} is not there: make it, or give another path.")
    if file.expanduser().exists() and not overwrite:
        raise ArgumentError(f"{file} is there already: give another name, or --overwrite.")
