"""A statement that makes a worker of a real server panic: the connection closes, and the server goes on."""

from __future__ import annotations

import pytest

import restate_lab as rl
from restate_lab import errors
from support.clusters import Cluster
from support.tcp_relay import tcp_relay

PANICS = """SELECT json_get('{"a":12345678901234567890}', 'a')"""


def test_a_panic_is_reported_at_once(cluster: Cluster) -> None:
    """The statement is sent twice at most, the error says that it is the cause, and the next query is not repeated."""
    with tcp_relay(cluster.admin_url) as line, rl.connect(line.url) as lab:
        line.heads.clear()
        with pytest.raises(errors.ServerFailed, match="closed the connection twice while it worked on this statement"):
            lab.sql(PANICS, progress=False)
        assert [head.split()[1] for head in line.heads] == [b"/query", b"/health"] * 2
        line.heads.clear()
        assert lab.sql("SELECT 1 AS one", progress=False)["one"][0] == 1
        assert len(line.heads) == 1
