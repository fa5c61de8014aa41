"""The notebooks of the package: they run on every kind of server, and git has no trace of a run."""

from __future__ import annotations

import ast
import os
import re
import shutil
from itertools import chain
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat import NotebookNode

import restate_lab as rl
from restate_lab.demo.embedded import Embedded
from restate_lab.demo.notebook import NotebookRun, run_notebook
from restate_lab.demo.run import notebook_environment
from restate_lab.demo.stories.incident import FAULTS, INCIDENT, VICTIMS
from restate_lab.demo.stories.steps import ids
from support.bench import wait_for
from support.clusters import KINDS, NEWEST, PLAIN, Cluster, running_demo
from support.sample_reports import Page

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
SQL = NOTEBOOKS / "02_ask_in_sql.ipynb"
PANELS = NOTEBOOKS / "03_panels.ipynb"
INCIDENT_IN_DEPTH = NOTEBOOKS / "04_incident_in_depth.ipynb"
EVIDENCE = NOTEBOOKS / "05_evidence_and_report.ipynb"
AGENT = NOTEBOOKS / "06_weather_agent.ipynb"
DEPLOYMENT = NOTEBOOKS / "07_before_the_deployment.ipynb"
ORDERS = "SELECT status, pinned_deployment_id FROM sys_invocation WHERE target_handler_name = 'run'"


def run(notebook: Path, cluster: Cluster, folder: Path) -> NotebookRun:
    env = {**os.environ, "RESTATE_ADMIN_URL": cluster.admin_url, "RESTATE_INGRESS_URL": cluster.ingress_url}
    return run_notebook(notebook, folder / notebook.name, env=env)


def outputs_of(done: NotebookRun) -> dict[str, list[NotebookNode]]:
    assert not done.failure, done.failure
    cells = nbformat.read(done.executed, as_version=4).cells
    outputs = {cell.id: cell.outputs for cell in cells if cell.cell_type == "code"}
    assert not [id_ for id_, each in outputs.items() for output in each if "<Axes" in str(output.get("data"))]
    return outputs


def assert_no_stream(output: dict[str, list[NotebookNode]]) -> None:
    """No cell prints anything: it would be a warning."""
    assert not [each for each in chain(*output.values()) if each.output_type == "stream"], "warnings"


@pytest.mark.server
@pytest.mark.long
def test_ask_in_sql_answers_its_questions(cluster: Cluster, tmp_path: Path) -> None:
    """On every kind of server the SQL notebook has card, statuses, picture, failure, failing step and magic."""
    output = outputs_of(run(SQL, cluster, tmp_path))
    assert cluster.admin_url.removeprefix("http://") in output["connect"][-1].data["text/html"]
    now = output["now"][-1].data["text/html"]
    for status in ("suspended", "scheduled", "completed"):
        assert status in now
    assert "backing-off" in now or "running" in now  # an attempt may be running just then
    assert cluster.roles["agent_denver"] in output["failing"][-1].data["text/html"]
    assert "WeatherDown" in output["failing"][-1].data["text/html"]
    assert "Command: Run  get weather" in output["journal"][-1].data["text/plain"].splitlines()[-1]
    assert "Command: Run" in output["magics"][-1].data["text/html"]
    assert "<svg" in output["picture"][-1].data["text/html"]
    assert_no_stream(output)


@pytest.mark.server
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("runs", [1, pytest.param(2, marks=pytest.mark.long)])
def test_the_weather_agent_is_repaired_without_asking_the_model_again(kind: str, runs: int, tmp_path: Path) -> None:
    """On every kind of server: Denver hangs at its tool, is repaired and resumed, and no finished step runs again.

    It changes things, so it has a server of its own; a second run gives the same result.
    """
    with running_demo(kind, tmp_path / "demo", story=()) as demo:
        env = notebook_environment(demo.folder, demo.server.admin_url, demo.server.ingress_url)
        for attempt in range(runs):
            done = run_notebook(AGENT, tmp_path / f"{attempt}.ipynb", env=env, read_only=False)
            output = outputs_of(done)
            plain = {id_: outputs[-1].data["text/plain"] for id_, outputs in output.items() if outputs}
            assert "Detroit" in plain["detroit"]
            assert "get weather" in plain["stuck"]
            assert "WeatherDown" in plain["stuck"]
            assert "get weather" in plain["journal"].splitlines()[-1]
            assert "Denver" in plain["answer"]
            assert plain["same"] == plain["paid-once"] == plain["same-tokens"] == "True"
            assert "WeatherDown" in plain["conversation"]
            assert plain["verify"].count("before the repair") == 4
            # it may have continued by itself, or an attempt was running
            assert "resume" in plain["audit"] or "skipped" in plain["execute"] or "resume 0 of 1" in plain["plan"]
            assert_no_stream(output)


