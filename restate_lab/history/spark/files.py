"""Read a Delta table of an archive in Spark, at the version at which the history was opened."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deltalake import DeltaTable


def read_table(spark: Any, table: DeltaTable) -> Any:
    """Return a table as a DataFrame of Spark: with the package of Delta if the session has it, or else by its files.

    Spark infers nothing from the files: a column that an older file does not have is null, and the values of the
    partitions are those in the paths that the log has.
    """
    where = _address(table.table_uri)
    if _has_delta(spark):
        return spark.read.format("delta").option("versionAsOf", table.version()).load(where)
    schema = json.loads(table.schema().to_json())
    schema["fields"] = [each | {"nullable": True, "metadata": {}} for each in schema["fields"]]
    types = type(spark.range(0).schema)
    files = [_address(file) for file in table.file_uris()]
    if not files:
        return spark.createDataFrame([], types.fromJson(schema))
    return spark.read.schema(types.fromJson(schema)).option("basePath", where).parquet(*files)


def _has_delta(spark: Any) -> bool:
    """Return whether the session knows the extensions or the catalog of Delta."""
    for name in ("spark.sql.extensions", "spark.sql.catalog.spark_catalog"):
        with suppress(Exception):  # a setting that a cluster hides
            if "delta" in str(spark.conf.get(name, "")).lower():
                return True
    return False


def _address(uri: str) -> str:
    """Return an address as Spark's file systems name it."""
    return f"s3a://{uri.removeprefix('s3://')}" if uri.startswith("s3://") else uri
