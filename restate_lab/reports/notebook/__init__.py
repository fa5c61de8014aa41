"""A notebook as a report: executed, read-only unless told otherwise, and written as one page that opens anywhere."""

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

import nbformat

from restate_lab._text import escape_invisible, format_duration, format_timestamp, truncate
from restate_lab.client.arguments import check_seconds
from restate_lab.client.settings import load_settings
from restate_lab.durations import DurationInput
from restate_lab.environment import kernel_environment
from restate_lab.errors import ArgumentError, SettingsError
from restate_lab.interrupts import Shield
from restate_lab.progress import InvocationsLine, Progress, progress_of
from restate_lab.redaction import is_secret_name
from restate_lab.reports.masking import Masker, masker_for
from restate_lab.reports.notebook.runner import CellFailure, NotebookRun, run_notebook
from restate_lab.reports.notebook.sections import sections_of, title_of
from restate_lab.reports.notebook.source_tracker import START, VARIABLE, read_sources
from restate_lab.reports.parts import Code, Fact, Notice, Section
from restate_lab.reports.pdf import write_pdf
from restate_lab.reports.report import FrontMatter, Paper, render_page, resolve_output, write_atomically
from restate_lab.reports.sections import COLOURS
from restate_lab.reports.tables import TableBuilder
from restate_lab.reports.timeline import process_changes_section

__all__ = ["NotebookReport", "notebook_report"]

EVIDENCE = "evidence"
_KERNEL = (f"--IPKernelApp.exec_lines={START}", "--InlineBackend.figure_formats=retina")
_ALLOWED = "were allowed"
_NOT_ALLOWED = "not allowed: the kernel was read-only"


@dataclass(frozen=True, slots=True)
class NotebookReport:
    """The written report, and the executed notebook beside it; ``failure`` is what stopped the notebook."""

    path: Path
    executed: Path
    failure: CellFailure | None


@dataclass(frozen=True, slots=True)
class _RunRecord:
    """A run with its sources, parameters and the process id of its kernel."""

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
    """Execute a notebook and write it as a report to ``path``, ``.html`` or ``.pdf``.

    The executed notebook is saved beside it, as ``<name>.executed.ipynb``, also when a cell fails; the report then
    begins with the failure. Every connection of the notebook refuses changes unless ``allow_changes=True``.
    ``parameters`` go into a new cell after the one tagged ``parameters``. ``evidence`` is the path of frozen evidence:
    it is checked, and becomes the notebook's parameter ``evidence``, which its tagged cell must have. ``timeout`` is
    for each cell, None sets no limit. ``progress`` None or True shows a line with the cell that is running, False none.

    The notebook sees the environment variables of Python, Jupyter, proxies and certificates, and RESTATE_*, but no
    other secrets of this process. ``pass_env`` names further variables that it needs, such as "AWS_*".

    Secrets that are known here (variables named like one, the token of the cluster that ``connect()`` would take,
    parameters named like one), and what looks like a token, are masked in both files; pictures are not looked into.

    Raises:
        ArgumentError: the notebook, the path, a parameter or the evidence is not what it should be; nothing was run.
        EvidenceBroken: the evidence is not what was frozen.
        MissingProgram: there is no Chromium to make a PDF.
    """
    source, limit = _check_notebook(Path(notebook)), None if timeout is None else check_seconds("timeout", timeout)
    target = resolve_output(path, overwrite=overwrite)
    executed = target.with_name(f"{target.stem}.executed.ipynb")
    if executed.exists() and not overwrite:
        raise ArgumentError(f"{executed} is there already: give another name, or overwrite=True.")
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
    with write_atomically(target, overwrite=overwrite) as unfinished:
        if target.suffix.lower() == ".pdf":
            write_pdf(render_page(front, sections, paper=paper), unfinished)
        else:
            unfinished.write_text(render_page(front, sections, paper=None), encoding="utf-8", errors="backslashreplace")
    return NotebookReport(target, executed, record.run.failure)


def _check_notebook(notebook: Path) -> Path:
    try:
        content = nbformat.read(notebook, as_version=4)
    except FileNotFoundError as error:
        raise ArgumentError(f"there is no notebook {notebook}.") from error
    except (OSError, ValueError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise ArgumentError(f"{notebook} is no notebook that can be read: {truncate(str(error), 200)}") from error
    if not any(cell.cell_type == "code" for cell in content.cells):
        raise ArgumentError(f"{notebook} has no code, so there is nothing to execute.")
    return notebook


def _check_evidence(notebook: Path, path: str | os.PathLike[str]) -> str:
    """Return the evidence's whole path after checking it, and that the notebook takes it."""
    with Shield():
        from restate_lab.evidence.store import open_evidence  # noqa: PLC0415 - DataFusion is an extra

    cells = nbformat.read(notebook, as_version=4).cells
    tagged = [each.source for each in cells if "parameters" in each.metadata.get("tags", ())]
    if not any(line.split("=")[0].split(":")[0].strip() == EVIDENCE for each in tagged for line in each.splitlines()):
        raise ArgumentError(
            f"{notebook.name} does not take evidence: give it a cell tagged `parameters` with `{EVIDENCE} = None`, and "
            f"let it say `source = rl.open_evidence({EVIDENCE}) if {EVIDENCE} else rl.connect()`."
        )
    with open_evidence(Path(path)) as frozen:
        return str(Path(frozen.path).absolute())


def _notebook_masker(values: Mapping[str, Any]) -> Masker:
    secret = [str(value) for name, value in values.items() if is_secret_name(name)]
    with contextlib.suppress(SettingsError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the notebook's connect() says it
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
    parts = [Notice(f"{message}. What comes after it was not run, and is missing below.")]
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
    names = ", ".join(dict.fromkeys(str(each["name"]) for each in record.sources)) or "none that is known"
    changes = _NOT_ALLOWED if record.run.read_only else _ALLOWED
    executed = Fact("Executed", f"{format_timestamp(record.started_at)}, in {format_duration(record.run.seconds)}")
    facts = (Fact("Notebook", record.run.notebook.name), Fact("Cluster", names), executed, Fact("Changes", changes))
    about = [fact for each in record.sources for fact in _source_facts(each)]
    evidence = [] if any(each["evidence"] for each in record.sources) else [Fact("Evidence, sha256", "none")]
    footer = [
        *about,
        *evidence,
        *([Fact("Parameters", _format_parameters(record.parameters, masker))] if record.parameters else []),
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


def _format_parameters(values: Mapping[str, Any], masker: Masker) -> str:
    return ", ".join(f"{name} = {masker.value(value, name)!r}" for name, value in values.items())


def _mask_fact(fact: Fact, masker: Masker) -> Fact:
    return Fact(fact.name, escape_invisible(masker.text(fact.text)))
