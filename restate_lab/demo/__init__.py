"""A local restate-server with sample services and a scripted story, for learning and for tests."""

from restate_lab.demo.faults import break_again, fix
from restate_lab.demo.model.ledger import ledger

__all__ = ["break_again", "fix", "ledger"]
