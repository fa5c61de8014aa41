"""SQL files that are not named questions: ``restate_lab/analysis/<package>/sql/<name>.sql``."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

__all__ = ["read_statement", "used_params"]


@functools.cache
def read_statement(name: str) -> str:
    """Return the text of a SQL file, named "package/name": "waits/open_calls"."""
    package, _, file = name.rpartition("/")
    return files("restate_lab.analysis").joinpath(*package.split("/"), "sql", f"{file}.sql").read_text("utf-8")


def used_params(statement: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a statement has: some parts of a completed statement are read from few sources."""
    names = set(re.findall(r"(?<!:):([a-z]\w*)", re.sub(r"--.*", "", statement)))
    return {key: value for key, value in params.items() if key in names}
