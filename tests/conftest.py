"""Fixtures of the whole suite: real servers, the real CLI, and a session isolated from the developer's own files.

A fixture that gives each kind of server marks the cases of all kinds except the newest one as long, unless the test
names the others with the marker ``also_on``: `support.kinds`.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest
import typer.testing
from _pytest.unraisableexception import gc_collect_iterations_key

from restate_lab.demo import embedded
from restate_lab.demo.install import install_cli
from restate_lab.errors import RestateLabError
from support import forked
from support.clusters import KINDS, NEWEST, OLD, Cluster, Clusters, server_binary
from support.isolation import allow_only_loopback, original_environment, private_environment
from support.kinds import mark_kinds
from support.placement import GroupScheduling, place
from support.starts import RunPrograms, describe_starts, read_starts, record_starts

# No test depends on the clock. At night, many more examples are tried.
_EXAMPLES = int(os.environ.get("RESTATE_LAB_EXAMPLES", "15"))
hypothesis.settings.register_profile("suite", deadline=None, max_examples=_EXAMPLES)
hypothesis.settings.load_profile("suite")

NO_SKIP = "RESTATE_LAB_NO_SKIP"
TESTS = Path(__file__).parent
_HOST = pytest.StashKey[str | None]()
_RUN = pytest.StashKey[str]()
"""The folder that the processes of a run share."""
REPEATED = {"browser", "faults", "integration"}
"""The folders whose tests get a second run if they fail: servers, kernels and a browser share two cores, and one of
them may get no processor time for seconds. The summary lists these tests; a fault fails both runs."""


def pytest_configure(config: pytest.Config) -> None:
    """Use the default signal handling and compiled modules, in each worker too, and import no parser of IRIs.

    A shell starts a background command of a script with SIGINT and SIGQUIT ignored. Python then installs no handler,
    child processes inherit this, and the tests that interrupt something would wait forever. Without compiled modules
    each of hundreds of processes compiles every module again. jsonschema, which nbformat imports, builds 38 parsers if
    it can import rfc3987_syntax: 1.3 seconds in each worker, and no schema here uses them. At its end, a session
    collects garbage once and not five times, which PyPy would need.
    """
    config.stash[gc_collect_iterations_key] = 1
    for number, handler in {signal.SIGINT: signal.default_int_handler, signal.SIGQUIT: signal.SIG_DFL}.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type] - an import of it raises ImportError
    if hasattr(config, "workerinput"):
        config.stash[_HOST], config.stash[_RUN] = config.workerinput["host"], config.workerinput["run"]
    else:
        _begin_run(config)


def _begin_run(config: pytest.Config) -> None:
    """Make the folder of the run, which ends the programs that all workers use, and start the host of services."""
    folder = config.stash[_RUN] = tempfile.mkdtemp(prefix="restate-lab-")
    config.add_cleanup(lambda: shutil.rmtree(folder))
    config.add_cleanup(RunPrograms(Path(folder)).stop)
    if sys.platform == "linux" and not config.option.collectonly:
        host = forked.Host()
        config.stash[_HOST] = host.address
        config.add_cleanup(host.stop)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker the address of the process that starts services, and the folder of the run."""
    node.workerinput["host"] = node.config.stash.get(_HOST, None)
    node.workerinput["run"] = node.config.stash[_RUN]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print how many servers, JupyterLabs and browsers the run started, and in which modules."""
    for line in describe_starts(read_starts(config.stash[_RUN])):
        terminalreporter.write_line(f"started {line}")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return four workers for two cores: half of a test's time is waiting for servers, kernels, browsers and limits.

    Single files get no workers: they are done before workers have started.
    """
    return 0 if config.args and all(".py" in argument for argument in config.args) else 4


