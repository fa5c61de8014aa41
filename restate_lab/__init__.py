"""Inspect, explain and repair a Restate cluster from a notebook.

``rl.connect()`` returns a ``Lab``. ``rl.<TAB>`` shows the menu. Read `restate_lab.guide` first::

    import restate_lab as rl

    lab = rl.connect()                  # the restate CLI's cluster; or "prod", or "http://…:9070"
    lab.sql("SELECT id FROM sys_invocation WHERE status = :status", status="paused")
    rl.doctor(lab)                      # what is wrong, worst first
    rl.ask(lab, "retry_storm")          # a named question; rl.questions() lists them
    rl.why(lab, id)                     # why it does not make progress, and what you can do
    rl.plan(lab, "resume", ids)         # nothing is sent before .execute(reason="INC-42: …")

- read: ``connect, Lab, Source, doctor, questions, ask, why, waits, journal, journal_diff, state``; ``show`` any frame
- weeks and months: ``archive, open_history, before_after``, and the questions per day
- agents: ``agent_runs, agent_tools, conversation, export_spans, save_dataset``
- check new code: ``replay``
- interactive: ``Panel``
- plot a result: ``plot``; the functions with more options are in ``restate_lab.plots``
- change: ``ACTIONS, plan, move_to, redrive, set_state, wait_for, audit_log``, and the methods of ``lab.admin`` and
  ``lab.ingress``
- save and share: ``freeze, open_evidence, compare, save, Report, incident_report``
- types for annotations, not in the menu: ``Plan, Diagnosis, Explanation, Waits, Replay, Comparison, BeforeAfter,
  State, Conversation, Evidence, History, Thresholds, AdminClient, IngressClient``; to write your own source:
  ``BaseSource, Coverage``; to read agents with payloads of your own: ``ModelStep, ToolCall``
- other: ``errors``, ``tracebacks("full")`` for developers, ``load_ipython_extension`` for ``%load_ext restate_lab``

The large parts are loaded at their first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restate_lab import errors
    from restate_lab._html.table import show
    from restate_lab.actions.plan import move_to, plan
    from restate_lab.actions.plan.model import Plan
    from restate_lab.actions.redrive import redrive
    from restate_lab.actions.rules import ACTIONS
    from restate_lab.actions.state import set_state, state
    from restate_lab.actions.state.model import State
    from restate_lab.actions.wait import wait_for
    from restate_lab.analysis.agents import agent_runs, conversation
    from restate_lab.analysis.agents.model import ModelStep, ToolCall
    from restate_lab.analysis.agents.result import Conversation
    from restate_lab.analysis.agents.tools import agent_tools
    from restate_lab.analysis.ask import ask
    from restate_lab.analysis.before_after import BeforeAfter, before_after
    from restate_lab.analysis.doctor import doctor
    from restate_lab.analysis.doctor.diagnosis import Diagnosis
    from restate_lab.analysis.doctor.thresholds import Thresholds
    from restate_lab.analysis.journal import journal
    from restate_lab.analysis.journal.diff import journal_diff
    from restate_lab.analysis.questions import questions
    from restate_lab.analysis.replay import replay
    from restate_lab.analysis.replay.result import Replay
    from restate_lab.analysis.waits import waits
    from restate_lab.analysis.waits.result import Waits
    from restate_lab.analysis.why import why
    from restate_lab.analysis.why.explanation import Explanation
    from restate_lab.audit import audit_log
    from restate_lab.client.admin import AdminClient
    from restate_lab.client.ingress import IngressClient
    from restate_lab.client.lab import Lab, connect
    from restate_lab.errors import tracebacks
    from restate_lab.evidence.compare import Comparison, compare
    from restate_lab.evidence.freeze import freeze
    from restate_lab.evidence.store import Evidence, open_evidence
    from restate_lab.export.dataset import save_dataset
    from restate_lab.export.files import save
    from restate_lab.export.spans import export_spans
    from restate_lab.history.archive import archive
    from restate_lab.history.source import History, open_history
    from restate_lab.magics import load_ipython_extension
    from restate_lab.panels.panel import Panel
    from restate_lab.plots import plot
    from restate_lab.reports.incident import incident_report
    from restate_lab.reports.report import Report
    from restate_lab.source import BaseSource, Coverage, Source

__version__ = "0.1.0"

__all__ = [
    "ACTIONS",
    "AdminClient",
    "BaseSource",
    "BeforeAfter",
    "Comparison",
    "Conversation",
    "Coverage",
    "Diagnosis",
    "Evidence",
    "Explanation",
    "History",
    "IngressClient",
    "Lab",
    "ModelStep",
    "Panel",
    "Plan",
    "Replay",
    "Report",
    "Source",
    "State",
    "Thresholds",
    "ToolCall",
    "Waits",
    "agent_runs",
    "agent_tools",
    "archive",
    "ask",
    "audit_log",
    "before_after",
    "compare",
    "connect",
    "conversation",
    "doctor",
    "errors",
    "export_spans",
    "freeze",
    "incident_report",
    "journal",
    "journal_diff",
    "load_ipython_extension",
    "move_to",
    "open_evidence",
    "open_history",
    "plan",
    "plot",
    "questions",
    "redrive",
    "replay",
    "save",
    "save_dataset",
    "set_state",
    "show",
    "state",
    "tracebacks",
    "wait_for",
    "waits",
    "why",
]

_TYPES = frozenset(
    {
        "AdminClient",
        "BaseSource",
        "BeforeAfter",
        "Comparison",
        "Conversation",
        "Coverage",
        "Diagnosis",
        "Evidence",
        "Explanation",
        "History",
        "IngressClient",
        "ModelStep",
        "Plan",
        "Replay",
        "State",
        "Thresholds",
        "ToolCall",
        "Waits",
    }
)
"""Public types of results, clients and sources, for annotations and subclasses; they are not in the menu."""

_HOME = {
    "ACTIONS": "restate_lab.actions.rules",
    "AdminClient": "restate_lab.client.admin",
    "BaseSource": "restate_lab.source",
    "BeforeAfter": "restate_lab.analysis.before_after",
    "Comparison": "restate_lab.evidence.compare",
    "Conversation": "restate_lab.analysis.agents.result",
    "Coverage": "restate_lab.source",
    "Diagnosis": "restate_lab.analysis.doctor.diagnosis",
    "Evidence": "restate_lab.evidence.store",
    "Explanation": "restate_lab.analysis.why",
    "History": "restate_lab.history.source",
    "IngressClient": "restate_lab.client.ingress",
    "Lab": "restate_lab.client.lab",
    "ModelStep": "restate_lab.analysis.agents.model",
    "Panel": "restate_lab.panels.panel",
    "Plan": "restate_lab.actions.plan.model",
    "Replay": "restate_lab.analysis.replay.result",
    "Report": "restate_lab.reports.report",
    "Source": "restate_lab.source",
    "State": "restate_lab.actions.state.model",
    "Thresholds": "restate_lab.analysis.doctor.thresholds",
    "ToolCall": "restate_lab.analysis.agents.model",
    "Waits": "restate_lab.analysis.waits.result",
    "agent_runs": "restate_lab.analysis.agents",
    "agent_tools": "restate_lab.analysis.agents.tools",
    "archive": "restate_lab.history.archive",
    "ask": "restate_lab.analysis.ask",
    "audit_log": "restate_lab.audit",
    "before_after": "restate_lab.analysis.before_after",
    "compare": "restate_lab.evidence.compare",
    "connect": "restate_lab.client.lab",
    "conversation": "restate_lab.analysis.agents",
    "doctor": "restate_lab.analysis.doctor",
    "export_spans": "restate_lab.export.spans",
    "freeze": "restate_lab.evidence.freeze",
    "incident_report": "restate_lab.reports.incident",
    "journal": "restate_lab.analysis.journal",
    "journal_diff": "restate_lab.analysis.journal.diff",
    "load_ipython_extension": "restate_lab.magics",
    "move_to": "restate_lab.actions.plan",
    "open_evidence": "restate_lab.evidence.store",
    "open_history": "restate_lab.history.source",
    "plan": "restate_lab.actions.plan",
    "plot": "restate_lab.plots",
    "questions": "restate_lab.analysis.questions",
    "redrive": "restate_lab.actions.redrive",
    "replay": "restate_lab.analysis.replay",
    "save": "restate_lab.export.files",
    "save_dataset": "restate_lab.export.dataset",
    "set_state": "restate_lab.actions.state",
    "show": "restate_lab._html.table",
    "state": "restate_lab.actions.state",
    "tracebacks": "restate_lab.errors",
    "unload_ipython_extension": "restate_lab.magics",  # for IPython only, so not in the menu
    "wait_for": "restate_lab.actions.wait",
    "waits": "restate_lab.analysis.waits",
    "why": "restate_lab.analysis.why",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("restate_lab.errors")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    names = __all__ if name[:1].isupper() else __dir__()
    public = importlib.import_module("restate_lab._public")
    hint = "" if name.startswith("_") else public.did_you_mean(public.nearest_names(name, names))
    raise AttributeError(f"module 'restate_lab' has no attribute {name!r}. {hint}".removesuffix(". "))


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"} - _TYPES)
