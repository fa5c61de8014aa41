"""An embedded restate-server with sample services and a scripted story, for learning and for tests."""

from restate_lab.demo.switch import break_again, fix

__all__ = ["break_again", "fix"]
