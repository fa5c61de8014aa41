"""The folder of an archive: its Delta tables, and numbered commits.

Each row belongs to a cluster. A commit of rows has a transaction number of its cluster, or of its shard, one more than
the commit before it. Delta refuses the second of two commits that both follow the same version of a table, so two
archivers cannot write the same rows. A table that is opened later accepts an old number again, so ``append`` compares
the numbers itself.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import fs

from restate_lab._public import import_extra
from restate_lab._text import one_line
from restate_lab.errors import AccessDenied, ArchiveBroken, ArgumentError, NotFound, RestateLabError, Unreachable
from restate_lab.history.tables import PARTITIONS, SCHEMA_VERSION, TABLES, describe_format

if TYPE_CHECKING:
    from deltalake import DeltaTable

_MARKER = re.compile(r"restate_lab archive, schema (\d+)")
_LAST = "visits"  # created last: its existence shows that the other tables exist
DELETED = "restate_lab.deleted_before"
DELETED_UNTIL = "restate_lab.deleted_until"
_NO_RESPONSE = re.compile(r"\bHTTP error\b")
"""In each error of the HTTP client, also of a response that ends early: the library has no type or field for it."""
_STATUS = re.compile(r"status code\W+([45]\d\d)\b")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_DENIED = frozenset({"401", "403", "ExpiredToken", "InvalidToken"})
_PASSING = frozenset({"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "429"})
"""HTTP statuses and codes of S3; each status from 500 on can pass, too."""
_OS_ERROR = re.compile(r"\(os error (\d+)\)|\[Errno (\d+)\]")
_REFUSED_BY_OS = frozenset({errno.EPERM, errno.EACCES, errno.EROFS})
_NOT_NOW = frozenset({
    *(errno.EIO, errno.EFBIG, errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH),
})  # fmt: skip
"""Errors of a folder that can pass: a full disk, or a network drive that does not respond."""
_STACK = re.compile(r"\s*\d+: ")
_DECORATION = re.compile(r"\x1b\[[0-9;]*m|↳")
_LONGEST = 400
_MOST_LINES = 4
_ELSEWHERE = re.compile(r"%[0-9A-Fa-f]{2}|[\[\]^|\\\x00-\x1f\x7f]")
"""Parts of an address that Delta decodes or refuses, so that it would open another folder, or end with a panic."""
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_AT_ONCE = 4  # commits of the probe
_ROUNDS = 3
_NOT_CONDITIONAL = (
    "{store}: the store accepted two equal writes, so two archivers could write the same runs twice. Use a store with "
    "conditional writes (If-None-Match), and unset AWS_S3_ALLOW_UNSAFE_RENAME."
)
_TRIES = 10
_COMMITS = 10  # of a table, from one merge of its small files to the next
_MOST_BYTES = 8 << 20  # of a day's files that are merged; to rewrite more takes too long for a visit
_OPTIONS = {"max_retries": "3", "retry_timeout": "30s"}
"""Settings of a store: few retries, so that an error is reported within a minute."""


class LostRace(RestateLabError):
    """Begin again: another archiver of the same cluster committed first. It never leaves this package."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What ``delete_before`` removed.

    Runs that ended before the day ``before`` (UTC) are not archived. Before ``until``, runs are missing although they
    would be archived now: the day was later at that time. None if nothing was deleted.
    """

    before: date | None = None
    until: datetime | None = None

    @property
    def end(self) -> datetime | None:
        """Return the time before which runs may be missing because they were deleted."""
        ends = [datetime.combine(self.before, time(), UTC)] if self.before else []
        return max([*ends, *([self.until] if self.until else [])], default=None)


@dataclass(frozen=True, slots=True)
class ArchiveStore:
    """An archive at a local path or an S3 URI; credentials are read from the environment (AWS_…).

    Tables are opened at their newest version; a handle keeps that version until it is written to.
    """

    where: str

    def __str__(self) -> str:
        return self.where

    @property
    def is_local(self) -> bool:
        """Return whether it is a folder of this machine."""
        return "://" not in self.where

    def open(self, table: str) -> DeltaTable:
        """Return one table at its newest version.

        Raises:
            ArchiveBroken: the table does not exist, or its log cannot be read.
        """
        opened = self._try_open(table)
        if opened is None:
            raise ArchiveBroken(f"{self}: the table {table} is missing. Copy the whole folder from its origin again.")
        return opened

    def exists(self) -> bool:
        """Return whether there is a complete archive; False if the folder is empty or does not exist.

        Raises:
            ArchiveBroken: the folder has other content, a table is damaged, or a newer restate_lab wrote it.
        """
        last = self._try_open(_LAST)
        if last is None:
            self._check_free()
            return False
        marker = _MARKER.fullmatch(last.metadata().description or "")
        if marker is None:
            raise ArchiveBroken(f"{self} is not an archive: its table {_LAST} was not written by restate_lab.")
        if int(marker[1]) > SCHEMA_VERSION:
            raise ArchiveBroken(
                f"{self} has schema {marker[1]}, and this restate_lab supports {SCHEMA_VERSION}: update restate_lab."
            )
        return True

    def was_removed(self) -> bool:
        """Return whether a folder on this machine has no archive any more, for example because a drive was removed."""
        return self.is_local and not any(Path(self.where, _LAST, "_delta_log").glob("*.json"))

    def create(self) -> None:
        """Create the tables that do not exist yet.

        Raises:
            ArchiveBroken: the store cannot refuse the second of two equal writes.
        """
        with self._translated():
            if not self.is_local:
                self._check_conditional_put()
            for name in (*(each for each in TABLES if each != _LAST), _LAST):
                self._create_table(self._path(name), name)

    def open_all(self) -> dict[str, DeltaTable]:
        """Return name → table."""
        return {name: self.open(name) for name in TABLES}

    def append(
        self,
        table: DeltaTable,
        rows: pa.Table,
        *,
        cluster: str,
        shard: str | None = None,
        after: int | None = None,
        number: int | None = None,
    ) -> None:
        """Commit rows; with ``number`` only if ``after`` is the last one of the cluster or its shard in this table.

        Raises:
            LostRace: another archiver committed first, or the properties of the table have changed.
        """
        if number is not None and last_number(table, cluster, shard) != after:
            raise LostRace(f"{self}: another archiver of {cluster} committed first.")
        deltalake = _deltalake()
        name = _transactions_of(cluster, shard)
        transactions = None if number is None else [deltalake.Transaction(name, number)]
        with self._translated():
            deltalake.write_deltalake(
                table,
                rows,
                mode="append",
                schema_mode="merge",
                writer_properties=deltalake.WriterProperties(compression="ZSTD"),
                commit_properties=deltalake.CommitProperties(app_transactions=transactions),
            )
        # A merge would end a commit of another shard at the same time, which must then begin again.
        if shard is None and table.version() % _COMMITS == 0:
            self._merge_today(str(table.metadata().name), cluster)

    def _merge_today(self, name: str, cluster: str) -> None:
        """Merge the small files that visits have added today, and write a checkpoint of the log.

        Each visit reads these files and the commits after the checkpoint, many of them at once. Without merges, an
        archiver that runs for days needs more memory, threads and CPU time at each visit.

        An update that changes no value merges them, because delta-rs 1.6 accepts two compactions of the same files, and
        then has their rows twice. It refuses two updates, and an update beside a compaction.
        """
        today = datetime.now(UTC).date()
        with suppress(RestateLabError), self._translated():  # the rows are committed; a later merge has the same files
            table = self.open(name)
            sizes = _sizes(table, cluster, today) if "day" in TABLES[name].own else []
            if len(sizes) > 1 and sum(sizes) <= _MOST_BYTES:
                where = f"cluster_name = {sql_text(cluster)} AND day = '{today}'"
                writer = _deltalake().WriterProperties(compression="ZSTD")
                table.update(updates={"visit": "visit"}, predicate=where, writer_properties=writer)
            self.open(name).create_checkpoint()

    def read(self, table: DeltaTable, columns: list[str], where: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table that match a condition, without string views."""
        stored = {each.name for each in table.schema().fields}
        present = [name for name in columns if name in stored]
        with self._translated():
            for batch in pa.RecordBatchReader.from_stream(table.scan(columns=present, predicate=where)):
                kinds = [each.with_type(_plain(each.type)) for each in batch.schema]
                yield batch.cast(pa.schema(kinds))

    def change(self, table: str, act: Callable[[DeltaTable], Any]) -> Any:
        """Return ``act`` of a table, which is repeated with the newest version if an archiver committed meanwhile.

        Raises:
            ArchiveBroken: an archiver committed each time.
        """
        for _ in range(_TRIES):
            with suppress(LostRace), self._translated():
                return act(self.open(table))
        raise ArchiveBroken(f"{self}: {table} was written {_TRIES} times meanwhile; try again when less is archived.")

    def deletion(self, table: DeltaTable) -> Deletion:
        """Return which runs were deleted from the archive; ``table`` is ``invocations``."""
        values = table.metadata().configuration
        before, until = values.get(DELETED), values.get(DELETED_UNTIL)
        return Deletion(
            before=date.fromisoformat(before) if before else None,
            until=datetime.fromisoformat(until) if until else None,
        )

    def _path(self, table: str) -> str:
        return f"{self.where.rstrip('/')}/{table}"

    def _try_open(self, table: str) -> DeltaTable | None:
        deltalake = _deltalake()
        with self._translated():
            try:
                return deltalake.DeltaTable(self._path(table), storage_options=_OPTIONS)  # type: ignore[no-any-return]
            except deltalake.exceptions.TableNotFoundError as error:
                if any(file.endswith((".parquet", ".json")) for file in self._files(table)):
                    raise ArchiveBroken(f"{self}: the table {table} has files, but no readable log.") from error
                return None

    def _create_table(self, path: str, name: str) -> None:
        schema = pa.schema(list(TABLES[name].own.items()))
        _deltalake().DeltaTable.create(
            path,
            schema,
            mode="ignore",
            partition_by=[column for column in PARTITIONS if column in schema.names],
            name=name,
            description=describe_format(has_shards=False),
            storage_options=_OPTIONS,
        )

    def _files(self, folder: str = "") -> list[str]:
        if self.is_local:
            root = Path(self.where, folder)
            return [str(each) for each in root.rglob("*") if each.is_file()] if root.is_dir() else []
        found = self._filesystem().get_file_info(fs.FileSelector(folder, allow_not_found=True, recursive=True))
        return [each.path for each in found if each.type == fs.FileType.File]

    def _filesystem(self) -> fs.FileSystem:
        handler = importlib.import_module("deltalake.fs").DeltaStorageHandler(self.where, _OPTIONS)
        return fs.PyFileSystem(handler)

    def _check_free(self) -> None:
        if self.is_local and Path(self.where).exists() and not Path(self.where).is_dir():
            raise ArchiveBroken(f"{self} is a file; name a folder for the archive.")
        begun = [name for name in TABLES if name != _LAST and (table := self._try_open(name)) and table.version() == 0]
        for file in self._files():
            relative = file.removeprefix(self.where).strip("/").split("/")
            if relative[0] not in begun and not {"_delta_log", ".tmp"}.intersection(relative[:-1]):
                raise ArchiveBroken(
                    f"{self} is not an archive, and it is not empty: it has {'/'.join(relative)}. Name an archive, or "
                    f"a folder that is empty or does not exist."
                )

    def _check_conditional_put(self) -> None:
        """Commit the same numbers several times at once to a table that is removed again; one each must succeed.

        Delta reads the log before it writes, so only writes at the same time show whether the store refuses them.
        """
        deltalake = _deltalake()
        probe = f"_probe_{uuid.uuid4().hex}"
        rows = pa.Table.from_pylist([], pa.schema(list(TABLES[_LAST].own.items())))

        def commit(table: DeltaTable, number: int) -> bool:
            try:
                self.append(table, rows, cluster=probe, after=number - 1, number=number)
            except LostRace:
                return False
            return True

        try:
            self._create_table(self._path(probe), _LAST)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for number in range(1, _ROUNDS + 1):
                    tables = [
                        deltalake.DeltaTable(self._path(probe), storage_options=_OPTIONS) for _ in range(_AT_ONCE)
                    ]
                    if sum(pool.map(commit, tables, [number] * _AT_ONCE)) > 1:
                        raise ArchiveBroken(_NOT_CONDITIONAL.format(store=self))
        finally:
            self._filesystem().delete_dir(probe)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        exceptions = _deltalake().exceptions
        try:
            yield
        except RestateLabError:
            raise
        except exceptions.CommitFailedError as error:
            raise LostRace(f"{self}: {_message(error)}") from error
        except Exception as error:  # delta-rs also raises plain Exception
            raise self._error(error) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of Rust code, without a public class
                raise
            raise self._error(error) from error

    def _error(self, error: BaseException) -> RestateLabError:
        text = _message(error) or type(error).__name__
        return self._local_error(text) if self.is_local else self._remote_error(text, _DECORATION.sub("", str(error)))

    def _local_error(self, text: str) -> RestateLabError:
        numbers = {int(one or other) for one, other in _OS_ERROR.findall(text)}
        if numbers & _REFUSED_BY_OS:
            return AccessDenied(f"{self}: the folder cannot be read or written; check its permissions: {text}")
        if numbers & _NOT_NOW:
            return Unreachable(f"{self}: the disk of the folder is full or does not respond: {text}")
        return ArchiveBroken(f"{self}: {text}")

    def _remote_error(self, text: str, whole: str) -> RestateLabError:
        """Return the error by the response of the store, its HTTP status and its code; ``text`` can be cut off."""
        response = {found[1] for found in (_STATUS.search(whole), _CODE.search(whole)) if found is not None}
        if "NoSuchBucket" in response:
            return NotFound(f"{self}: the bucket does not exist; create it, or correct the address: {text}", status=404)
        if response & _DENIED:
            return AccessDenied(f"{self}: the store denied access; check the credentials (AWS_…): {text}")
        is_missing = not response and _NO_RESPONSE.search(whole) is not None
        if is_missing or response & _PASSING or any(each.startswith("5") for each in response):
            return Unreachable(f"{self}: the store did not respond: {text}")
        return ArchiveBroken(f"{self}: {text}")