@pytest.mark.server
@pytest.mark.long  # test_replay.py has its calls
@pytest.mark.parametrize("kind", KINDS)
def test_new_code_is_checked_and_corrected_before_it_is_deployed(kind: str, tmp_path: Path) -> None:
    """On every kind of server: two of three changes break the waiting orders, and the corrected release breaks none.

    It runs twice: the second run gives the same result with other orders, and leaves no order that waits.
    """
    with running_demo(kind, tmp_path / "demo", story=()) as demo:
        env = notebook_environment(demo.folder, demo.server.admin_url, demo.server.ingress_url)
        for attempt in (1, 2):
            output = outputs_of(run_notebook(DEPLOYMENT, tmp_path / f"{attempt}.ipynb", env=env, read_only=False))
            plain = {id_: outputs[-1].data["text/plain"] for id_, outputs in output.items() if outputs}
            assert plain["next"].startswith("4 diverge.")
            assert "has Call Inventory/reserve as command 2, and the code issues Run 'book pallet'" in plain["next"]
            assert "has SetState 'stage' as command 3, and the code issues Run 'estimate delivery'" in plain["next"]
            assert (plain["groups"].count("book pallet"), plain["groups"].count("estimate delivery")) == (1, 1)
            assert plain["rows"].count("diverges") == 4
            assert "send receipt" not in plain["next"]
            assert plain["corrected"].startswith("4 fit.")
            assert plain["verdict"] == "'fits'"
            assert "move_to 4 of 4" in plain["plan"]
            assert plain["pay"].count("succeeded") == 4
            assert "paid by card. Thank you!" in plain["receipt"]
            steps = re.findall(r"Run +(.+)", plain["journal"])
            assert steps == ["book pallet", "estimate delivery", "send receipt"]
            assert "rl.debug(lab, " in plain["refund"]
            printed = output.pop("debug")[0]
            assert "entry 0: Input" in printed.text
            assert "'paid_for': []" in plain["debug"]
            assert "fails as in production: ZeroDivisionError" in plain["to-test"]
            assert "ZeroDivisionError" in plain["before-fix"]
            assert plain["after-fix"] == "'passed'"
            assert_no_stream(output)
        with rl.connect(demo.server.admin_url) as lab:
            orders = lab.sql(ORDERS)
            (deployment,) = set(orders["pinned_deployment_id"])
            assert list(orders["status"]) == ["completed"] * 8
            assert lab.admin.get_deployment(deployment).uri.endswith("checkout-corrected")


