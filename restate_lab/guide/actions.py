"""What can be done to invocations, as the table of actions tells it."""

from __future__ import annotations

from restate_lab.actions.rules import ACTIONS, effects

__all__: list[str] = []

_HEAD = """What can be done to invocations: `rl.plan(lab, action, ids)`, and `rl.move_to(lab, ids, deployment=…)`.

This is the table that plans and panels use, and a test tries each action in each status against real servers with
vqueues and without. Destructive actions need the exact number of targets above 10, the others above 100.

"""
_COLUMNS = "| status | without vqueues | with vqueues |\n|---|---|---|\n"


def _page() -> str:
    """Return the table as Markdown, one section per action."""
    table = effects()
    return _HEAD + "\n".join(
        _action_section(action, table[table["action"] == action.value].to_dict("records")) for action in ACTIONS
    )


def _action_section(action: ACTIONS, rows: list[dict[object, object]]) -> str:
    rule = action.rule
    kind = "Destructive: it takes away what nothing brings back. " if rule.destructive else ""
    options = f" Options: {', '.join(f'`{each}`' for each in sorted(rule.options))}." if rule.options else ""
    lines = "".join(f"| {row['status']} | {row['without_vqueues']} | {row['with_vqueues']} |\n" for row in rows)
    return f"## {action.value}\n{kind}Needs: {rule.needs}. Seen since {rule.since}.{options}\n\n{_COLUMNS}{lines}"


__doc__ = _page()
