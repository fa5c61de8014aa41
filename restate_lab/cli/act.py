"""``restate-lab plan``, ``execute`` and ``audit``: the safe way to act in a shell.

A plan sends nothing. It is stored for 15 minutes under a name, and ``execute`` acts on exactly these targets, once.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restate_lab._text import format_time
from restate_lab.cli._errors import BAD, ERROR, INTERRUPTED, interrupt_on_sigterm, note_change, warn
from restate_lab.cli._options import (
    SCAN_LIMIT,
    Cluster,
    OutputFormat,
    Parameters,
    Timeout,
    duration_option,
    examples,
    open_source,
    parse_parameters,
    question_names,
    with_output,
    with_table,
)
from restate_lab.errors import ArgumentError, Interrupted, WriteFailed
from restate_lab.interrupts import Shield
from restate_lab.progress import notify

if TYPE_CHECKING:
    import pandas as pd

    from restate_lab.actions.plan.model import Plan
    from restate_lab.actions.plan.store import PlanStore, StoredPlan
    from restate_lab.document import Document
    from restate_lab.identity import ClusterIdentity
    from restate_lab.source import Source

_ACTED = {"done", "accepted"}
_EXPECTED = {*_ACTED, "skipped"}  # the outcomes of a complete execution
_STDIN = "-"
_REDRIVE = "redrive"
_PLACEHOLDER = "…"  # of the printed command
_WAYS = "ids (- reads them from standard input), filters such as --service, and --question"
_COLUMNS = ["time", "action", "invocations", "outcome", "reason", "change", "environment", "user"]
_NO_RESULT = "no result"  # the process ended before the result was known
_SHOWN_DIGITS = 8  # of the id of a change in a terminal


def _action_names(incomplete: str) -> list[str]:
    from restate_lab.actions.rules import ACTIONS

    names = (each.value.replace("_", "-") for each in ACTIONS)
    return [name for name in (*names, _REDRIVE) if name.startswith(incomplete)]


Action = Annotated[
    str,
    typer.Argument(
        metavar="ACTION",
        help="cancel, kill, pause, resume, purge, purge-journal, restart-as-new, move-to, or redrive (restart failed "
        "ones from their last good step).",
        autocompletion=_action_names,
    ),
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Their ids; - reads ids from stdin.")]
Service = Annotated[list[str] | None, typer.Option("--service", metavar="NAME", help="Of this service; repeatable.")]
Handler = Annotated[str | None, typer.Option("--handler", metavar="NAME", help="Of this handler.")]
Key = Annotated[str | None, typer.Option("--key", metavar="KEY", help="Of this key of a virtual object or workflow.")]
Status = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="In this status: retrying, paused, pending, failed, ended, …; repeatable. Default: in-flight.",
    ),
]
OlderThan = Annotated[float | None, duration_option("--older-than", "Created longer ago than this: 30m, 2h.")]
ErrorCode = Annotated[str | None, typer.Option("--error-code", metavar="CODE", help="With this error: RT0016.")]
Text = Annotated[str | None, typer.Option("--text", metavar="TEXT", help="Whose failure or target contains this text.")]
Pinned = Annotated[str | None, typer.Option("--pinned", metavar="ID", help="Pinned to this deployment (dp_…).")]
Question = Annotated[
    str | None,
    typer.Option(
        "--question",
        metavar="NAME",
        help="The rows of this question, such as retry_storm_ids; -p sets its parameters.",
        autocompletion=question_names,
    ),
]
Deployment = Annotated[
    str | None,
    typer.Option(
        "--deployment",
        metavar="latest|keep|ID",
        help="The deployment to continue on: for resume, restart-as-new, move-to and redrive.",
    ),
]
FromIndex = Annotated[
    int | None,
    typer.Option("--from-index", metavar="N", help="The last journal entry that restart-as-new keeps."),
]
Callees = Annotated[
    bool, typer.Option("--include-callees", help="Also those that they called: for cancel, kill, pause and resume.")
]
First = Annotated[
    int | None,
    typer.Option(
        "--first", metavar="N", min=1, help="Plan the first N of them, to try, and the others as a second plan."
    ),
]
PlanName = Annotated[str, typer.Argument(metavar="PLAN", help="The name that restate-lab plan printed (plan-…).")]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="The reason for the audit log: INC-42: the API is back.")
]
Expect = Annotated[
    int | None,
    typer.Option(
        "--expect",
        metavar="N",
        help="The exact number of invocations: needed above 100, and above 10 for kill, purge and purge-journal.",
    ),
]
ChangeId = Annotated[
    str | None,
    typer.Option("--change", metavar="ID", help="Show each target of this change; its first digits are enough."),
]
OnlyReads = Annotated[
    bool, typer.Option("--reads", help="Show the reads of assistants and the pages of restate-lab serve instead.")
]
OnlyNotes = Annotated[bool, typer.Option("--notes", help="Show the notes of restate-lab note and rl.note instead.")]

_EXIT_CODES = """\b
Exit codes:
  0  every outcome is done, accepted, or skipped because its status changed
  1  error: nothing was sent, for example because the plan has expired
  2  invalid usage: nothing was sent
  3  an outcome is refused, unknown or not sent, an invocation is gone, or
     none is done or accepted; the table has each outcome
  130  interrupted; the table has each outcome

