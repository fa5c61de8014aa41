"""The demo: it runs, it shows the expected output, and it leaves nothing behind."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import httpx
import nbformat
import pytest

import restate_lab as rl
from restate_lab.demo import fix, server as server_module
from restate_lab.demo.embedded import Embedded
from restate_lab.demo.run import NOTEBOOKS, run_demo, working_folder
from restate_lab.demo.server import RestateServer, free_ports
from restate_lab.demo.stories.first_look import FIRST_LOOK
from restate_lab.demo.stories.player import read_roles
from restate_lab.errors import RestateLabError
from support.bench import wait_for
from support.clusters import Cluster
from support.demos import RunningDemo, command_of, processes_in
from support.statuses import statuses

pytestmark = pytest.mark.server


def has_status(demo: Embedded, role: str, status: str) -> bool:
    for _ in range(200):
        if demo.api.statuses([demo.roles[role]]) == {demo.roles[role]: status}:
            return True
        time.sleep(0.05)
    return False


def start_kernel(url: str) -> None:
    base, token = url.partition("lab/tree/")[0], url.partition("token=")[2]
    headers = {"authorization": f"token {token}"}
    httpx.post(f"{base}api/kernels", headers=headers, json={}, timeout=60).raise_for_status()


def test_every_role_has_its_status(cluster: Cluster) -> None:
    assert read_roles(cluster.folder) == cluster.roles
    with rl.connect(cluster.admin_url) as lab:
        for step in FIRST_LOOK:
            id_ = cluster.roles[step.role]
            if step.reaches == "backing-off":  # an attempt may be running now
                wait_for(lambda id_=id_: statuses(lab)[id_], lambda word: word == "backing-off")
            else:
                assert statuses(lab)[id_] == step.reaches, step.role


@pytest.mark.long  # unit/reports/test_runner.py has the failing cell
def test_once_names_the_failing_cell_and_exits_with_1(server: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('before')\nlab = undefined")])
    (kept / "notebooks").mkdir(parents=True)
    notebook = NOTEBOOKS["first-look"]
    nbformat.write(broken, kept / "notebooks" / notebook)

    with RunningDemo(tmp_path / "tmp", server, "--once", "--keep", str(kept), "--story", "first-look") as demo:
        assert demo.process.wait(150) == 1
        assert "lab = undefined" in demo.output.read_text()
        assert "NameError: name 'undefined' is not defined" in demo.output.read_text()
        assert not demo.processes()

    executed = nbformat.read(kept / "executed" / notebook, as_version=4)
    assert executed.cells[0].outputs[0].text == "before\n"


@pytest.mark.long  # test_readme.py interrupts a demo, and unit/demo/test_process.py kills the parent of programs
@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGKILL), (signal.SIGHUP, signal.SIGTERM)], ids=str)
def test_ends_whatever_ends_it(numbers: tuple[signal.Signals, ...], server: Path, tmp_path: Path) -> None:
    """Two demos run at once, and none of their processes (kernels included) outlives a signal, not even SIGKILL."""
    options = ("--no-browser", "--story", "first-look")  # the shortest one
    demos = [RunningDemo(tmp_path / number.name, server, *options) for number in numbers]
    with demos[0], demos[1]:
        urls = [demo.wait_for(r"(http://127\.0\.0\.1:\d+/lab/tree/\S+token=\S+)") for demo in demos]
        assert urls[0] != urls[1]
        for demo, url, number in zip(demos, urls, numbers, strict=True):
            start_kernel(url)
            assert any("ipykernel_launcher" in command_of(each) for each in demo.processes())
            code = demo.end(number)
            assert code == {signal.SIGINT: 0, signal.SIGKILL: -signal.SIGKILL}.get(number, 128 + number)
            demo.wait_until_gone()
            if number != signal.SIGKILL:
                assert not list(demo.tmp.iterdir())


@pytest.mark.long  # starts a demo twice
def test_kept_folder_is_taken_up_again(server: Path, tmp_path: Path) -> None:
    with Embedded(server, tmp_path) as demo:
        before = demo.roles
        assert has_status(demo, "agent_denver", "backing-off")
    with Embedded(server, tmp_path) as demo:
        assert demo.roles == before
        assert has_status(demo, "agent_denver", "backing-off")
        fix("weather", folder=tmp_path)
        assert has_status(demo, "agent_denver", "succeeded")


def test_one_demo_per_kept_folder(server: Path, tmp_path: Path) -> None:
    with working_folder(tmp_path), pytest.raises(RestateLabError, match="another demo is running"):
        run_demo(server=server, keep=tmp_path, once=True)


def test_server_takes_other_ports_when_one_was_taken(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        offered = [[*free_ports(2), taken.getsockname()[1]], free_ports(3)]
        monkeypatch.setattr(server_module, "free_ports", lambda count: offered.pop(0))
        with RestateServer(server, base_dir=tmp_path) as running:
            assert not offered
            assert running.admin_url != f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_server_that_does_not_start_says_why(server: Path, tmp_path: Path) -> None:
    with pytest.raises(RestateLabError, match="nonsense"):
        RestateServer(server, base_dir=tmp_path, env={"RESTATE_DEFAULT_NUM_PARTITIONS": "nonsense"})
    assert not processes_in(tmp_path)


def test_temporary_server_leaves_no_folder(server: Path) -> None:
    with RestateServer(server) as running:
        folder = running.base_dir
        assert folder.is_dir()
    assert not folder.exists()
