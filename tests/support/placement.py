"""Which modules of the suite share a worker, and in which order they run.

A module runs on one worker. Modules that share something that is slow to start, and takes a part of a core while it
runs, are a group: a JupyterLab serves every module that needs one, and the clusters with the incident run once.
The slowest groups and modules begin, so that no worker is busy long after the others.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

GROUPS = {
    "the incident on every kind of server": (
        "integration/test_other_panels.py",
        "integration/test_incident.py",  # before the doctor, which uses the same servers
        "integration/test_doctor.py",
        "integration/test_why.py",
        "integration/test_questions.py",
        "integration/test_waits.py",
        "integration/test_plan.py",
        "integration/test_find.py",
        "integration/test_serve_kinds.py",  # before the evidence: both use the server without vqueues
        "integration/test_evidence.py",  # the last: it suspends the services, and the server ends their attempts
    ),
    "a JupyterLab": (
        "browser/test_invocations_panel.py",
        "browser/test_first_look.py",
        "browser/test_keyboard.py",  # the last in a row that use the incident: it resumes what is retried
        "browser/test_actions_inline.py",
        "browser/test_kernel.py",
        "browser/test_other_panels.py",
        "browser/test_grid.py",
        "browser/test_server_restart.py",
        "browser/test_magics.py",
        "browser/test_frames.py",
        "browser/test_agent_panel.py",
        "browser/test_story.py",
        "browser/test_front_page.py",
    ),
    "the incident on the newest server": (
        "integration/test_alerts.py",
        "integration/test_cli.py",  # early: after five minutes of attempts, nothing but their marks fits into a bar
        "integration/test_reports.py",
        "browser/test_reports.py",
        "integration/test_compare.py",
        "integration/test_journal.py",
        "integration/test_plots.py",
        "integration/test_archived_incident.py",
        "integration/test_result_texts.py",
        "integration/test_without_jupyter.py",
        "integration/test_mcp.py",
        "integration/test_suggestions.py",
        "integration/test_serve_pages.py",
    ),
    "the demo on every kind of server": (
        "integration/test_query.py",
        "integration/test_statement.py",
        "integration/test_contract.py",
        "integration/test_cli_rows.py",  # the last: it makes changes
    ),
    "a server with invocations in every state": (
        "faults/test_matrix.py",
        "faults/test_serve.py",
        "faults/test_cuts.py",
        "faults/test_early_answers.py",
        "faults/test_shell_plans.py",
        "faults/test_streams.py",
        "faults/test_interrupts.py",
    ),
}
"""The modules of each group in their order, the slowest group first."""
STORIES = ("newest", "cluster", "saturated", "healthy")  # by how long they take to play
LONG_WITHOUT_SERVER = ("test_every_plot.py", "test_history.py", "test_guide.py", "test_patterns.py", "test_suite.py")

_TESTS = Path(__file__).parents[1]
_PLACES = {f"tests/{name}": (group, at) for group, names in GROUPS.items() for at, name in enumerate(names)}
_ORDER = tuple(GROUPS)


class GroupScheduling(LoadScopeScheduling):
    """Give a worker one module after the other, and those of a group to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return _PLACES[module][0] if module in _PLACES else module


def place(items: list[pytest.Item]) -> None:
    """Sort the tests: groups, modules with servers of their own, those with a story, and those without a server."""
    fixtures: dict[Path, set[str]] = defaultdict(set)
    with_server: set[Path] = set()
    for item in items:
        fixtures[item.path].update(getattr(item, "fixturenames", ()))
        if item.get_closest_marker("server") is not None:
            with_server.add(item.path)
    turns = {path: _turn(path, names, has_server=path in with_server) for path, names in fixtures.items()}
    items.sort(key=lambda item: turns[item.path])


def _turn(path: Path, fixtures: set[str], *, has_server: bool) -> tuple[int, int, int]:
    """Return the position of a module in the order, the lowest first."""
    name = f"tests/{path.relative_to(_TESTS).as_posix()}" if path.is_relative_to(_TESTS) else path.name
    if name in _PLACES:
        group, at = _PLACES[name]
        return 0, _ORDER.index(group), at
    if not has_server:
        return 3, int(path.name not in LONG_WITHOUT_SERVER), 0
    stories = [STORIES.index(story) for story in STORIES if story in fixtures]
    return (2, -max(stories), 0) if stories else (1, 0, 0)
