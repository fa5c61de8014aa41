"""Refuse the network and new processes to the thread of a replay and to the threads that it starts, and to no other.

An audit hook of the interpreter sees each use, also through modules that a library imported before. A hook is for the
life of the process, so the first replay adds it, and it returns at once for other threads. A send on an open connection
has no event, nor has the start of a thread or a call that is handed to a pool: these methods are replaced while a
replay runs.

Sockets can be created, because each event loop has a pair of them. Code that catches the error goes on, so the uses are
also recorded. ``NOT_REFUSED`` has what no event shows.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from restate_lab.testing.errors import NetworkUsed
from restate_lab.testing.frames import CodePlace, place_in_frames, stack_of

NOT_REFUSED = (
    "libraries in C or Rust (grpcio, librdkafka, libpq, ctypes), threads that ran before, and threads that code starts "
    "with _thread or under debugpy"
)
"""What can use the network in a replay all the same: the text of each written test, its card, and the guide."""
_USES = MappingProxyType(
    {
        "socket.connect": "opened a connection to",
        "socket.bind": "listened on",
        "socket.sendto": "sent data to",
        "socket.sendmsg": "sent data to",
        "socket.getaddrinfo": "looked up",
        "socket.gethostbyname": "looked up",
        "socket.gethostbyaddr": "looked up",
        "socket.getnameinfo": "looked up",
        "subprocess.Popen": "started the program",
        "os.posix_spawn": "started the program",
        "os.exec": "started the program",
        "os.system": "started a shell",
        "os.fork": "started a process",
        "os.forkpty": "started a process",
    }
)
"""What a refused use did, by the audit event of Python that shows it."""
_SENDS = ("send", "sendall")
_ADVICE = "Put it into a step, or pass allow_network=True."
_IMPORT = "<frozen importlib"
_LOCK = threading.Lock()
_THREAD = threading.local()
_replaced: list[tuple[Any, str, Any]] = []
_users = 0
_is_hooked = False


@dataclass(frozen=True, slots=True)
class _Guard:
    """The refusal to one thread: ``uses`` gets what is refused.

    ``is_apart``: the code started the thread. A library that sends there, such as an exporter of traces, does not end
    the replay. ``line`` is where the code handed a call to the thread, if it is a pool's.
    """

    uses: list[NetworkUsed]
    is_apart: bool = False
    line: CodePlace | None = None

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Refuse the network to this thread until the end of the block."""
        before = _guard()
        _THREAD.guard = self
        try:
            yield
        finally:
            _THREAD.guard = before


@contextlib.contextmanager
def without_network(uses: list[NetworkUsed], *, allow: bool = False) -> Iterator[None]:
    """Refuse the network and new processes to this thread until the end of the block, or ``allow`` them.

    They are refused to threads that it starts for the life of these threads. ``uses`` gets each use that is an error
    of the code.
    """
    if allow:
        yield
        return
    _install()
    try:
        with _Guard(uses).applied():
            yield
    finally:
        _uninstall()


def _guard() -> _Guard | None:
    guard: _Guard | None = getattr(_THREAD, "guard", None)
    return guard


def _install() -> None:
    global _users, _is_hooked  # noqa: PLW0603 - hooks and the functions of modules belong to the process
    with _LOCK:
        if not _is_hooked:
            sys.addaudithook(_audit_hook())
            _is_hooked = True
        _users += 1
        if _users == 1:
            for owner, name, wrap in _replacements():
                _replaced.append((owner, name, vars(owner).get(name)))  # None: the class inherits it
                setattr(owner, name, wrap(getattr(owner, name)))


def _uninstall() -> None:
    global _users  # noqa: PLW0603
    with _LOCK:
        _users -= 1
        while _replaced and not _users:
            owner, name, original = _replaced.pop()
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


