"""Suggested calls as shell commands: ``restate-lab`` for reads and plans, and the ``restate`` CLI for other changes.

The CLI has no command that completes an awakeable or changes the address of a deployment, so these are curl requests. A
call has no command if a terminal cannot show one of its values exactly or if ``-p`` cannot express it; it is then shown
in Python. A change suggested from evidence is a command for the cluster of that evidence.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from restate_lab.analysis.questions.parameters import parse_texts
from restate_lab.calls import Step, SuggestedCall
from restate_lab.cli._options import SourceOptions, parse_value
from restate_lab.cli._page import IN_PYTHON
from restate_lab.document.text import Write
from restate_lab.errors import ArgumentError

_MOST = 20  # ids per command
_PLAN_OPTIONS = frozenset({"deployment", "from_index"})
_ON_THE_CLUSTER = "# run on the cluster of the evidence"


Command: TypeAlias = Callable[[SuggestedCall, SourceOptions], str | None]


def code_for(calls: Iterable[SuggestedCall], python: str, source: SourceOptions) -> str:
    """Return the calls as shell commands, or as labeled Python if one of them has no command."""
    lines = commands(calls, source)
    if lines is not None:
        return "\n".join(lines)
    return f"{IN_PYTHON}\n{python}" if "\n" in python else f"{IN_PYTHON} {python}"


def writer(source: SourceOptions) -> Write:
    """Return the syntax of this command line for the calls of a document."""

    def write(step: Step) -> str:
        if step.rows is not None:
            return plan_of_rows(step.calls[0], step.rows, source)
        return code_for(step.calls, step.python, source)

    return write


def commands(calls: Iterable[SuggestedCall], source: SourceOptions) -> list[str] | None:
    """Return the shell lines that make these calls, or None if one of them has no command.

    A comment has its own line before its command because some shells do not accept a comment after a command.
    """
    lines: list[str] = []
    is_change = False
    for call in calls:
        command = COMMANDS[call.verb](call, source) if call.verb in COMMANDS and _is_printable(call) else None
        if command is None:
            return None
        is_change = is_change or call.is_for_present
        note = _note(call)
        lines += [f"# {note}", *command.splitlines()] if note else command.splitlines()
    return [_ON_THE_CLUSTER, *lines] if is_change and source.is_of_unknown_cluster else lines


def _ask(call: SuggestedCall, source: SourceOptions) -> str | None:
    name = str(call.arguments[0])
    flags = {True: "yes", False: "no"}
    texts = {
        key: ",".join(value) if isinstance(value, tuple) else flags[value] if isinstance(value, bool) else str(value)
        for key, value in call.options.items()
    }
    if not _reads_back(name, texts, call.options):
        return None
    return shlex.join(["restate-lab", "ask", name, *_parameter_options(texts), *source.reads])


def _sql(call: SuggestedCall, source: SourceOptions) -> str | None:
    # -p parses a text that is JSON, so such a text is quoted.
    texts = {
        key: value if isinstance(value, str) and parse_value(value) == value else json.dumps(value, ensure_ascii=False)
        for key, value in call.options.items()
    }
    return shlex.join(["restate-lab", "sql", str(call.arguments[0]), *_parameter_options(texts), *source.reads])


def _statuses(call: SuggestedCall, source: SourceOptions) -> str | None:
    """Return commands that show whether invocations have ended; no command waits for them."""
    ids = call.arguments[0]
    names = ids if isinstance(ids, tuple) else (str(ids),)
    return "\n".join(source.restate_command("invocations", "describe", id_) for id_ in names[:_MOST])


def _lab_command(name: str, *, is_live: bool = False) -> Command:
    """Return the command of ``restate-lab`` with the arguments of a call; ``is_live``: it does not read evidence."""

    def command(call: SuggestedCall, source: SourceOptions) -> str | None:
        options = source.of_cluster.options if is_live else source.reads
        flags = [f"--{flag}" for flag, value in call.options.items() if value is True]
        return shlex.join(["restate-lab", name, *map(str, call.arguments), *flags, *options])

    return command


def _debug(call: SuggestedCall, source: SourceOptions) -> str:
    """Return the command of a debugger; the user fills in the app."""
    return f"restate-lab debug APP {shlex.join([str(call.arguments[0]), *source.options])}"


def _to_test(call: SuggestedCall, source: SourceOptions) -> str:
    return f"{shlex.join(['restate-lab', 'to-test', str(call.arguments[0]), *source.options])} --app APP"


def _replay(call: SuggestedCall, source: SourceOptions) -> str | None:
    """Return the command of a replay; it asks before it sends, in place of ``confirm``."""
    address = next((each for each in call.arguments if isinstance(each, str)), None)
    if address is None or not call.ids or set(call.options) != {"confirm"}:
        return None
    ids = [word for id_ in call.ids[:_MOST] for word in ("--id", id_)]
    return shlex.join(["restate-lab", "replay", address, *ids, *source.options])


def _plan(call: SuggestedCall, source: SourceOptions) -> str | None:
    """Return the command of a plan, which sends nothing and prints the command that executes it."""
    if not call.ids or set(call.options) - _PLAN_OPTIONS:
        return None
    action = "move-to" if call.verb == "move_to" else str(call.arguments[0]).replace("_", "-")
    options = [word for name, value in call.options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return shlex.join(["restate-lab", "plan", action, *call.ids[:_MOST], *options, *source.of_cluster.options])


def plan_of_rows(plan: SuggestedCall, rows: SuggestedCall, source: SourceOptions) -> str:
    """Return the lines of a plan for all rows of a question that returns ids; "" for another call of the rows."""
    is_of_ids = rows.verb == "ask" and str(rows.arguments[0]).endswith("_ids") and _is_printable(rows)
    asked = _ask(rows, source.of_cluster) if is_of_ids else None
    if asked is None:
        return ""
    action = str(plan.arguments[0]).replace("_", "-")
    command = asked.replace("restate-lab ask", f"restate-lab plan {action} --question", 1)
    return f"{_ON_THE_CLUSTER}\n{command}" if source.is_of_unknown_cluster else command


def _move(call: SuggestedCall, source: SourceOptions) -> str | None:
    """Return the commands of a move: first the journal that the new code must match."""
    plan = _plan(call, source)
    if plan is None or "deployment" not in call.options:
        return None
    journal = shlex.join(["restate-lab", "journal", call.ids[0], *source.options])
    return f"# check that the new code matches the journal\n{journal}\n{plan}"


def _answer_awakeable(end: str, kind: str, variable: str, content: str) -> Command:
    """Return the command that resolves or rejects an awakeable at the ingress.

    The first result is final, so the command sends nothing until the user sets the variable.
    """

    def command(call: SuggestedCall, source: SourceOptions) -> str | None:  # noqa: ARG001 - the ingress is not typed
        path = shlex.quote(f"/restate/awakeables/{call.arguments[0]}/{end}")
        note = f"# first set {variable} to {content}, and RESTATE_INGRESS_URL"
        return f'{note}\ncurl -H content-type:{kind} -d "${{{variable}:?}}" "${{RESTATE_INGRESS_URL:?}}"{path}'

    return command


def _update_deployment(call: SuggestedCall, source: SourceOptions) -> str | None:
    if set(call.options) - {"uri", "reason"} or "uri" not in call.options:
        return None
    body = shlex.quote(json.dumps({"uri": call.options["uri"]}, ensure_ascii=False))
    return (
        f'curl -X PATCH -H "content-type: application/json" -d {body} '
        f"{source.admin_url}{shlex.quote(f'/deployments/{call.arguments[0]}')}"
    )


def _restate_command(*arguments: str, flags: Mapping[str, str] = MappingProxyType({})) -> Command:
    """Return the command that takes the arguments of a call as text; ``flags`` maps boolean options to flags."""

    def command(call: SuggestedCall, source: SourceOptions) -> str | None:
        if set(call.options) - {"uri", "reason", *flags}:
            return None
        texts = [str(value) for value in call.arguments]
        texts += [str(call.options[name]) for name in ("uri",) if name in call.options]
        texts += [flag for name, flag in flags.items() if call.options.get(name)]
        return source.restate_command(*arguments, *texts)

    return command


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "agent_runs": _lab_command("agents"),  # it has no option for ids
        "ask": _ask,
        "debug": _debug,
        "conversation": _lab_command("agents"),
        "doctor": _lab_command("doctor", is_live=True),
        "freeze": _lab_command("freeze", is_live=True),
        "journal": _lab_command("journal"),
        "journal_diff": _lab_command("journal"),  # its failing row shows the mismatch
        "lab.admin.version": lambda _, source: source.restate_command("whoami"),
        "rl.audit_log": lambda _, __: "restate-lab audit",
        "wait_for": _statuses,
        "lab.admin.create_deployment": _restate_command("deployments", "register"),
        "lab.admin.delete_deployment": _restate_command("deployments", "remove", flags={"force": "--force"}),
        "lab.admin.get_deployment": _restate_command("deployments", "describe"),
        "lab.admin.list_deployments": _restate_command("deployments", "list"),
        "lab.admin.list_service_handlers": _restate_command("services", "describe"),
        "lab.admin.resume_vqueue": _restate_command("vqueues", "resume"),
        "lab.admin.update_deployment": _update_deployment,
        "lab.ingress.reject_awakeable": _answer_awakeable(
            "reject", "text/plain", "MESSAGE", "the message of the failure"
        ),
        "lab.ingress.resolve_awakeable": _answer_awakeable(
            "resolve", "application/json", "ANSWER", "the answer as JSON"
        ),
        "lab.sql": _sql,
        "move_to": _move,
        "plan": _plan,
        "replay": _replay,
        "story": _lab_command("story"),
        "to_test": _to_test,
        "waits": _lab_command("waits"),
        "why": _lab_command("why"),
    }
)


def _note(call: SuggestedCall) -> str:
    count = max(len(call.ids), call.total)
    if call.verb in {"plan", "move_to"} and count > _MOST:
        return f"the first {_MOST} of {count:,}; check again afterwards"
    if call.verb == "replay" and count > _MOST:
        return f"{call.note}: the first {_MOST} of {count:,}"
    return call.note


def _parameter_options(texts: Mapping[str, str]) -> list[str]:
    return [word for name, text in texts.items() for word in ("-p", f"{name}={text}")]


def _reads_back(question: str, texts: Mapping[str, str], values: Mapping[str, Any]) -> bool:
    """Return whether -p of ``ask`` parses these texts to the values; it reads "none" as no value."""
    try:
        parsed = parse_texts(question, texts)
    except ArgumentError:
        return False
    return all(parsed[name] == (list(value) if isinstance(value, tuple) else value) for name, value in values.items())


def _is_printable(call: SuggestedCall) -> bool:
    """Return whether a terminal shows every text of a call exactly, so that a copied command is the same."""
    values = [*call.arguments, *call.options.values()]
    texts = [text for value in values for text in (value if isinstance(value, tuple) else [value])]
    return all(text.isprintable() for text in texts if isinstance(text, str))
