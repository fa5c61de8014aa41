"""Columns into a Parquet file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from restate_lab.errors import ArgumentError

__all__ = ["write_parquet"]


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write the table, zstd, with its metadata."""
    try:
        pq.write_table(table, path, compression="zstd")
    except pa.ArrowNotImplementedError as error:
        raise ArgumentError(f"Parquet cannot hold this frame: {error}. Cast the column, or save as .csv.") from error
