"""SQL files that are not named questions: ``<package>/sql/<name>.sql``, and ``<name>@vqueues.sql`` for such servers."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pandas as pd

from restate_lab.client.schema import check_columns
from restate_lab.source import Source

__all__ = ["read_sql_file", "run_sql_file"]


def run_sql_file(source: Source, package: str, name: str, **params: Any) -> pd.DataFrame:
    """Return the rows of a SQL file, in its variant for this kind of server; unused ``params`` are ignored."""
    statement = read_sql_file(source, package, name)
    named = set(re.findall(r"(?<!:):([a-z]\w*)", re.sub(r"--.*", "", statement)))
    rows = source.sql(statement, params={key: value for key, value in params.items() if key in named})
    return check_columns(rows, statement, source)


def read_sql_file(source: Source, package: str, name: str) -> str:
    """Return a SQL file of a package ("analysis.why"), in its variant for this kind of server."""
    folder = files(f"restate_lab.{package}").joinpath("sql")
    special = folder.joinpath(f"{name}@vqueues.sql")
    is_special = source.features.get("vqueues", False) and special.is_file()
    return (special if is_special else folder.joinpath(f"{name}.sql")).read_text("utf-8")
