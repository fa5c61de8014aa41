"""The built wheel: it has all files of the package, and the demo runs from it without the checkout.

The wheel is installed into an environment of its own, which finds the dependencies in the environment of the tests.
Nothing is downloaded. The workflow ``package.yml`` installs it with its dependencies each night.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from support.demos import RunningDemo

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), folder=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment of its own, and return the folder of its programs."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    programs = folder / "bin"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(programs / "python"))
    run(*pip, "install", "-q", "--no-deps", "--no-index", "--no-compile", str(wheel), folder=folder)
    # A path in a .pth file is searched, but the .pth files there are not read: the editable install is not found.
    paths = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "of_the_tests.pth").write_text("".join(f"{path}\n" for path in sorted(paths)))
    return programs


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_has_the_package_the_notebooks_and_no_other_file(wheel: Path) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "restate_lab").rglob("*") if path.is_file()}
    notebooks = {f"restate_lab/demo/notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {name for name in files if "__pycache__" not in name} | notebooks


@pytest.mark.server
@pytest.mark.long
def test_the_demo_runs_from_the_wheel(environment: Path, server: Path, tmp_path: Path) -> None:
    """`--once` executes “What is wrong here?” on the incident, prints it, exits with 0 and leaves nothing behind."""
    where = run(str(environment / "python"), "-c", "import restate_lab; print(restate_lab.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(environment.parent)
    with RunningDemo(tmp_path / "tmp", server, "--once", command=environment / "restate-lab") as demo:
        assert demo.process.wait(240) == 0, demo.output.read_text()
        printed = demo.output.read_text()
        assert "<Lab demo at http://127.0.0.1:" in printed
        assert "read-only" in printed
        assert "Payments/charge" in printed
        assert "deadlock" in printed
        assert "[a picture]" in printed
        assert "nothing sent yet" in printed
        assert "incident.html" in printed
        assert not demo.processes()
        assert not list(demo.tmp.iterdir())
