"""Which counters count a call, and which rule a counter has; tests/integration/test_limits.py has it on a server."""

from __future__ import annotations

import pytest

from restate_lab.analysis.scopes import ScopeKey, counter_key_of, scope_key_of

CALL = {"scope": "green", "limit_key": "b/deep"}


def test_a_call_counts_in_its_scope_and_in_each_level_of_its_limit_key() -> None:
    place = scope_key_of(CALL)
    assert place.levels == (ScopeKey("green"), ScopeKey("green", "b"), ScopeKey("green", "b", "deep"))
    assert [str(each) for each in place.levels[1:]] == ["limit key b in scope green", "limit key b/deep in scope green"]
    others = [("blue", None, None), ("green", "a", None), ("green", "b", "other")]
    counters = [counter_key_of(dict(zip(("scope", "l1", "l2"), each, strict=True))) for each in others]
    assert [each.has(CALL) for each in (*place.levels, *counters)] == [True] * 3 + [False] * 3
    assert not ScopeKey("green").has({"scope": None, "limit_key": None})
    assert scope_key_of({"scope": "green", "limit_key": None}).levels == (ScopeKey("green"),)


@pytest.mark.parametrize(
    ("patterns", "rule"),
    [
        (["*", "green", "green/*", "*/*", "*/b"], "green/*"),
        (["*/*", "*/b"], "*/b"),
        (["green", "green/b/deep", "green/a", "blue/b"], None),
        ([], None),
    ],
)
def test_the_rule_of_a_place_has_its_levels_and_the_first_name_before_the_others(
    patterns: list[str], rule: str | None
) -> None:
    assert ScopeKey("green", "b").find_rule(patterns) == rule
