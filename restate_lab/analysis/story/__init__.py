"""Everything that belongs to one order, one conversation or one trace: ``story()``."""

from __future__ import annotations

from typing import Any

from restate_lab.analysis.story.result import Story
from restate_lab.analysis.times import TimeInput
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.source import Source

__all__ = ["Story", "story"]


@translate_errors
def story(
    source: Source,
    what: Any = None,
    /,
    *,
    key: str | None = None,
    trace: str | None = None,
    since: TimeInput = "24h",
    search: bool = False,
    timeout: DurationInput | None = "30s",
) -> Story:
    """Return all invocations that belong together, with their edges and the critical path.

    rl.story(lab, "inv_1…")
    rl.story(lab, key="Order/4711", since="3d")
    """
    raise NotImplementedError
