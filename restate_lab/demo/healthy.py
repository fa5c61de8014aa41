"""A good day of the order system: everything that may look suspicious, and nothing that is wrong."""

from __future__ import annotations
