"""Sentences about the conditions that distinguish failing from healthy invocations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from restate_lab._text import format_duration, plural
from restate_lab.analysis.contrast.model import ENOUGH, Burst, Claim, Decision, Operator, Role, Where
from restate_lab.analysis.contrast.wording import percent

_MOST_NAMES = 3  # conditions on the same rows in one sentence
_ONE_PERCENT = 0.01
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}


def causes_of(claims: Sequence[Claim]) -> list[list[Claim]]:
    """Return the claims of each cause, with other names of its rows; those within a burst are not a cause."""
    causes = [claim for claim in claims if claim.role is not Role.IN_A_BURST]
    return [list(group) for _, group in groupby(causes, key=lambda claim: claim.group)]


def write_causes(decision: Decision) -> list[str]:
    """Return one text for each cause, best first."""
    return [write_cause(claims) for claims in causes_of(decision.claims)]


def write_cause(claims: Sequence[Claim]) -> str:
    """Return a cause as text: its counts on both sides, and the other conditions on the same invocations."""
    first, *others = claims
    same = [each for each in others if each.role is Role.SAME_ROWS]
    similar = [each for each in others if each.role is Role.INDISTINCT]
    text = _outside(first, same) if first.outside else _same(first, same) if same else _alone(first)
    if similar:
        names = [f"{_name(each)} ({failing_text(each)}, {healthy_text(each)})" for each in similar[:_MOST_NAMES]]
        text += f". Equally true: {'; '.join(names)}{_more(similar)}"
    return text


def _name(claim: Claim) -> str:
    """Return a condition in short; a time as "created before …"."""
    return claim.phrase.removeprefix("were ") if claim.where is Where.TIME else claim.condition


def join_phrases(phrases: Sequence[str]) -> str:
    """Return predicates with "and"; "have" is written once."""
    first, *others = phrases
    rest = [each.removeprefix("have ") if first.startswith("have ") else each for each in others]
    return " and ".join([first, *rest])


def unnamed(claims: Sequence[Claim]) -> list[str]:
    """Return the conditions of a cause that its text has no room for."""
    same = [each.condition for each in claims if each.role is Role.SAME_ROWS]
    similar = [each.condition for each in claims if each.role is Role.INDISTINCT]
    return same[_MOST_NAMES - 1 :] + similar[_MOST_NAMES:]


def _alone(claim: Claim) -> str:
    subject = claim.phrase.removeprefix("lack ")
    if claim.op is Operator.MISSING:
        return f"{subject} is missing in {failing_text(claim)} and in {healthy_text(claim, 'the ')}{_rate(claim)}"
    if claim.op is Operator.TYPE:
        kind, _, subject = claim.phrase.removeprefix("have ").partition(" in ")
        text = f"{subject} is {kind} in {failing_text(claim)} and in {healthy_text(claim, 'the ')}"
        return f"{text}; in the other healthy ones it is {claim.healthy_type}" if claim.healthy_type else text
    if claim.parts:
        first, second, both = (share_text(each.healthy_with, each.healthy) for each in (*claim.parts, claim))
        text = f"{failing_text(claim)} {claim.phrase}; of the healthy"
        return f"{text}, {first} have the first, {second} the second, and {both} both"
    return f"{failing_text(claim)} {claim.phrase}; {healthy_text(claim)} {claim.echo}{_rate(claim)}"


def _same(first: Claim, same: Sequence[Claim]) -> str:
    named = join_phrases([each.phrase for each in (first, *same[: _MOST_NAMES - 1])])
    count, more = 1 + len(same), _more(same, _MOST_NAMES - 1)
    text = f"{failing_text(first)} {named}{more}; {healthy_text(first)} {first.echo}"
    return f"{text}: the same invocations, so this does not tell which of the {_NUMBERS.get(count, count)} it is"


def _outside(claim: Claim, same: Sequence[Claim]) -> str:
    """Return a further cause, by its counts in the rows that do not meet the causes before it."""
    if claim.outside is None:
        return ""
    failing_with, failing, healthy_with, healthy = claim.outside
    named = join_phrases([each.phrase for each in (claim, *same[: _MOST_NAMES - 1])])
    part = f"all {failing:,}" if failing_with == failing else f"{failing_with:,}"
    return f"of the other {failing:,} failing, {part} {named}; {_healthy(healthy_with, healthy)} {claim.echo}"


def _more(claims: Sequence[Claim], most: int = _MOST_NAMES) -> str:
    return f" and {len(claims) - most:,} more conditions" if len(claims) > most else ""


def _rate(claim: Claim) -> str:
    if claim.all_with is None or claim.all_failing is None or not claim.healthy_with:
        return ""
    return f". Of all {claim.all_with:,} with it, {percent(claim.all_failing, claim.all_with)} are failing"


def failing_text(claim: Claim) -> str:
    """Return how many of the failing meet a condition: "all 214 failing", "93 of 100 failing"."""
    if claim.failing_with == claim.failing:
        return f"all {claim.failing:,} failing"
    return f"{claim.failing_with:,} of {claim.failing:,} failing"


def healthy_text(claim: Claim, article: str = "the ") -> str:
    """Return how many of the healthy meet a condition: "none of the 800 healthy", "3 % of the healthy"."""
    return _healthy(claim.healthy_with, claim.healthy, article)


def _healthy(part: int, whole: int, article: str = "the ") -> str:
    if not part:
        return f"none of {article}{whole:,} healthy"
    if part < _ONE_PERCENT * whole or part == whole:
        return f"{part:,} of {article}{whole:,} healthy"
    return f"{percent(part, whole)} of {article}healthy"


def share_text(part: int, whole: int) -> str:
    """Return a share: "none", "24 %", or "2 of 1,000" if it is less than 1 %."""
    if not part:
        return "none"
    return f"{part:,} of {whole:,}" if part < _ONE_PERCENT * whole else percent(part, whole)


def write_burst(burst: Burst) -> str:
    """Return how the failing invocations came in bursts, and what follows from that."""
    time = format_duration(burst.seconds)
    callers = ""
    if burst.callers is not None:
        callers = f", from {'one caller' if burst.callers == 1 else plural(burst.callers, 'caller')}"
    if burst.runs == 1:
        text = f"all {burst.rows:,} failing came within {time}, in one burst{callers}: one event"
    else:
        text = f"the {burst.rows:,} failing came in {plural(burst.runs, 'burst')} within {time}{callers}"
        text += ": each burst is one event"
    return f"{text}, so what else they share proves nothing"


def write_doubt(decision: Decision) -> str:
    """Return why the causes are clues and not a conclusion; "" if they are one, or there is none."""
    causes = causes_of(decision.claims)
    healthy = max((first.healthy for first, *_ in causes), default=0)
    if causes and healthy < ENOUGH:
        return f"too few healthy ones ({healthy:,}) for a conclusion"
    if decision.is_of_close_times:
        return "too few for a conclusion: the sides differ only in times of less than a second"
    return ""


def write_tests(decision: Decision) -> str:
    """Return how much was compared, and the smallest difference that can be seen with so many invocations."""
    compared = [each for each in decision.attributes if each.conditions]
    text = f"{plural(len(compared), 'attribute')}, {plural(decision.tests, 'condition')}"
    if decision.detectable is None:
        return f"{text}; there are too few invocations to find any difference"
    sides = f"{decision.failing:,} failing and {decision.healthy:,} healthy ones"
    return f"{text}; with {sides}, only a difference of {decision.detectable} points or more can be seen"


def lines_of(texts: Sequence[str]) -> Iterator[str]:
    """Yield sentences as lines of a text: the first letter is a capital, and the last character a full stop."""
    for text in texts:
        start = text if text.startswith(("`", '"')) else text[:1].upper() + text[1:]
        yield start if start.endswith(".") else f"{start}."