def _replacements() -> Iterator[tuple[Any, str, Callable[[Any], Any]]]:
    """Yield what is replaced while a replay runs: the owner of a function, its name, and what wraps it."""
    for module, name in (("socket", "socket"), ("ssl", "SSLSocket")):
        if module in sys.modules:  # else there is no such connection
            yield from ((getattr(sys.modules[module], name), each, _refusing_send) for each in _SENDS)
    if "_posixsubprocess" in sys.modules:  # multiprocessing uses it without an event
        yield sys.modules["_posixsubprocess"], "fork_exec", _refusing_process
    debugger = getattr(sys.modules.get("pydevd"), "get_global_debugger", lambda: None)()
    if debugger is None:  # debugpy hangs at a stop if the method is replaced
        yield threading.Thread, "start", _guarding_start
    yield ThreadPoolExecutor, "submit", _guarding_submit


def _audit_hook() -> Callable[[str, tuple[Any, ...]], None]:
    uses, thread, refuse = frozenset(_USES), _THREAD, _refuse  # a module loses its names before the interpreter ends

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in uses and getattr(thread, "guard", None) is not None:
            refuse(event, args)

    return hook


def _refusing_send(original: Any) -> Any:
    @functools.wraps(original)
    def send(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _guard() is not None:
            _refuse("socket.sendmsg", (self,))
        return original(self, *args, **kwargs)

    return send


def _refusing_process(original: Any) -> Any:
    def fork_exec(*args: Any) -> Any:
        if _guard() is not None:
            _refuse("os.fork", ())
        return original(*args)

    return fork_exec


def _guarding_start(original: Any) -> Any:
    @functools.wraps(original)
    def start(self: threading.Thread) -> None:
        if _guard() is not None:
            self.run = _guarded(self.run, is_apart=True)  # type: ignore[method-assign]
        original(self)

    return start


def _guarding_submit(original: Any) -> Any:
    @functools.wraps(original)
    def submit(self: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if (guard := _guard()) is None:
            return original(self, function, *args, **kwargs)
        call = _guarded(function, is_apart=guard.is_apart)
        _THREAD.guard = None  # the call is guarded, and a new thread of a pool that others use is not
        try:
            return original(self, call, *args, **kwargs)
        finally:
            _THREAD.guard = guard

    return submit


def _guarded(function: Callable[..., Any], *, is_apart: bool) -> Callable[..., Any]:
    """Return a function that has the refusal of this thread also in another one."""
    guard = _guard()
    if guard is None:
        return function
    line = None if is_apart else guard.line or place_in_frames(stack_of(sys._getframe()))  # noqa: SLF001
    handed_over = _Guard(guard.uses, is_apart or guard.is_apart, line)

    def call(*args: Any, **kwargs: Any) -> Any:
        with handed_over.applied():
            return function(*args, **kwargs)

    return call


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    """Raise for a use of the network, and record it; a socket without an address is a pair in this process."""
    guard, what = _guard(), _subject(event, args)
    if guard is None or what is None:
        return
    stack = stack_of(sys._getframe())  # noqa: SLF001 - a library may catch the error, and lose the line
    line = place_in_frames(stack) or guard.line
    where = f" at {line}" if line else ""
    error = NetworkUsed(f"the code {_USES[event]}{what}{where}, outside of a step. {_ADVICE}")
    error.is_import = any(each.f_code.co_filename.startswith(_IMPORT) for each in stack)
    if line is not None or not guard.is_apart:
        guard.uses.append(error)
    raise error


def _subject(event: str, args: tuple[Any, ...]) -> str | None:
    """Return the address or the program of a use, for its message; arguments of programs can be secret."""
    if event in {"os.system", "os.fork", "os.forkpty"}:
        return ""
    if not event.startswith("socket."):
        program = args[0].decode("utf-8", "replace") if isinstance(args[0], bytes) else str(args[0])
        return f" {program.rpartition('/')[2]!r}"
    address: Any = args[:2] if event == "socket.getaddrinfo" else args[-1]
    if event in {"socket.sendto", "socket.sendmsg"} and not (len(args) > 1 and address):
        address = _peer(args[0])
        if not address:
            return None
    return f" {':'.join(map(str, address[:2])) if isinstance(address, tuple) else str(address)!r}"


def _peer(connection: Any) -> Any:
    """Return the address of the other end of a socket; "" for a pair of sockets, or one that is not connected."""
    try:
        return connection.getpeername()
    except OSError:
        return ""