@pytest.fixture(scope="session", autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the session a home folder of its own; no test reads the developer's settings or reaches the network."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        private_environment(patch, home)
        allow_only_loopback(patch)
        yield home


@pytest.fixture(scope="session", autouse=True)
def commands_once() -> Iterator[None]:
    """Build the commands of the command line once: Typer builds all of them for each call, which takes 50 ms."""
    with pytest.MonkeyPatch.context() as patch:
        once = cache(typer.main.get_command)
        patch.setattr(typer.main, "get_command", once)
        patch.setattr(typer.testing, "_get_command", once)
        yield


@pytest.fixture(scope="session", autouse=True)
def started_programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Start services by a fork of a process that has imported their libraries, and count the other programs."""
    with pytest.MonkeyPatch.context() as patch:
        record_starts(patch, request.config.stash[_RUN])
        if host := request.config.stash.get(_HOST, None):
            patch.setattr(embedded, "Process", forked.process_starter(host))
            patch.setenv(forked.ADDRESS, host)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_process_left(isolated: Path) -> Iterator[None]:
    """Every process that the suite started has ended when the suite ends."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    children = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive, [child.as_dict(["pid", "cmdline"]) for child in alive]


@pytest.fixture(autouse=True)
def no_figure_left() -> Iterator[None]:
    """Close the figures of a test; matplotlib counts those of the whole process, and warns."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture(scope="session")
def running(no_process_left: None) -> Iterator[Clusters]:
    """Give the running clusters, which modules share."""
    clusters = Clusters()
    yield clusters
    clusters.close()


@pytest.fixture(scope="module", autouse=True)
def idle_clusters_end(running: Clusters) -> Iterator[None]:
    """Stop the clusters that a module did not use: their retries take processor time from the tests."""
    yield
    running.close_unused()


@pytest.fixture(scope="module")
def clusters(running: Clusters) -> Clusters:
    """Give every kind of server, started on request."""
    return running


def cluster_of(clusters: Clusters, kind: str, story: str = "first-look") -> Cluster:
    binary_of(kind)
    return clusters.get(kind, story)


def binary_of(kind: str) -> Path:
    try:
        return server_binary(kind)
    except RestateLabError as error:
        pytest.skip(f"no restate-server {kind}: {_first_line(error)}")


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=pytest.mark.server, id=kind) for kind in KINDS])
def cluster(request: pytest.FixtureRequest, clusters: Clusters) -> Cluster:
    """Give each kind of server in turn, with the demo's services and its story played."""
    return cluster_of(clusters, request.param)


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=pytest.mark.server, id=kind) for kind in KINDS])
def incident(request: pytest.FixtureRequest, clusters: Clusters) -> Cluster:
    """Give each kind of server in turn, with the full incident on it (`demo.stories.incident` has the roles)."""
    return cluster_of(clusters, request.param, "incident")


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=pytest.mark.server, id=kind) for kind in KINDS])
def healthy(request: pytest.FixtureRequest, clusters: Clusters) -> Cluster:
    """Give each kind of server in turn, on which nothing is wrong."""
    return cluster_of(clusters, request.param, "healthy")


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=pytest.mark.server, id=kind) for kind in KINDS])
def saturated(request: pytest.FixtureRequest, clusters: Clusters) -> Cluster:
    """Give each kind of server in turn, with more invocations than it may run at a time (`support.demo.saturated`)."""
    return cluster_of(clusters, request.param, "saturated")


@pytest.fixture(scope="module")
def newest(clusters: Clusters) -> Cluster:
    """Give the newest server of `cluster`, for tests that need one server only (mark them `server`)."""
    return cluster_of(clusters, NEWEST)


@pytest.fixture(scope="session")
def server(isolated: Path) -> Path:
    """Give the binary of the newest server, for tests that start one of their own (mark them `server`)."""
    return binary_of(NEWEST)


@pytest.fixture(scope="session")
def old_server(isolated: Path) -> Path:
    """Give the binary of a server that is too old (mark tests that use it `server`)."""
    return binary_of(OLD)


@pytest.fixture(scope="session")
def restate_cli(isolated: Path) -> Path:
    """Give the real `restate` CLI (mark tests that use it `server`)."""
    try:
        with original_environment():
            return install_cli()
    except RestateLabError as error:
        pytest.skip(f"no restate CLI: {_first_line(error)}")


@cache
def _folder(path: Path) -> str:
    """Return the folder of a path in the folder of the tests; "" if it is not in one of them."""
    return path.relative_to(TESTS).parts[0] if path != TESTS and path.is_relative_to(TESTS) else ""


def _first_line(error: RestateLabError) -> str:
    return str(error).partition("\n")[0].removesuffix("; its output:")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Return the scheduler of the workers: modules that share a server go to the same worker."""
    return GroupScheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that uses a real server, also if the test forgot it, and decide when each test runs."""
    mark_kinds(items)
    for item in items:
        if {"clusters", "server", "old_server", "restate_cli"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.server)
        if _folder(item.path) in REPEATED:
            item.add_marker(pytest.mark.flaky(reruns=1))
    place(items)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Exclude modules and tests from garbage collection: to visit their million objects takes 0.2 seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Turn a skip for a missing part into a failure if RESTATE_LAB_NO_SKIP is set: CI has every part."""
    report = yield
    needs_a_part = item.get_closest_marker("server") or item.get_closest_marker("browser")
    if os.environ.get(NO_SKIP) and needs_a_part and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{NO_SKIP} is set, and this was skipped: {report.longrepr[2]}"
    return report
