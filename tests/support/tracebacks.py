"""The contents of a verbose traceback: which of its files belong to the toolkit, wherever the checkout is."""

from __future__ import annotations

import traceback
from pathlib import Path

import restate_lab

PACKAGE = Path(restate_lab.__file__).parent


def is_ours(file: str) -> bool:
    return Path(file).is_relative_to(PACKAGE)


def our_locals(error: BaseException) -> str:
    """Return the local variables of the toolkit's frames, as a verbose traceback shows them."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame.locals for frame in shown.stack if is_ours(frame.filename)]
    assert ours
    return str(ours)
