"""A program that uses restate_lab in a Python that has only the distributions of a container.

``python -I -S without_jupyter.py CORE EXTRAS verbs ADDRESS INVOCATION FOLDER`` calls each verb once, and prints the
results as JSON. ``CORE`` and ``EXTRAS`` are folders of modules. Other arguments after them are a command line.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pkgutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

NOT_IN_A_CONTAINER = (
    *("panels", "plots", "magics.", "reports.figures", "demo", "guide.__main__"),
    "history.spark.",
)
"""What needs Jupyter or Spark."""
ABSENT = (
    *("anywidget", "ipywidgets", "jupyterlab", "matplotlib"),
    *("IPython", "ipykernel", "jupyter_client", "nbclient", "nbconvert", "nbformat", "traitlets"),  # what they require
)
"""The modules that a container does not have."""
NAME, TOKEN = "lab.example.com", "token-of-twenty-characters"


def main() -> None:
    core, extras, *arguments = sys.argv[1:]
    sys.path.insert(0, core)
    if arguments[0] == "verbs":
        sys.stdout.write(json.dumps(verbs(arguments[1], arguments[2], Path(arguments[3]), extras)))
        sys.stdout.flush()
        os._exit(0)  # a thread still serves
    sys.path.insert(1, extras)
    sys.argv[1:] = arguments
    from restate_lab.cli import main as command

    command()


def verbs(address: str, invocation: str, folder: Path, extras: str) -> dict[str, Any]:
    """Return the results of the core, and then those of the extras."""
    import restate_lab as rl

    with rl.connect(address, read_only=True) as lab:
        results = core_results(rl, lab, invocation, folder)
        results["missing"] = missing(rl, folder)
        sys.path.insert(1, extras)
        importlib.invalidate_caches()
        results |= extra_results(rl, lab, address, folder)
    results["not importable"] = not_importable(rl)
    results["found"] = [name for name in ABSENT if importlib.util.find_spec(name)]
    results["loaded"] = sorted({name.partition(".")[0] for name in sys.modules})
    return results


def core_results(rl: Any, lab: Any, invocation: str, folder: Path) -> dict[str, Any]:
    diagnosis, waits = rl.doctor(lab), rl.waits(lab)
    (id_,) = lab.sql("SELECT id FROM sys_invocation WHERE id = :id", id=invocation)["id"]
    why, journal, plan = rl.why(lab, id_), rl.journal(lab, id_), rl.plan(lab, "pause", [id_])
    cards = {"lab": lab, "doctor": diagnosis, "waits": waits, "why": why, "plan": plan, "rows": rl.show(journal)}
    report = rl.incident_report(lab, folder / "incident.html")
    shown = rl.Report("Waits", source=lab).add(waits).add(journal).write(folder / "waits.html")
    rl.freeze(lab, folder / "frozen.evidence", service="Payments")
    return {
        "verdict": diagnosis.verdict,
        "deadlocks": len(waits.deadlocks),
        "why": repr(why),
        "steps": len(journal),
        "planned": list(plan.frame["id"]),
        "questions": len(rl.ask(lab, "overview")),
        "runs": len(rl.agent_runs(lab)),
        "no card": [name for name, each in cards.items() if "<" not in (html_of(each) or "")],
        "report": report.read_text("utf-8"),
        "report of waits": shown.read_text("utf-8"),
    }


def html_of(result: Any) -> str:
    bundle = result._repr_mimebundle_() if hasattr(result, "_repr_mimebundle_") else result._repr_html_()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    return str(bundle["text/html"] if isinstance(bundle, dict) else bundle)


def missing(rl: Any, folder: Path) -> dict[str, str]:
    """Return the error of each part that needs another distribution."""

    def demo() -> None:
        importlib.import_module("restate_lab.demo.run").run_demo()

    calls: dict[str, Callable[[], Any]] = {
        "Panel": lambda: rl.Panel,
        "plot": lambda: rl.plot,
        "plots": lambda: importlib.import_module("restate_lab.plots"),
        "extension": lambda: rl.load_ipython_extension(None),
        "demo": demo,
        "evidence": lambda: rl.open_evidence(folder / "frozen.evidence"),
        "archive": lambda: rl.archive(rl.connect("127.0.0.1:9", check=False), folder / "history"),
        "serve": lambda: importlib.import_module("restate_lab.serve").serve(),
        "mcp": lambda: importlib.import_module("restate_lab.mcp").serve("127.0.0.1:9"),
    }
    return {name: _error(rl, call) for name, call in calls.items()}


def _error(rl: Any, call: Callable[[], Any]) -> str:
    try:
        call()
    except rl.errors.MissingExtra as error:
        return str(error)
    return "no error"


def extra_results(rl: Any, lab: Any, address: str, folder: Path) -> dict[str, Any]:
    with rl.open_evidence(folder / "frozen.evidence") as evidence:
        frozen = len(evidence.sql("SELECT id FROM sys_invocation"))
    rl.archive(lab, folder / "history", cluster_name="prod")
    with rl.open_history(folder / "history") as history:
        ended = len(rl.ask(history, "throughput_by_day"))
    return {
        "frozen": frozen,
        "ended": ended,
        "doctor": command("doctor", "-e", address, "--json"),
        "watch": command("watch", "-e", address, "--once", "--state", str(folder / "watch.sqlite")),
        "pages": pages(address, folder),
    }


def command(*arguments: str) -> dict[str, Any]:
    """Run a command in this process and return its output and its exit code."""
    from typer.testing import CliRunner

    from restate_lab.cli import app

    done = CliRunner().invoke(app, list(arguments))
    return {"code": done.exit_code, "out": done.stdout, "errors": done.stderr}


def pages(address: str, folder: Path) -> dict[str, Any]:
    """Serve the cluster under another name; return the statuses of requests, and the results of the health check."""
    from restate_lab.serve import serve
    from restate_lab.serve.health import check

    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "token").touch(0o600)
    (folder / "token").write_text(TOKEN)
    options = {"listen": listen, "url": f"https://{NAME}", "token_file": folder / "token", "say": lambda _: None}
    thread = threading.Thread(target=serve, args=([address],), kwargs=options, daemon=True)
    thread.start()
    health = f"http://{listen}/health"
    deadline = time.monotonic() + 30
    while problem := check(health, NAME):
        assert thread.is_alive(), problem
        assert time.monotonic() < deadline, problem
        time.sleep(0.05)
    named = {"Host": NAME}
    return {
        "/": status_of(listen, "/", named | {"Authorization": f"Bearer {TOKEN}"}),
        "/ without the token": status_of(listen, "/", named),
        "health": check(health, NAME),
        "health of another name": check(health),
    }


def status_of(address: str, path: str, headers: dict[str, str]) -> int:
    connection = HTTPConnection(address, timeout=60)
    connection.request("GET", path, headers=headers)
    return connection.getresponse().status


def not_importable(rl: Any) -> dict[str, str]:
    """Return the modules that cannot be imported, with the error; without those that need more."""
    found = {}
    for each in pkgutil.walk_packages(rl.__path__, "restate_lab.", onerror=lambda _: None):
        if not each.name.removeprefix("restate_lab.").startswith(NOT_IN_A_CONTAINER):
            try:
                importlib.import_module(each.name)
            except ImportError as error:
                found[each.name] = str(error)
    return found


if __name__ == "__main__":
    main()
