"""Small samples for ``contrast``: the failing rows are the first ones, at random times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from restate_lab.analysis.contrast.model import Attribute, Counted, Observed, Sample, Where

_START = 1_795_000_000 * 10**9
_SECOND = 10**9


def column(path: str) -> Attribute:
    """Return a column of the status of an invocation."""
    return Attribute(Where.COLUMN, path, sql=path)


def field(path: str) -> Attribute:
    """Return a field of the input."""
    return Attribute(Where.INPUT, path, tuple(path.replace("[]", ".[]").split(".")), is_payload=True)


def sample_of(
    failing: int,
    healthy: int,
    *observed: Observed,
    counted: Sequence[Counted] = (),
    callers: Sequence[str | None] | None = None,
    seconds: Sequence[float] | None = None,
) -> Sample:
    """Return a sample whose first rows are failing; ``seconds`` are the times of its rows."""
    total = failing + healthy
    times = np.random.default_rng(1).permutation(total) * 10.0 if seconds is None else np.array(seconds)
    return Sample(
        np.arange(total) < failing,
        _START + (times * _SECOND).astype(np.int64),
        callers or [None] * total,
        observed,
        counted,
    )
