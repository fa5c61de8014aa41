"""``Lab``, a live cluster as a Source, and ``connect()``, which finds the cluster like the restate CLI."""

from __future__ import annotations

import functools
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeGuard

import httpx
import pandas as pd
import pyarrow as pa

import restate_lab
from restate_lab._public import explained, nearest_names, with_explained_calls
from restate_lab.audit import AuditLog
from restate_lab.client._server_info import COUNT_LIMIT, INFO_LIFETIME, ServerInfoCache, StatusCard
from restate_lab.client._stream import send_query
from restate_lab.client.arguments import check_size, format_value, time_limit
from restate_lab.client.schema import check_columns, check_rows
from restate_lab.client.settings import Settings, load_settings
from restate_lab.client.sql.bind import bind
from restate_lab.client.sql.error_marker import mark_errors
from restate_lab.client.sql.parts import complete
from restate_lab.client.transport import Transport
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, NoSuchName, QueryRefused, UntriedServer
from restate_lab.payload_json import PayloadFunction
from restate_lab.progress import Progress, RowsLine, progress_of
from restate_lab.redaction import Secret, as_secret
from restate_lab.server import NEWEST, OLDEST, SUPPORTED, has_vqueues, is_newer, is_older
from restate_lab.source import TABLES, Source, SourceWrapper, open_past, recorded_frame
from restate_lab.status import COLOURS, COUNTS_SQL

if TYPE_CHECKING:
    from pyarrow import fs

    from restate_lab.client.admin import AdminClient
    from restate_lab.client.ingress import IngressClient, IngressTransport
    from restate_lab.client.models import Service

DEFAULT_TIMEOUT = 120.0
_UNTRIED = (
    f"{{name}} has restate {{version}}; restate_lab supports {SUPPORTED}. lab.sql(), lab.tables(), lab.admin and "
    f"lab.ingress work if the server supports their requests, and doctor() is incomplete. Functions that explain the "
    f"tables, plan actions or change state raise NotOnThisServer."
)
_NEWER = (
    f"{{name}} has restate {{version}}; restate_lab supports {SUPPORTED}. It treats this server "
    f"as {NEWEST}: compare an answer that matters with the web UI, and look for a newer version of restate_lab."
)
_NOW = "SELECT now() AS now"
_FUNCTIONS = "SELECT DISTINCT routine_name AS name FROM information_schema.routines"


