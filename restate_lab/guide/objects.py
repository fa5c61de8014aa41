"""What the functions give: objects with frames inside and a card outside."""

from __future__ import annotations

from restate_lab.actions.planned import Plan
from restate_lab.actions.state_reading import State
from restate_lab.analysis.checks.thresholds import Thresholds
from restate_lab.analysis.doctor_diagnosis import Diagnosis
from restate_lab.analysis.waits import Waits
from restate_lab.analysis.why import Explanation
from restate_lab.client.admin import AdminClient
from restate_lab.client.ingress import IngressClient
from restate_lab.evidence.compare import Comparison
from restate_lab.evidence.store import Evidence

__all__ = [
    "AdminClient",
    "Comparison",
    "Diagnosis",
    "Evidence",
    "Explanation",
    "IngressClient",
    "Plan",
    "State",
    "Thresholds",
    "Waits",
]
