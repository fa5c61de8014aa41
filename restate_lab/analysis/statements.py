"""SQL files that are not named questions: ``<package>/sql/<name>.sql``."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pandas as pd

from restate_lab.client.schema import check_columns
from restate_lab.client.sql.parts import complete
from restate_lab.reads.statements import used_params
from restate_lab.source import Source

__all__ = ["read_sql_file", "run_sql_file", "used_params"]


def run_sql_file(source: Source, package: str, name: str, **params: Any) -> pd.DataFrame:
    """Return the rows of a SQL file, completed for the tables of the source; unused ``params`` are ignored."""
    statement = read_sql_file(source, package, name)
    return check_columns(source.sql(statement, params=used_params(statement, params)), statement, source)


def read_sql_file(source: Source, package: str, name: str) -> str:
    """Return a SQL file of a package ("analysis.why"), completed for the tables of the source."""
    return complete(files(f"restate_lab.{package}").joinpath("sql", f"{name}.sql").read_text("utf-8"), source)