@with_explained_calls
class Lab(Source):
    """A connection to one live cluster, made by ``connect()``: run SQL, get frames, and make changes.

    Every change takes one code path, which a read-only connection blocks. A Lab is safe to use from several threads.
    ``close()`` closes its connections; a Lab is also a context manager.
    """

    def __init__(
        self,
        settings: Settings,
        /,
        *,
        read_only: bool = False,
        timeout: DurationInput = DEFAULT_TIMEOUT,
        max_bytes: int = 2 << 30,
        audit: AuditLog | None = None,
        ca: str | Path | None = None,
        network: httpx.BaseTransport | None = None,
        decode: Callable[[bytes], bytes] | None = None,
        encode: Callable[[bytes], bytes] | None = None,
    ) -> None:
        if encode is not None and decode is None:
            raise ArgumentError("encode= needs decode=: the encoded value is decoded again before it is sent.")
        self._decoder = None if decode is None else PayloadFunction(decode, "decode")
        self.encoder = None if encode is None else PayloadFunction(encode, "encode")
        self.settings = settings
        self.max_bytes = check_size("max_bytes", max_bytes)
        self._ca = ca
        self._network = network
        self._ingress: IngressTransport | None = None
        self.transport = Transport(
            settings,
            settings.admin_url,
            read_only=read_only,
            timeout=timeout,
            audit=audit or AuditLog(),
            ca=ca,
            transport=network,
        )
        self._server = ServerInfoCache(self.transport)
        self._tables: tuple[float, pd.DataFrame | None] = (0.0, None)
        self._card = StatusCard(self._count_statuses)

    @property
    def name(self) -> str:
        """Return the name of the CLI's environment if this is its own address; otherwise host and port."""
        return self.settings.environment

    @property
    def version(self) -> str:
        """Return the server's version, such as "1.7.12"."""
        return self._server.info().version

    @property
    def features(self) -> Mapping[str, bool]:
        """Return the server's feature flags, such as ``vqueues``; empty before 1.7."""
        return MappingProxyType(dict(self._server.info().features))

    @property
    def now(self) -> datetime:
        """Return the current time of the server, UTC."""
        rows = check_columns(self.arrow(_NOW, progress=False), _NOW, self)
        check_rows(rows, _NOW, self)
        moment = rows["now"][0]
        # The server returns nanoseconds, with a zone or without (UTC); a datetime has microseconds.
        now: datetime = moment.cast(pa.timestamp("us", "UTC"), safe=False).as_py()
        return now.replace(tzinfo=UTC)

    @property
    def read_only(self) -> bool:
        """Return whether this connection refuses every change."""
        return self.transport.read_only

    @property
    def address(self) -> str:
        """Return the URL of its Admin API."""
        return self.settings.admin_url

    @property
    def live(self) -> bool:
        """Return True: its rows can change between reads."""
        return True

    @property
    def decoder(self) -> PayloadFunction | None:
        """Return the function of ``connect(decode=…)``, which decodes payloads for showing; None without one."""
        return self._decoder

    def tables(self) -> pd.DataFrame:
        """Return one row per column of each table, in the tables' own order.

        Columns: ``table, column, type`` (as Arrow names it) and ``nullable``. They are read again after 30 seconds,
        because a server can be upgraded while a notebook is open.
        """
        read_at, tables = self._tables
        if tables is None or time.monotonic() - read_at > INFO_LIFETIME:
            rows = check_columns(self.arrow(TABLES, progress=False), TABLES, self)
            tables = recorded_frame(rows, TABLES, {})
            self._tables = time.monotonic(), tables
        return tables.copy()

    @contextmanager
    def stream(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: DurationInput | None = None,
        max_bytes: float | None = math.inf,
        progress: bool | Progress | None = False,
        **named: Any,
    ) -> Iterator[pa.RecordBatchReader]:
        """Yield a ``RecordBatchReader`` for a result of any size; it holds some thousand rows at a time.

        ``timeout`` is the limit until the end of the block, including your own work on the rows. Leaving the block ends
        the query on the server. If the response ends early, QueryInterrupted is raised after the rows that arrived. The
        other options are those of ``sql``, but by default there is no byte limit and no progress line.
        """
        with mark_errors(statement, {**(params or {}), **named}):
            query = bind(statement, params, **named)
            most = self.max_bytes if max_bytes is None else check_size("max_bytes", max_bytes)
            line = progress_of(progress, lambda: RowsLine("query"))
            try:
                with send_query(self.transport, query, timeout=timeout, max_bytes=most, progress=line) as answer:
                    yield answer.reader()
            except QueryRefused as error:
                from restate_lab.client.sql import suggestions  # noqa: PLC0415 - after an error

                raise suggestions.add_suggestions(
                    suggestions.explain_id(error, query),
                    lambda: list(dict.fromkeys(self.tables()["table"])),
                    self._function_names,
                    version=self.version,
                ) from error.__cause__

    def to_parquet(
        self,
        statement: str,
        path: str | os.PathLike[str],
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: DurationInput | None = None,
        filesystem: fs.FileSystem | None = None,
        progress: bool | Progress | None = None,
        **named: Any,
    ) -> Path | str:
        """Write the rows to a Parquet file in constant memory and return its path.

        ``path`` is local, a URI that ``pyarrow.fs`` supports ("s3://bucket/x.parquet"), or a path on ``filesystem``.
        The file gets its name when it is complete, and then replaces an existing one; a failure leaves no file.
        Intervals without months are written as durations. A column without an exact Parquet type raises QueryRefused.
        """
        from restate_lab.client.parquet import write_parquet  # noqa: PLC0415 - loads all of pyarrow's file systems

        with self.stream(statement, params=params, timeout=timeout, progress=progress, **named) as reader:
            return write_parquet(reader, reader.schema, path, filesystem)

    @functools.cached_property
    def admin(self) -> AdminClient:
        """Return the client of the Admin API: one method per operation."""
        from restate_lab.client.admin import AdminClient  # noqa: PLC0415 - loads pydantic only when needed

        return AdminClient(self.transport, source=self)

    @property
    def ingress(self) -> IngressClient:
        """Return the client of the ingress, at the configured address or the address that the server reports.

        Raises:
            SettingsError: the server reports an address on another host than the Admin API, or without encryption, and
                the token would be sent to it: pass ``ingress_url`` yourself.
        """
        from restate_lab.client.ingress import IngressClient, IngressTransport  # noqa: PLC0415 - rarely needed

        self.transport.check_open()
        if self._ingress is None:
            self._ingress = IngressTransport(
                self.settings.of_ingress,
                self.settings.ingress_url or self._server.ingress_address(),
                read_only=self.read_only,
                timeout=self.transport.timeout,
                audit=self.transport.audit,
                ca=self._ca,
                transport=self._network,
            )
        return IngressClient(self._ingress, lambda: self.admin.list_services())  # noqa: PLW0108 - loads pydantic

    def at(self, time: str | datetime | timedelta, /) -> Source:
        """Return the cluster as it was at an earlier time, as a source: with the invocations that were open then.

            then = lab.at("2h")    # or "14:05Z", or a timestamp with its zone
            rl.ask(then, "overview")

        ``help(rl.PastCluster)`` describes it. It reads the rows that the cluster still has: with an archive,
        ``open_history(where, live=lab).at(time)`` also has the ones that were removed.

        Raises:
            ArgumentError: it is not a time, is in the future, or is earlier than what the cluster still has.
            MissingExtra: DataFusion is not installed (``pip install 'restate-lab[evidence]'``).
            RestateLabError: any error of the server.
        """
        return open_past(self, time)

    def check(self) -> Self:
        """Read the server's version once, so that a wrong address fails here."""
        self._server.info(retry_for=0)
        return self

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()
        if self._ingress is not None:
            self._ingress.close()

    if not TYPE_CHECKING:  # a type checker would accept any name

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(f"'Lab' object has no attribute {name!r}")
            calls = {each: f"rl.{each}(lab)" for each in restate_lab.__all__ if each.islower()}
            calls |= {each: f"lab.{each}" for each in dir(self) if not each.startswith("_")}
            near = " or ".join(calls[each] for each in nearest_names(name, calls))
            raise NoSuchName(f"'Lab' object has no attribute {name!r}. {near and f'Did you mean {near}?'}".rstrip(". "))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if "transport" not in vars(self):  # a traceback can show a Lab whose creation failed
            return "<Lab, not connected>"
        mode = ", read-only" if self.read_only else ""
        return f"<Lab {self.name} at {self.settings.admin_url}{self._server_text()}{mode}>"

    def _repr_html_(self) -> str:
        mode = "This connection refuses every change." if self.read_only else "Changes are written to the audit log."
        badge = ("read-only", mode, COLOURS["quiet"]) if self.read_only else ("writable", mode, COLOURS["backing-off"])
        origin = f"The cluster was chosen by {self.settings.chosen_by}."
        return self._card.html(self.name, f"{self.settings.admin_url}{self._server_text()}", badge, origin)

    def _server_text(self) -> str:
        info = self._server.last
        if info is None:
            return ""
        age = f", older than {OLDEST}, the oldest supported version" if is_older(info.version) else ""
        age = f", newer than {NEWEST}, the newest supported version" if is_newer(info.version) else age
        return f", restate {info.version}{age}{', vqueues' if has_vqueues(info) else ''}"

    def _count_statuses(self) -> pa.Table:
        with time_limit(COUNT_LIMIT):
            statement = complete(COUNTS_SQL, self)
            return check_columns(self.arrow(statement, progress=False), statement, self)

    def _function_names(self) -> list[str]:
        rows = check_columns(self.arrow(_FUNCTIONS, progress=False), _FUNCTIONS, self)
        return [str(name) for name in rows["name"].to_pylist()]


