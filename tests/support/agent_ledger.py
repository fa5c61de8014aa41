"""Compare the turns of a conversation with the ledger of the model that the agent called."""

from __future__ import annotations

import ast
import json
from typing import Any

import restate_lab as rl
from restate_lab.analysis.agents.model import TOKENS
from restate_lab.analysis.agents.turns import Turn


def parsed(value: Any) -> Any:
    """Return a value that may be JSON or the repr of a Python value as a value."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError, TypeError):
            continue
    return value


def steps_of(conversation: rl.Conversation) -> list[dict[str, Any]]:
    turns = [turn for turn in conversation.turns if turn.depth == 1]
    return [
        {name: getattr(turn, name) for name in (*TOKENS, "response_id")}
        | {name: getattr(turn, name) or "" for name in ("text", "reasoning", "refusal")}
        | {"calls": [(each.call_id, each.tool, parsed(each.arguments)) for each in tools_of(turns, turn)]}
        for turn in turns
        if turn.role == "assistant"
    ]


def tools_of(turns: list[Turn], turn: Turn) -> list[Turn]:
    return [each for each in turns if (each.role, each.turn) == ("tool", turn.turn)]


def steps_in_ledger(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: each[name] for name in (*TOKENS, "response_id")}
        | {name: each[name] or "" for name in ("text", "reasoning", "refusal")}
        | {"calls": [(call["id"], call["name"], parsed(call["arguments"])) for call in each["tool_calls"]]}
        for each in answers
    ]
