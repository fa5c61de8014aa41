"""Inspect, explain and repair a Restate cluster from a notebook.

``rl.connect()`` returns a ``Lab``. ``rl.<TAB>`` shows the menu. Read `restate_lab.guide` first::

    import restate_lab as rl

    lab = rl.connect()                  # the restate CLI's cluster; or "prod", or "http://…:9070"
    lab.sql("SELECT id FROM sys_invocation WHERE status = :status", status="paused")
    rl.doctor(lab)                      # what is wrong, worst first
    rl.ask(lab, "retry_storm")          # a named question; rl.questions() lists them
    rl.why(lab, id)                     # why it does not make progress, and what you can do
    rl.story(lab, id)                   # everything that belongs to one order, and what it waited for
    rl.contrast(lab, "failed")          # what the failing ones share that healthy ones do not
    rl.plan(lab, "resume", ids)         # nothing is sent before .execute(reason="INC-42: …")

- read: ``connect, Lab, Source, doctor, questions, ask, why, story, find, contrast, waits, journal, journal_diff,
  state``; ``show`` any frame
- weeks and months: ``archive, open_history, before_after``, and the questions per day
- agents: ``agent_runs, conversation, export_spans, save_dataset``
- check new code: ``replay``; run a recorded invocation on your code, without a server: ``debug``; write
  a test from it: ``to_test``
- interactive: ``Panel``
- plot a result: ``plot``; the functions with more options are in ``restate_lab.plots``
- change: ``ACTIONS, plan, move_to, redrive, set_state, wait_for``, and the methods of ``lab.admin`` and ``lab.ingress``
- my incident: ``note, audit_log``
- save and share: ``freeze, open_evidence, compare, save, Report, incident_report``
- types for annotations, not in the menu: ``Plan, Diagnosis, Explanation, Story, Waits, Replay, Comparison, Contrast,
  Matches, BeforeAfter, State, Conversation, Outcome, Note, RecordedTest, Evidence, History, JoinedHistory,
  PastCluster, Thresholds, AdminClient, IngressClient``; for your own source: ``Source, Coverage``; to read agents with
  payloads of your own: ``ModelStep, ToolCall``
- other: ``errors``, ``tracebacks("full")`` for developers, ``load_ipython_extension`` for ``%load_ext restate_lab``

The large parts are loaded at their first use.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

with open(f"{__file__}i", encoding="utf-8") as stub:  # noqa: PTH123 - pathlib takes longer than the rest of this import
    _IMPORTS = [line.removeprefix("from ").partition(" import ") for line in stub if line.startswith("from ")]
_MODULES = {name.partition(" as ")[0]: module for module, _, names in _IMPORTS for name in names.split(", ")}
_TYPES = {name for name in _MODULES if name[0].isupper()} - {"ACTIONS", "Lab", "Panel", "Report", "Source"}
"""Public types of results, clients and sources, for annotations and subclasses; they are not in the menu."""
_FORMER = {
    "forecast": 'Use rl.ask(lab, "draining"), or rl.ask(lab, "stuck_without", deployment="dp_…")',
}
"""Former names → what to use instead."""
__all__ = sorted(_MODULES)  # noqa: PLE0605 - a type checker reads the names in the stub


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("restate_lab.errors")
    if name == "unload_ipython_extension":  # for IPython only, so not in the menu
        return importlib.import_module("restate_lab.magics").unload_ipython_extension
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    if name.startswith("_"):
        raise AttributeError(f"module 'restate_lab' has no attribute {name!r}")
    names = __all__ if name[:1].isupper() else __dir__()
    public = importlib.import_module("restate_lab._public")
    hint = _FORMER.get(name.lower()) or public.did_you_mean(public.nearest_names(name, names))
    errors = importlib.import_module("restate_lab.errors")
    raise errors.NoSuchName(f"module 'restate_lab' has no attribute {name!r}. {hint}".removesuffix(". "))


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"} - _TYPES)