def _sizes(table: DeltaTable, cluster: str, day: date) -> list[int]:
    """Return the bytes of each file of a cluster's day."""
    names = ["partition.cluster_name", "partition.day", "size_bytes"]
    files = pa.table(table.get_add_actions(flatten=True)).select(names).to_pylist()
    return [file["size_bytes"] for file in files if (file[names[0]], file[names[1]]) == (cluster, day)]


def set_properties(table: DeltaTable, properties: dict[str, str]) -> None:
    """Commit properties of a table; commits by programs that have opened the table before are refused."""
    table.alter.set_table_properties(properties, raise_if_not_exists=False)


def last_number(table: DeltaTable, cluster: str, shard: str | None) -> int:
    """Return the number of the last transaction of a cluster, or of its shard, in a table; 0 if there is none."""
    return table.transaction_version(_transactions_of(cluster, shard)) or 0


def _transactions_of(cluster: str, shard: str | None) -> str:
    return cluster if shard is None else f"{cluster}/{shard}"  # no name of a cluster has a slash


def is_archive(folder: Path) -> bool:
    """Return whether a local folder has an archive, and not evidence; nothing in it is read."""
    return (folder / _LAST).is_dir()


def locate_store(where: str | os.PathLike[str]) -> ArchiveStore:
    """Return the store at a local path or an ``s3://bucket/folder`` URI; nothing is read.

    Raises:
        ArgumentError: it is neither, or Delta would use another folder for this address.
        MissingExtra: deltalake is not installed.
    """
    _deltalake()
    if isinstance(where, str) and "://" in where:
        if not re.fullmatch(r"s3://[^/\s?#@]+(/[^\s?#]*)?", where):
            raise ArgumentError(f"{_message(where)!r} is not a local path or a URI such as s3://bucket/folder.")
        return ArchiveStore(_usable(where.rstrip("/")))
    path = os.fspath(where)
    if not path:
        raise ArgumentError("the path of the archive is empty; pass a local folder, or a URI such as s3://bucket/x.")
    if _URI.match(path):
        raise ArgumentError(
            f"{path!r} is a URI without its second slash, which a Path removes: pass a URI as text, such as "
            f"'s3://bucket/folder'. For a local folder of this name, pass './{path}'."
        )
    return ArchiveStore(_usable(str(Path(path).expanduser().absolute())))


