"""A tour in pictures, which the tests take of a real JupyterLab on real servers."""

from __future__ import annotations

from pathlib import Path

__all__: list[str] = []

SECTIONS: dict[str, dict[str, str]] = {
    "The first notebook": {
        "what-is-wrong-doctor-light": "The second cell of the first notebook: what is wrong, worst first.",
        "what-is-wrong-waits-dark": "The third cell: which invocation waits for which, in the dark theme.",
        "magics-completion": "`%%restate`: Tab completes tables, columns and keywords.",
    },
    "The panel: invocations": {
        "panels": "The doctor's findings, filters with counts, and the invocations, worst first.",
        "invocations-first": "What is in flight, worst first, below the doctor's findings.",
        "invocations-wide-light": "An open invocation: its failure, the actions, and its journal with live bars.",
        "invocations-wide-dark": "The same in the dark theme.",
        "invocations-narrow-light": "In a narrow window.",
        "lost-light-1600": "While the server does not answer, the panel reports it and keeps its rows.",
    },
    "An action, from the plan to the outcome": {
        "resume-plan": "The plan of an action: nothing is sent before a reason is entered.",
        "resume-done": "The outcome, and the statuses some seconds later.",
        "kill-plan": "A destructive action on many invocations requires their exact number.",
        "kill-outcome": "Invocations that changed after the plan are skipped, and the outcome lists them.",
    },
    "The panel: overview, deployments and state": {
        "overview-wide-light": "How many invocations of each handler are in each status, and on which keys calls wait.",
        "overview-wide-dark": "The same in the dark theme.",
        "deployments-wide-light": "What is pinned to each deployment, and whether it can be removed.",
        "state-conflict-wide-light": "The state changed during an edit: all three values are shown.",
        "state-conflict-wide-dark": "The same in the dark theme.",
    },
    "Plots": {
        "plots-status_of_the_incident-1": '`rl.plot_status(rl.ask(lab, "overview"))`',
        "plots-retries_of_the_incident-1": '`rl.plot_retries(rl.ask(lab, "retry_storm"))`',
        "plots-journals_of_the_incident-1": "`rl.plot_journal(rl.journal(lab, id, depth=2))`",
        "plots-waits_of_the_incident-1": "`rl.plot_waits(rl.waits(lab))`",
        "plots-what_the_questions_answer_is_drawn-1": '`rl.plot_throughput(rl.ask(lab, "throughput"))`',
        "plots-what_the_questions_answer_is_drawn-2": '`rl.plot_latency(rl.ask(lab, "latency"))`',
    },
    "Reports": {
        "report-first-page-light-1280": '`rl.incident_report(lab, "inc-42.html")`: one file that opens anywhere.',
        "report-first-page-dark-1280": "It follows the color scheme of its reader.",
        "report-first-page-light-390": "It fits a telephone too.",
    },
}
"""Per section: a picture's name, and what it shows."""

_HEAD = "A tour in pictures, which the tests take of a real JupyterLab on real servers.\n\n"
_HOW = """There are none here yet. The tests make them, and the second line puts them here:

    RESTATE_LAB_SCREENSHOTS=build/screenshots .venv/bin/pytest tests/browser tests/integration/test_plots.py
    python -m restate_lab.guide --pictures build/screenshots
"""


def render_page(pictures: Path | None = None, beside: str = "") -> str:
    """Return the tour as Markdown, with the pictures that are in a folder; ``beside`` is where the page has them."""
    available = {path.stem for path in existing_pictures(pictures)} if pictures else set()
    sections = (_section(title, captions, available, beside) for title, captions in SECTIONS.items())
    return _HEAD + ("".join(sections) or _HOW)


def existing_pictures(pictures: Path) -> list[Path]:
    """Return those of the tour's pictures that are in a folder."""
    return [path for name in _names() if (path := pictures / f"{name}.png").is_file()]


def missing_pictures(pictures: Path) -> list[str]:
    """Return the names of those that are not."""
    return [name for name in _names() if not (pictures / f"{name}.png").is_file()]


def _names() -> list[str]:
    return [name for captions in SECTIONS.values() for name in captions]


def _section(title: str, captions: dict[str, str], available: set[str], beside: str) -> str:
    shown = [
        f"{caption}\n\n[![{name}]({beside}/{name}.png)]({beside}/{name}.png)\n\n"
        for name, caption in captions.items()
        if name in available
    ]
    return "".join([f"## {title}\n\n", *shown]) if shown else ""


__doc__ = render_page()
