"""Every wrapper around a source, and the results that it must return like the source itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pandas as pd

from restate_lab.frames import DtypeBackend, to_frame
from restate_lab.panels._base.source import PanelSource
from restate_lab.reads import Reads
from restate_lab.source import Source, SourceWrapper

WRAPPERS: dict[str, Callable[[Any], SourceWrapper]] = {
    "SourceWrapper": SourceWrapper,
    "Reads": Reads,
    "Reads with a timeout": lambda source: Reads(source, 60),
    "PanelSource": lambda source: PanelSource(source, threading.Event()),
    "all of them": lambda source: Reads(Reads(PanelSource(source, threading.Event())), 60),
}


def check_same_answers(wrapper: Source, source: Source, statement: str, **values: Any) -> None:
    """Compare all results of a wrapper with those of its source, for a statement with these parameters."""
    for each in ("name", "address", "version", "features", "live", "coverage"):
        assert getattr(wrapper, each) == getattr(source, each)
    pd.testing.assert_frame_equal(wrapper.tables(), source.tables())
    table = source.arrow(statement, **values)
    assert table.num_rows
    backends: tuple[DtypeBackend | None, ...] = (None, "pyarrow", "numpy_nullable")
    for backend in backends:
        for each in (wrapper, source):
            frame = each.sql(statement, dtype_backend=backend, **values)
            pd.testing.assert_frame_equal(frame, to_frame(table, backend))
            assert frame.attrs["sql"] == statement.strip()
            assert set(frame.attrs["params"]) == set(values)
    assert wrapper.arrow(statement, params=values).equals(table)
    with wrapper.stream(statement, params=values) as reader:
        assert reader.read_all().equals(table)
