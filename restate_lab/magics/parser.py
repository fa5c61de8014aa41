"""Parse the text after ``%restate`` or in a ``%%restate`` cell into a request."""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from restate_lab._public import did_you_mean, nearest_names
from restate_lab.durations import seconds_of
from restate_lab.errors import ArgumentError

OPTIONS = {"-o": "out", "--out": "out", "--ask": "ask", "--timeout": "timeout"}
_OPTION = re.compile(r"\s*(?P<name>-{1,2}[A-Za-z][\w-]*)(?:(?:=|\s+)(?P<value>[^\s-]\S*))?(?=\s|$)")
_MOST_WORDS = 3  # of a line that is a misspelled command, and not SQL
_HELP = "`%restate?` lists the options"


@dataclass(frozen=True, slots=True)
class MagicRequest:
    """A parsed request: ``verb`` is status, connect, use, frames, ask or sql, and ``text`` is its argument.

    ``text`` is the cluster ("" for the default of the CLI), the variable that holds a source, "on" or "off", the
    question, or the SQL.
    ``out`` is the variable for the frame, or "". ``timeout`` is in seconds; None means the default of the connection.
    ``parameters`` are those of a question, as typed.
    """

    verb: str
    text: str = ""
    out: str = ""
    timeout: float | None = None
    read_only: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse(line: str, cell: str | None = None) -> MagicRequest:
    """Parse the line of a line magic, or the line and the cell of a cell magic.

    Raises:
        ArgumentError: an option is unknown or has no value, or there are too many arguments.
    """
    options, rest = _parse_options(line)
    first, _, others = rest.partition(" ")
    whole = rest if cell is None else f"{rest}\n{cell}" if rest else cell
    if "ask" in options:
        return _parse_question(options, whole)
    if cell is None and first in _VERBS:
        return _VERBS[first](options, others.split())
    if cell is None and len(rest.split()) <= _MOST_WORDS and (near := nearest_names(first, _VERBS, 1)):
        raise ArgumentError(f"unknown command {first!r}. Did you mean %restate {near[0]}?")
    out, timeout = _output_variable(options), _timeout_seconds(options)
    if not whole.strip():
        if cell is None and not options:
            return MagicRequest("status")
        raise ArgumentError(f"the SQL statement is missing; write a SELECT; {_HELP}.")
    return MagicRequest("sql", whole, out=out, timeout=timeout)


def _parse_options(line: str) -> tuple[dict[str, str], str]:
    """Return the options at the start, and the rest unchanged because SQL has its own quotes."""
    options: dict[str, str] = {}
    at = 0
    while (match := _OPTION.match(line, at)) and match["name"] in OPTIONS:
        _set_option(options, match["name"], match["value"])
        at = match.end()
    if match:
        hint = did_you_mean(nearest_names(match["name"], OPTIONS)) or f"{_HELP[0].upper()}{_HELP[1:]}."
        raise ArgumentError(f"unknown option {match['name']}. {hint}")
    return options, line[at:].strip()


def _set_option(options: dict[str, str], name: str, value: str | None) -> None:
    if not value:
        raise ArgumentError(f"{name} needs a value; {_HELP}.")
    options[OPTIONS[name]] = value


def _parse_question(options: dict[str, str], text: str) -> MagicRequest:
    words = _split(text)
    parameters: dict[str, str] = {}
    while words:
        text = words.pop(0)
        if text in OPTIONS:
            _set_option(options, text, words.pop(0) if words else None)
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ArgumentError(f"invalid parameter {text!r}; write name=value or name=:variable.")
        if name in parameters:
            raise ArgumentError(f"duplicate parameter {name}; keep one of them.")
        parameters[name] = value
    return MagicRequest(
        "ask", options["ask"], out=_output_variable(options), timeout=_timeout_seconds(options), parameters=parameters
    )


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError as error:
        raise ArgumentError(f"cannot parse the parameters: {error}. Close the quotation mark.") from error


def _parse_status(options: Mapping[str, str], words: list[str]) -> MagicRequest:
    _check_no_more("status", options, words)
    return MagicRequest("status")


def _parse_connect(options: Mapping[str, str], words: list[str]) -> MagicRequest:
    clusters = [word for word in words if word != "--read-only"]
    _check_no_more("connect", options, clusters[1:] + [word for word in clusters if word.startswith("-")])
    return MagicRequest("connect", clusters[0] if clusters else "", read_only=len(clusters) < len(words))


def _parse_use(options: Mapping[str, str], words: list[str]) -> MagicRequest:
    _check_no_more("use", options, words[1:])
    if not words or not words[0].isidentifier():
        raise ArgumentError(
            "use needs the name of a variable that holds a Lab or Evidence, for example: %restate use lab."
        )
    return MagicRequest("use", words[0])


def _parse_frames(options: Mapping[str, str], words: list[str]) -> MagicRequest:
    _check_no_more("frames", options, words[1:])
    value = words[0] if words else ""
    if value not in {"on", "off"}:
        raise ArgumentError(
            f"frames is {value!r}; use %restate frames on for readable tables, or %restate frames off for those of "
            f"pandas."
        )
    return MagicRequest("frames", value)


_VERBS = {"status": _parse_status, "connect": _parse_connect, "use": _parse_use, "frames": _parse_frames}


def _check_no_more(verb: str, options: Mapping[str, str], words: list[str]) -> None:
    more = [f"--{name}" for name in options] + words
    if more:
        raise ArgumentError(f"unexpected argument {more[0]} for {verb}; {_HELP}.")


def _output_variable(options: Mapping[str, str]) -> str:
    name = options.get("out", "")
    if name and (not name.isidentifier() or keyword.iskeyword(name)):
        raise ArgumentError(f"-o needs a variable name; {name!r} is not a valid name.")
    return name


def _timeout_seconds(options: Mapping[str, str]) -> float | None:
    if "timeout" not in options:
        return None
    seconds = seconds_of(options["timeout"], name="--timeout")
    if not seconds:
        raise ArgumentError(f"--timeout is {options['timeout']!r}, but must be greater than 0; use for example 30s.")
    return seconds
