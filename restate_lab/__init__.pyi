# The public names and their modules, for type checkers and for ``__init__.py``, which reads this file.

from restate_lab import errors as errors
from restate_lab._html.table import show as show
from restate_lab.actions.note import note as note
from restate_lab.actions.note.model import Note as Note
from restate_lab.actions.plan import move_to as move_to, plan as plan
from restate_lab.actions.plan.model import Plan as Plan
from restate_lab.actions.redrive import redrive as redrive
from restate_lab.actions.rules import ACTIONS as ACTIONS
from restate_lab.actions.state import set_state as set_state, state as state
from restate_lab.actions.state.model import State as State
from restate_lab.actions.wait import wait_for as wait_for
from restate_lab.analysis.agents import agent_runs as agent_runs, conversation as conversation
from restate_lab.analysis.agents.model import ModelStep as ModelStep, ToolCall as ToolCall
from restate_lab.analysis.agents.result import Conversation as Conversation
from restate_lab.analysis.ask import ask as ask
from restate_lab.analysis.before_after import BeforeAfter as BeforeAfter, before_after as before_after
from restate_lab.analysis.contrast import contrast as contrast
from restate_lab.analysis.contrast.result import Contrast as Contrast
from restate_lab.analysis.doctor import doctor as doctor
from restate_lab.analysis.doctor.diagnosis import Diagnosis as Diagnosis
from restate_lab.analysis.doctor.thresholds import Thresholds as Thresholds
from restate_lab.analysis.find import find as find
from restate_lab.analysis.find.result import Matches as Matches
from restate_lab.analysis.journal import journal as journal
from restate_lab.analysis.journal.diff import journal_diff as journal_diff
from restate_lab.analysis.questions import questions as questions
from restate_lab.analysis.replay import replay as replay
from restate_lab.analysis.replay.result import Replay as Replay
from restate_lab.analysis.story import story as story
from restate_lab.analysis.story.result import Story as Story
from restate_lab.analysis.waits import waits as waits
from restate_lab.analysis.waits.result import Waits as Waits
from restate_lab.analysis.why import why as why
from restate_lab.analysis.why.explanation import Explanation as Explanation
from restate_lab.audit import audit_log as audit_log
from restate_lab.client.admin import AdminClient as AdminClient
from restate_lab.client.ingress import IngressClient as IngressClient
from restate_lab.client.lab import Lab as Lab
from restate_lab.debugging import Outcome as Outcome, debug as debug
from restate_lab.debugging.to_test import to_test as to_test
from restate_lab.debugging.to_test.result import RecordedTest as RecordedTest
from restate_lab.errors import tracebacks as tracebacks
from restate_lab.evidence.compare import Comparison as Comparison, compare as compare
from restate_lab.evidence.freeze import freeze as freeze
from restate_lab.evidence.store import Evidence as Evidence, open_evidence as open_evidence
from restate_lab.export.dataset import save_dataset as save_dataset
from restate_lab.export.files import save as save
from restate_lab.export.spans import export_spans as export_spans
from restate_lab.history import connect as connect
from restate_lab.history.archive import archive as archive
from restate_lab.history.joined import JoinedHistory as JoinedHistory
from restate_lab.history.opening import open_history as open_history
from restate_lab.history.past import PastCluster as PastCluster
from restate_lab.history.source import History as History
from restate_lab.magics import load_ipython_extension as load_ipython_extension
from restate_lab.panels.panel import Panel as Panel
from restate_lab.plots import plot as plot
from restate_lab.reports.incident import incident_report as incident_report
from restate_lab.reports.report import Report as Report
from restate_lab.source import Coverage as Coverage, Source as Source

__all__: list[str]  # noqa: PYI035 - the names above
__version__: str
_MODULES: dict[str, str]
_TYPES: set[str]
