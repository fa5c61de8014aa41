"""Write the test of a record for code in TypeScript or JavaScript: for ``node --test``, or for vitest.

The test and its helper are JavaScript modules (``.mjs``). Node.js runs them without a build step and without an entry
in ``package.json``, vitest finds them, and a compiler of TypeScript does not read them. They import the user's module
at run time, also if it is TypeScript. **No text of the cluster is in them**: they read it from the record.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from restate_lab.errors import ArgumentError

HELPER = "restate_lab_testing.mjs"
"""The name of the helper that the tests of a folder share. Its text depends only on the version of restate-lab."""
RUNNERS = ("node", "vitest")
SUFFIXES = (".ts", ".mts", ".cts", ".js", ".mjs", ".cjs")
"""The files that are apps in TypeScript or JavaScript."""
_STEM = re.compile(r"[a-z0-9_]{1,200}")
_NOT_IN_A_SPECIFIER = str.maketrans({"%": "%25", "?": "%3F", "#": "%23"})
_TEST = """\
// A recorded invocation, run on the code in this project. Written by restate-lab {version}; it is yours to edit.
{how}
{imports}
import {{ Record }} from "./{helper}";

const record = Record.load(import.meta.url, "journals/{stem}.json");
const app = () => import({module});

test("{stem}", async () => {{
  // No step runs. Code outside of steps does. The network, programs and threads are refused to it, but not to
  // {not_refused}.
  const result = await record.run(app{options}); // throws what the handler throws
  {check}
}});
"""
_IMPORTS = {
    "node": 'import assert from "node:assert/strict";\nimport { test } from "node:test";',
    "vitest": 'import { expect, test } from "vitest";',
}
_CHECKS = {
    "node": "assert.deepEqual({actual}, {expected});",
    "vitest": "expect({actual}).toStrictEqual({expected});",
}
_PASSES = ("result.continuesPast({last})", "true")
NOT_REFUSED_IN_NODE = "native addons, lookups of names, and connections and threads of before"
"""What can use the network in a replay all the same."""
_KINDS = {
    "fails": _PASSES,
    "in_step": _PASSES,
    "continues": _PASSES,
    "returns": ("[result.outcome, result.returned]", '["returns", record.returned]'),
    "ends": ("result.outcome", '"returns"'),
    "waits": ("result.outcome", '"waits"'),
}
"""What a test is for, as for Python → what it compares."""
_HOW = {
    "node": "// Run it with: node --test (Node.js 22.18 or newer; before that with --experimental-strip-types)",
    "vitest": "// Run it with: vitest run",
}


@dataclass(frozen=True, slots=True)
class NodeApp:
    """A module of the user, and the names of the services that it exports; no names are all of them."""

    path: Path
    exports: tuple[str, ...] = ()


def node_app(app: str) -> NodeApp:
    """Return the app in a text such as "src/app.ts:orders", "src/app.ts:orders,payments" or "src/app.ts".

    Raises:
        ArgumentError: there is no such file, or it is neither TypeScript nor JavaScript.
    """
    path, colon, names = app.rpartition(":")
    if not colon or Path(names).suffix in SUFFIXES:  # without names, or the colon of a drive
        path, names = app, ""
    if Path(path).suffix not in SUFFIXES:
        raise ArgumentError(f"{app!r} is not a module of Node.js; pass a path such as 'src/app.ts:orders'.")
    if not Path(path).is_file():
        raise ArgumentError(f"there is no file {path!r}; the path is relative to {str(Path.cwd())!r}.")
    return NodeApp(Path(path), tuple(each.strip() for each in names.split(",") if each.strip()))


def files_of(
    app: str, *, folder: str | os.PathLike[str], stem: str, kind: str, last: int, runner: str = "node"
) -> dict[str, str]:
    """Return the texts of a test and of its helper, by name; the test reads its record from ``journals/<stem>.json``.

    ``app`` is "src/app.ts:orders": a path, and the names of exported services. ``folder`` is where the files will be.
    ``stem`` is the name of the test. ``kind`` and ``last`` are those of a test for Python. ``runner`` is "node" or
    "vitest".

    Raises:
        ArgumentError: there is no such file, or an argument has another form.
    """
    if not _STEM.fullmatch(stem):
        raise ArgumentError(f"stem has only a-z, 0-9 and _, not {stem!r}.")
    if runner not in RUNNERS:
        raise ArgumentError(f"unknown runner {runner!r}; choose from {', '.join(RUNNERS)}.")
    module = node_app(app)
    return {HELPER: helper_text(), f"{stem}.test.mjs": _test(module, Path(folder), stem, runner, kind=kind, last=last)}


def helper_text() -> str:
    """Return the text of the helper."""
    return resources.files(__package__).joinpath(HELPER).read_text("utf-8")


def _test(app: NodeApp, folder: Path, stem: str, runner: str, *, kind: str, last: int) -> str:
    from restate_lab import __version__  # noqa: PLC0415 - the package imports this module

    actual, expected = _KINDS[kind]
    return _TEST.format(
        version=__version__,
        how=_HOW[runner],
        imports=_IMPORTS[runner],
        helper=HELPER,
        stem=stem,
        not_refused=NOT_REFUSED_IN_NODE,
        module=json.dumps(_specifier(app.path, folder)),
        options=f", {{ exports: {json.dumps(list(app.exports))} }}" if app.exports else "",
        check=_CHECKS[runner].format(actual=actual.format(last=last), expected=expected),
    )


def _specifier(path: Path, folder: Path) -> str:
    """Return how a module in a folder imports a file, such as "../src/app.ts"; it is a part of a URL."""
    relative = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    return (relative if relative.startswith("../") else f"./{relative}").translate(_NOT_IN_A_SPECIFIER)
