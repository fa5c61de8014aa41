"""TLS, proxies, compression and limits, each before or in a real server."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest
import trustme

import restate_lab as rl
from restate_lab import errors
from support.clusters import NEWEST, Cluster, KindServer
from support.tcp_relay import tcp_relay

BREAKS_HALF_WAY = (
    "SELECT value, cast(CASE WHEN value > 20000 THEN 'x' ELSE '1' END AS int) AS n FROM generate_series(1, 40000)"
)


def test_tls_with_a_companys_own_authority(newest: Cluster, tmp_path: Path) -> None:
    """TLS uses the fast transport; an unknown authority is refused, a given one trusted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with tcp_relay(newest.admin_url, tls=context) as relay:
        address = f"https://127.0.0.1:{relay.port}"
        with pytest.raises(errors.Unreachable, match="certificate"):
            rl.connect(address)
        with rl.connect(address, ca=tmp_path / "ca.pem") as lab:
            assert lab.sql("SELECT value FROM generate_series(1, 50000)")["value"].sum() == 1_250_025_000
            with pytest.raises(errors.TimedOut):
                lab.sql("SELECT value FROM generate_series(1, 100000000000) WHERE value % 7 = 8", timeout=0.6)
    with pytest.raises(errors.SettingsError, match=r"missing\.pem"):
        rl.connect("https://127.0.0.1:1", ca=tmp_path / "missing.pem")


def test_a_proxy_and_compression_across_a_network(newest: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from loopback requests use the environment's proxy and ask for zstd; a cut is an error there too."""
    with tcp_relay(newest.admin_url, is_proxy=True) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        with rl.connect("http://restate.example:9070") as lab:
            assert lab.sql("SELECT value FROM generate_series(1, 50000)")["value"].sum() == 1_250_025_000
            with pytest.raises(errors.QueryInterrupted):
                lab.sql(BREAKS_HALF_WAY)
    assert all(b"http://restate.example:9070/" in head for head in proxy.heads)
    assert all(b"accept-encoding: zstd" in head.lower() for head in proxy.heads)


@pytest.mark.server
def test_limits_of_the_server_are_waited_out_or_said() -> None:
    """A rate limit has its own waiting time; a concurrency limit, which has none, is waited out."""
    limits = {
        "RESTATE_ADMIN__QUERY_ENGINE__RATE_LIMITING__RATE": "1/min",
        "RESTATE_ADMIN__QUERY_ENGINE__RATE_LIMITING__CAPACITY": "100",
    }
    with KindServer(NEWEST, env=limits) as server, rl.connect(server.admin_url) as lab:
        with pytest.raises(errors.RateLimited, match="asks to wait") as caught:
            for _ in range(300):
                lab.sql("SELECT 1 AS one")
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 10


def test_connect_makes_one_request_and_does_not_repeat_it() -> None:
    started = time.monotonic()
    with pytest.raises(errors.Unreachable):
        rl.connect("http://127.0.0.1:1")
    assert time.monotonic() - started < 5
