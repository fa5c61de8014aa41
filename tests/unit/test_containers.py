"""The page Containers and the Containerfile: their lists are those of pyproject.toml, and the health check works."""

from __future__ import annotations

import json
import re
import shlex
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import trustme

from restate_lab.guide.__main__ import GUIDE
from restate_lab.serve.health import check
from support import distributions
from support.distributions import closure, of_extras, required, required_in_container

PAGE = (GUIDE / "containers.md").read_text("utf-8")
CONTAINERFILE = (GUIDE / "Containerfile").read_text("utf-8")
MOST = 34
"""The maximum number of distributions without extras, restate_lab included."""


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Containerfile with their arguments, each on one line."""
    lines = [line for line in CONTAINERFILE.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    pairs = [line.partition(" ") for line in joined if line.strip()]
    return [(name, " ".join(rest.split())) for name, _, rest in pairs]


def installed_by(line: str) -> list[str]:
    """Return the requirements in a line of pip."""
    words = shlex.split(line)
    return [word for word in words[words.index("install") + 1 :] if not word.startswith("-")]


def lines_of(command: str) -> list[str]:
    return [
        " ".join(line.split()) for line in PAGE.replace("\\\n", " ").splitlines() if line.strip().startswith(command)
    ]


def test_the_two_lines_of_the_guide_are_the_required_packages_without_those_of_notebooks() -> None:
    own, core, *_ = lines_of("pip install")
    assert installed_by(own) == ["restate-lab"]
    assert "--no-deps" in own
    assert installed_by(core) == required_in_container()
    assert {*distributions.NOTEBOOK} == {each.partition(">=")[0] for each in {*required()} - {*installed_by(core)}}


def test_the_page_has_the_packages_of_each_extra() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| .*? \| (`.+`) \|", PAGE, re.MULTILINE))
    assert rows.keys() == {*distributions.EXTRAS}
    for extra, cell in rows.items():
        assert sorted(re.findall(r"`'([^`]+)'`", cell)) == sorted(of_extras(extra)), extra


def test_without_extras_there_are_at_most_35_distributions() -> None:
    """The distributions are those that pip would install into an empty environment, and restate_lab itself."""
    names = closure(required_in_container())
    assert len(names) + 1 <= MOST, sorted(names)
    assert names & {*distributions.NOTEBOOK, "ipython", "traitlets", "tornado"} == set()
    assert len(closure(required())) > 3 * MOST


def test_the_image_has_the_packages_of_the_core_and_of_its_extras() -> None:
    core, extras, own = (line for name, line in instructions() if name == "RUN" and " install " in line[:70])
    assert installed_by(core) == required_in_container()
    assert sorted(installed_by(extras)) == sorted(of_extras(*distributions.EXTRAS))
    assert "--no-deps" in own
    assert "--no-index" in own


def test_the_image_runs_as_a_user_without_rights_and_has_no_tools_for_builds() -> None:
    stages = [at for at, (name, _) in enumerate(instructions()) if name == "FROM"]
    assert len(stages) == 2
    last = instructions()[stages[1] + 1 :]
    (user,) = (argument for name, argument in last if name == "USER")
    assert user.isdecimal()
    assert int(user) > 0
    assert [name for name, _ in last].index("USER") > [name for name, _ in last].index("RUN")
    runs = [argument for name, argument in last if name == "RUN"]
    assert any("pip uninstall" in each and "ensurepip" in each for each in runs)
    assert not re.search(r"apt-get|pip install", " ".join(runs))
    assert [argument for name, argument in last if name == "COPY"] == ["--from=build /opt/restate-lab /opt/restate-lab"]


def test_the_lines_of_the_image_are_shell_and_its_commands_are_lists() -> None:
    for name, argument in instructions():
        if name == "RUN":
            subprocess.run(["/bin/sh", "-n", "-c", argument], check=True)
        if name in {"ENTRYPOINT", "CMD"}:
            assert json.loads(argument)
    (health,) = (argument for name, argument in instructions() if name == "HEALTHCHECK")
    assert json.loads(health.partition("CMD ")[2]) == ["python", "-m", "restate_lab.serve.health"]


class Named(BaseHTTPRequestHandler):
    """Answers under one name only, as `restate-lab serve` does."""

    def do_GET(self) -> None:
        self.send_response(200 if self.headers["Host"] == "lab.example.com" and self.path == "/health" else 421)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def server(context: ssl.SSLContext | None = None) -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Named) as running:
        if context is not None:
            running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"{'http' if context is None else 'https'}://127.0.0.1:{running.server_port}/health"
        finally:
            running.shutdown()
            thread.join()


@pytest.mark.parametrize("has_tls", [False, True], ids=["http", "https"])
def test_a_server_is_healthy_under_its_own_name(*, has_tls: bool) -> None:
    """A certificate has the name of the server, and not the address inside the container."""
    context = None
    if has_tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("lab.example.com").configure_cert(context)
    with server(context) as address:
        assert check(address, "lab.example.com") == ""
        assert check(address).endswith("responds with status 421")
    assert "does not respond" in check(address, "lab.example.com")


def test_the_health_command_ends_with_one_if_the_server_does_not_respond() -> None:
    """A proxy of the environment is not used: the check is about this container."""
    command = [sys.executable, "-m", "restate_lab.serve.health"]
    with server() as address:
        env = {"RESTATE_LAB_HEALTH": address, "RESTATE_LAB_HEALTH_HOST": "lab.example.com", "http_proxy": "http://x:1"}
        assert subprocess.run(command, env=env, check=False, timeout=60).returncode == 0
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "does not respond" in done.stderr
    assert subprocess.run(command, env={}, check=False, timeout=60).returncode == 0
