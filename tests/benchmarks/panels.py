"""The time until the first row is in the page, for few invocations and for many: ``panels.py --rows 100000``.

Two servers, one with 1,000 invocations and one with ``--rows``, a real JupyterLab and a real Chromium. A cell runs that
makes a panel, which reads its default of at most 10,000 rows, or that shows a table of all rows, read before; the clock
of the page stops when it has drawn a row. The cells run in turn, and the ratio is calculated within each round. With
many invocations the first row may take 1.3 times as long as with few, and twice as long as the server's own
``count(*)``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from populate import arguments, populated
from rounds import Figure, compare, in_turn, ratio, say, show, timed, versions

sys.path.insert(0, str(Path(__file__).parents[1]))
import restate_lab as rl
from restate_lab.demo.jupyter import JupyterLab
from restate_lab.environment import clean_environment
from support.jupyter import LabPage, chromium, find_chromium, write_notebook

FEW, MANY = "Panel, 1k on the server", "Panel, many on the server"
FEW_ROWS, MANY_ROWS = "table of 1k rows", "table of all rows"
SMALL = 1_000
AT_MOST, AT_MOST_ROWS = 1.3, 3.0
COUNT = "count(*) of many, on the server"
COUNTING = "SELECT count(*) AS n FROM sys_invocation_status"
PAGE = {"width": 1400, "height": 1000}
SETUP = """
import restate_lab as rl
from restate_lab.panels.grid import Grid
few, many = (rl.connect(url, read_only=True) for url in {urls!r})
ROWS = "SELECT id, target, status, created_at FROM sys_invocation_status"
few_rows, many_rows = (lab.sql(ROWS) for lab in (few, many))
shown = []
def show(made):
    while shown:
        shown.pop().close()
    shown.append(made)
    return made
"""
CELLS = {
    FEW: "show(rl.Panel(few, refresh=None))",
    MANY: "show(rl.Panel(many, refresh=None))",
    FEW_ROWS: "show(Grid(few_rows))",
    MANY_ROWS: "show(Grid(many_rows))",
}
RUN = """async index => {
    const app = window.jupyterapp;
    await app.commands.execute('notebook:clear-all-cell-outputs');
    const row = () => document.querySelector('.rl-body .rl-row:not(.rl-loading)');
    while (row()) await new Promise(requestAnimationFrame);
    app.shell.currentWidget.content.activeCellIndex = index;
    const started = performance.now();
    app.commands.execute('notebook:run-cell');
    while (!row()) {
        if (document.querySelector('[data-mime-type*="jupyter.error"]')) throw new Error('the cell failed');
        await new Promise(requestAnimationFrame);
    }
    return (performance.now() - started) / 1000; }"""


def main() -> None:
    options = arguments(__doc__).parse_args()
    small = argparse.Namespace(**{**vars(options), "rows": SMALL, "admin_url": None, "suspended": 0})
    with (
        populated(small) as few,
        populated(options) as many,
        rl.connect(many.admin_url, read_only=True) as lab,
        opened(SETUP.format(urls=[few.admin_url, many.admin_url]), *CELLS.values()) as page,
    ):
        work = {name: partial(_first_row, page, index) for index, name in enumerate(CELLS, start=1)}
        times = in_turn({**work, COUNT: timed(partial(lab.sql, COUNTING, progress=False))}, options.rounds)
        say(f"{few}\n{many}\n{options.rounds} rounds; {versions(many.version)}")
        say(compare("first row of", times, FEW))
        without_count = [seconds - 2 * count for seconds, count in zip(times[MANY], times[COUNT], strict=True)]
        figures = [
            Figure(f"{MANY} without 2 × count(*), × 1k", ratio(without_count, times[FEW]), at_most=AT_MOST),
            Figure(f"{MANY_ROWS}, × 1k", ratio(times[MANY_ROWS], times[FEW_ROWS]), at_most=AT_MOST_ROWS),
        ]
        say(show(figures))


def _first_row(page: LabPage, index: int) -> float:
    seconds = page.page.evaluate(RUN, index)
    page.value("0")  # the kernel is idle
    return float(seconds)


@contextmanager
def opened(setup: str, *cells: str) -> Iterator[LabPage]:
    """Give a page of JupyterLab with these cells, of which the first one has run."""
    executable = find_chromium()
    if executable is None:
        sys.exit("no Chromium: install it, or name it in CHROMIUM")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="restate-lab-")))
        (folder / "notebooks").mkdir()
        write_notebook(folder / "notebooks" / "panels.ipynb", setup, *cells)
        options = ("--LabApp.expose_app_in_browser=True",)
        lab = stack.enter_context(
            JupyterLab(folder / "notebooks", folder / "jupyter", env=clean_environment(), options=options)
        )
        browser = stack.enter_context(chromium(executable))
        page = LabPage(browser.new_context(viewport=PAGE).new_page(), lab)
        page.open("panels.ipynb")
        page.run_cell(0)
        yield page


if __name__ == "__main__":
    main()
