"""Options shared by several commands, their completion, and the source and the output format that they choose.

A command imports its verb in its body: that takes a second, too long for ``--help`` and completion.
"""

from __future__ import annotations

import functools
import inspect
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from restate_lab._text import format_duration
from restate_lab.cli._errors import exit_on_error
from restate_lab.client.address import is_address
from restate_lab.durations import seconds_of
from restate_lab.errors import ArgumentError

if TYPE_CHECKING:
    from restate_lab.source import Source

STDOUT = Path("-")
ENDINGS = {"csv": (".csv", ".csv.gz"), "parquet": (".parquet",)}


def examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def duration_option(name: str, text: str, default: float | None = None, *, may_be_zero: bool = False) -> Any:
    """Return an option for a duration; its help ends with the default as a duration, because typer shows seconds."""
    return typer.Option(
        name,
        metavar="DURATION",
        parser=parse_seconds,
        callback=None if may_be_zero else check_positive,
        help=text if default is None else f"{text} Default: {format_duration(default)}.",
        show_default=False,
    )


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """The requested output: ``kind`` is table, json, csv or parquet; a ``file`` of None means stdout.

    ``is_wide`` and ``has_full_ids`` are for a table in a terminal; in a pipe it has everything.
    """

    kind: str
    file: Path | None = None
    overwrite: bool = False
    is_wide: bool = False
    has_full_ids: bool = False

    @property
    def is_table(self) -> bool:
        return self.kind == "table"


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """The options that choose the cluster or the evidence of a command, as typed by the user."""

    cluster: str | None = None
    evidence: Path | None = None
    live: str | None = None
    at: str | None = None

    @property
    def reads(self) -> list[str]:
        """Return the options for a command that can also read an earlier time."""
        return self.options if self.at is None else [*self.options, "--at", self.at]

    @property
    def options(self) -> list[str]:
        """Return these options for a ``restate-lab`` command."""
        named = {"--evidence": self.evidence, "-e": self.cluster, "--live": self.live}
        return [word for name, value in named.items() if value is not None for word in (name, str(value))]

    @property
    def is_of_unknown_cluster(self) -> bool:
        """Return whether these options do not name the cluster that the evidence is from."""
        return self.evidence is not None and self.live is None

    @property
    def of_cluster(self) -> SourceOptions:
        """Return the options of the cluster itself, for changes."""
        return self if self.evidence is None else SourceOptions(self.live)

    @property
    def admin_url(self) -> str:
        """Return the admin address in shell syntax; it is a variable if the user did not type an address."""
        cluster = self.of_cluster.cluster
        address = cluster if cluster is not None and is_address(cluster) else None
        return shlex.quote(address.rstrip("/")) if address else '"${RESTATE_ADMIN_URL:?}"'

    def restate_command(self, *arguments: str) -> str:
        """Return a command of the ``restate`` CLI for this cluster; an address is passed in a variable."""
        cluster = self.of_cluster.cluster
        if cluster is None:
            return shlex.join(["restate", *arguments])
        if is_address(cluster):
            return f"RESTATE_ADMIN_URL={shlex.quote(cluster)} {shlex.join(['restate', *arguments])}"
        return shlex.join(["restate", *arguments, "-e", cluster])


@contextmanager
def open_source(
    cluster: str | None, evidence: Path | None, live: str | None = None, at: str | None = None
) -> Iterator[Source]:
    """Yield the source that the options name and close it afterwards; a cluster is opened read-only.

    ``at`` is an earlier time: then the source is as it was at this time.
    """
    with _open(cluster, evidence, live) as source:
        if at is None:
            yield source
            return
        past: Any = source.at(at)
        with past:
            yield past


@contextmanager
def open_with_options(
    cluster: str | None, evidence: Path | None, live: str | None, at: str | None
) -> Iterator[tuple[Source, SourceOptions]]:
    """Yield the source and its options; ``at`` becomes its time in them, because "2h" soon is another time."""
    with open_source(cluster, evidence, live, at) as source:
        time = None if at is None else source.now.isoformat(timespec="milliseconds")
        yield source, SourceOptions(cluster, evidence, live, time)


