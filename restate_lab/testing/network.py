"""Refuse the network to the thread of a replay, and to no other thread of the process.

Sockets can be created, because each event loop has a pair of them; they cannot be connected or bound. Code that catches
the error goes on, so the uses are also recorded.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from restate_lab.testing.errors import NetworkUsed
from restate_lab.testing.frames import place_in_frames, stack_of

_METHODS = ("connect", "connect_ex", "bind")
_ADVICE = "Put it into a step, or pass allow_network=True."
_IMPORT = "<frozen importlib"
_LOCK = threading.Lock()
_GUARDED = threading.local()
_originals: dict[str, Any] = {}
_users = 0


@contextlib.contextmanager
def without_network(uses: list[NetworkUsed], *, allow: bool = False) -> Iterator[Callable[[], None]]:
    """Refuse the network to this thread until the end of the block, and append each use to ``uses``; or ``allow`` it.

    The value is a function that refuses it to another thread, in which it is called. The functions of ``socket`` are
    replaced while any thread is in such a block, and pass other threads through.
    """
    if allow:
        yield lambda: None
        return
    _GUARDED.uses = uses
    _install()
    try:
        yield lambda: setattr(_GUARDED, "uses", uses)
    finally:
        del _GUARDED.uses
        _uninstall()


def _install() -> None:
    global _users  # noqa: PLW0603 - the functions of socket belong to the process
    with _LOCK:
        _users += 1
        if _users > 1:
            return
        for name in _METHODS:
            _originals[name] = vars(socket.socket).get(name)  # None: the class inherits it
            setattr(socket.socket, name, _refusing_method(name, getattr(socket.socket, name)))
        _originals["getaddrinfo"] = socket.getaddrinfo
        socket.getaddrinfo = _refusing_lookup(socket.getaddrinfo)


def _uninstall() -> None:
    global _users  # noqa: PLW0603
    with _LOCK:
        _users -= 1
        if _users:
            return
        for name in _METHODS:
            original = _originals.pop(name)
            if original is None:
                delattr(socket.socket, name)
            else:
                setattr(socket.socket, name, original)
        socket.getaddrinfo = _originals.pop("getaddrinfo")


def _refusing_method(name: str, original: Any) -> Any:
    def call(self: socket.socket, address: Any, /) -> Any:
        _refuse(name, address)
        return original(self, address)

    return call


def _refusing_lookup(original: Any) -> Any:
    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse("getaddrinfo", (host, port))
        return original(host, port, *args, **kwargs)

    return getaddrinfo


def _refuse(what: str, address: Any) -> None:
    """Raise if the network is refused to this thread."""
    uses = getattr(_GUARDED, "uses", None)
    if uses is None:
        return
    verb = "listened on" if what == "bind" else "opened a connection to"
    place = ":".join(str(part) for part in address[:2]) if isinstance(address, tuple) else str(address)
    stack = stack_of(sys._getframe())  # noqa: SLF001 - a library may catch the error, and lose the line
    line = place_in_frames(stack)
    where = f" at {line}" if line else ""
    error = NetworkUsed(f"the code {verb} {place!r}{where}, outside of a step. {_ADVICE}")
    error.is_import = any(each.f_code.co_filename.startswith(_IMPORT) for each in stack)
    uses.append(error)
    raise error
