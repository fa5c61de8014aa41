"""Execute a notebook, read-only by default, and write it as a report: one file that opens anywhere."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from restate_lab._public import require_packages

require_packages("the report of a notebook", "nbclient", "nbconvert", "nbformat", "ipykernel")

import nbformat

from restate_lab._text import escape_invisible, format_duration, format_timestamp, truncate
from restate_lab.client.arguments import check_seconds
from restate_lab.client.settings import load_settings
from restate_lab.durations import DurationInput
from restate_lab.environment import kernel_environment
from restate_lab.errors import ArgumentError, SettingsError
from restate_lab.export.files import check_absent
from restate_lab.progress import InvocationsLine, Progress, progress_of
from restate_lab.redaction import is_secret_name
from restate_lab.reports.masking import Masker, masker_for
from restate_lab.reports.notebook.runner import CellFailure, NotebookRun, run_notebook
from restate_lab.reports.notebook.sections import sections_of, title_of
from restate_lab.reports.output import Paper, resolve_output
from restate_lab.reports.parts import Code, Fact, Notice, Section
from restate_lab.reports.report import FrontMatter, write_page
from restate_lab.reports.sections import COLOURS
from restate_lab.reports.source_tracker import START, VARIABLE, read_sources
from restate_lab.reports.tables import TableBuilder
from restate_lab.reports.timeline import process_changes_section

EVIDENCE = "evidence"
_KERNEL = (f"--IPKernelApp.exec_lines={START}", "--InlineBackend.figure_formats=retina")
_ALLOWED = "allowed"
_NOT_ALLOWED = "not allowed: the kernel was read-only"


@dataclass(frozen=True, slots=True)
class NotebookReport:
    """The paths of the report and of the executed notebook; ``failure`` is the failed cell, None if all cells ran."""

    path: Path
    executed: Path
    failure: CellFailure | None


@dataclass(frozen=True, slots=True)
class _RunRecord:
    run: NotebookRun
    started_at: datetime
    pid: int
    sources: list[dict[str, Any]]
    parameters: Mapping[str, Any]


def notebook_report(
    notebook: str | os.PathLike[str],
    path: str | os.PathLike[str],
    /,
    *,
    parameters: Mapping[str, Any] | None = None,
    evidence: str | os.PathLike[str] | None = None,
    allow_changes: bool = False,
    timeout: DurationInput | None = "10m",
    overwrite: bool = False,
    paper: Paper = "A4",
    pass_env: Sequence[str] = (),
    progress: bool | Progress | None = None,
) -> NotebookReport:
    """Execute a notebook and write it as a report to ``path`` (``.html`` or ``.pdf``).

    The executed notebook is saved in the same folder as ``<name>.executed.ipynb``. If a cell fails, both files are
    still written, and the report begins with the failure. The notebook's connections block all changes unless
    ``allow_changes=True``. ``parameters`` are set in a new cell after the cell tagged ``parameters``. ``evidence`` is
    the path of frozen evidence. The evidence is verified and passed as the parameter ``evidence``, which the tagged
    cell must define. ``timeout`` applies to each cell; None means no limit. ``progress`` None or True shows a line with
    the number of the current cell; False shows nothing.

    The notebook gets the environment variables of Python, Jupyter, proxies and certificates, and RESTATE_*. It does
    not get other variables of this process. ``pass_env`` names further variables, such as "AWS_*".

    Known secrets and text that looks like a token are masked in both files. Known secrets are the values of variables
    and parameters with a secret name, and the token that ``connect()`` would use. Pictures are not checked.

    Raises:
        ArgumentError: the notebook, the path, a parameter or the evidence is not valid; no cell was executed.
        EvidenceBroken: the evidence was damaged or changed after it was frozen.
        MissingProgram: there is no Chromium to make a PDF.
    """
    source, limit = _check_notebook(Path(notebook)), None if timeout is None else check_seconds("timeout", timeout)
    target = resolve_output(path, overwrite=overwrite)
    executed = target.with_name(f"{target.stem}.executed.ipynb")
    check_absent(executed, overwrite=overwrite)
    values = {**(parameters or {}), **({EVIDENCE: _check_evidence(source, evidence)} if evidence is not None else {})}
    masker = _notebook_masker(values)
    line = progress_of(progress, lambda: InvocationsLine("report: cell"))
    record = _run(
        *(source, executed, values, masker, line), allow_changes=allow_changes, limit=limit, pass_env=pass_env
    )
    content = nbformat.read(executed, as_version=4)
    sections = (
        *_failure_sections(record.run.failure, masker),
        *sections_of(content, masker),
        *_change_sections(record, masker),
    )
    front = _front_matter(record, masker.text(title_of(content)) or source.stem, masker)
    write_page(front, sections, target, overwrite=overwrite, paper=paper)
    return NotebookReport(target, executed, record.run.failure)


def _check_notebook(notebook: Path) -> Path:
    try:
        content = nbformat.read(notebook, as_version=4)
    except FileNotFoundError as error:
        raise ArgumentError(f"notebook not found: {notebook}.") from error
    except (OSError, ValueError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise ArgumentError(f"cannot read {notebook} as a notebook: {truncate(str(error), 200)}") from error
    if not any(cell.cell_type == "code" for cell in content.cells):
        raise ArgumentError(f"{notebook} has no code cells; there is nothing to execute.")
    return notebook


def _check_evidence(notebook: Path, path: str | os.PathLike[str]) -> str:
    from restate_lab.evidence.store import open_evidence  # noqa: PLC0415 - DataFusion is an extra

    cells = nbformat.read(notebook, as_version=4).cells
    tagged = [each.source for each in cells if "parameters" in each.metadata.get("tags", ())]
    if not any(line.split("=")[0].split(":")[0].strip() == EVIDENCE for each in tagged for line in each.splitlines()):
        raise ArgumentError(
            f"{notebook.name} does not accept evidence; add a cell tagged `parameters` with `{EVIDENCE} = None`, and "
            f"use `source = rl.open_evidence({EVIDENCE}) if {EVIDENCE} else rl.connect()`."
        )
    with open_evidence(Path(path)) as frozen:
        return str(Path(frozen.path).absolute())


def _notebook_masker(values: Mapping[str, Any]) -> Masker:
    secret = [str(value) for name, value in values.items() if is_secret_name(name)]
    with contextlib.suppress(SettingsError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the notebook's connect() shows the same warnings
        settings = load_settings()
        secret += [settings.token.reveal()] if settings.token else []
    return masker_for(more=secret)


def _run(
    notebook: Path,
    executed: Path,
    values: Mapping[str, Any],
    masker: Masker,
    progress: Progress,
    *,
    allow_changes: bool,
    limit: float | None,
    pass_env: Sequence[str],
) -> _RunRecord:
    started_at = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="restate-lab-") as folder:
        sources_file = Path(folder) / "sources.json"
        try:
            run = run_notebook(
                notebook,
                executed,
                parameters=values,
                read_only=not allow_changes,
                env=kernel_environment(pass_env, **{VARIABLE: str(sources_file)}),
                timeout=limit,
                kernel_arguments=_KERNEL,
                masker=masker,
                progress=progress,
            )
        except ValueError as error:
            raise ArgumentError(f"{error}.") from error
        pid, sources = read_sources(sources_file)
    return _RunRecord(run, started_at, pid, sources, values)


def _failure_sections(failure: CellFailure | None, masker: Masker) -> tuple[Section, ...]:
    if failure is None:
        return ()
    where = f"Cell {failure.number} failed" if failure.number else "The kernel did not start"
    message = escape_invisible(masker.text(f"{where}: {failure.error}"))
    parts = [Notice(f"{message}. The cells after it were not executed, so their outputs are missing below.")]
    details = failure.details.strip()
    parts_of_code = [
        *([Code(escape_invisible(masker.text(failure.source)))] if failure.source else []),
        *([Code(escape_invisible(masker.text(details)), is_error=True)] if details else []),
    ]
    return (Section("The notebook failed", (*parts, *parts_of_code), lead=(message,), accent=COLOURS["critical"]),)


def _change_sections(record: _RunRecord, masker: Masker) -> Iterator[Section]:
    if record.run.read_only:
        return
    folders = {Path(each["audit"]) for each in record.sources if each["audit"]}
    yield process_changes_section(
        record.pid, TableBuilder(UTC, masker), since=record.started_at, folders=sorted(folders)
    )


def _front_matter(record: _RunRecord, title: str, masker: Masker) -> FrontMatter:
    names = ", ".join(dict.fromkeys(str(each["name"]) for each in record.sources)) or "unknown"
    changes = _NOT_ALLOWED if record.run.read_only else _ALLOWED
    executed = Fact("Executed", f"{format_timestamp(record.started_at)}, in {format_duration(record.run.seconds)}")
    facts = (Fact("Notebook", record.run.notebook.name), Fact("Cluster", names), executed, Fact("Changes", changes))
    about = [fact for each in record.sources for fact in _source_facts(each)]
    evidence = [] if any(each["evidence"] for each in record.sources) else [Fact("Evidence, sha256", "none")]
    parameters = [f"{name} = {masker.value(value, name)!r}" for name, value in record.parameters.items()]
    footer = [
        *about,
        *evidence,
        *([Fact("Parameters", ", ".join(parameters))] if parameters else []),
        executed,
        Fact("Written by", f"restate_lab {version('restate-lab')}"),
        Fact("Changes", changes),
    ]
    return FrontMatter(
        escape_invisible(title),
        tuple(_mask_fact(each, masker) for each in facts),
        tuple(_mask_fact(f, masker) for f in footer),
    )


def _source_facts(facts: Mapping[str, Any]) -> Iterator[Fact]:
    yield Fact("Cluster", facts["name"])
    yield Fact("Evidence at" if facts["evidence"] else "Address", facts["address"])
    if facts["version"]:
        yield Fact("Server", f"restate {facts['version']}")
    if facts["evidence"]:
        yield Fact("Evidence, sha256", facts["evidence"])


def _mask_fact(fact: Fact, masker: Masker) -> Fact:
    return Fact(fact.name, escape_invisible(masker.text(fact.text)))
