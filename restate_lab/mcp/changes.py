"""The tools that plan and execute: a plan sends nothing, and a person approves its execution, not the assistant."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, Field

from restate_lab._text import escape_invisible, plural
from restate_lab.actions.change import Change
from restate_lab.actions.plan import make_plan
from restate_lab.actions.plan.model import Plan
from restate_lab.actions.plan.text import shorten_cell
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.replay import replay as replay_journals
from restate_lab.analysis.replay.check import CONTACT, deployment_address, encryption_warning
from restate_lab.client.arguments import check_reason
from restate_lab.errors import ArgumentError, PlanExpired, RestateLabError
from restate_lab.identity import ClusterIdentity, why_not_same
from restate_lab.mcp.approvals import ApprovalRequest, ApprovalStore, new_request_id
from restate_lab.mcp.budget import Budget
from restate_lab.mcp.reads import TIMEOUT, InvocationId, Parameters, Rows, Skip, ToolOutput, answer, run_named_question
from restate_lab.reads import Reads, read_identity, why_not_the_cluster
from restate_lab.sources import Sources

_BUDGET = Budget(50, 32_000)
_MOST_REQUESTS = 50  # that wait for a person
_MOST_PLANS = 20  # in memory; a plan lives for 15 minutes
_LIFETIME = timedelta(minutes=15)
_EXECUTE = "To execute it, call execute_plan; a person must approve that."
_READ_ONLY = "This server is read-only, so it cannot execute the plan: the person can restart it with --allow-changes."
_MOST_SHOWN = 10  # ids of a replay that a person confirms
_SHOWN = ("expires_at", "undo", "at_once", "capacity", "warnings", "not_read", "counts", "invocations", "impact")
_IN_A_TERMINAL = "in a terminal"

PlanId = Annotated[str, Field(description="The id of a plan (plan-…).", max_length=40)]
Reason = Annotated[
    str,
    Field(description="The reason for the audit log, such as 'INC-42: the API is back'.", min_length=3, max_length=300),
]
Deployment = Annotated[
    str, Field(description="An address (http://…), or a registered deployment (dp_…).", max_length=500)
]


class Confirmation(BaseModel):
    """The answer of a person in the client."""

    answer: str = Field(description="Type the requested text to approve.", max_length=600)


@dataclass(frozen=True, slots=True)
class ReplayTargets:
    """The invocations whose journals are replayed, and their source."""

    ids: list[str] | None
    service: str | None
    handler: str | None
    sample: int
    source: str | None

    @property
    def selection(self) -> Any:
        """Return the ids, or the filters of the list of invocations."""
        filters = {"service": self.service, "handler": self.handler}
        return {name: value for name, value in filters.items() if value} if self.ids is None else self.ids

    def digest(self, address: str) -> str:
        """Return the digest of what a replay at an address sends, for its approval."""
        return hashlib.sha256(json.dumps([address, *astuple(self)]).encode()).hexdigest()

    def __str__(self) -> str:
        if self.ids is not None:
            rest = len(self.ids) - _MOST_SHOWN
            more = f" … and {rest:,} more; the arguments of the call have them" if rest > 0 else ""
            selected = f"{', '.join(map(shorten_cell, self.ids[:_MOST_SHOWN]))}{more}"
        else:
            filters = "".join(f" of {name} {shorten_cell(json.dumps(value))}" for name, value in self.selection.items())
            selected = f"all{filters} that have not ended"
        return f"{selected}; at most {self.sample:,} journals, from {self.source or 'the default source'}"


class Approval(BaseModel):
    """The decision of a person: the answer in the client, or None if the client cannot ask."""

    answer: str | None = None
    declined: bool = False


class ChangeTools:
    """The tools that plan changes, and the functions of those that make them."""

    def __init__(self, sources: Sources, store: ApprovalStore, *, can_execute: bool) -> None:
        self._sources = sources
        self._store = store
        self._next = _EXECUTE if can_execute else _READ_ONLY
        self._lock = threading.RLock()
        self._plans: dict[str, tuple[Plan, ClusterIdentity]] = {}
        self._requests: dict[str, ApprovalRequest] = {}
        self._unused: set[str] = set()  # the digests of approvals that were given back

    def tools(self) -> list[Callable[..., ToolOutput]]:
        """Return the tools that send nothing."""
        return [self.plan, self.show_plan]

    def plan(
        self,
        action: Annotated[ACTIONS, Field(description="The action on each invocation.")],
        ids: Annotated[list[InvocationId] | None, Field(description="The invocations.", max_length=1_000)] = None,
        question: Annotated[
            str | None, Field(description="Or a question whose rows have ids: retry_storm_ids.", max_length=100)
        ] = None,
        parameters: Parameters = {},  # noqa: B006 - the schema has the default; it is never changed
        deployment: Annotated[
            str | None, Field(description="latest, keep or dp_…: for resume, restart and move.", max_length=100)
        ] = None,
        include_callees: bool = False,
    ) -> ToolOutput:
        """Plan an action on invocations, and show its effect on each; nothing is sent.

        The plan is valid for 15 minutes. A person must approve its execution, outside of this conversation.
        """
        lab = self._sources.lab
        reads, targets = Reads(lab), self._targets(ids, question, parameters)
        change = Change(action, deployment, include_callees=include_callees, timeout=TIMEOUT)
        plan, plan_id = make_plan(lab, change, targets, reads=reads), new_request_id("plan")
        cluster = read_identity(reads)
        with self._lock:
            self._plans[plan_id] = plan, cluster
            for old in list(self._plans)[:-_MOST_PLANS]:
                del self._plans[old]
        return self._show(plan_id, plan, rows=_BUDGET.rows, skip=0, queries=reads.queries)

    def show_plan(self, plan: PlanId, rows: Rows = _BUDGET.rows, skip: Skip = 0) -> ToolOutput:
        """Show a plan again, with the rows after the first ones."""
        known, _ = self._plan(plan)
        return self._show(plan, known, rows=rows, skip=skip)

    def execution_request(self, plan_id: str, reason: str) -> ApprovalRequest:
        """Return what a person approves before a plan is executed; it is the same one for the same reason."""
        check_reason(reason)
        plan, cluster = self._plan(plan_id)
        if plan.is_executed:
            raise PlanExpired("this plan was already executed; make a new one.")
        count = len(plan.targets)
        if not count:
            raise ArgumentError(
                "the plan has no targets, so there is nothing to execute; its list excluded has the reasons."
            )
        check_reason(reason)
        request = ApprovalRequest(
            plan_id,
            f"{plan.approval_text}\nReason: {escape_invisible(reason, lines=False)}",
            f"{plan.action} {plural(count, 'invocation')} on {plan.source}. To approve, type:",
            str(count),
            plan.digest,
            plan.expires_at,
            cluster,
        )
        return self._same_request(["execute_plan", plan_id, reason], request)

    def replay_request(self, deployment: str, targets: ReplayTargets) -> ApprovalRequest:
        """Return what a person approves before recorded journals are sent to a deployment."""
        source = self._sources.get(targets.source)
        address = deployment_address(source, deployment)
        request = ApprovalRequest(
            new_request_id("replay"),
            f"Recorded journals, with their payloads, are sent to {address}.\n{CONTACT.format(address=address)}\n"
            f"{encryption_warning(address)}\n"
            f"Invocations: {escape_invisible(str(targets), lines=False)}",
            "Replay recorded journals. To approve, type:",
            address,
            targets.digest(address),
            datetime.now(UTC) + _LIFETIME,
            read_identity(source) if source.live else None,
        )
        return self._same_request(["replay", deployment, repr(targets)], request)

    def execute(self, plan_id: str, reason: str, approval: Approval, client: str) -> ToolOutput:
        """Execute a plan if a person approved it, and return one row per invocation."""
        request, (plan, cluster) = self.execution_request(plan_id, reason), self._plan(plan_id)
        request.check_cluster(why_not_the_cluster(self._sources.lab, cluster))
        how = self._approve(request, approval)
        if how is None:
            return self._waiting(request)
        if plan.digest != request.targets:
            raise PlanExpired("the plan changed after its approval, so nothing was sent; make a new one.")
        note = f"{reason} (through restate-lab mcp for {client}, approved {how})"
        try:
            outcome = plan.execute(reason=note, expect=int(request.expected), progress=False)
        except RestateLabError:
            if how == _IN_A_TERMINAL and not plan.is_executed:
                self._give_back(["execute_plan", plan_id, reason], request)
            raise
        counts = {str(name): int(count) for name, count in outcome["outcome"].value_counts().items()}
        data = {
            "plan": plan_id,
            "status": "executed",
            "counts": counts,
            "change": outcome.attrs.get("change"),
            "outcomes": outcome,
        }
        return answer(plan.source, data, _BUDGET, at=datetime.now(UTC))

    def replay(self, deployment: str, targets: ReplayTargets, approval: Approval) -> ToolOutput:
        """Replay recorded journals on a deployment if a person approved its address."""
        request = self.replay_request(deployment, targets)
        if self._approve(request, approval) is None:
            return self._waiting(request)
        result = replay_journals(
            self._sources.get(targets.source),
            targets.selection,
            deployment,
            sample=targets.sample,
            timeout=TIMEOUT,
            confirm=request.expected,
            progress=False,
        )
        return answer(result.source, result.to_json(), _BUDGET, at=result.read_at, queries=result.queries)

    def _approve(self, request: ApprovalRequest, approval: Approval) -> str | None:
        """Return how a person approved a request, or None if the approval is still missing."""
        if approval.declined:
            self._forget(request)
            raise ArgumentError("the person declined, so nothing was sent; do not ask again without a new reason.")
        request.check_time()
        if approval.answer is None:
            return _IN_A_TERMINAL if self._take_or_save(request) else None
        if approval.answer.strip() != request.expected:
            raise ArgumentError("the answer of the person is not the requested text, so nothing was sent.")
        self._forget(request)
        return "in the client"

    def _take_or_save(self, request: ApprovalRequest) -> bool:
        """Return whether a person approved the request in a terminal; otherwise store it for the terminal.

        Of several calls, one gets the approval, and no other call stores the request again.
        """
        with self._lock:
            if request.digest in self._unused or self._store.take(request):
                self._forget(request)
                return True
            if not any(each is request for each in self._requests.values()):
                raise ArgumentError("another call used or dropped this request, so this call sent nothing; call again.")
            self._store.save(request)
        return False

    def _give_back(self, key: list[str], request: ApprovalRequest) -> None:
        """Keep the approval of a request that sent nothing, for a call with the same arguments.

        It is kept in memory: nothing was sent because a file could not be written, and the same disk has the approvals.
        """
        with self._lock:
            self._requests[json.dumps(key)] = request
            self._unused.add(request.digest)

    def _waiting(self, request: ApprovalRequest) -> ToolOutput:
        data = {
            "id": request.id,
            "status": "waiting for the approval of a person; nothing was sent",
            "command": request.command,
            "next": "Ask the person to run the command in their own terminal, then call this tool again with the same "
            "arguments. You cannot approve it: the command reads its answer from a terminal only.",
            "expires_at": request.expires_at.isoformat(),
        }
        return answer("server", data, _BUDGET, at=datetime.now(UTC))

    def _same_request(self, key: list[str], request: ApprovalRequest) -> ApprovalRequest:
        """Return the earlier request with this key if a person would read the same, otherwise this one.

        Raises:
            PlanExpired: the earlier one is about a cluster that may be another one; it is removed.
        """
        name = json.dumps(key)
        with self._lock:
            known = self._requests.get(name)
            if known is not None and datetime.now(UTC) <= known.expires_at and known.is_same(request):
                reason = "" if request.cluster is None else why_not_same(known.cluster, request.cluster)
                if reason:
                    self._forget(known)
                known.check_cluster(reason)
                return known
            self._requests[name] = request
            old = list(self._requests)[:-_MOST_REQUESTS]
            dropped = [self._requests.pop(each) for each in old]
            ids = {each.id for each in self._requests.values()}  # a plan can have another request, with the same file
        for each in dropped:
            if each.id not in ids:
                self._store.discard(each)
        return request

    def _forget(self, request: ApprovalRequest) -> None:
        self._store.discard(request)
        with self._lock:
            self._unused.discard(request.digest)
            self._requests = {name: each for name, each in self._requests.items() if each.id != request.id}

    def _targets(self, ids: list[str] | None, question: str | None, parameters: Mapping[str, Any]) -> Any:
        if (ids is None) == (question is None):
            raise ArgumentError("pass either ids or question, and not both of them.")
        if question is None:
            return ids
        frame = run_named_question(self._sources.lab, question, parameters)
        if "truncated" in frame.attrs:
            raise ArgumentError(
                f"the question {question} has more rows than its limit, and a plan needs all of them: pass a "
                f"higher limit in parameters, or select fewer invocations."
            )
        return frame

    def _plan(self, plan_id: str) -> tuple[Plan, ClusterIdentity]:
        with self._lock:
            known = self._plans.get(plan_id)
        if known is None:
            raise ArgumentError(f"this session does not have the plan {plan_id!r}; make one with the tool plan.")
        return known

    def _show(self, plan_id: str, plan: Plan, *, rows: int, skip: int, queries: Any = ()) -> ToolOutput:
        facts = plan.to_json()
        data = {
            "plan": plan_id,
            "action": facts["action"],
            "targets": facts["targets"],
            "executed": plan.is_executed,
            "next": self._next,
            **{name: facts[name] for name in _SHOWN if name in facts},
        }
        return answer(plan.source, data, Budget(rows, _BUDGET.bytes), at=plan.read_at, queries=queries, skip=skip)
