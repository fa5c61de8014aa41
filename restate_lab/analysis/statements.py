"""Statements that are no named questions: ``<package>/sql/<name>.sql``, with ``@vqueues`` where such servers differ."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pandas as pd

from restate_lab.client.schema import checked
from restate_lab.source import Source

__all__ = ["run"]


def run(source: Source, folder: str, name: str, **params: Any) -> pd.DataFrame:
    """Return the rows of a statement, in its variant for this kind of server; it takes of ``params`` what it names."""
    where = files("restate_lab.analysis").joinpath(folder, "sql")
    special = where.joinpath(f"{name}@vqueues.sql")
    is_special = source.features.get("vqueues", False) and special.is_file()
    statement = (special if is_special else where.joinpath(f"{name}.sql")).read_text("utf-8")
    named = set(re.findall(r"(?<!:):([a-z]\w*)", re.sub(r"--.*", "", statement)))
    rows = source.sql(statement, params={key: value for key, value in params.items() if key in named})
    return checked(rows, statement, source)
