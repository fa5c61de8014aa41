"""Parameters of questions as they are typed."""

from __future__ import annotations

from typing import Any

import pytest

from restate_lab.analysis.questions.parameters import parse_texts
from restate_lab.errors import ArgumentError


@pytest.mark.parametrize(
    ("name", "texts", "expected"),
    [
        (
            "wakes_next",
            {"until": "2h", "limit": "10_000", "service": "42"},
            {"until": "2h", "limit": 10_000, "service": "42"},
        ),
        ("wakes_next", {"limit": "none", "service": "none"}, {"limit": None, "service": None}),
        ("expiring", {"failures_only": "no"}, {"failures_only": False}),
        ("callers", {"ids": "inv_1, inv_2\ninv_3,"}, {"ids": ["inv_1", "inv_2", "inv_3"]}),
        ("wakes_next", {"limt": "2"}, {"limt": "2"}),
        ("no_such_question", {"limit": "2"}, {"limit": "2"}),
    ],
)
def test_the_type_of_a_parameter_decides_how_its_text_is_parsed(
    name: str, texts: dict[str, str], expected: dict[str, Any]
) -> None:
    assert parse_texts(name, texts) == expected


@pytest.mark.parametrize(
    ("name", "texts"), [("wakes_next", {"limit": "-1"}), ("expiring", {"failures_only": "perhaps"})]
)
def test_a_text_that_is_not_a_number_or_not_yes_or_no_is_named(name: str, texts: dict[str, str]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(texts.values()))):
        parse_texts(name, texts)
