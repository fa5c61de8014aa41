"""The origin that a frame records: its question and its parameters."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from restate_lab.redaction import Secret
from restate_lab.source import query_json, recorded_frame


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("Cart", "Cart"),
        (7, 7),
        (0.5, 0.5),
        (float("nan"), "nan"),
        (None, None),
        (True, True),
        (datetime(2026, 11, 25, tzinfo=UTC), "2026-11-25T00:00:00+00:00"),
        (pd.Series(["a", "b", "c", "d"]), {"count": 4, "first": ["a", "b", "c"]}),
        (["a"], {"count": 1, "first": ["a"]}),
        (np.int64(3), "3"),
        (b"\x00", "b'\\x00'"),
    ],
)
def test_what_is_kept_is_json(value: Any, kept: Any) -> None:
    """Parameters are in JSON form; of a list its length and its beginning."""
    recorded = query_json(" SELECT :x\n", {"x": value})
    assert json.loads(json.dumps(recorded)) == {"sql": "SELECT :x", "params": {"x": kept}}


def test_what_is_named_like_a_secret_is_masked() -> None:
    """A report shows parameters."""
    recorded = query_json("SELECT :api_key, :service", {"api_key": "hunter2", "service": "Cart"})
    assert recorded["params"] == {"api_key": "•••", "service": "Cart"}


def test_it_goes_into_files(tmp_path: Path) -> None:
    """A datetime in attrs would make to_parquet raise."""
    frame = recorded_frame(pa.table({"a": [1]}), "SELECT :x", {"x": datetime.now(UTC)})
    frame.to_parquet(tmp_path / "rows.parquet")
    assert pd.read_parquet(tmp_path / "rows.parquet").attrs == frame.attrs


def test_a_secret_stays_one() -> None:
    """A masked value stays masked."""
    assert "canary" not in str(query_json("SELECT :x", {"x": Secret("canary")}))