@contextmanager
def _open(cluster: str | None, evidence: Path | None, live: str | None) -> Iterator[Source]:
    """Yield the source without its time.

    The path of evidence can be the path of an archive; ``cluster`` then is the name of a cluster in it, and ``live``
    names the cluster itself, to read both as one source.
    """
    from restate_lab.history import connect  # with the earlier times of at=

    if evidence is None:
        _check_without_archive(live)
        with connect(cluster, read_only=True) as lab:
            yield lab
        return
    from restate_lab.evidence.store import open_evidence
    from restate_lab.history.opening import open_history
    from restate_lab.history.store import is_archive

    if is_archive(evidence):
        with ExitStack() as stack:
            server = None if live is None else stack.enter_context(connect(live, read_only=True))
            yield stack.enter_context(open_history(evidence, live=server, cluster_name=cluster))
        return
    _check_without_archive(live)
    if cluster is not None:
        raise ArgumentError("--cluster and --evidence cannot be combined; choose one.")
    with open_evidence(evidence) as frozen:
        yield frozen


def _check_without_archive(live: str | None) -> None:
    if live is not None:
        raise ArgumentError("--live needs --evidence with the path of an archive, of which it adds the cluster.")


def output_format(*, as_json: bool, csv: Path | None, parquet: Path | None, overwrite: bool) -> OutputFormat:
    """Return the output format that the options choose.

    Raises:
        ArgumentError: if more than one format is requested or the file cannot be written; checked before reading data.
    """
    wanted = [("json", STDOUT)] * as_json + [
        (kind, file) for kind, file in (("csv", csv), ("parquet", parquet)) if file
    ]
    if len(wanted) > 1:
        raise ArgumentError(f"{' and '.join(f'--{kind}' for kind, _ in wanted)} cannot be combined; choose one.")
    if not wanted:
        return OutputFormat("table")
    kind, file = wanted[0]
    if file == STDOUT:
        if kind == "parquet" and sys.stdout.isatty():
            raise ArgumentError("refusing to write Parquet to a terminal; name a file or pipe the output to a program.")
        return OutputFormat(kind)
    _check_file(file, kind, overwrite=overwrite)
    return OutputFormat(kind, file, overwrite)


def with_output(command: Callable[..., int | None]) -> Callable[..., None]:
    """Give a command the options --json, --csv, --parquet and --overwrite, which become its argument ``form``.

    Errors of the command are printed. It returns its exit code, or None for 0.
    """
    return _with_options(command, _OUTPUT_OPTIONS)


def with_table(command: Callable[..., int | None]) -> Callable[..., None]:
    """Give a command that prints a table the options of ``with_output``, --wide and --full-ids."""
    return _with_options(command, _OUTPUT_OPTIONS | _TABLE_OPTIONS)


def _with_options(command: Callable[..., int | None], added: Mapping[str, tuple[Any, Any]]) -> Callable[..., None]:
    hints = get_type_hints(command, include_extras=True)
    parameters = [
        each.replace(annotation=hints[name])
        for name, each in inspect.signature(command).parameters.items()
        if name != "form"
    ]
    for name, (annotation, default) in added.items():
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=annotation))

    @functools.wraps(command)
    def run(
        *,
        as_json: bool,
        csv: Path | None,
        parquet: Path | None,
        overwrite: bool,
        wide: bool = False,
        full_ids: bool = False,
        **options: Any,
    ) -> None:
        with exit_on_error():
            form = output_format(as_json=as_json, csv=csv, parquet=parquet, overwrite=overwrite)
            code = command(form=replace(form, is_wide=wide, has_full_ids=full_ids), **options)
        if code:
            raise typer.Exit(code)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def parse_parameters(texts: Sequence[str]) -> dict[str, str]:
    """Return the names and texts of NAME=VALUE options.

    Raises:
        ArgumentError: if an option has no valid name and ``=``, or a name occurs twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ArgumentError(f"invalid parameter -p {text}; write it as -p name=value.")
        if name in values:
            raise ArgumentError(f"duplicate parameter -p {name}; keep one of them.")
        values[name] = value
    return values


def parse_value(text: str) -> Any:
    """Return the JSON value of a text, or the text itself if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def question_names(incomplete: str) -> list[str]:
    from restate_lab.analysis.questions.catalog import names

    return [name for name in names() if name.startswith(incomplete)]