@pytest.mark.server
@pytest.mark.long  # test_incident.py and test_doctor.py have its calls
@pytest.mark.parametrize("kind", KINDS)
def test_the_incident_is_told_with_all_its_causes_and_nobody_else_is_blamed(kind: str, tmp_path: Path) -> None:
    """On every kind of server the notebook names each planted fault with all its ids, and breaks a deadlock.

    A critical finding or a warning contains only planted faults and the invocations that they affect.
    """
    with running_demo(kind, tmp_path / "demo", story=INCIDENT) as demo:
        env = notebook_environment(demo.folder, demo.server.admin_url, demo.server.ingress_url)
        wait_for_the_storm(demo)
        notebook = tmp_path / INCIDENT_IN_DEPTH.name
        shutil.copy(INCIDENT_IN_DEPTH, notebook)  # it writes its findings into its own folder
        output = outputs_of(run_notebook(notebook, tmp_path / "executed.ipynb", env=env, read_only=False))

    findings = pd.read_parquet(tmp_path / "findings.parquet")
    blamed = findings[findings["severity"].isin(["critical", "warning"])]
    named = {id_ for each in blamed["ids"] for id_ in each}
    planted = {role: set(ids(demo.roles, role)) for role in FAULTS}
    assert {role: players - named for role, players in planted.items()} == {role: set() for role in FAULTS}
    suffering = {id_ for role in VICTIMS for id_ in ids(demo.roles, role)}
    assert named <= suffering.union(*planted.values())

    for picture in ("overview", "storm", "waits", "backlog", "latency", "throughput"):
        assert "<svg" in output[picture][-1].data["text/html"], picture
    for card, words in {"doctor": "critical", "why-storm": "charge card", "why-key": "Account/acme-retail"}.items():
        assert words in output[card][-1].data["text/html"]
    card, attributes = (output[cell][-1].data["text/html"] for cell in ("contrast", "attributes"))
    assert "All 24 failing have" in card
    assert "gateway.region" in card
    assert "gateway.currency" in attributes
    assert ">done</td>" in output["execute"][-1].data["text/html"]
    assert "break the deadlock" in output["audit"][-1].data["text/html"]
    assert_no_stream(output)


def wait_for_the_storm(demo: Embedded) -> None:
    """Wait until all invocations that are retried have failed five times: the story has only just been played."""
    with rl.connect(demo.server.admin_url) as lab:
        wait_for(lambda: rl.ask(lab, "retry_storm_ids").retry_count, lambda counts: counts.min() >= 5)


@pytest.mark.long  # unit/panels/test_panel.py has the panels without widgets
@pytest.mark.server
def test_the_panels_show_what_they_hold_without_a_widget_too(cluster: Cluster, tmp_path: Path) -> None:
    output = outputs_of(run(PANELS, cluster, tmp_path))
    shown = {
        "panel": (cluster.roles["agent_denver"], "WeatherDown"),
        "open": ("WeatherDown", "get weather", cluster.roles["agent_denver"]),
        "state": ("Inventory",),
        "deployments": ("Inventory",),
    }
    for name, texts in shown.items():
        copy, widget = (each.data for each in output[name][-2:])
        assert "application/vnd.jupyter.widget-view+json" in widget, name
        for text in texts:
            assert text in copy["text/html"], name
    assert "agent" in output["code"][-1].data["text/html"]
    assert_no_stream(output)


@pytest.mark.server
@pytest.mark.long  # test_evidence.py and test_compare.py have its calls
@pytest.mark.parametrize("kind", [NEWEST, PLAIN])
def test_evidence_knows_what_the_cluster_has_forgotten(kind: str, tmp_path: Path) -> None:
    """The notebook freezes, purges, asks the frozen copy, compares, and writes two reports, which are whole pages."""
    with running_demo(kind, tmp_path / "demo", story=INCIDENT) as demo:
        env = notebook_environment(demo.folder, demo.server.admin_url, demo.server.ingress_url)
        notebook = tmp_path / EVIDENCE.name
        shutil.copy(EVIDENCE, notebook)  # it writes into its own folder
        output = outputs_of(run_notebook(notebook, tmp_path / "executed.ipynb", env=env, read_only=False))

    purged = re.findall(r"inv_1\w{33}", output["failed"][-1].data["text/plain"])
    assert purged
    assert "Empty DataFrame" in output["gone"][-1].data["text/plain"]
    assert purged[0] in output["still-there"][-1].data["text/html"]
    assert f"{len(purged)} removed" in output["compare"][-1].text
    assert output["journal"][-1].data["text/html"]
    streams = [(id_, each.text) for id_, all_ in output.items() for each in all_ if each.output_type == "stream"]
    assert [id_ for id_, _ in streams] == ["compare"], streams
    for name in ("INC-42.html", "INC-42-incident.html"):
        page = Page((tmp_path / name).read_text("utf-8"))
        assert not list(page.loaded_addresses()), name
        assert not list(page.active_parts()), name
        assert purged[0] in page.text, name
    assert (tmp_path / next(tmp_path.glob("INC-42-*.evidence")) / "manifest.json").is_file()


