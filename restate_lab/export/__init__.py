"""Write frames to files for other programs: CSV, Parquet, JSON lines, xlsx."""

from __future__ import annotations

from restate_lab.export.files import save

__all__ = ["save"]
