"""The time until a conversation with 100,000 entries is open, against one with 1,000: ``conversation.py --rounds 9``.

Two runs of an agent with ten calls of a model each, a real JupyterLab and a real Chromium. In the panel, the clock runs
from the click on "Conversation" until the page has drawn the last text. ``rl.conversation`` alone searches the journal
first: the server scans it twice, and the last line of the table is its ``count(*)`` of this journal, one scan.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from panels import opened
from rounds import Figure, in_turn, ratio, show, table, timed, versions

sys.path.insert(0, str(Path(__file__).parents[1]))
import restate_lab as rl
from support.jupyter import LabPage
from support.long_agent_bench import run_agent, running_long_agents
from support.panels import panel_cell

SIZES = (1_000, 100_000)
AT_MOST = 2.0
COUNT = "SELECT count(*) AS n FROM sys_journal WHERE id = :id"
BUTTON = """() => [...document.querySelectorAll('.rl-invocation button')]
    .find(each => each.textContent.includes('Conversation'))?.offsetParent"""
CLICK = """async () => {
    const buttons = [...document.querySelectorAll('.rl-invocation button')];
    const started = performance.now();
    buttons.find(each => each.textContent.includes('Conversation')).click();
    while (!document.querySelector('.rl-conversation').innerText.includes('Done.'))
        await new Promise(requestAnimationFrame);
    return (performance.now() - started) / 1000; }"""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with TemporaryDirectory(prefix="restate-lab-") as folder, running_long_agents(Path(folder)) as lab:
        short, long = (run_agent(lab, "run", size) for size in SIZES)
        with opened(panel_cell(lab.address)) as page:
            methods = {
                f"{what}, {size:,} entries": method
                for size, id_ in zip(SIZES, (short, long), strict=True)
                for what, method in (
                    ("panel", partial(_open, page, id_)),
                    ("rl.conversation", timed(partial(rl.conversation, lab, id_))),
                )
            }
            count = timed(partial(lab.sql, COUNT, id=long))
            times = in_turn({**methods, "count(*) of the long journal": count}, rounds)
        cells = [(name, f"{statistics.median(seconds) * 1000:,.0f}") for name, seconds in times.items()]
        sys.stdout.write(f"{rounds} rounds; {versions(lab.version)}\n\n")
        sys.stdout.write(f"{table(('until it is open', 'median ms'), cells)}\n\n")
        small, large = (times[f"panel, {size:,} entries"] for size in SIZES)
        sys.stdout.write(f"{show([Figure('panel, × 1,000 entries', ratio(large, small), AT_MOST)])}\n")


def _open(page: LabPage, id_: str) -> float:
    """Open the conversation of an invocation that is already shown, and close it again."""
    for _ in range(2):  # the second read is that of an invocation that was open
        page.value(f"[panel.open_invocation({id_!r}), panel.wait()]")
    page.page.wait_for_function(BUTTON, timeout=60_000)
    seconds = page.page.evaluate(CLICK)
    page.value("[panel.view.detail.folds.toggle('conversation'), panel.wait()]")
    return float(seconds)


if __name__ == "__main__":
    main()
