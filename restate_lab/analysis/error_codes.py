"""What Restate's error codes mean, in the words that stand beside them.

The codes that an attempt met are in ``last_failure_error_code`` and in the journal's events; seen on 1.6.1 and 1.7.12.
"""

from __future__ import annotations

from types import MappingProxyType

__all__ = ["MISMATCH", "REMOVED", "UNREACHABLE", "code_words"]

REMOVED, MISMATCH = "RT0011", "RT0016"
UNREACHABLE = frozenset({"RT0010", "RT0012", "RT0023"})
"""What an attempt met that did not come to the handler's code."""

_WORDS = MappingProxyType(
    {
        "RT0001": "the inactivity or abort timeout passed",
        "RT0007": "the handler raised an error",
        "RT0010": "the deployment cannot be reached",
        REMOVED: "its deployment was removed",
        "RT0012": "what answers is no Restate endpoint",
        MISMATCH: "journal mismatch: the code changed under it",
        "RT0018": "not found",
        "RT0023": "the deployment is overloaded or out of service",
        "META0003": "discovery failed",
        "META0009": "bad subscription",
    }
)


def code_words(code: str | None) -> str:
    """Return the code with its meaning, as "RT0010: the deployment cannot be reached"; "" without a code."""
    if not code:
        return ""
    return f"{code}: {_WORDS[code]}" if code in _WORDS else code
