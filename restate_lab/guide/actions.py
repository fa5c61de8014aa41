"""The page of the actions on invocations, written from the table of actions."""

from __future__ import annotations

from restate_lab.actions.rules import ACTIONS, effects

_HEAD = """# Actions

The effect of each action on an invocation in each status: `rl.plan(lab, action, ids)`, and
`rl.move_to(lab, ids, deployment=…)` for `move_to`.

Plans and panels use this table, and a test tries each action in each status on real servers with and without vqueues.
If an invocation that has not started is cancelled or killed, a server with the feature
`preflight_invocation_termination_retention` keeps it as a completed row.
Above 10 targets, a destructive action needs their exact number; the other actions need it above 100.

"""
_COLUMNS = "| Status | Without vqueues | With vqueues |\n|---|---|---|\n"


def _page() -> str:
    table = effects()
    return _HEAD + "\n".join(
        _action_section(action, table[table["action"] == action.value].to_dict("records")) for action in ACTIONS
    )


def _action_section(action: ACTIONS, rows: list[dict[object, object]]) -> str:
    rule = action.rule
    kind = "Destructive. " if rule.destructive else ""
    options = f" Options: {', '.join(f'`{each}`' for each in sorted(rule.options))}." if rule.options else ""
    head = f"{kind}Condition: {rule.needs}.{options}\n{rule.undo}."
    lines = "".join(f"| {row['status']} | {row['without_vqueues']} | {row['with_vqueues']} |\n" for row in rows)
    return f"## {action.value}\n{head}\n\n{_COLUMNS}{lines}"


__doc__ = _page()
