"""``restate-lab to-test``: a test from the journal of an invocation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from restate_lab.cli._errors import note_change
from restate_lab.cli._options import (
    POINT_LIMIT,
    AllowNetwork,
    Cluster,
    EvidencePath,
    Live,
    OutputFormat,
    PointTimeout,
    examples,
    open_source,
    with_output,
)

Target = Annotated[
    str, typer.Argument(metavar="ID|FILE", help="An invocation (inv_…), a text with its id, or a record file.")
]
App = Annotated[
    str,
    typer.Option(
        "--app",
        metavar="MODULE:APP",
        help="Your app: package.module:attribute, package.module:create_app(), or src/app.ts:service.",
    ),
]
Folder = Annotated[Path, typer.Option("--folder", metavar="PATH", help="The folder of the test; it must exist.")]
Masks = Annotated[
    list[str] | None,
    typer.Option("--mask", metavar="PATH", help='Mask a text in payloads: "$.customer.email", "email"; repeatable.'),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace existing files, and write a test whose outcome the masks change.")
]
Standalone = Annotated[
    bool, typer.Option("--standalone", help="Also write the testing code, so that the test needs no restate-lab.")
]
Runner = Annotated[
    str | None,
    typer.Option("--runner", metavar="NAME", help="For an app in TypeScript: node or vitest. Default: node."),
]

app = typer.Typer(rich_markup_mode=None)


@app.command(
    "to-test",
    short_help="Write a test that replays the journal of an invocation.",
    epilog="Exit codes: 0 the files were written, 1 error, 2 invalid usage; nothing is written then.\n\n"
    + examples(
        "restate-lab to-test inv_1… --app shop.app:app",
        "restate-lab to-test inv_1… --app shop.app:app --mask '$.customer.email'",
        "restate-lab to-test inv_1… --app shop.app:app --evidence inc-42.evidence",
    ),
)
@with_output
def to_test(
    invocation_id: Target,
    *,
    app_name: App,
    folder: Folder = Path("tests"),
    mask: Masks = None,
    force: Force = False,
    standalone: Standalone = False,
    allow_network: AllowNetwork = False,
    runner: Runner = None,
    timeout: PointTimeout = POINT_LIMIT,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    form: OutputFormat,
) -> None:
    """Write the journal of an invocation as a file to review, and a test that replays it on your code.

    Your app is imported, and its handler runs once in this process. No step runs. The network and new processes are
    refused to it; the test names the libraries and threads to which they are not.
    The files are yours; they have inputs and results, so review them before you commit them.
    """
    from restate_lab.cli._output import write_result
    from restate_lab.debugging import is_record_file
    from restate_lab.debugging.to_test import to_test as write
    from restate_lab.debugging.to_test.forms import WritingOptions
    from restate_lab.debugging.to_test.writer import write_test_of_file

    options: dict[str, Any] = {"app": app_name, "mask": mask or None, "force": force, "standalone": standalone}
    options |= {"allow_network": allow_network, "runner": runner}
    if is_record_file(invocation_id):
        result = write_test_of_file(Path(invocation_id), folder, WritingOptions(**options))
    else:
        with open_source(cluster, evidence, live) as source:
            result = write(source, invocation_id, folder, timeout=timeout, **options)
    note_change(f"the test was written to {folder}")
    write_result(form, result.files, result.document, result.to_json)