"""


app = typer.Typer(rich_markup_mode=None)


@app.command(
    short_help="Plan an action on invocations; sends nothing.",
    epilog=examples(
        "restate-lab plan resume --service Payments --status retrying",
        "restate-lab plan cancel inv_1aBc…",
        "restate-lab plan kill - < ids.txt",
        "restate-lab plan resume --question retry_storm_ids -p service=Payments",
        "restate-lab plan resume --service Payments --status retrying --first 5",
    ),
)
@with_output
def plan(
    action: Action,
    ids: Ids = None,
    *,
    service: Service = None,
    handler: Handler = None,
    key: Key = None,
    status: Status = None,
    older_than: OlderThan = None,
    error_code: ErrorCode = None,
    text: Text = None,
    pinned: Pinned = None,
    question: Question = None,
    param: Parameters = None,
    deployment: Deployment = None,
    from_index: FromIndex = None,
    include_callees: Callees = False,
    first: First = None,
    cluster: Cluster = None,
    timeout: Timeout = SCAN_LIMIT,
    form: OutputFormat,
) -> int:
    """Plan an action on invocations: print its effect on each, whether it can be undone, and the name of the plan.

    Nothing is sent. The plan is valid for 15 minutes; restate-lab execute acts on exactly its invocations, once. If it
    cannot be stored, it is printed without a name, and the exit code is 1. With --first, execute the plan of the first
    ones, look at them, and then execute the plan of the others.
    """
    from restate_lab.actions.plan.model import MOST
    from restate_lab.cli._output import write_result
    from restate_lab.cli._page import TextPage
    from restate_lab.reads import read_identity

    filters = {"service": service, "handler": handler, "key": key, "status": status, "age": older_than}
    filters |= {"error_code": error_code, "text": text, "deployment": pinned}
    selection = _Selection(ids or [], {name: value for name, value in filters.items() if value}, question, param or [])
    options = {"deployment": deployment, "from_index": from_index, "include_callees": include_callees}
    with open_source(cluster, None) as lab:
        made = _make_plan(lab, action.replace("-", "_"), selection, options, timeout)
        identity = read_identity(lab)
    others = made.only(made.targets[first:]) if first is not None and first < len(made.targets) else None
    made = made if others is None else made.first(len(made.targets) - len(others.targets))
    name, command = _keep(made, identity, cluster)
    names: dict[str, Any] = {"plan": name, "command": command}
    further = None
    if others is not None and command is not None:
        later, further = _keep(others, identity, cluster)
        names["others"] = {"plan": later, "command": further, "targets": len(others.targets)}
    write_result(
        form,
        made.frame,
        lambda: _review(made, command, others, further),
        lambda: {**names, **made.to_json()},
        most=MOST,
        more="… and {more:,} more; --json lists them",
    )
    if form.kind in {"csv", "parquet"}:  # the rows do not have the commands
        for each, label in ((command, "execute: "), (further, "then:    ")):
            if each is not None:
                TextPage(sys.stderr).commands(each, first=label)
    is_stored = command is not None and (others is None or further is not None)
    return ERROR if made.targets and not is_stored else 0


@app.command(
    short_help="Execute a plan once, with a reason.",
    epilog=_EXIT_CODES + examples('restate-lab execute plan-1a2b3c4d5e6f7a8b --reason "INC-42: the API is back"'),
)
@with_table
def execute(
    plan: PlanName, *, reason: Reason, expect: Expect = None, cluster: Cluster = None, form: OutputFormat
) -> int:
    """Execute a plan once, and print the outcome of each invocation; the audit log records it with the reason.

    Each status is read again just before its request: an invocation whose status no longer allows the action is
    skipped. -e must name the cluster of the plan. If its address may lead to another cluster now, because none of the
    deployments of that time is there, the plan is refused. If no request was sent, the plan can be executed again.
    """
    from restate_lab.actions.plan.store import PlanStore
    from restate_lab.client.arguments import check_reason
    from restate_lab.client.lab import connect

    interrupt_on_sigterm()
    check_reason(reason, name="--reason")
    store = PlanStore()
    stored = store.load(plan)
    with connect(cluster) as lab:
        made = stored.on(lab, store)
        made.check_execution(reason=reason, expect=expect)
        stored.check_cluster(lab, cluster)
        with Shield():  # an interrupt is raised within the execution, or when the plan was given back
            outcome, is_interrupted = _execute(made, stored, store, reason=reason, expect=expect)
        code = INTERRUPTED if is_interrupted else _exit_code(outcome)
        if made.is_executed:
            note_change("executed", shown_by=f"restate-lab audit --change {outcome.attrs['change']}", code=code)
        _print_outcome(outcome, form)
    return code


@app.command(
    short_help="Show the audit log: each change with its reason and outcome.",
    epilog=examples("restate-lab audit", "restate-lab audit --change 3f2c… --json", "restate-lab audit --notes"),
)
@with_table
def audit(*, change: ChangeId = None, reads: OnlyReads = False, notes: OnlyNotes = False, form: OutputFormat) -> None:
    """Show each change that this user's processes on this machine tried to make, oldest first.

    RESTATE_LAB_AUDIT names another folder. A change without an outcome belongs to a process that ended before the
    outcome was known.
    """
    from restate_lab.audit import audit_log, default_folder
    from restate_lab.cli._output import write_frame

    frame = audit_log(change=None if change is None else _whole_change(change), reads=reads, notes=notes)
    is_list = change is None and not reads and not notes
    if is_list:
        frame.insert(3, "invocations", frame["targets"].map(len).astype("Int64"))
    if is_list and form.is_table and sys.stdout.isatty():
        frame = _for_a_terminal(frame, has_full_ids=form.has_full_ids)
    write_frame(frame, form, about=str(default_folder()), columns=_COLUMNS if is_list else None)


def _for_a_terminal(changes: pd.DataFrame, *, has_full_ids: bool) -> pd.DataFrame:
    """Return the changes with the outcomes of a mixed one in one column, and with short ids of changes."""
    outcomes = changes["outcome"].mask(changes["outcome"] == "mixed", changes["counts"]).fillna(_NO_RESULT)
    digits = None if has_full_ids else _SHOWN_DIGITS
    return changes.assign(outcome=outcomes, change=changes["change"].str[:digits])


def _whole_change(beginning: str) -> str:
    """Return the id of the change that begins with these digits, or the digits themselves if not exactly one does."""
    from restate_lab.audit import audit_log

    found = [each for each in audit_log()["change"] if each.startswith(beginning)]
    return found[0] if len(found) == 1 else beginning


@dataclass(frozen=True, slots=True)
class _Selection:
    """How a user selects invocations: by ids, filters or a question, exactly one of them."""

    ids: Sequence[str]
    filters: Mapping[str, Any]
    question: str | None
    param: Sequence[str]

    def __post_init__(self) -> None:
        ways = [bool(self.ids), bool(self.filters), self.question is not None]
        if sum(ways) != 1:
            problem = "no invocations are selected" if not any(ways) else "ids, filters and --question are combined"
            raise ArgumentError(f"{problem}: use exactly one of {_WAYS}.")
        if self.param and self.question is None:
            raise ArgumentError("-p is only for the parameters of --question.")

    def read(self, lab: Source, action: str, timeout: float) -> Any:
        """Return the targets of a plan: ids, or a frame that also has their creation times.

        Raises:
            ArgumentError: the filters or the question match more invocations than their limit.
        """
        if self.ids:
            return "\n".join(sys.stdin.read() if each == _STDIN else each for each in self.ids)
        if self.question is not None:
            return self._ask(lab, self.question, timeout)
        return self._list(lab, action)

    def _ask(self, lab: Source, question: str, timeout: float) -> pd.DataFrame:
        from restate_lab.analysis.ask import run_any_question
        from restate_lab.analysis.questions.parameters import parse_texts

        values = parse_texts(question, parse_parameters(self.param))
        frame = run_any_question(lab, question, timeout=timeout, **values)
        if "truncated" in frame.attrs:
            raise ArgumentError(f"the question {question} has more rows than its limit: add -p limit=none.")
        return frame

    def _list(self, lab: Source, action: str) -> pd.DataFrame:
        from restate_lab.analysis.invocations.filters import Filters
        from restate_lab.analysis.invocations.reader import read_rows
        from restate_lab.analysis.suggestions import unknown_names

        filters: dict[str, Any] = {"status": [_default_status(action)]} if "status" not in self.filters else {}
        filters |= self.filters
        rows = read_rows(lab, Filters(**{name: _immutable(value) for name, value in filters.items()}))
        if rows.total != len(rows.frame):
            raise ArgumentError(
                f"the filters match more than {len(rows.frame):,} invocations, and a plan needs all of them: add a "
                f"filter, such as --handler or --older-than."
            )
        names = {name: self.filters.get(name) for name in ("service", "handler", "deployment")}
        if rows.frame.empty and (unknown := unknown_names(lab, **names)):
            raise ArgumentError(" ".join(each.message for each in unknown))
        return rows.frame


def _immutable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _default_status(action: str) -> str:
    """Return the status that the filters have without --status: invocations that have not ended, or failed ones.

    Raises:
        ArgumentError: the action is for invocations that have ended, whatever their result.
    """
    from restate_lab.actions.rules import ACTIONS
    from restate_lab.status import ENDED

    if action == _REDRIVE:
        return "failed"
    if set(ACTIONS(action).rule.statuses) <= set(ENDED):
        raise ArgumentError(f"{action} is for invocations that have ended: add --status failed, or another result.")
    return "in-flight"


def _make_plan(lab: Source, action: str, selection: _Selection, options: Mapping[str, Any], timeout: float) -> Plan:
    from restate_lab.actions.change import Change, action_of
    from restate_lab.actions.plan import make_plan
    from restate_lab.actions.redrive import redrive
    from restate_lab.client.lab import require_lab

    live = require_lab(lab, "a plan")
    if action != _REDRIVE:
        change = Change(action_of(action), **options, timeout=timeout)
        change.check_options(live)
        return make_plan(live, change, selection.read(lab, action, timeout))
    wrong = [name for name in ("from_index", "include_callees") if options[name]]
    if wrong:
        raise ArgumentError(f"redrive has no option --{wrong[0].replace('_', '-')}.")
    return redrive(
        live, selection.read(lab, action, timeout), deployment=options["deployment"] or "latest", timeout=timeout
    )


def _store(made: Plan, identity: ClusterIdentity) -> StoredPlan | None:
    """Store a plan, and return its stored form; None with a warning if its folder cannot be written."""
    from restate_lab.actions.plan.store import PlanStore, StoredPlan

    stored, store = StoredPlan.of(made, identity), PlanStore()
    try:
        store.save(stored)
    except WriteFailed as error:
        warn(f"the plan cannot be executed, because it could not be stored: {error}")
        return None
    return stored


def _keep(made: Plan, identity: ClusterIdentity, cluster: str | None) -> tuple[str | None, str | None]:
    """Store a plan with targets, and return its name and the command that executes it; None if it is not stored."""
    stored = _store(made, identity) if made.targets else None
    return (None, None) if stored is None else (stored.name, _command(made, stored, cluster))


def _command(made: Plan, stored: StoredPlan, cluster: str | None) -> str:
    """Return the command that executes a stored plan."""
    expect = f" --expect {len(made.targets)}" if len(made.targets) > made.action.rule.expect_above else ""
    where = f" {shlex.join(['-e', cluster])}" if cluster is not None else ""
    return f'restate-lab execute {stored.name} --reason "{_PLACEHOLDER}"{expect}{where}'


def _execute(
    made: Plan, stored: StoredPlan, store: PlanStore, *, reason: str, expect: int | None
) -> tuple[pd.DataFrame, bool]:
    """Return the outcome of a plan, and whether it was interrupted; give it back if no request was sent."""
    try:
        return made.execute(reason=reason, expect=expect), False
    except Interrupted as error:
        warn(str(error))
        return error.outcome, True
    finally:
        if made.is_executed:
            note_change("the execution was started", shown_by="restate-lab audit", code=BAD)
        elif store.give_back(stored):
            notify(f"No request was sent: the plan can be executed again before {format_time(stored.expires_at)}.")


def _exit_code(outcome: pd.DataFrame) -> int:
    outcomes = set(outcome["outcome"])
    is_complete = outcomes <= _EXPECTED and not outcome.attrs["gone"]
    return 0 if is_complete and outcomes & _ACTED else BAD


def _review(made: Plan, command: str | None, others: Plan | None, further: str | None) -> Document:
    from restate_lab.calls import Step
    from restate_lab.document import Calls

    if not made.targets:
        return made.review("There is nothing to do.")
    if command is None:
        return made.review("Nothing was sent, and the plan was not stored.")
    review = made.review(f"Nothing was sent. To execute the plan once, before {format_time(made.expires_at)}", command)
    if others is None or further is None:
        return review
    then = Calls(Step((), f"Then the other {len(others.targets):,}, if these have succeeded", further))
    return replace(review, blocks=(*review.blocks, then))


def _print_outcome(outcome: pd.DataFrame, form: OutputFormat) -> None:
    from restate_lab.cli._output import write_frame

    counts = ", ".join(f"{n:,} {word}" for word, n in outcome.attrs["counts"].items())
    write_frame(outcome, form, about=f"{counts}; restate-lab audit --change {outcome.attrs['change']}")
