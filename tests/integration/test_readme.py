"""The README: its commands work for a new user, and what it shows exists."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import restate_lab as rl
from support.demos import RunningDemo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
DEMO, TESTS = re.findall(r"```bash\n(.*?)\n```", README, re.DOTALL)
MOST_LINES = 90
MOST_BYTES = 120_000  # of a picture


def test_each_command_starts_with_only_python_and_installs_the_declared_package() -> None:
    assert DEMO == "python3 -m venv .venv && .venv/bin/pip install -q -e '.[demo]' && .venv/bin/restate-lab demo"
    assert TESTS == "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pytest"
    command = Path(sys.executable).with_name("restate-lab")
    told = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert rl.__version__ in told.stdout


@pytest.mark.server
@pytest.mark.long
@pytest.mark.timeout(900)  # it installs the package and starts the demo
def test_the_line_of_the_demo_works_in_a_clone(server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the packages come from elsewhere: pip finds them in the environment of the tests, and downloads nothing."""
    packages = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sorted(packages)))
    monkeypatch.setenv("PATH", f"{sys.base_prefix}/bin", prepend=os.pathsep)  # python3 is the one of the packages
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # for pip, 0 means no isolation
    clone = tmp_path / "clone"
    subprocess.run([str(shutil.which("git")), "clone", "-q", ROOT, clone], check=True)
    install, _, start = DEMO.rpartition(" && ")
    shell = [str(shutil.which("bash")), "-euc", install]
    done = subprocess.run(shell, cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    program, *arguments = shlex.split(start)
    assert arguments == ["demo"]
    with RunningDemo(tmp_path / "tmp", server, "--no-browser", command=clone / program) as demo:
        assert demo.wait_for(r"(http://127\.0\.0\.1:\d+/lab\S*)")
        assert demo.end(signal.SIGINT) == 0
        demo.wait_until_gone()


def test_every_function_that_the_readme_names_exists() -> None:
    for name in set(re.findall(r"\brl\.(\w+)\(", README)):
        assert name in rl.__all__
    for name in set(re.findall(r"\blab\.(\w+)\(", README)):
        assert hasattr(rl.Lab, name)


def test_the_page_is_short_and_has_small_pictures_and_no_empty_cells() -> None:
    lines = README.splitlines()
    assert len(lines) <= MOST_LINES
    images = {ROOT / name for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)}
    assert images == set((ROOT / ".github" / "images").iterdir())
    assert max(image.stat().st_size for image in images) <= MOST_BYTES
    assert [line for line in lines if re.search(r"\|\s*\|", line.removeprefix("| |"))] == []  # "–" means no
