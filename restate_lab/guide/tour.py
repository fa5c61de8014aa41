"""A tour in pictures, which the tests took of a real JupyterLab on real servers."""

from __future__ import annotations

from pathlib import Path

__all__: list[str] = []

SECTIONS: dict[str, dict[str, str]] = {
    "The first notebook": {
        "first-look-card-light": "`lab` in a cell: which cluster this is, what is in which status, what may change.",
        "first-look-picture-dark": "Plain SQL, a DataFrame, and pandas' own picture of it, in the dark theme.",
        "magics-completion": "`%%restate`: Tab completes tables, columns and keywords.",
    },
    "InvocationsPanel": {
        "invocations-first": "What has not ended, newest first. The server applies the filters, and the SQL is there.",
        "invocations-wide-light": "A click opens an invocation beside the table: failure, cause, facts, journal.",
        "invocations-wide-dark": "The same in the dark theme.",
        "invocations-timeline": "Its journal as a timeline; what is open is hatched.",
        "invocations-narrow-light": "In a narrow window.",
        "invocations-lost": "While no answer comes, the panel says so and keeps its rows.",
    },
    "An action, from the plan to the outcome": {
        "resume-3-why": "Why it does not go on, and what can be done.",
        "resume-4-plan": "The plan: nothing is sent before there is a reason.",
        "resume-5-done": "The outcome, and the status as it was read afterwards.",
        "kill-plan": "Of many: a destructive action wants their exact number.",
        "kill-outcome": "Who has changed since the plan is skipped, and that is said.",
    },
    "The other panels": {
        "overview-wide-light": "OverviewPanel: what has not ended, what the doctor finds, and a row's invocations.",
        "overview-wide-dark": "The same in the dark theme.",
        "deployments-wide-light": "DeploymentsPanel: what is pinned to each, and whether it could go.",
        "state-conflict-wide-light": "StatePanel: somebody else was faster. All three values are in view.",
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
        "report-light-1280": '`rl.incident_report(lab, "inc-42.html")`: one file that opens anywhere.',
        "report-dark-1280": "It follows its reader's colours,",
        "report-light-390": "and is read on a telephone, too.",
    },
}
"""Per section: a picture's name, and what it shows."""

_HEAD = "A tour in pictures, which the tests took of a real JupyterLab on real servers.\n\n"
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
