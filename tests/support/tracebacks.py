"""The contents of a verbose traceback: which of its files belong to the toolkit, wherever the checkout is."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import restate_lab

PACKAGE = Path(restate_lab.__file__).parent


def is_ours(file: str) -> bool:
    return Path(file).is_relative_to(PACKAGE)


def our_locals(error: BaseException) -> str:
    """Return the local variables of the toolkit's frames, also of causes, as a verbose traceback shows them."""
    ours: list[Any] = []
    shown: BaseException | None = error
    while shown is not None:
        frames = traceback.TracebackException.from_exception(shown, capture_locals=True).stack
        ours += [frame.locals for frame in frames if is_ours(frame.filename)]
        shown = shown.__cause__ or shown.__context__
    assert ours
    return str(ours)