@pytest.mark.server
@pytest.mark.long
def test_where_nothing_has_happened_yet_the_notebooks_say_so(tmp_path: Path) -> None:
    """On a cluster without an invocation the notebooks run to their end, and report that nothing is wrong."""
    messages = {
        "01_what_is_wrong.ipynb": "healthy",
        SQL.name: "Empty DataFrame",
        PANELS.name: "",
        INCIDENT_IN_DEPTH.name: "No invocation is retrying.",
        EVIDENCE.name: "Nothing has failed here.",
    }
    with running_demo(NEWEST, tmp_path / "demo", story=()) as demo:
        env = notebook_environment(demo.folder, demo.server.admin_url, demo.server.ingress_url)
        for name, message in messages.items():
            shutil.copy(NOTEBOOKS / name, tmp_path / name)  # they write into their own folder
            done = run_notebook(tmp_path / name, tmp_path / "executed" / name, env=env, read_only=False)
            assert not done.failure, done.failure
            assert message in done.text


@pytest.mark.parametrize("notebook", [AGENT, DEPLOYMENT], ids=lambda path: path.name)
def test_a_read_only_run_stops_a_notebook_before_it_acts(notebook: Path, newest: Cluster, tmp_path: Path) -> None:
    """The runner's kernels are read-only by default: the first change stops the notebook, and nothing was sent."""
    before = rl.connect(newest.admin_url).sql("SELECT count(*) AS n FROM sys_invocation_status")["n"][0]
    done = run(notebook, newest, tmp_path)
    assert "ReadOnly" in done.failure
    assert rl.connect(newest.admin_url).sql("SELECT count(*) AS n FROM sys_invocation_status")["n"][0] == before


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.name)
def test_notebooks_say_first_what_one_learns_and_how_long_it_takes(notebook: Path) -> None:
    content = nbformat.read(notebook, as_version=4)
    assert content.cells[0].cell_type == "markdown"
    for text in ("# ", "**You learn**", "**It takes**"):
        assert text in content.cells[0].source
    code = "\n".join(cell.source for cell in content.cells if cell.cell_type == "code")
    for styling in ("pd.options", "figsize", "next(iter("):
        assert styling not in code


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.name)
def test_notebooks_load_the_extension_first_and_hide_the_axes_of_plots(notebook: Path) -> None:
    """A cell whose last value is a plot ends with a semicolon; otherwise the text of the Axes is above the picture."""
    content = nbformat.read(notebook, as_version=4)
    code = [cell.source for cell in content.cells if cell.cell_type == "code"]
    assert code[0].startswith("%load_ext restate_lab\n")
    for source in code:
        python = "\n".join(line for line in source.splitlines() if not line.startswith("%"))
        last = ast.parse(python).body[-1:] if not source.startswith("%%") else []
        if last and isinstance(last[0], ast.Expr) and "plot" in ast.unparse(last[0].value).partition("(")[0]:
            assert source.rstrip().endswith(";"), source


def test_the_first_notebook_names_all_others() -> None:
    text = nbformat.read(ALL[0], as_version=4).cells[-1].source
    assert [path.name for path in ALL[1:] if f"({path.name})" not in text] == []


def test_the_first_notebook_shows_the_findings_in_its_second_cell() -> None:
    """Six cells of code: connect, doctor, waits, panel, plan, report."""
    content = nbformat.read(NOTEBOOKS / "01_what_is_wrong.ipynb", as_version=4)
    code = [cell.source for cell in content.cells if cell.cell_type == "code"]
    calls = ("rl.connect(", "rl.doctor(", "rl.plot(", "rl.Panel(", "rl.plan(", "rl.incident_report(")
    assert len(code) == len(calls)
    assert all(call in cell for call, cell in zip(calls, code, strict=True))


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.name)
def test_notebooks_in_git_have_no_trace_of_a_run(notebook: Path) -> None:
    content = nbformat.read(notebook, as_version=nbformat.NO_CONVERT)
    nbformat.validate(content)
    assert (content.nbformat, content.nbformat_minor) == (4, 5)
    assert set(content.metadata) <= {"kernelspec", "language_info"}
    assert content.metadata.kernelspec.name == "python3"
    for cell in content.cells:
        assert cell.id
        assert set(cell.metadata) <= {"tags"}
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
