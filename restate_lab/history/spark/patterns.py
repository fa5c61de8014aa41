"""Write regular expressions of DataFusion, which are those of Rust, as patterns of Java."""

from __future__ import annotations

import re

from restate_lab.errors import StatementError

_OTHER_MEANING = re.compile(r"\[\[:|\(\?P?[<=!]|[+*?}]\+|\\[1-9QEGZR]")
"""What Rust does not have, or what Java understands in another way."""
_BY_CHARACTER = re.compile(r"\\[bBwWdDsS]")
_GROUP = re.compile(r"(?<!\\)\((?!\?)")
_STEP = re.compile(r"\\.|.", re.DOTALL)


def java_pattern(pattern: str, flags: str = "") -> str:
    r"""Return the pattern of Java that finds the same: "." excludes only "\n", and "$" is the end of the text.

    Raises:
        StatementError: Java has no such pattern.
    """
    if _OTHER_MEANING.search(pattern):
        raise StatementError(f"the regular expression {pattern!r} has a part that is different in Spark.")
    if set(flags) - {"g", "i"}:
        raise StatementError(f"the flags {flags!r} of a regular expression are not supported on Spark; use g and i.")
    parts, depth = [], 0
    for part in _STEP.findall(pattern):
        depth += (part == "[") - (part == "]" and depth > 0)
        parts.append(r"\z" if part == "$" and not depth else part)
    unicode = "U" if _BY_CHARACTER.search(pattern) or "i" in flags else ""
    # U: letters of all alphabets count as \w; d: only \n ends a line
    return f"(?d{unicode}{'i' if 'i' in flags else ''}){''.join(parts)}"


def replace_first(pattern: str, replacement: str) -> tuple[str, str]:
    """Return a pattern of Java and its replacement which replace only the first match when Spark replaces all."""
    after = len(_GROUP.findall(pattern)) + 2
    moved = re.sub(r"\$(\d)", lambda match: f"${int(match[1]) + 1}", replacement)
    return rf"\A((?s:.*?))(?:{pattern})((?s:.*))\z", f"$1{moved}${after}"


def java_replacement(text: str) -> str:
    r"""Return the replacement of Java; ``\1`` is a group.

    Raises:
        StatementError: it has a part that is different in Spark.
    """
    if re.search(r"\$|\\[1-9][0-9]|\\[^1-9]", text):
        raise StatementError(
            f"the replacement {text!r} has a part that is different in Spark; use text and \\1 to \\9."
        )
    # a digit after a group would be a part of its number
    return re.sub(r"\\([1-9])", r"$\1", text)