def parameter_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the matching parameters of the question on the command line, each followed by ``=``."""
    from restate_lab.analysis.questions.parameters import parameters_of

    # While an option has no value yet, Click has not parsed the arguments before it.
    question = ctx.params.get("question") or next(iter(ctx.args), "")
    names = [f"{each.name}=" for each in parameters_of(question)]
    return [name for name in names if name.startswith(incomplete)]


def doctor_check_names(incomplete: str) -> list[str]:
    from restate_lab.analysis.doctor.checks import CHECKS, UPGRADE_GROUP
    from restate_lab.analysis.doctor.upgrade import UPGRADE

    return [name for name in (*CHECKS, UPGRADE_GROUP, *UPGRADE) if name.startswith(incomplete)]


def environment_names(incomplete: str) -> list[str]:
    from restate_lab.client import cli_config

    return [name for name in cli_config.environment_names() if name.startswith(incomplete)]


def parse_seconds(text: str) -> float:
    try:
        return seconds_of(text, name="it")
    except ArgumentError as error:
        raise typer.BadParameter("use 30s, 5m, or a number of seconds.") from error


def check_positive(seconds: float | None) -> float | None:
    if seconds is not None and not seconds > 0:
        raise typer.BadParameter("the duration must be greater than 0.")
    return seconds


def _check_file(file: Path, kind: str, *, overwrite: bool) -> None:
    if not file.name.lower().endswith(ENDINGS[kind]):
        raise ArgumentError(
            f"invalid file name {file.name} for --{kind}; it must end with {' or '.join(ENDINGS[kind])}."
        )
    if not file.expanduser().parent.is_dir():
        raise ArgumentError(f"the folder {file.parent} does not exist; create it or use another path.")
    if file.expanduser().exists() and not overwrite:
        raise ArgumentError(f"{file} already exists; use another name or --overwrite.")


Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        "-e",
        metavar="NAME|URL",
        help="An environment of the restate CLI, or an admin address (http://…, host:port). Default: the cluster that "
        "the restate CLI would use.",
        autocompletion=environment_names,
    ),
]
Clusters = Annotated[
    list[str] | None,
    typer.Option(
        "--cluster",
        "-e",
        metavar="NAME|URL",
        help="An environment of the restate CLI, or an admin address; repeatable. Default: the cluster that the "
        "restate CLI would use.",
        autocompletion=environment_names,
    ),
]
EvidencePath = Annotated[
    Path | None,
    typer.Option(
        "--evidence", metavar="PATH", help="Read this frozen evidence, or this archive, instead of a cluster."
    ),
]
Live = Annotated[
    str | None,
    typer.Option(
        "--live",
        metavar="NAME|URL",
        help="With the path of an archive: read this cluster, too, which has the invocations that are not archived.",
        autocompletion=environment_names,
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="TIME",
        help="Read the cluster as it was at this time: 2h (ago), 14:05Z, or a timestamp with its zone.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON. Nulls are kept; times are in UTC.")]
Csv = Annotated[
    Path | None,
    typer.Option(
        "--csv",
        metavar="FILE",
        help="Write CSV to FILE (.csv, .csv.gz; - is stdout). Text that a spreadsheet would run as a formula gets a "
        "leading '.",
    ),
]
Parquet = Annotated[
    Path | None, typer.Option("--parquet", metavar="FILE", help="Write Parquet to FILE (.parquet; - is stdout).")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it already exists.")]
Wide = Annotated[bool, typer.Option("--wide", help="In a terminal, show all columns, also wider than the terminal.")]
FullIds = Annotated[bool, typer.Option("--full-ids", help="In a terminal, show ids in full.")]
_OUTPUT_OPTIONS: dict[str, tuple[Any, Any]] = {
    "as_json": (Json, False),
    "csv": (Csv, None),
    "parquet": (Parquet, None),
    "overwrite": (Overwrite, False),
}
_TABLE_OPTIONS: dict[str, tuple[Any, Any]] = {"wide": (Wide, False), "full_ids": (FullIds, False)}
SCAN_LIMIT = 120.0  # seconds, for a command that can read a whole table
POINT_LIMIT = 30.0  # seconds, for a command that reads one invocation
_TIMEOUT = "--timeout", "The time limit of the command: 30s, 5m, or seconds."
Timeout = Annotated[float, duration_option(*_TIMEOUT, SCAN_LIMIT)]
PointTimeout = Annotated[float, duration_option(*_TIMEOUT, POINT_LIMIT)]
AllowNetwork = Annotated[
    bool, typer.Option("--allow-network", help="Let code outside of steps use the network and start programs.")
]
Redact = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN", help='Mask a column, or a path into JSON values: "failures", "$..password"; repeatable.'
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="NAME",
        help="Archive only the services of --service, as the shard of this name, beside the archivers of other shards.",
    ),
]
ShardServices = Annotated[
    list[str] | None, typer.Option("--service", metavar="NAME", help="A service of the shard; repeatable.")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; repeatable."),
]
