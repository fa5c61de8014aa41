"""What the last examples of CONTRIBUTING show; ``python -m support.pasted`` runs in a copy that has them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import test_document
from test_document import Shown, Terminal
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab import document
from restate_lab.analysis.doctor.checks import CHECKS
from restate_lab.analysis.doctor.context import Check
from restate_lab.analysis.doctor.model import Finding, Severity
from restate_lab.analysis.suggestions import ask_call
from restate_lab.cli import app
from restate_lab.cli._page import TextPage
from restate_lab.serve.page import WebPage
from restate_lab.serve.rendering import render_page
from support.sample_rows import NOW


def surfaces(result: Any, folder: Path, *command: str) -> dict[str, str]:
    """Return a result as each surface shows it, and what its command prints."""
    terminal, report = Terminal(), folder / f"{type(result).__name__}.html"
    TextPage(terminal).document(result.document())
    shown = {
        "print": str(result),
        "card": result._repr_html_(),
        "terminal": terminal.getvalue(),
        "report": rl.Report("x").add(result).write(report).read_text("utf-8"),
        "page": render_page(WebPage("x", [result], {}), name=""),
    }
    if command:
        shown["command"] = CliRunner().invoke(app, list(command)).output
        shown["--json"] = CliRunner().invoke(app, [*command, "--json"]).output
    return shown


def _main(folder: Path) -> None:
    added: Any = {"rl": rl, "document": document}  # names that only the copy has
    call, owner = ask_call("overview"), {"owner": "team-payments"}
    options: Any = {"count": 0, "ids": (), "evidence": call, "suggested": (), **owner}
    finding = Finding(severity=Severity.NOTE, title="x", where="x", **options)
    CHECKS["owned"] = Check("owned", "an example", 1.6, lambda _: [finding])
    block = document.Document("x", "x", (added["document"].Quote("quoted words"),))
    where = ("--evidence", str(folder / "evidence"))
    with rl.open_evidence(folder / "evidence") as evidence:
        diagnosis, oldest = rl.doctor(evidence, checks="owned"), added["rl"].oldest(evidence)
    drawn = {
        "team-payments": surfaces(diagnosis, folder, "doctor", "--check", "owned", *where),
        "Ledger/slow": surfaces(oldest, folder, "oldest", *where),
        "quoted words": surfaces(Shown(source="x", version="x", read_at=NOW, shown=block), folder),
    }
    drawn["team-payments"]["frame"] = diagnosis.findings["owner"][0]
    test_document.test_each_kind_of_block_is_drawn_as_text_and_as_html()
    test_document.test_no_text_of_a_document_controls_a_terminal()
    test_document.test_no_text_of_a_document_is_markup_on_a_page_or_in_a_report(folder)
    sys.stdout.write(json.dumps([rl.__file__, drawn]))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
