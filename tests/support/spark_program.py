"""Answer questions with Spark on two worker processes: ``python spark_program.py FILE``, with the JSON of a ``Task``.

It prints one JSON list of rows per question. Spark's own packages cannot read a Delta log, so the caller reads the
log and lists the files.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

SETTINGS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "4",
    "spark.ui.enabled": "false",
}


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    builder = SparkSession.builder.master("local-cluster[2,1,1024]")
    for name, value in SETTINGS.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        for name, (folder, files) in task["tables"].items():
            session.read.option("basePath", folder).parquet(*files).createOrReplaceTempView(name)
        for question in task["questions"]:
            rows = [[_plain(value) for value in row] for row in session.sql(question).collect()]
            sys.stdout.write(json.dumps(rows) + "\n")
    finally:
        session.stop()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):  # without a zone: this process has TZ=UTC
        return value.replace(tzinfo=UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


if __name__ == "__main__":
    main()
