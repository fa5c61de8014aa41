"""JupyterLab on the demo's cluster, in Chromium; all of its requests must stay on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from restate_lab.demo.embedded import Embedded
from restate_lab.demo.jupyter import JupyterLab
from restate_lab.demo.run import copy_notebooks, notebook_environment
from restate_lab.demo.stories import STORIES
from support.clusters import NEWEST, Cluster, Clusters, running_demo
from support.jupyter import LabPage, chromium

expect.set_options(timeout=90_000)  # a busy machine is not a failure of the test


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here."""
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder that JupyterLab shows; a test may write notebooks into it."""
    folder = tmp_path_factory.mktemp("notebooks")
    copy_notebooks(folder)
    return folder


@pytest.fixture(scope="session")
def jupyterlab(
    running: Clusters, server: Path, notebooks: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JupyterLab]:
    """Give a JupyterLab in which `rl.connect()` finds the plain 1.7.12 cluster."""
    newest = running.get(NEWEST)
    env = notebook_environment(newest.folder, newest.admin_url, newest.ingress_url)
    options = ("--LabApp.expose_app_in_browser=True",)
    folder = tmp_path_factory.mktemp("jupyterlab")
    # JupyterLab discards a completion that takes a busy kernel longer than a second.
    completer = folder / "settings/@jupyterlab/completer-extension/manager.jupyterlab-settings"
    completer.parent.mkdir(parents=True)
    completer.write_text('{"providerTimeout": 30000}\n')
    with JupyterLab(notebooks, folder, env=env, options=options) as lab:
        yield lab


# One connection for this folder, not for the session: playwright's loop would disturb every later test with a loop.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Give the headless Chromium of the run."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="package")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Give the cache that the pages of JupyterLab share: its code is compiled once, not for every module."""
    with browser.new_context(viewport={"width": 1400, "height": 1000}) as context:
        yield context


@pytest.fixture(scope="module")
def incident_server(clusters: Clusters, server: Path) -> Cluster:
    """Give a server with the incident on it, which modules share; only the last of them changes it."""
    return clusters.get(NEWEST, "incident")


@pytest.fixture(scope="module")
def own(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Give a server for one module, with the incident on it: the tests change it."""
    with running_demo(NEWEST, tmp_path_factory.mktemp("own"), story=STORIES["incident"]) as running:
        yield running


@pytest.fixture
def page(context: BrowserContext, newest: Cluster, jupyterlab: JupyterLab) -> Iterator[LabPage]:
    """Give a page of JupyterLab; at the end of the test, all of its requests must have gone to 127.0.0.1."""
    opened = LabPage(context.new_page(), jupyterlab)
    yield opened
    opened.close()
    assert not opened.left_the_machine


@pytest.fixture
def screenshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder for pictures: that of RESTATE_LAB_SCREENSHOTS. Without it, no picture of a page is taken."""
    folder = os.environ.get("RESTATE_LAB_SCREENSHOTS")
    if not folder:
        monkeypatch.setattr(Page, "screenshot", lambda *_, **__: b"")  # each takes up to a second
        return tmp_path
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)
