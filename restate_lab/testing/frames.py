"""The frames of a traceback that belong to the user, and the place in the user's code."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import os
import re
import sysconfig
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from types import FrameType, TracebackType

_PRODUCTION = re.compile(r'^ *File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>\S+)', re.MULTILINE)
_NODE = re.compile(
    r"^ *at (?:async )?(?:(?P<function>[^\s(]+) )?\(?(?:file://)?(?P<file>/[^\s()]+?):(?P<line>\d+):\d+\)?$",
    re.MULTILINE,
)
_INSTALLED = re.compile(r"[/\\](?:site-packages|dist-packages|node_modules)[/\\]|^node:|^<|[/\\]lib[/\\]python\d")
_SDK = re.compile(r"[/\\](?:restate|asyncio)[/\\]\w+\.py$")
_DEMO_SERVICE = re.compile(r"[/\\]restate_lab[/\\]demo[/\\]services[/\\]")  # the code of a user, in this package


@dataclass(frozen=True, slots=True)
class CodePlace:
    """A line of the user's code, as its interpreter names the file."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        path = self.file
        with contextlib.suppress(ValueError):  # on another drive
            relative = os.path.relpath(path)
            path = path if relative.startswith("..") else relative
        return f"{path}:{self.line}"


def user_traceback(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of the SDK, of asyncio and of this package; all of them if none is left."""
    parts = [each for each in _parts(trace) if not is_machinery(each.tb_frame.f_code.co_filename)]
    kept: TracebackType | None = None
    for each in reversed(parts):
        kept = TracebackType(kept, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return kept or trace


def place_of(trace: TracebackType | None) -> CodePlace | None:
    """Return the innermost line of the user's own code in a traceback; of a library if there is no other, or None."""
    places = [
        CodePlace(each.tb_frame.f_code.co_filename, each.tb_lineno or 0, each.tb_frame.f_code.co_name)
        for each in _parts(trace)
    ]
    return _innermost(place for place in places if not is_machinery(place.file))


def stack_of(frame: FrameType | None) -> list[FrameType]:
    """Return a frame and those that called it, innermost first."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def place_in_frames(frames: Iterable[FrameType]) -> CodePlace | None:
    """Return the first line of the user's own code in frames, innermost first; None if there is none."""
    places = (CodePlace(each.f_code.co_filename, each.f_lineno or 0, each.f_code.co_name) for each in frames)
    return next((place for place in places if is_own_code(place.file)), None)


def place_in_text(stack: str) -> CodePlace | None:
    """Return the innermost line of the user's own code in the text of a stack, of Python or Node; None without one."""
    python = [CodePlace(match["file"], int(match["line"]), match["function"]) for match in _PRODUCTION.finditer(stack)]
    if python:
        return _innermost(place for place in python if not _SDK.search(place.file))
    node = [CodePlace(match["file"], int(match["line"]), match["function"] or "") for match in _NODE.finditer(stack)]
    return next((place for place in node if not _INSTALLED.search(place.file)), None)


def _parts(trace: TracebackType | None) -> list[TracebackType]:
    parts = []
    while trace is not None:
        parts.append(trace)
        trace = trace.tb_next
    return parts


def _innermost(places: Iterable[CodePlace]) -> CodePlace | None:
    found = list(places)
    own = [place for place in found if not _INSTALLED.search(place.file)]
    return next(reversed(own or found), None)


def is_own_code(file: str) -> bool:
    """Return whether a file is neither a part of the SDK, of Python nor of this package, nor an installed library."""
    return not is_machinery(file) and not _INSTALLED.search(file) and not file.startswith(_standard_library())


def is_machinery(file: str) -> bool:
    """Return whether a file belongs to the SDK, to asyncio or to this package."""
    if file.startswith(_machinery()):
        return not _DEMO_SERVICE.search(file)
    return file == contextlib.__file__


@functools.cache
def _machinery() -> tuple[str, ...]:
    folders = [os.path.dirname(asyncio.__file__), os.path.dirname(__file__)]  # noqa: PTH120 - files of frames are texts
    if __name__.startswith("restate_lab."):  # not in the copy of this package beside a test
        folders.append(os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120
    spec = importlib.util.find_spec("restate")
    folders += spec.submodule_search_locations or () if spec else ()
    return tuple(f"{folder}{os.sep}" for folder in folders)


@functools.cache
def _standard_library() -> str:
    return f"{sysconfig.get_path('stdlib')}{os.sep}"


def describe_exception(error: BaseException) -> str:
    """Return an exception as one line: "KeyError('price')"."""
    text = traceback.format_exception_only(error)[-1].strip() if isinstance(error, SyntaxError) else repr(error)
    return " ".join(text.split())
