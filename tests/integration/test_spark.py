"""A history in Spark with two worker processes has the same rows as alone; in an environment of its own, with Java."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from restate_lab.environment import clean_environment
from support.integrations.environments import python_environment_of
from support.large_archive import write_archive as write_large_archive
from support.spark_archive import write_archive

CLUSTER = "local-cluster[2,1,1024]"
TESTS = Path(__file__).parents[1]


def _run(folder: Path, module: str, *arguments: object) -> str:
    """Run a program with the packages of this environment and those of Spark, and return its output."""
    if shutil.which("java") is None:
        pytest.fail("Spark needs Java 17 or newer; .ci/run --night installs it.", pytrace=False)
    packages = next(python_environment_of("spark").parents[1].glob("lib/python*/site-packages"))
    java = {name: os.environ[name] for name in ("JAVA_HOME",) if name in os.environ}
    path = os.pathsep.join(map(str, (TESTS, packages)))
    environment = clean_environment(PYTHONPATH=path, SPARK_LOCAL_IP="127.0.0.1", SPARK_LOCAL_DIRS=str(folder), **java)
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4_000:]}"
    return done.stdout


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_every_statement_has_the_same_rows_and_the_session_stays_as_it_is(tmp_path: Path) -> None:
    where = write_archive(tmp_path / "history")
    small = write_archive(tmp_path / "small", runs=12)
    lines = _run(tmp_path, "support.spark_equality", where, small, CLUSTER).splitlines()
    assert sum(line.startswith("equal ") for line in lines) >= 150
    assert _run(tmp_path, "support.spark_checks", where, CLUSTER).count("passed") == 4


@pytest.mark.long
@pytest.mark.timeout(4 * 3_600)
@pytest.mark.parametrize("runs", [1_000_000, 10_000_000])
def test_every_statement_over_millions_of_runs_has_the_same_rows(tmp_path: Path, runs: int) -> None:
    where, small = tmp_path / "history", tmp_path / "small"
    write_large_archive(where, runs=runs)
    write_large_archive(small, runs=2_000)
    lines = _run(tmp_path, "support.spark_equality", where, small, CLUSTER).splitlines()
    sys.stdout.write("\n".join(lines))  # the table with its times, which `-rP` shows
    assert sum(line.startswith("equal ") for line in lines) >= 100
