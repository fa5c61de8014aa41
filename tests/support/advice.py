"""The advice of the doctor and of ``why`` about the same invocations, compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import restate_lab as rl
from restate_lab.analysis.doctor.diagnosis import planned_call
from restate_lab.calls import SuggestedCall
from restate_lab.source import Source

_SAMPLED = 2  # invocations of a finding
_HOPELESS = ("etries do not help", "resume fails again")
_ACTS = {"plan", "move_to"}


def contradictions(source: Source, diagnosis: rl.Diagnosis) -> list[str]:
    """Return where ``why`` recommends what a finding calls useless, or the other way around."""
    found = []
    for at, row in enumerate(diagnosis.findings.to_dict("records")):
        suggested = diagnosis.suggested_calls[at]
        calls = [*suggested, *filter(None, [planned_call(suggested, row)])]
        actions = _actions_of(calls)
        is_hopeless = any(text in row["details"] for text in _HOPELESS)
        ids = [id_ for id_ in row["ids"] if id_.startswith("inv_")][:_SAMPLED]
        for explanation in (rl.why(source, id_) for id_ in ids):
            found += [
                f"{row['check']}, {explanation.target}: {text}"
                for text in _contradictions(explanation, actions, is_hopeless=is_hopeless)
            ]
    return found


def _contradictions(explanation: rl.Explanation, actions: set[str], *, is_hopeless: bool) -> Iterator[str]:
    options = explanation.options[explanation.options["id"] == explanation.id]
    if options.empty:  # the advice is about the root blocker
        return
    names, effects = options["action"].tolist(), options["effect"].tolist()
    warned = [effect.startswith("will fail again") for effect in effects]
    if is_hopeless and {"repair", "wait"} & set(names):
        yield f"the finding is hopeless, and why says {names}"
    if is_hopeless and any(name == "resume" and not warn for name, warn in zip(names, warned, strict=True)):
        yield "the finding is hopeless, and why recommends a resume"
    if any(warned) and "resume" in actions:
        yield "the finding suggests a resume that will fail again"
    if any(warned) and (names.index("resume") != len(names) - 1 or "repair" in names):
        yield f"a resume that will fail again is not the last option: {names}"
    missing = actions - _actions_of(call for calls in explanation.suggested_calls for call in calls)
    if missing - {"resume"}:  # no resume is offered during an attempt
        yield f"the finding suggests {missing}, and why offers only {names}"


def _actions_of(calls: Iterable[SuggestedCall]) -> set[str]:
    return {str(call.arguments[0]) if call.verb == "plan" else call.verb for call in calls if call.verb in _ACTS}
