"""``%load_ext restate_lab``: the magics ``%restate`` and ``%%restate``, completion for them, and readable frames.

Each shell has its own magics object, which holds the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from restate_lab._public import explained, require_packages

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


@explained
def load_ipython_extension(ip: InteractiveShell, /) -> None:
    """Add ``%restate``, ``%%restate``, their completion and readable frames; ``%load_ext restate_lab`` calls this.

    Raises:
        MissingExtra: IPython is not installed.
    """
    require_packages("the extension", "IPython")
    from restate_lab.magics.magic import register  # noqa: PLC0415 - the public names include this function

    register(ip)


def unload_ipython_extension(ip: InteractiveShell, /) -> None:
    """Remove the additions of ``load_ipython_extension``; ``%unload_ext restate_lab`` calls this."""
    from restate_lab.magics.magic import unregister  # noqa: PLC0415 - as above

    unregister(ip)
