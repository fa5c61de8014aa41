"""Notes about the parts of agents' runs that could not be read, each with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from restate_lab._text import plural
from restate_lab.analysis.agents.model import ModelStep

MOST_BYTES = 16 << 20
ENCRYPTED, ENCODED, NOT_STORED = "encrypted", "encoded", "not stored"
WITHOUT_STATUS = "its status at this time is unknown, and so is whether it waited for a person"
WITHOUT_PAYLOADS = "the archive has no payloads of this invocation; with payloads=True, it has those of later ones"
_DECODE = "connect(decode=…) decodes payloads for showing"


def describe_encoded(encoded: Mapping[int, str], of: str = "") -> list[str]:
    """Return notes about calls of models whose payloads are encoded; ``of`` is their invocation."""
    whose = f" of {of}" if of else ""
    notes = []
    for how, number in Counter(encoded.values()).items():
        responses = f"{plural(number, 'response')} of a model{whose}"
        if how == NOT_STORED:
            notes.append(f"{responses} cannot be read: {WITHOUT_PAYLOADS}")
        else:
            notes.append(f"the SDK {how} {responses}, so tokens are unknown; {_DECODE}")
    return notes


def describe_uncounted(steps: Iterable[ModelStep], of: str = "") -> list[str]:
    """Return a note about responses with tokens in no number, unless there are none; ``of`` is their invocation."""
    return [
        f"{plural(number, 'response')} of a model{f' of {of}' if of else ''} had a {what}, whose tokens are paid and "
        f"in no number, so tokens are unknown"
        for what, number in Counter(step.uncounted for step in steps if step.uncounted).items()
    ]


def describe_unread(payloads: int, of: str = "") -> list[str]:
    """Return a note about payloads that were not read, unless there are none; ``of`` is their invocation."""
    if not payloads:
        return []
    number = f"{plural(payloads, 'payload')}{f' of {of}' if of else ''}"
    reason = f"not read, because they have more than {MOST_BYTES >> 20} MiB or are nested too deeply"
    return [f"{reason}: {number}; responses of models and their tokens may be missing"]
