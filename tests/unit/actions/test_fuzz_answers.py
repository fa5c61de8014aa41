"""Any response to a batch: every invocation has a result, and no other one has."""

from __future__ import annotations

import json
from typing import Any

import httpx
from hypothesis import given, strategies as st

from restate_lab.actions.execution.sender import _batch_results

IDS = ("inv_1a", "inv_1b", "inv_1c")
NAMES = st.sampled_from(["succeeded", "failed", "invocation_id", "error", "old_invocation_id", "new_invocation_id"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(IDS) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=4),
    max_leaves=15,
)


@given(JSON)
def test_any_answer_accounts_for_every_id(body: Any) -> None:
    """A response of another shape leaves the ids lost, to be resolved by reading; it adds no unknown ids."""
    answers = _batch_results(httpx.Response(200, content=json.dumps(body).encode()), IDS, 1.0)
    assert tuple(answers) == IDS
    named = json.dumps(body)
    assert all(answer.kind == "lost" for id_, answer in answers.items() if id_ not in named)
