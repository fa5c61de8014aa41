"""restate_lab in a Python that has only the distributions of a container: no Jupyter, no widgets, and no matplotlib.

The program `support.without_jupyter` runs isolated, without site-packages. Its only packages are links to those that
the two `pip` lines of the guide install.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import distributions, without_jupyter
from support.clusters import NEWEST, Clusters
from support.mcp_sessions import mcp_session
from support.sample_reports import Page

pytestmark = pytest.mark.server

INSTALL = "which is not installed: run pip install restate-lab."
MISSING = {
    "Panel": f"a panel requires ipywidgets, {INSTALL}",
    "plot": f"a plot requires matplotlib, {INSTALL}",
    "plots": f"a plot requires matplotlib, {INSTALL}",
    "extension": f"the extension requires IPython, {INSTALL}",
    "demo": "the demo requires jupyterlab, which is not installed: run pip install 'restate-lab[demo]'.",
    "evidence": "pip install 'restate-lab[evidence]'",
    "archive": "pip install 'restate-lab[history]'",
    "serve": "pip install 'restate-lab[serve]'",
    "mcp": "pip install 'restate-lab[mcp]'",
}
"""The part that is used → its error, or a part of it."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Give the command of the program; the extras of a container are in a folder of their own."""
    folder = tmp_path_factory.mktemp("modules")
    core = distributions.closure(distributions.required_in_container())
    extras = distributions.closure(distributions.of_extras(*distributions.EXTRAS)) - core
    distributions.link(folder / "core", core)
    distributions.link_restate_lab(folder / "core")
    distributions.link(folder / "extras", extras)
    program = str(Path(without_jupyter.__file__).resolve())
    return [sys.executable, "-I", "-S", program, str(folder / "core"), str(folder / "extras")]


@pytest.fixture(scope="module")
def address(clusters: Clusters) -> str:
    return clusters.get(NEWEST, "incident").admin_url


@pytest.fixture(scope="module")
def results(python: list[str], clusters: Clusters, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give the results of each verb, all from one process."""
    cluster, folder = clusters.get(NEWEST, "incident"), tmp_path_factory.mktemp("without_jupyter")
    command = [*python, "verbs", cluster.admin_url, cluster.ids("storm_503")[0], str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_core_reads_plans_freezes_and_reports(results: dict[str, Any], clusters: Clusters) -> None:
    (id_,) = clusters.get(NEWEST, "incident").ids("storm_503")[:1]
    assert results["verdict"] == "critical"
    assert id_ in results["why"]
    assert results["planned"] == [id_]
    assert min(results[name] for name in ("deadlocks", "steps", "questions", "frozen")) > 0
    assert results["runs"] is not None
    assert results["no card"] == []


def test_nothing_of_notebooks_was_loaded(results: dict[str, Any]) -> None:
    """Every module that is not for notebooks can be imported, and the process had no module of Jupyter at any time."""
    assert results["not importable"] == {}
    assert set(without_jupyter.ABSENT) & set(results["loaded"]) == set()
    assert results["found"] == []
    assert {"pandas", "pyarrow", "datafusion", "starlette"} <= set(results["loaded"])


def test_a_part_that_is_missing_is_one_error_with_the_command_that_installs_it(results: dict[str, Any]) -> None:
    errors = results["missing"]
    assert {name: text for name, text in errors.items() if MISSING[name] not in text} == {}
    assert errors.keys() == MISSING.keys()


@pytest.mark.parametrize(("name", "pictures"), [("report", "5 pictures"), ("report of waits", "1 picture")])
def test_a_report_without_pictures_says_so_in_one_line(results: dict[str, Any], name: str, pictures: str) -> None:
    page = Page(results[name])
    line = f"{pictures} omitted, because matplotlib is not installed: run pip install restate-lab"
    assert page.text.count("omitted, because") == page.text.count(line) == 1
    assert "could not be read" not in page.text
    assert [tag for tag, _ in page.tags if tag == "img"] == []


def test_the_commands_of_a_container_run(results: dict[str, Any]) -> None:
    assert results["ended"] > 0, "the archive has rows"
    assert json.loads(results["doctor"]["out"])["verdict"] == "critical"
    assert results["watch"]["code"] == 0, results["watch"]["errors"]
    assert "Payments/charge" in results["watch"]["out"]
    pages = results["pages"]
    assert (pages["/"], pages["/ without the token"]) == (200, 401)


def test_the_health_check_passes_under_the_name_of_the_server_only(results: dict[str, Any]) -> None:
    pages = results["pages"]
    assert pages["health"] == ""
    assert pages["health of another name"].endswith("responds with status 421")


@pytest.mark.long
def test_an_assistant_gets_the_findings(python: list[str], address: str) -> None:
    with mcp_session("-e", address, command=python) as assistant:
        assert assistant.call("doctor")["data"]["verdict"] == "critical"
