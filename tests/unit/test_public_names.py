"""The public names: the menu, the types of results, and no old name among columns and attributes."""

from __future__ import annotations

import ast
import inspect
import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.actions.execution import outcomes
from restate_lab.actions.plan import impact, preview
from restate_lab.analysis.why.chain import link_frame
from restate_lab.analysis.why.options import option_frame
from restate_lab.client.schema import FAMILIES, selected_columns
from restate_lab.evidence.manifest import Manifest
from support.sample_rows import NOW, SampleRows, sample_id

TYPES = (
    rl.AdminClient,
    rl.BeforeAfter,
    rl.Comparison,
    rl.Conversation,
    rl.Coverage,
    rl.Diagnosis,
    rl.Evidence,
    rl.Explanation,
    rl.History,
    rl.IngressClient,
    rl.ModelStep,
    rl.Plan,
    rl.Replay,
    rl.State,
    rl.Thresholds,
    rl.ToolCall,
    rl.Waits,
)
BANNED = {
    "asked": "queries",
    "born": "created",
    "direct": "direct_waiting",
    "drains_in": "eta",
    "goes_with": "impact",
    "gone": "removed",
    "in_all": "total_waiting",
    "joined": "duplicates",
    "left_out": "excluded",
    "looks_at": "description",
    "next_step": "suggested_code",
    "not_asked": "skipped",
    "not_seen": "limitations",
    "suffer": "affected",
    "twice": "duplicates",
    "unmoved_for": "idle_for",
    "victims": "blocked",
    "way_out": "resolution_code",
    "words": "description",
}
"""Names that are hard to understand, and their replacements in columns and attributes."""


def test_all_is_sorted_and_complete() -> None:
    """``__all__`` is sorted, each name in it exists, and the stub imports nothing else for type checkers."""
    assert list(rl.__all__) == sorted(rl.__all__)
    assert all(getattr(rl, name) is not None for name in rl.__all__)
    tree = ast.parse(Path(inspect.getfile(rl)).with_suffix(".pyi").read_text("utf-8"))
    imported = [alias.asname for each in tree.body if isinstance(each, ast.ImportFrom) for alias in each.names]
    assert sorted(map(str, imported)) == rl.__all__


def test_the_menu_has_no_types_of_results() -> None:
    """``dir()`` is the menu: every public name except the types of results and clients, which users rarely type."""
    assert set(dir(rl)) == {*rl.__all__, "__version__"} - {each.__name__ for each in TYPES}
    assert {"Lab", "Panel", "Report", "plan", "state", "waits"} <= set(dir(rl))
    with pytest.raises(AttributeError, match=r"'conect'\. Did you mean 'connect'\?"):
        rl.conect  # noqa: B018
    with pytest.raises(AttributeError, match=r"'wait'\. Did you mean 'waits'"):
        rl.wait  # noqa: B018
    with pytest.raises(AttributeError, match=r"'Wait'\. Did you mean 'Waits'"):
        rl.Wait  # noqa: B018


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_a_type_is_where_users_import_it_from(kind: Any) -> None:
    """Types report ``restate_lab``; pickles name them there, and the source of their methods is found."""
    assert (kind.__module__, getattr(rl, kind.__name__)) == ("restate_lab", kind)
    assert repr(kind) == f"<class 'restate_lab.{kind.__name__}'>"
    assert pickle.loads(pickle.dumps(kind)) is kind  # noqa: S301 - our own
    methods = {name: each for name, each in vars(kind).items() if name[0] != "_" and inspect.isfunction(each)}
    assert all(f"def {name}(" in inspect.getsource(each) for name, each in methods.items())
    with pytest.raises(OSError, match=r"source code|class definition"):  # and never that of something else
        inspect.getsource(kind)


def test_a_pickle_is_read_in_a_new_process() -> None:
    """A process that has loaded only pickle finds the type, and loads the required modules."""
    script = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()))"
    sent = pickle.dumps(rl.Thresholds(awakeable=timedelta(minutes=7)))
    out = subprocess.run([sys.executable, "-c", script], input=sent, capture_output=True, check=True)
    assert b"Thresholds(" in out.stdout
    assert b"seconds=420" in out.stdout


def frames() -> Iterator[tuple[str, Iterable[Any]]]:
    """Yield the columns and attrs of frames that users get, and the values of their ``change``."""
    made = SampleRows()
    before, after = (
        SampleRows(sys_invocation_status=[{"id": sample_id(number), "status": "scheduled", "created_at": NOW}])
        for number in (1, 2)
    )
    changes = rl.compare(before, after)
    for result in (rl.waits(made), rl.doctor(made), changes):
        for name in dir(result):
            if not name.startswith("_") and isinstance(frame := getattr(result, name), pd.DataFrame):
                yield f"{type(result).__name__}.{name}", [*frame.columns, *frame.attrs]
    yield "Comparison.invocations.change", changes.invocations["change"]
    yield "Explanation.chain", link_frame((), {}, None).columns
    yield "Explanation.options", option_frame(()).columns
    yield "Plan.frame", preview.COLUMNS
    yield "Plan.impact", impact.COLUMNS
    yield "Plan.outcome", outcomes.COLUMNS


def attributes() -> Iterator[tuple[str, Iterable[str]]]:
    """Yield the public attributes of the types, and the parameters of the public functions."""
    for kind in (*TYPES, Manifest, rl.Lab):
        own = [each.name for each in fields(kind)] if is_dataclass(kind) else []
        yield kind.__name__, {*own, *(name for name in dir(kind) if name not in dir(str))}
    for name in dir(rl):
        if inspect.isfunction(function := getattr(rl, name)):
            yield f"{name}()", inspect.signature(function).parameters


def statements() -> Iterator[tuple[str, list[str]]]:
    """Yield the columns of our own SQL, and the columns that are used by name."""
    for path in Path(str(files("restate_lab"))).rglob("*.sql"):
        yield path.name, [column.name or "" for column in selected_columns(path.read_text("utf-8"))]
    yield "schema.FAMILIES", list(FAMILIES)


def test_no_column_or_attribute_has_an_old_name() -> None:
    """Columns, attributes and parameters have plain names that need no explanation."""
    columns = dict(frames())
    assert {"Waits.deadlocks", "Diagnosis.findings", "Comparison.invocations"} <= set(columns)
    assert set(columns["Comparison.invocations.change"]) == {"created", "removed"}
    named = [*columns.items(), *attributes(), *statements()]
    old = {(where, name, BANNED[name]) for where, names in named for name in names if name in BANNED}
    old |= {(where, "of", "caused_by") for where, names in columns.items() if "of" in set(names)}
    assert old == set()
