"""An MLflow server with SQLite on a loopback address, in an environment of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from restate_lab.demo.process import Process
from restate_lab.demo.server import free_ports
from restate_lab.environment import clean_environment
from support.bench import wait_for
from support.integrations.environments import python_environment_of

TRACES = Path(__file__).with_name("mlflow_traces.py")
EXPERIMENT = {"x-mlflow-experiment-id": "0"}


class MLflow:
    """A running server: where it gets spans, with which headers, and the traces that it has."""

    def __init__(self, address: str, python: Path) -> None:
        self.address, self.python = address, python
        self.endpoint = f"{address}/v1/traces"
        self.headers = EXPERIMENT

    def traces(self) -> list[dict[str, Any]]:
        """Return the traces as MLflow's own client reads them."""
        command = [str(self.python), str(TRACES), self.address]
        env = clean_environment(NO_PROXY="127.0.0.1")
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        traces: list[dict[str, Any]] = json.loads(done.stdout)
        return traces

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.address}/health", trust_env=False, timeout=5).is_success
        return False


@contextlib.contextmanager
def running_mlflow(folder: Path) -> Iterator[MLflow]:
    """Start the server, and end all its processes, of which some are in groups of their own."""
    python = python_environment_of("mlflow")
    (port,) = free_ports(1)
    command = [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder)]
    env = clean_environment(NO_PROXY="127.0.0.1", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", DO_NOT_TRACK="true")
    with Process(command, env=env, log=folder / "mlflow.log", cwd=folder) as process:
        mlflow = MLflow(f"http://127.0.0.1:{port}", python)
        try:
            wait_for(lambda: mlflow.is_ready() or process.exit_code is not None, within=240)
            assert process.exit_code is None, process.last_lines()
            yield mlflow
        finally:
            for each in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
