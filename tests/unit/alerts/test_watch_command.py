"""The command ``watch``: what it refuses, and with which exit code; nothing is sent and no state is written then."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from restate_lab.cli import app

HERE = "http://127.0.0.1:1"
WRONG = {
    ("-e", "nowhere"): (1, "Unknown environment 'nowhere'"),
    ("-e", HERE, "-e", HERE): (2, "the cluster 127.0.0.1:1 is there twice"),
    ("-e", HERE, "--every", "0"): (2, "must be greater than 0"),
    ("-e", HERE, "--to", "slack://secret-token"): (2, "receiver number 1 of --to (slack://…) is not an address"),
    ("-e", HERE, "--alertmanager", "secret-token"): (2, "address number 1 of --alertmanager is not valid"),
    ("-e", HERE, "--link-base", "https://u:secret-token@lab"): (
        2,
        "the address of --link-base, or of RESTATE_LAB_SERVE",
    ),
    ("-e", HERE, "--archive", "history"): (2, "--archive needs a name for each cluster"),
    ("-e", HERE, "--shard", "a", "--service", "A"): (2, "--shard and --service need --archive"),
    ("-e", HERE, "--archive", "history", "--shard", "a"): (2, "shard= (--shard) needs service= (--service)"),
    ("-e", HERE, "--rules", "rules.toml"): (2, "rules.toml, line 2: unknown check 'x'"),
    ("-e", HERE, "--metrics", "9464"): (2, "the address '9464' for the metrics is not valid"),
    ("-e", HERE, "--metrics", "127.0.0.1:{port}"): (1, "the metrics cannot be served at 127.0.0.1:{port}"),
    ("-e", HERE, "--state", "."): (1, "the state file cannot be read or written"),
    ("-e", HERE, "--state", "rules.toml"): (2, "rules.toml is not a state file of restate-lab watch"),
}


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(("options", "code", "said"), [(options, *expected) for options, expected in WRONG.items()])
def test_the_error_of_a_wrong_option_has_the_allowed_values_and_no_token(
    options: tuple[str, ...], code: int, said: str, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.toml").write_text('[[rule]]\ncheck = "x"\n' + "# a comment\n" * 50)
    values = [each.format(port=port) for each in options]
    if "--state" not in values:
        values += ["--state", "watch.sqlite"]
    result = CliRunner().invoke(app, ["watch", "--once", *values])
    assert result.exit_code == code, result.output
    assert said.format(port=port) in " ".join(result.output.split())
    assert "secret-token" not in result.output
    assert "Traceback" not in result.output


def test_an_unreachable_cluster_is_exit_code_4_and_printed_once_with_the_next_step(tmp_path: Path) -> None:
    arguments = ["watch", "--once", "-e", HERE, "--timeout", "500ms", "--state", str(tmp_path / "state" / "x")]
    first, second = (CliRunner().invoke(app, arguments) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (4, 4)
    assert first.stdout.startswith("OPENED critical: ")
    assert "(127.0.0.1:1)\n  unreachable " in first.stdout
    assert "next: restate-lab doctor -e http://127.0.0.1:1" in first.stdout
    assert second.stdout == ""
    assert "127.0.0.1:1: watch failed: " in second.stderr
