"""No regular expression takes more than linear time, whatever text it is applied to."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from support.patterns import Use, hard_texts, uses

SIZE = 6_000  # characters
STEP = 4  # between the two sizes
LARGEST_RATIO = 9.0  # linear is STEP, quadratic STEP squared
WORTH_MEASURING = 0.001  # seconds; below it the ratio is noise, and a superlinear pattern takes more
LONGEST = 2.0  # seconds of processor time for one text: only endless ones reach it
APPLIED_BY = {
    # the method of patterns that are not applied by name, but from a table or a dataclass
    "restate_lab.client.address": "fullmatch",
    "restate_lab.magics.completion": "match",
}
OUR_OWN_TEXT = {"restate_lab.guide.__main__": "the pages of our own guide, when it is built"}


class TooLong(Exception):
    """The text took longer than LONGEST."""


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    yield
    signal.signal(signal.SIGVTALRM, before)


def seconds(use: Use, text: str) -> float:
    """Return the processor time of one application; infinity if it was stopped."""
    signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST)
    started = time.thread_time()
    try:
        use.apply(text)
    except TooLong:
        return float("inf")
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return time.thread_time() - started


def is_superlinear(use: Use, text: str) -> bool:
    """Return True if the time grows faster than the text, from a quarter of it to all of it, and on to four of it.

    Both steps must show it: the caches of a processor can make one step of a linear pattern look superlinear.
    """
    first = seconds(use, text)
    if first < WORTH_MEASURING or first == float("inf"):
        return first == float("inf")
    return grows(use, text[: len(text) // STEP], text) and grows(use, text, text * STEP)


def grows(use: Use, small: str, large: str) -> bool:
    """Return True if the large text, STEP times the small one, takes far more than STEP times as long."""
    return fastest(use, large, 3) > LARGEST_RATIO * fastest(use, small, 5)


def fastest(use: Use, text: str, times: int) -> float:
    return min(seconds(use, text) for _ in range(times))


def hard_for(use: Use) -> str:
    """Return a text on which a pattern is superlinear, or nothing."""
    return next((text for text in hard_texts(use.pattern, SIZE) if is_superlinear(use, text)), "")


def test_every_pattern_is_linear() -> None:
    """Four times the text takes about four times as long, for every pattern as it is used in the package."""
    found, unknown = uses()
    assert unknown == []
    assert len(found) > 100
    slow = {}
    for use in found:
        if use.module in OUR_OWN_TEXT:
            continue
        how = Use(use.module, use.line, use.pattern, APPLIED_BY.get(use.module, use.method))
        if text := hard_for(how):
            slow[f"{use.where} {how.method} {use.pattern.pattern[:60]}"] = ascii(text[:60])
    assert slow == {}


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"<title[^>]*>(.*?)</title>", "search"),
        pytest.param(r"\w+@", "search", marks=pytest.mark.long),
        (r"(a+)+b", "search"),
        pytest.param(r"[0-9]+\.?[0-9]*x", "fullmatch", marks=pytest.mark.long),
    ],
)
def test_the_texts_are_hard_enough(pattern: Any, method: str) -> None:
    """Known superlinear patterns are found."""
    assert hard_for(Use("a test", 1, re.compile(pattern, re.MULTILINE), method))
