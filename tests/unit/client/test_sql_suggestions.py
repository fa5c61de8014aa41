"""Nearest names: the messages of both server versions, recorded from them."""

from __future__ import annotations

import pytest

from restate_lab.client.sql.suggestions import add_suggestions, explain_id
from restate_lab.errors import QueryRefused, UnknownName


def suggested(reason: str) -> QueryRefused:
    error = QueryRefused("refused", status=500, reason=reason)
    return add_suggestions(
        error, lambda: ["state", "sys_invocation", "sys_journal"], lambda: ["count", "cot", "sum"], version="1.7.12"
    )


@pytest.mark.parametrize(
    ("reason", "best"),
    [
        ("Error during planning: table 'restate.public.sys_invocatoin' not found", "sys_invocation"),
        ("Error during planning: table 'restate.public.invocation' not found", "sys_invocation"),
        ("Error during planning: Invalid function 'coutn'.\nDid you mean 'cot'?", "count"),
        ("Schema error: No field named idd. Valid fields are s.id, s.target, s.status.", "s.id"),
        ("Schema error: No field named i.idd. Did you mean 'i.id'?.", "i.id"),
        ('Schema error: No field named "ID". Valid fields are s.id, s.target.', "s.id"),
    ],
)
def test_the_nearest_name_comes_first(reason: str, best: str) -> None:
    error = suggested(reason)
    assert isinstance(error, UnknownName)
    assert error.suggestions[0] == best
    assert best in str(error)


def test_without_a_similar_name_the_message_has_the_list_of_names() -> None:
    error = suggested("Error during planning: table 'restate.public.xyzzy' not found")
    assert isinstance(error, UnknownName)
    assert "lab.tables()" in str(error)


def test_an_error_about_something_else_than_a_name_is_unchanged() -> None:
    assert type(suggested("Arrow error: Divide by zero error")) is QueryRefused


def test_the_id_of_a_history_is_explained() -> None:
    """A cluster refuses the id of an earlier run; the error names the newest run and the history."""
    refused = QueryRefused("the server refused the query", status=400, reason="External error: non valid invocation id")
    newest = "inv_17ucW1cFOAPr1E7WqpcKLno1pX1cUrZcCJ"
    earlier = f"{newest}@2026-11-20T03:00:00.123Z"
    explained = explain_id(refused, f"SELECT * FROM sys_invocation WHERE id = '{earlier}'")
    assert str(explained).startswith(f"{earlier} is an id of a history: that of an earlier run of {newest}.")
    assert explain_id(refused, f"SELECT * FROM sys_invocation WHERE id = '{newest}x'") is refused
