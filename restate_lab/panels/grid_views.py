"""Which views of a grid are open and in sight: a closed tab says nothing, so each view has to say that it lives."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Views"]

SILENCE = 35.0  # seconds; a view in sight speaks every 10, and a busy kernel hears it later
MOST = 100


class Views:
    """The views of one grid by the id that each made up for itself; ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[str, float] = {}
        self._in_sight: dict[str, bool] = {}

    def hear(self, view: str, *, in_sight: bool) -> None:
        """Note that a view lives, and whether a reader can see it now."""
        self._heard.pop(view, None)
        self._heard[view] = self._clock()
        self._in_sight[view] = in_sight
        for oldest in list(self._heard)[:-MOST]:
            self.forget(oldest)

    def forget(self, view: str) -> None:
        """Note that a view was closed."""
        self._heard.pop(view, None)
        self._in_sight.pop(view, None)

    def any_in_sight(self) -> bool:
        """Tell whether a reader can see one; what has been silent for too long is taken for closed."""
        for view, heard in list(self._heard.items()):
            if self._in_sight.get(view) and self._clock() - heard > SILENCE:
                self.forget(view)
        return any(self._in_sight.values())

    def __len__(self) -> int:
        return len(self._heard)
