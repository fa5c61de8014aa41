"""Format durations, timestamps, counts, lists and long text for people, always in the same way.

- A duration has Restate's format, without a space before the unit: "1d 2h", "2h 13m". It is short enough for a table,
  and ``parse_duration`` can read it. It has the two largest units, or below a minute one number with three digits:
  "1.82s", "250ms". ``exact=True`` writes all units, like the server.
- A timestamp has its date, the time to the second, and its zone: "2026-11-25 03:00:00 UTC".
- A list ends with the number of items that are not shown: "a, b, c and 4 more".
- A long id is shortened to its kind and its end, if the reader can get the full id: "inv_…k8Ep". The end is longer
  where the ids of one table would not differ.
- An invisible character, or one that changes how other text is shown, is written as its code: ``‹U+202E›``.

This module does not import other parts of restate_lab, so that every module can use it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo

_LARGE = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))  # seconds
_SMALL = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))  # seconds
_EXACT = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1))
_MINUTE = 59.95  # seconds; with three digits, a longer duration would be "60s"
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)

# Control characters, format characters (which reorder text or have no width), halves of surrogate pairs, private and
# unassigned characters, and the separators of lines and paragraphs.
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks that are never drawn. U+FE0E and U+FE0F are not included, because they select whether a symbol is
# drawn in black or in color.
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]"
)
_JOINERS = "\u200c\u200d"
_ID = re.compile(r"(?<![0-9A-Za-z_])(?:dp|inv|prom|sign|sub|vq)_1[0-9A-Za-z_-]{13,}")
_ID_END = 4  # characters at the end of a short id; with three, two of 600 ids probably end alike
_LINE_ENDS = str.maketrans({"\n": "↵", "\r": "", "\t": " ", "\u2028": "↵", "\u2029": "↵"})


def format_duration(duration: timedelta | float | None, *, exact: bool = False, missing: str = "") -> str:
    """Return a duration as "2h 13m", "1.82s" or "250ms"; a number is in seconds.

    ``exact`` writes all units down to microseconds, as the server does: "2h 13m 5s 250ms". ``missing`` is returned for
    None, NaN, NaT and infinity.
    """
    if duration is None or duration != duration:  # noqa: PLR0124 (NaN and NaT are not equal to themselves)
        return missing
    seconds = duration / _SECOND if isinstance(duration, timedelta) else float(duration)
    if not math.isfinite(seconds):
        return missing
    length = abs(seconds)
    if exact:
        text = _all_units(abs(duration) // _MICROSECOND if isinstance(duration, timedelta) else round(length * 1e6))
    else:
        text = _one_number(length) if length < _MINUTE else _two_units(max(int(length), 60))
    return f"-{text}" if seconds < 0 and text != "0s" else text


def format_age(since: datetime | None, now: datetime, *, missing: str = "") -> str:
    """Return how long before ``now`` a timestamp is, in whole seconds: "2h 13m", "42s"; "0s" if it is later."""
    if since is None or since != since:  # noqa: PLR0124 (NaT is not equal to itself)
        return missing
    return _two_units(max(int((now - since) / _SECOND), 0))


def format_ago(value: datetime, now: datetime) -> str:
    """Return a timestamp relative to ``now``: "2h 13m ago", "in 42s"."""
    return f"in {format_age(now, value)}" if value > now else f"{format_age(value, now)} ago"


def format_timestamp(
    value: datetime | None,
    *,
    zone: tzinfo = UTC,
    now: datetime | None = None,
    show_zone: bool = True,
    exact: bool = False,
    missing: str = "",
) -> str:
    """Return a timestamp in ``zone`` as "2026-11-25 03:00:00 UTC".

    The date is omitted if ``now`` is on the same day. ``exact`` adds milliseconds, the precision of the server. A
    timestamp without a zone is not converted. ``missing`` is returned for None and NaT.
    """
    if value is None or value != value:  # noqa: PLR0124 (NaT is not equal to itself)
        return missing
    local = _in_zone(value, zone)
    is_today = now is not None and _in_zone(now, zone).date() == local.date()
    text = f"{local:{'%H:%M:%S' if is_today else '%Y-%m-%d %H:%M:%S'}}"
    text += f".{local.microsecond // 1000:03}" if exact else ""
    return f"{text} {zone}" if show_zone and value.tzinfo is not None else text


def format_time(value: datetime | None, *, zone: tzinfo = UTC, show_zone: bool = True, missing: str = "") -> str:
    """Return the time of day of a recent timestamp in ``zone``: "03:00:00 UTC"."""
    return format_timestamp(value, zone=zone, now=value, show_zone=show_zone, missing=missing)


def plural(number: float, singular: str, several: str | None = None) -> str:
    """Return a count with its noun: "1 call", "1,200 calls"; ``several`` is the plural if it is irregular."""
    return f"{number:,.0f} {verb_form(number, singular, several or f'{singular}s')}"


def verb_form(number: float, singular: str, several: str) -> str:
    """Return the form of a verb or noun that agrees with a number, such as "is" or "are"."""
    return singular if number == 1 else several


def join(items: Iterable[str], most: int = 3, *, total: int | None = None, separator: str = ", ") -> str:
    """Return different items as "a, b, c and 4 more".

    At most ``most`` items are shown, or ``most + 1`` if these are all. ``total`` is the number of all items if
    ``items`` has only the first ones; ``most + 1`` of them are enough.
    """
    known = list(dict.fromkeys(items))
    count = len(known) if total is None else total
    shown = known[: most if count > most + 1 else most + 1]
    more = count - len(shown)
    return separator.join(shown) + (f" and {more:,} more" if more > 0 else "")


def sentences(*parts: str) -> str:
    """Return the parts that are not empty as sentences, each with a full stop."""
    return " ".join(part if part.endswith((".", "!", "?", "…")) else f"{part}." for part in parts if part)


def truncate(text: str, width: int = 120) -> str:
    """Return a text with at most ``width`` characters; a longer text ends with "…"."""
    return text if len(text) <= width else f"{text[: width - 1].rstrip()}…"


def one_line(text: str, width: int = 120) -> str:
    """Return a text as one line with at most ``width`` characters."""
    return truncate(" ".join(text.split()), width)


def escape_character(character: str) -> str:
    """Return the code of a character: ``‹U+202E›``."""
    return f"‹U+{ord(character):04X}›"


def escape_invisible(text: str, *, lines: bool = True, escape: Callable[[str], str] = escape_character) -> str:
    """Return a text in which every invisible character is written as its code, such as ``‹U+202E›``.

    A joiner is kept where emoji and scripts need it: between letters or symbols that are not ASCII. With ``lines`` the
    text keeps its line ends and tabs. Otherwise it is one line: "↵" replaces a line end, and a space replaces a tab.
    ``escape`` returns the code of a character; use it for another syntax, such as JSON.
    """
    text = text if lines or text.isprintable() else text.translate(_LINE_ENDS)
    plain = text.replace("\n", "").replace("\t", "") if lines else text
    if plain.isprintable() and (plain.isascii() or not _IGNORABLE.search(plain)):
        return text  # the fast path for nearly every text
    return "".join(
        each if each in "\n\t" or not is_invisible(each) or _is_joiner_in_place(text, at) else escape(each)
        for at, each in enumerate(text)
    )


def split_ids(text: str) -> Iterator[tuple[str, tuple[str, str, str] | None]]:
    """Yield the text between ids, each with the kind, the middle and the end of the id that follows, or None."""
    at = 0
    for match in _ID.finditer(text):
        id_ = match[0]
        head = id_.index("_") + 1
        yield text[at : match.start()], (id_[:head], id_[head:-_ID_END], id_[-_ID_END:])
        at = match.end()
    yield text[at:], None


def shorten_id(text: str) -> str:
    """Return a text with its ids shortened: "inv_…k8Ep"."""
    return "".join(plain + (f"{parts[0]}…{parts[2]}" if parts else "") for plain, parts in split_ids(text))


def short_ids(texts: Iterable[str]) -> dict[str, str]:
    """Return the short form of those texts that are ids, with ends that are long enough to differ: "inv_…k8Ep"."""
    ids = [text for text in dict.fromkeys(texts) if _ID.fullmatch(text)]
    length = _ID_END
    while len({id_[-length:] for id_ in ids}) < len(ids):
        length += 1
    return {id_: f"{id_[: id_.index('_') + 1]}…{id_[-length:]}" for id_ in ids}


def is_invisible(character: str) -> bool:
    """Return whether a character is invisible, or changes how other text is shown, like a line end."""
    return unicodedata.category(character) in _INVISIBLE_CATEGORIES or _IGNORABLE.match(character) is not None


def _is_joiner_in_place(text: str, at: int) -> bool:
    """Return whether a character joins its neighbors, as in emoji and several scripts, but not in English."""
    neighbors = text[max(at - 1, 0) : at] + text[at + 1 : at + 2]
    return (
        text[at] in _JOINERS
        and len(neighbors) == 2
        and all(not each.isascii() and unicodedata.category(each)[0] in "LMS" for each in neighbors)
        and not any(map(is_invisible, neighbors))
    )


def _in_zone(value: datetime, zone: tzinfo) -> datetime:
    return value if value.tzinfo is None else value.astimezone(zone)


def _all_units(microseconds: int) -> str:
    parts = []
    for unit, size in _EXACT:
        count, microseconds = divmod(microseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


def _two_units(seconds: int) -> str:
    """Return whole seconds in the largest unit and the one below it, which is omitted if it is 0."""
    parts = []
    for unit, size in _LARGE:
        count, seconds = divmod(seconds, size)
        parts.append((count, unit))
    first = next((at for at, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count) or "0s"


def _one_number(seconds: float) -> str:
    # A value that is rounded to 1 of a unit is written in that unit, never as "1000ms".
    unit, size = next((each for each in _SMALL if seconds >= each[1] * 0.9995), _SMALL[-1])
    number = three_digits(seconds / size)
    return "0s" if number == "0" else f"{number}{unit}"


def three_digits(value: float) -> str:
    """Return a number with three digits, or with more if its integer part is longer: "1.82", "250", "1,024"."""
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
