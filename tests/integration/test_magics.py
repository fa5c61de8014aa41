"""The magics in a shell, against real servers of every kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from restate_lab import errors
from restate_lab.client.lab import Lab
from support.clusters import Cluster
from support.shell import Shell, shell


@pytest.fixture
def ip(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """Give a shell with the extension, connected to each kind of server in turn."""
    with shell(capsys) as running:
        running.run("%load_ext restate_lab")
        running.run(f"%restate connect {cluster.admin_url} --read-only")
        yield running
        running.run("lab = %restate\nlab.close()")


def test_asking_in_sql_and_by_name(ip: Shell, cluster: Cluster) -> None:
    """The connection is held by the shell; SQL takes variables, a question takes text and variables."""
    lab = ip.run("%restate").value
    assert isinstance(lab, Lab)
    assert (lab.settings.admin_url, lab.read_only) == (cluster.admin_url, True)
    ip.run(f"mine = [{cluster.roles['agent_denver']!r}]")
    frame = ip.run("frame = %restate SELECT id, target FROM sys_invocation WHERE id IN :mine\nframe").value
    assert list(frame["target"]) == ["agent/run"]
    shown = ip.run("%%restate -o kept --ask overview\nlimit=1").shown
    assert "kept: 1 row × " in shown
    assert "Truncated: overview has more than 1 rows" in shown
    assert len(ip.ip.user_ns["kept"]) == 1
    assert len(ip.run("%restate --ask callers ids=:mine limit=5").value.columns) > 2


def test_what_the_server_refuses_is_marked(ip: Shell) -> None:
    """The server's own line and column lead to the place in the cell, behind a value of any length."""
    ip.run("names = ['agent'] * 50")
    cell = ip.run("%%restate\nSELECT id FROM sys_invocation\nWHERE target_service_name IN :names ORDR BY id")
    assert isinstance(cell.error, errors.QueryRefused)
    line, mark = cell.shown.splitlines()[1:]
    assert line[mark.index("^") :].startswith("ORDR")
    cell = ip.run("%restate SELECT i.statsu FROM sys_invocation i")
    assert isinstance(cell.error, errors.UnknownName)
    line, mark = cell.shown.splitlines()[1:]
    assert line[mark.index("^") :].startswith("statsu")


def test_completions_are_names_of_this_server(ip: Shell, cluster: Cluster) -> None:
    assert "sys_invocation table" in ip.complete("%restate SELECT id FROM sys_inv|")
    assert ip.complete("%%restate\nSELECT i.target_service_n| FROM sys_invocation i") == ["target_service_name column"]
    assert ip.complete("%restate SELECT * FROM sys_sched|") == ["sys_scheduler table"]