def _usable(address: str) -> str:
    found = _ELSEWHERE.search(address)
    if found:
        raise ArgumentError(
            f"the address of the archive, {address!r}, has {found[0]!r}: Delta tables do not support brackets, '^', "
            f"'|', '\\\\', control characters, and '%' before two hexadecimal digits. Choose another folder."
        )
    return address


def sql_text(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def sql_time(time: datetime) -> str:
    """Return a time as a literal of SQL, with the type of an archive."""
    return f"arrow_cast('{time.astimezone(UTC).isoformat()}', 'Timestamp(Microsecond, Some(\"UTC\"))')"


def _plain(kind: pa.DataType) -> pa.DataType:
    if kind == pa.string_view():
        return pa.string()
    return pa.list_(_plain(kind.value_type)) if pa.types.is_list(kind) else kind


def _message(error: object) -> str:
    """Return a message as one line, without arrows and colors, and without the addresses of a stack."""
    lines = [*takewhile(lambda line: not _STACK.match(line), str(error).strip().splitlines())]
    ends = lines if len(lines) <= _MOST_LINES else [lines[0], *lines[1 - _MOST_LINES :]]  # the cause is at the end
    return one_line(_DECORATION.sub("", " ".join(ends)), _LONGEST)


def _deltalake() -> Any:
    return import_extra("deltalake", "history", purpose="an archive requires deltalake")
