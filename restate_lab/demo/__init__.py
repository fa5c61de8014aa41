"""An embedded restate-server with sample services and a scripted story, for learning and for tests."""

from restate_lab.demo.switch import fix

__all__ = ["fix"]
