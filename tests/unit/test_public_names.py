"""The public names: the menu, and the types of results."""

from __future__ import annotations

import ast
import inspect
import pickle
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl

TYPES = tuple(getattr(rl, name) for name in sorted(rl._TYPES))


def test_all_is_sorted_and_complete() -> None:
    """``__all__`` is sorted, each name in it exists, and the stub imports nothing else for type checkers."""
    assert list(rl.__all__) == sorted(rl.__all__)
    assert all(getattr(rl, name) is not None for name in rl.__all__)
    tree = ast.parse(Path(inspect.getfile(rl)).with_suffix(".pyi").read_text("utf-8"))
    imported = [alias.asname for each in tree.body if isinstance(each, ast.ImportFrom) for alias in each.names]
    assert sorted(map(str, imported)) == rl.__all__


def test_the_menu_has_no_types_of_results() -> None:
    """``dir()`` is the menu: every public name except the types of results and clients, which users rarely type."""
    assert {*dir(rl), *(each.__name__ for each in TYPES)} == {*rl.__all__, "__version__"}
    assert {name for name in dir(rl) if name[0].isupper()} == {"ACTIONS", "Lab", "Panel", "Report", "Source"}
    with pytest.raises(AttributeError, match=r"'conect'\. Did you mean 'connect'\?"):
        rl.conect  # noqa: B018
    with pytest.raises(AttributeError, match=r"'wait'\. Did you mean 'waits'"):
        rl.wait  # noqa: B018
    with pytest.raises(AttributeError, match=r"'Wait'\. Did you mean 'Waits'"):
        rl.Wait  # noqa: B018
    for former in ("forecast", "Forecast"):
        with pytest.raises(AttributeError, match=rf"'{former}'\. Use rl\.ask\(lab, \"draining\"\)"):
            getattr(rl, former)


def test_a_name_that_a_lab_does_not_have_suggests_the_call() -> None:
    lab: Any = rl.connect("127.0.0.1:9", check=False)
    for name, near in (("dotcor", r"rl\.doctor\(lab\)"), ("sqll", r"lab\.sql\?"), ("waits", r"rl\.waits\(lab\)")):
        with pytest.raises(
            rl.errors.NoSuchName, match=rf"'Lab' object has no attribute '{name}'\. Did you mean {near}"
        ):
            getattr(lab, name)
    assert not hasattr(lab, "_ipython_display_")
    assert len(rl.errors.NoSuchName("short")._render_traceback_()) == 1


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
