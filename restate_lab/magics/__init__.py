"""``%load_ext restate_lab``: the magics ``%restate`` and ``%%restate``, and completion for them.

What was loaded belongs to the shell that loaded it: its magics object holds the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from restate_lab.interrupts import Shield

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load_ipython_extension", "unload_ipython_extension"]


def load_ipython_extension(ip: InteractiveShell, /) -> None:
    """Add ``%restate``, ``%%restate`` and their completion to a shell; ``%load_ext restate_lab`` calls this."""
    with Shield():
        from restate_lab.magics.magic import register  # noqa: PLC0415 - the command line uses this package without IPython

    register(ip)


def unload_ipython_extension(ip: InteractiveShell, /) -> None:
    """Take away what ``load_ipython_extension`` added; ``%unload_ext restate_lab`` calls this."""
    with Shield():
        from restate_lab.magics.magic import unregister  # noqa: PLC0415 - as above

    unregister(ip)
