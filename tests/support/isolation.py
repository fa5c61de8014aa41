"""Keep a test session away from the developer's configuration and from the network."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

ORIGINAL: Mapping[str, str] = dict(os.environ)
OURS = ("RESTATE_LAB_NO_SKIP", "RESTATE_LAB_SCREENSHOTS")


def private_environment(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Point every folder that programs read to an empty one, and remove the caller's Restate settings."""
    for name in os.environ:
        if name.startswith(("RESTATE_", "JUPYTER", "IPYTHON")) and name not in OURS:
            patch.delenv(name)
    patch.setenv("HOME", str(home))
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    patch.setenv("IPYTHONDIR", str(home / "ipython"))


@contextlib.contextmanager
def original_environment() -> Iterator[None]:
    """Restore the developer's own environment temporarily: npm and its cache need it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(ORIGINAL):
            patch.delenv(name)
        for name, value in ORIGINAL.items():
            patch.setenv(name, value)
        yield


def allow_only_loopback(patch: pytest.MonkeyPatch) -> None:
    """Refuse every connection of this process that would leave the machine."""
    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, _guard(getattr(socket.socket, name)))


def _guard(connect: Any) -> Any:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family != socket.AF_UNIX and not _is_loopback(str(address[0])):
            msg = f"a test tried to connect to {address}"
            raise AssertionError(msg)
        return connect(self, address)

    return guarded


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")
