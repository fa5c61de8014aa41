"""The stories by name."""

from __future__ import annotations

from types import MappingProxyType

from restate_lab.demo.incident import INCIDENT
from restate_lab.demo.story import FIRST_LOOK

__all__ = ["STORIES"]

STORIES = MappingProxyType({"first-look": FIRST_LOOK, "incident": INCIDENT})
