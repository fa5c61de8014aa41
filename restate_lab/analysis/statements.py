"""SQL files that are not named questions: ``<package>/sql/<name>.sql``, and ``<name>@vqueues.sql`` for such servers."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pandas as pd

from restate_lab.client.schema import check_columns
from restate_lab.source import Source

__all__ = ["run_sql_file"]


def run_sql_file(source: Source, folder: str, name: str, **params: Any) -> pd.DataFrame:
    """Return the rows of a SQL file, in its variant for this kind of server; unused ``params`` are ignored."""
    where = files("restate_lab.analysis").joinpath(folder, "sql")
    special = where.joinpath(f"{name}@vqueues.sql")
    is_special = source.features.get("vqueues", False) and special.is_file()
    statement = (special if is_special else where.joinpath(f"{name}.sql")).read_text("utf-8")
    named = set(re.findall(r"(?<!:):([a-z]\w*)", re.sub(r"--.*", "", statement)))
    rows = source.sql(statement, params={key: value for key, value in params.items() if key in named})
    return check_columns(rows, statement, source)
