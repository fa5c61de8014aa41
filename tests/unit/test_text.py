"""How durations, timestamps, counts, lists and text from a cluster are written."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from restate_lab import _text as text
from restate_lab.durations import parse_duration

NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")
HOUR, DAY = 3_600, 86_400
KEPT = "\n\t\ufe0e\ufe0f"
JOINERS = "\u200c\u200d"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        *((0, "0s"), (1e-9, "0s"), (2.5e-7, "0.25us"), (1e-6, "1us"), (0.00025, "250us"), (0.0009996, "1ms")),
        *((0.00775, "7.75ms"), (0.06324, "63.2ms"), (0.9994, "999ms"), (0.9996, "1s"), (1.8, "1.8s"), (42, "42s")),
        *((59.94, "59.9s"), (59.96, "1m"), (61, "1m 1s"), (119.9, "1m 59s"), (HOUR, "1h"), (HOUR + 1, "1h")),
        *((2 * HOUR + 13 * 60 + 5, "2h 13m"), (DAY, "1d"), (DAY + HOUR, "1d 1h"), (DAY + 60, "1d")),
        *((1234 * DAY, "1234d"), (-120, "-2m"), (-0.25, "-250ms"), (-1e-9, "0s")),
        *((None, "–"), (math.nan, "–"), (math.inf, "–"), (pd.NaT, "–")),
    ],
)
def test_a_duration_has_two_units_or_three_digits(seconds: float | None, shown: str) -> None:
    """The two largest units from a minute on, one number below it; the same for a number and for a timedelta."""
    assert text.format_duration(seconds, missing="–") == shown
    if isinstance(seconds, int | float) and abs(seconds) >= 1e-6 and math.isfinite(seconds):
        assert text.format_duration(pd.Timedelta(round(seconds * 1e9), "ns"), missing="–") == shown
        assert shown.startswith("-") or parse_duration(shown) > timedelta(0)


@pytest.mark.parametrize(
    ("duration", "shown"),
    [
        (timedelta(0), "0s"),
        (timedelta(days=1, hours=12), "1d 12h"),
        (timedelta(milliseconds=1500), "1s 500ms"),
        (timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5, microseconds=6), "1d 2h 3m 4s 5ms 6us"),
        (-timedelta(seconds=61), "-1m 1s"),
        *((2.5, "2s 500ms"), (1e12, "11574074d 1h 46m 40s"), (-1e-9, "0s")),
        (None, ""),
    ],
)
def test_an_exact_duration_has_all_units_down_to_microseconds(duration: timedelta | float | None, shown: str) -> None:
    assert text.format_duration(duration, exact=True) == shown


@given(st.timedeltas(timedelta(0), timedelta(days=100_000)))
def test_an_exact_duration_is_read_back_without_loss(duration: timedelta) -> None:
    assert parse_duration(text.format_duration(duration, exact=True)) == duration


@pytest.mark.parametrize(
    ("since", "shown"),
    [
        *((timedelta(0), "0s"), (timedelta(seconds=-5), "0s"), (timedelta(milliseconds=900), "0s")),
        *((timedelta(seconds=59.99), "59s"), (timedelta(seconds=61), "1m 1s")),
        *((timedelta(seconds=7_980), "2h 13m"), (timedelta(days=1), "1d"), (timedelta(seconds=90_061), "1d 1h")),
    ],
)
def test_an_age_has_whole_seconds(since: timedelta, shown: str) -> None:
    assert text.format_age(NOW - since, NOW) == shown
    assert text.format_age(pd.Timestamp(NOW - since), NOW) == shown


def test_none_and_nat_become_the_text_that_the_caller_chooses() -> None:
    assert text.format_age(None, NOW) == ""
    assert text.format_age(pd.NaT, NOW, missing="–") == "–"  # type: ignore[arg-type] # NaT is a datetime when it runs
    assert text.format_timestamp(None, missing="an unknown time") == "an unknown time"
    assert text.format_timestamp(pd.NaT) == text.format_time(pd.NaT) == ""  # type: ignore[arg-type]


def test_a_timestamp_has_its_date_and_its_zone_and_a_naive_one_has_none() -> None:
    assert text.format_timestamp(NOW) == "2026-11-25 03:00:00 UTC"
    assert text.format_timestamp(pd.Timestamp(NOW), zone=PARIS) == "2026-11-25 04:00:00 Europe/Paris"
    assert text.format_timestamp(NOW.astimezone(timezone(timedelta(hours=5)))) == "2026-11-25 03:00:00 UTC"
    assert text.format_timestamp(NOW, show_zone=False) == "2026-11-25 03:00:00"
    assert text.format_timestamp(NOW.replace(tzinfo=None)) == "2026-11-25 03:00:00"
    assert text.format_timestamp(NOW + timedelta(milliseconds=7.9), exact=True) == "2026-11-25 03:00:00.007 UTC"
    assert text.format_time(NOW) == "03:00:00 UTC"
    assert text.format_time(NOW.replace(tzinfo=None)) == "03:00:00"
    assert text.format_time(NOW, zone=PARIS, show_zone=False) == "04:00:00"


def test_the_date_of_the_present_day_in_the_zone_is_omitted() -> None:
    evening = NOW + timedelta(hours=20, minutes=30)
    assert text.format_timestamp(evening, now=NOW) == "23:30:00 UTC"
    assert text.format_timestamp(evening, now=NOW, zone=PARIS) == "2026-11-26 00:30:00 Europe/Paris"
    later = evening + timedelta(hours=1)
    assert text.format_timestamp(later, now=evening) == "2026-11-26 00:30:00 UTC"
    assert text.format_timestamp(later, now=evening, zone=PARIS) == "01:30:00 Europe/Paris"


@pytest.mark.parametrize(
    ("number", "words", "shown"),
    [
        *((0, ("call",), "0 calls"), (1, ("call",), "1 call"), (1_200, ("call",), "1,200 calls")),
        *((2, ("entry", "entries"), "2 entries"), (1, ("entry", "entries"), "1 entry"), (2.0, ("key",), "2 keys")),
    ],
)
def test_a_noun_agrees_with_its_number(number: float, words: tuple[str, ...], shown: str) -> None:
    assert text.plural(number, *words) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, ""), (1, "a"), (3, "a, b, c"), (4, "a, b, c, d"), (5, "a, b, c and 2 more")],
)
def test_a_list_ends_with_the_number_of_the_others_and_not_with_1_more(count: int, shown: str) -> None:
    assert text.join(iter("abcde"[:count])) == shown
    assert text.join([*"abcde"[:count], *"abc"[:count]]) == shown
    assert text.join("abcde"[:count][:4], total=count) == shown
    assert text.join("abcde"[:count], separator="; ") == shown.replace(",", ";")


@pytest.mark.parametrize(
    ("long", "width", "shown"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("ab cd", 4, "ab…"), ("a\n b", 9, "a\n b"), ("", 1, "")],
)
def test_a_long_text_is_cut_to_its_width_including_the_ellipsis(long: str, width: int, shown: str) -> None:
    assert text.truncate(long, width) == shown


def test_line_ends_tabs_and_runs_of_spaces_become_one_space() -> None:
    assert text.one_line(" a\n\tb  c ") == "a b c"
    assert text.one_line("a\n" * 99, 5) == "a a…"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain, wörld, 日本語, שלום, ❤️", "plain, wörld, 日本語, שלום, ❤️"),
        ("one\n\ttwo", "one\n\ttwo"),
        ("\x1b[31mred\x00\x7f\x85", "‹U+001B›[31mred‹U+0000›‹U+007F›‹U+0085›"),
        ("file\u202egpj.exe\u2066\u200f", "file‹U+202E›gpj.exe‹U+2066›‹U+200F›"),
        ("a\u200bb\u200dc\u2060\ufeff\xad", "a‹U+200B›b‹U+200D›c‹U+2060›‹U+FEFF›‹U+00AD›"),
        ("a\r\nb\u2028c", "a‹U+000D›\nb‹U+2028›c"),
        ("👩\u200d🚀 ❤\ufe0f\u200d🔥 می\u200cخواهم", "👩\u200d🚀 ❤\ufe0f\u200d🔥 می\u200cخواهم"),
        ("é\u200d! 👩\u200d\u200d🚀", "é‹U+200D›! 👩‹U+200D›‹U+200D›🚀"),
        ("\ud800\ue000\uffff", "‹U+D800›‹U+E000›‹U+FFFF›"),
        ("hidden\U000e0041\U000e0101", "hidden‹U+E0041›‹U+E0101›"),
        ("\u3164\u115f\u034f", "‹U+3164›‹U+115F›‹U+034F›"),
    ],
)
def test_what_cannot_be_seen_is_written_as_its_code(hostile: str, shown: str) -> None:
    """Controls, marks that reorder text, characters without a width, surrogates, private and hidden ones."""
    assert text.escape_invisible(hostile) == shown


def test_a_line_end_becomes_a_sign_and_a_tab_a_space() -> None:
    assert text.escape_invisible("one\r\ntwo\tthree\u2028four\x1b", lines=False) == "one↵two three↵four‹U+001B›"


@given(st.text(st.characters()), st.booleans())
def test_invisible_characters_become_codes_and_visible_ones_stay(hostile: str, lines: bool) -> None:
    shown = text.escape_invisible(hostile, lines=lines)
    assert not [each for each in shown if each not in KEPT + JOINERS and unicodedata.category(each)[0] == "C"]
    assert not re.search(f"[{JOINERS}]", shown) or re.search(f"[{JOINERS}]", hostile)
    assert not [each for each in shown if unicodedata.category(each) in {"Zl", "Zp"}]
    assert lines or "\n" not in shown
    assert text.escape_invisible(shown) == shown
    if lines and not set(JOINERS) & set(hostile):
        visible = [each for each in hostile if each in KEPT or not text.is_invisible(each)]
        assert [each for each in hostile if text.escape_invisible(each) == each] == visible
        assert "".join(map(text.escape_invisible, hostile)) == shown