@explained
def connect(
    cluster: str | Secret | None = None,
    /,
    *,
    ingress_url: str | Secret | None = None,
    token: str | Secret | None = None,
    read_only: bool | None = None,
    timeout: DurationInput | None = None,
    max_bytes: int = 2 << 30,
    audit: str | os.PathLike[str] | None = None,
    ca: str | os.PathLike[str] | None = None,
    check: bool = True,
    decode: Callable[[bytes], bytes] | None = None,
    encode: Callable[[bytes], bytes] | None = None,
) -> Lab:
    """Connect to a cluster and return its Lab.

        lab = rl.connect()                            # the cluster that `restate` would use
        lab = rl.connect("prod", read_only=True)      # the CLI's environment "prod", without changes
        lab = rl.connect("http://127.0.0.1:9070")

    ``cluster`` is an admin URL, ``host:port``, or an environment of the restate CLI. Without it, the CLI's current
    environment is used, or the address in RESTATE_ADMIN_URL or RESTATE_HOST. If you name an environment, its own
    address and token are used; SettingsError is raised if a variable of the CLI has another value. Do not write
    ``token`` into a notebook; read it with ``getpass.getpass()``.

    ``read_only=True`` refuses every change, and so does ``RESTATE_LAB_READ_ONLY=1``. ``timeout`` is the limit of a
    whole call ("120s"), ``max_bytes`` that of a result. ``audit`` is the folder of the audit log, ``ca`` a PEM file of
    the authority that signed the server's certificate.

    ``decode``, a function from bytes to bytes, decodes payloads that an SDK encodes or encrypts. It is only for
    showing, and runs in another thread; nothing that is replayed, frozen, archived or sent is decoded. If it fails or
    takes more than 2 seconds, the payload is shown as "not decoded: …". After 60 seconds for one result, its other
    payloads are shown like this, too. ``set_state`` writes an encoded value only with ``encode``, the reverse function.

    ``check=False`` sends nothing. Otherwise one request is sent, so that a wrong address fails at once. It warns
    (UntriedServer) if the server is older than 1.7 or newer than 1.8, the versions that restate_lab supports.

    Raises:
        SettingsError: the environment does not exist, a variable contradicts it, or a configuration file is invalid.
        ArgumentError: ``decode`` or ``encode`` is not a function, or ``encode`` is passed without ``decode``.
        Unreachable, AccessDenied, ServerFailed: there is no Restate Admin API at that address, for this token.
    """
    asked = (as_secret(cluster), as_secret(ingress_url), as_secret(token))
    del cluster, ingress_url, token
    settings = load_settings(asked[0], ingress_url=asked[1], token=asked[2])
    is_forced = os.environ.get("RESTATE_LAB_READ_ONLY", "").strip().lower() not in {"", "0", "false", "no"}
    lab = Lab(
        settings,
        read_only=bool(read_only) or is_forced,
        timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
        max_bytes=max_bytes,
        audit=AuditLog(Path(audit)) if audit is not None else None,
        ca=Path(ca) if ca is not None else None,
        decode=decode,
        encode=encode,
    )
    if not check:
        return lab
    try:
        lab.check()
        if is_older(lab.version) or is_newer(lab.version):
            message = _UNTRIED if is_older(lab.version) else _NEWER
            warnings.warn(message.format(name=lab.name, version=lab.version), UntriedServer, stacklevel=3)
    except BaseException:
        lab.close()
        raise
    return lab


def is_lab(source: object) -> TypeGuard[Lab]:
    """Return whether changes can be sent through a source: it is a connection, not a wrapper of one."""
    return getattr(source, "live", False) is True and hasattr(source, "transport")


def require_lab(source: object, what: str) -> Lab:
    """Return the source if changes can be sent through it; ``what`` is the operation that needs that.

    Raises:
        ArgumentError: the source is read-only.
    """
    if not is_lab(source):
        raise ArgumentError(f"{what} needs a live cluster, from connect(); {format_value(source)} can only be read.")
    return source


def innermost_source(source: Source) -> Source:
    """Return the source below all wrappers, for its settings and its Admin API."""
    return source.innermost if isinstance(source, SourceWrapper) else source


def registered_services(source: Source) -> Sequence[Service] | None:
    """Return the services with their handlers from the Admin API of the connection that a source reads from.

    It reads through wrappers, too, and returns None for a source that is not a live cluster.

    Raises:
        RestateLabError: the Admin API could not be read.
    """
    connection = innermost_source(source)
    return connection.admin.list_services() if is_lab(connection) else None
