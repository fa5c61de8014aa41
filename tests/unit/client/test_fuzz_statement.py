"""Statements and values of any kind: bound without a change of meaning, or refused with a message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import example, given, settings, strategies as st

from restate_lab.client.sql.bind import bind
from restate_lab.client.sql.tokenizer import tokens
from restate_lab.errors import ParameterError, StatementError

WORDS = st.lists(
    st.sampled_from([
        "SELECT", "WITH", ":a", ":b", "::int", "FROM", "x", "'", '"', "''", "--", "\n", "/*", "*/", ";", "$$", "$a$",
        "IN", "(", ")", "IN :a", "e'\\'", "SET", "1", "[1:2]", "a:b", "->", ",", "\\", "\0", "\ufeff", "EXPLAIN", ".",
        "DELETE FROM state", "\u2028", "U&'\\0027'", "X'", "B'1'", "`", "?", "$1", ":1", ": a", ":á",
    ]),
    max_size=14,
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.decimals(allow_nan=False),
    st.dates(), st.times(),
    st.datetimes(), st.timedeltas(), st.uuids(), st.complex_numbers(),
    st.sampled_from([
        pd.NaT, pd.NA, np.nan, np.int64(7), np.float32(1.5), np.int8(-1), np.datetime64("2026-01-01"), object(),
        pd.Timestamp("2026-01-01", tz="UTC"), pd.Timedelta("1s"), pa.scalar("x"), "\ud800", "'; DROP TABLE state --",
        ":a", "\\", "'" * 9, "\0",
    ]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    | st.lists(inner, max_size=3).map(tuple) | st.lists(SCALARS, max_size=3).map(lambda x: pd.Series(x, dtype=object)),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150)
@given(VALUES)
@example("a" * 1_000_000)
@example(["'", ":a"] * 500)
def test_any_value_is_bound_or_refused(value: Any) -> None:
    """A value of any kind becomes literals without names and with a correct end, or is a ParameterError."""
    for statement in ("SELECT :a AS a, ':a' AS b", "SELECT x FROM t WHERE x IN :a"):
        try:
            sent = bind(statement, a=value)
        except (ParameterError, StatementError):
            continue
        assert bind(sent) == sent
        assert "param" not in [token.kind for token in tokens(sent)]
        assert sent.startswith(statement[:7])


@settings(max_examples=150)
@given(WORDS, SCALARS)
def test_any_statement_is_bound_or_refused(words: list[str], value: Any) -> None:
    """A statement of any pieces is refused with a message, or comes out with no name and no second statement in it."""
    for joint in ("", " "):
        statement = joint.join(words)
        try:
            sent = bind(statement, {"a": value, "b": "x"})
        except (ParameterError, StatementError):
            continue
        assert bind(sent) == sent
        assert not {"param", "semicolon"} & {token.kind for token in tokens(sent)}


def test_half_of_a_surrogate_pair_is_refused_before_it_is_sent() -> None:
    for value in ("\ud800", ["\udfff"]):
        try:
            bind("SELECT x FROM t WHERE x IN :a" if isinstance(value, list) else "SELECT :a AS a", a=value)
        except StatementError:
            continue
        raise AssertionError(value)
