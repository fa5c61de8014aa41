"""Run a record once on an app of Node.js, before its test is written, and say what it does.

The helper and a few lines are given to ``node`` as a program on its standard input. It is run in the folder of the
future test, so that it finds the SDK where the test will find it. Nothing is written there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from restate_lab._text import escape_invisible, one_line
from restate_lab.debugging.typescript.files import NodeApp, helper_text, node_app
from restate_lab.environment import clean_environment
from restate_lab.testing import Record
from restate_lab.testing.frames import place_in_text

_END = "run_once.mjs"
_SDK = Path("node_modules", "@restatedev", "restate-sdk", "package.json")
_OLDEST = (22, 6)  # the first Node.js that can strip types
_NEEDS_AN_OPTION = (((22, 6), (22, 18)), ((23, 0), (23, 6)))  # versions that strip types with an option only
_ERROR_LINE = re.compile(r"^(?:[A-Z]\w*Error|restate-lab)\b.*", re.MULTILINE)
_LIMIT = 90  # seconds; the helper has shorter limits of its own
_LONGEST = 200  # characters of an outcome


@dataclass(frozen=True, slots=True)
class NodeOutcome:
    """What a record did when it ran once; ``str()`` is a sentence.

    ``outcome`` is one of those of ``restate_lab.testing.Outcome``, or "not run". ``error`` is the type of the error of
    the code, ``place`` the line of the user's code ("src/app.ts:17"); "" if there is none.
    """

    outcome: str
    text: str
    error: str = ""
    place: str = ""

    def __str__(self) -> str:
        return self.text


def run_once(
    record: Record, app: str, *, folder: str | os.PathLike[str], allow_network: bool = False
) -> NodeOutcome | None:
    """Run a record on an app, and return what it does; None if ``node`` or the SDK is not found from ``folder``.

    ``app`` is "src/app.ts:orders". No step runs. The module of the app is imported. ``allow_network`` lets code outside
    of steps use the network, and start programs.

    Raises:
        ArgumentError: there is no such file, or ``app`` has another form.
    """
    module, node = node_app(app), shutil.which("node")
    home = Path(folder).resolve()
    if node is None or not any((each / _SDK).is_file() for each in (home, *home.parents)):
        return None
    version = _version(node)
    if version < _OLDEST:
        found = ".".join(map(str, version))
        return NodeOutcome("not run", f"not run: node is version {found}; the SDK and the test need 22.6 or newer")
    with tempfile.TemporaryDirectory(prefix="restate-lab-") as temporary:
        options = {"exports": module.exports, "allowNetwork": allow_network}
        result = _run(record, module, options, node, version, home, Path(temporary))
    return _outcome(result)


def _version(node: str) -> tuple[int, ...]:
    done = subprocess.run(
        [node, "--version"], env=_environment(), capture_output=True, text=True, check=False, timeout=_LIMIT
    )
    return tuple(int(part) for part in re.findall(r"\d+", done.stdout)[:2])


def _run(
    record: Record,
    app: NodeApp,
    options: Mapping[str, Any],
    node: str,
    version: tuple[int, ...],
    home: Path,
    temporary: Path,
) -> Mapping[str, Any]:
    """Return what the program wrote about the record."""
    journal, target = temporary / "journal.json", temporary / "outcome.json"
    record.save(journal)
    program = helper_text() + resources.files(__package__).joinpath(_END).read_text("utf-8")
    needs_option = any(first <= version < last for first, last in _NEEDS_AN_OPTION)
    strip = ["--experimental-strip-types"] if needs_option else []
    command = [node, "--no-warnings", *strip, "--input-type=module", "-", str(journal), str(app.path.resolve())]
    try:
        done = subprocess.run(
            [*command, json.dumps(options), str(target)],
            cwd=home,
            env=_environment(),
            input=program,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_LIMIT,
        )
    except subprocess.TimeoutExpired:
        return {"outcome": "not run", "message": f"it did not end within {_LIMIT} s"}
    if target.is_file():
        result: Mapping[str, Any] = json.loads(target.read_text("utf-8"))
        return result
    error = _ERROR_LINE.search(done.stderr)
    return {"outcome": "not run", "message": error[0] if error else f"node ended with {done.returncode}"}


def _environment() -> dict[str, str]:
    """Return the variables of a program, and the options of Node.js that the user has set, such as a loader."""
    options = os.environ.get("NODE_OPTIONS")
    return clean_environment(**({"NODE_OPTIONS": options} if options else {}))


def _outcome(result: Mapping[str, Any]) -> NodeOutcome:
    """Return the outcome as ``restate_lab.testing.Outcome`` names it."""
    kind, message = result["outcome"], _line(result.get("message"))
    place = place_in_text(str(result.get("stack") or ""))
    at = str(place) if place else ""
    where = f" at {at}" if at else ""
    if kind == "fails":
        error = _line(result.get("type")) or "Error"
        return NodeOutcome("fails", f"fails: {error}: {message}{where}", error, at)
    awaited = ", ".join(result.get("waitsFor") or ())
    texts = {
        "returns": f"returns {_line(result.get('value') or 'undefined')}",
        "continues": f"continues with {_line(result.get('next'))}",
        "waits": f"waits for {_line(awaited or 'a result')}",
        "diverges": f"diverges: {message}",
        "step without result": message,
    }
    return NodeOutcome(kind, texts[kind]) if kind in texts else NodeOutcome("not run", f"not run: {message}")


def _line(value: Any) -> str:
    return escape_invisible(one_line(str(value or ""), _LONGEST))
