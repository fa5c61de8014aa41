"""``open_history()`` opens the archive of one cluster, alone or together with the cluster itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from restate_lab._public import did_you_mean, explained, import_extra, nearest_names
from restate_lab._text import format_timestamp, join
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.client.lab import Lab, require_lab
from restate_lab.errors import ArchiveBroken, ArgumentError
from restate_lab.history.joined import JoinedHistory
from restate_lab.history.session import HistoryPeriod
from restate_lab.history.source import History
from restate_lab.history.store import ArchiveStore, last_number, locate_store
from restate_lab.history.tables import TABLES
from restate_lab.payload_json import PayloadFunction

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import SparkSession

_FEW = 5


@explained
def open_history(
    where: str | os.PathLike[str],
    /,
    *,
    live: Lab | None = None,
    cluster_name: str | None = None,
    since: TimeInput | None = None,
    until: TimeInput | None = None,
    decode: Callable[[bytes], bytes] | None = None,
    engine: SparkSession | None = None,
) -> History:
    """Open an archive that ``archive`` wrote, and return the history of one cluster as a Source.

    ``where`` is a local folder or "s3://bucket/path" (with the credentials of the environment). ``cluster_name`` is
    required if the archive has several clusters. ``since`` and ``until`` limit it to invocations that ended between
    both; other days are not read. Durations count back from the last visit. ``decode`` decodes payloads for showing, as
    in ``connect``.

    With ``live``, a connection to the same cluster, the result is one source of both: the runs of the archive, and the
    runs that only the server has, which are open or ended after the last visit; ``help(rl.JoinedHistory)`` describes
    it. Requests are sent to check that the archive is from this cluster.

        history = rl.open_history("history", live=lab)

    With ``engine``, a SparkSession, Spark answers the verbs' statements over many runs, and this process those about
    given ids and small tables. The results are the same. SQL of your own is that of Spark, in ``history.spark``. It
    needs ``pip install 'restate-lab[spark]'``, and excludes ``live``.

        history = rl.open_history("s3://bucket/history", engine=spark)
        history.spark.sql("SELECT count(*) FROM sys_invocation_status").show()

    Raises:
        ArgumentError: the archive does not exist or does not have the cluster, an argument is malformed, ``live`` is
            not a connection to a cluster, or to another cluster, or ``engine`` is not a SparkSession.
        ArchiveBroken: it is not an archive, a table is damaged, or a newer version of restate_lab wrote it.
        MissingExtra: deltalake or sqlglot is not installed (``pip install 'restate-lab[history]'``, or ``[spark]``).
        RestateLabError: with ``live``, any error of the server.
    """
    if engine is not None:
        if live is not None:
            raise ArgumentError("engine= and live= exclude each other: rows of a server are not read with Spark.")
        _check_engine(engine)
    if live is not None:
        live = require_lab(live, "open_history(live=…)")
        if until is not None:
            raise ArgumentError("until= and live= exclude each other: with live=, the source ends now.")
    decoder = None if decode is None else PayloadFunction(decode, "decode")
    store = locate_store(where)
    if not store.exists():
        raise ArgumentError(f"{store} has no archive: rl.archive(lab, where) and restate-lab archive write one.")
    tables = store.open_all()
    every = _read_visits(store, tables["visits"])
    name = _choose_cluster(sorted(set(every["cluster_name"])), cluster_name, store.where)
    visits = every[every["cluster_name"] == name].sort_values("started_at", ignore_index=True)
    for shard in (None, *visits["shard"].dropna().unique()):
        visits = _without_unread(visits, tables["invocations"], name, shard)
    complete = visits[visits["outcome"] == "complete"]
    if complete.empty:
        raise ArchiveBroken(f"{store}: no visit to {name} was complete, so there is nothing to read.")
    last = complete["ended_at"].max().to_pydatetime()
    start = None if since is None else to_datetime(since, now=last, name="since")
    end = None if until is None else to_datetime(until, now=last, name="until")
    if start and end and start >= end:
        raise ArgumentError(f"since ({format_timestamp(start)}) must be before until ({format_timestamp(end)}).")
    period = HistoryPeriod(start, end)
    if live is None:
        options: dict[str, Any] = {"decoder": decoder, "engine": engine}
        return History(store, tables, visits, cluster_name=name, period=period, **options)
    return JoinedHistory(store, tables, visits, live, cluster_name=name, period=period, decoder=decoder)


def _check_engine(engine: object) -> None:
    """Check that an object is a session of Spark, classic or Connect, and that sqlglot is installed."""
    kind = type(engine)
    if kind.__name__ != "SparkSession" or not kind.__module__.startswith("pyspark.sql"):
        raise ArgumentError(
            f"engine is a {kind.__name__}: pass a SparkSession, such as SparkSession.builder.getOrCreate(), or leave "
            f"engine= out."
        )
    import_extra("sqlglot", "spark", purpose="open_history(engine=…) requires sqlglot")


def _read_visits(store: ArchiveStore, table: DeltaTable) -> pd.DataFrame:
    """Return the records of all clusters; a column of a newer restate_lab is null in an older archive."""
    own = TABLES["visits"].own
    empty = pa.schema(list(own.items())).empty_table()
    rows = [pa.Table.from_batches([batch]) for batch in store.read(table, list(own), "true")]
    return pa.concat_tables([empty, *rows], promote_options="default").to_pandas()


def _without_unread(visits: pd.DataFrame, invocations: DeltaTable, cluster: str, shard: str | None) -> pd.DataFrame:
    """Return the visits, as "invalid" if they have or knew runs of the shard that the opened table does not have.

    An archiver may have committed while the tables were opened, or the folder is a copy that was made meanwhile.
    """
    number = last_number(invocations, cluster, shard)
    of_shard = visits["shard"].isna() if shard is None else visits["shard"] == shard
    unread = visits[of_shard & (visits["visit"] > number) & (visits["new_runs"] > 0)]
    if unread.empty or not number:
        return visits
    since = unread["started_at"].min()
    relied = of_shard & (visits["outcome"] == "complete") & ~(visits["ended_at"] <= since)
    return visits.assign(outcome=visits["outcome"].mask(relied, "invalid"))


def _choose_cluster(there: list[str], wanted: str | None, where: str) -> str:
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted in there:
        return str(wanted)
    names = join([repr(each) for each in there], _FEW)
    if wanted is None:
        raise ArgumentError(f"{where} has the clusters {names}: choose one with cluster_name=.")
    hint = did_you_mean(nearest_names(wanted, there))
    raise ArgumentError(f"{where} has no cluster {wanted!r}, only {names}. {hint}".rstrip())
