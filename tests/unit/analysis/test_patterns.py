"""Names of steps as patterns: data in a name is replaced, and different steps stay different."""

from __future__ import annotations

import random
from collections import defaultdict
from http import HTTPStatus

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from restate_lab.analysis.patterns import (
    _VARYING,
    elide_data,
    hide_refusals,
    merge_by_pattern,
    merge_failures,
    message_kinds,
    normalize,
    step_patterns,
    summarize_messages,
    without_refusal,
)

CITIES = ("Denver", "Paris", "New York", "New Orleans", "Zürich", "東京")
WORDS = st.sampled_from(["get", "weather", "card", "Denver", "Paris", "42", "x7", "prüfe", "東京", "“a b”", "a@b.de"])
NAMES = st.lists(WORDS, min_size=0, max_size=4).map(" ".join)
PIECES = (
    *"\"'`“”‘’«»-_#/.:,[]()eé1٣ \t\u00a0",
    *("order", "42", "503", "cafe", "deadbeef", "inv_1", "a1b2c3d4", "x" * 20, "“a b”"),
    *("f47ac10b-58cc-4372-a567-0e02b2c3d479", "abcdefab-abcd-abcd-abcd-abcdefabcdef"),
)


def groups(names: list[str]) -> set[frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for name, pattern in step_patterns(names).items():
        found[pattern].add(name)
    return {frozenset(each) for each in found.values()}


@pytest.mark.parametrize(
    ("template", "pattern"),
    [
        ("get weather {}", "get weather …"),
        ("get_weather({})", "get_weather(…)"),
        ("fetch {} forecast", "fetch … forecast"),
        ("weather {}", "weather …"),
        ("{} weather", "… weather"),
        ("{}: weather report", "…: weather report"),
        ("Wetter für {} abrufen", "Wetter für … abrufen"),
        ("天気を取得 {}", "天気を取得 …"),
        ("погода в городе {}", "погода в городе …"),
    ],
)
def test_parts_with_many_values_become_one_mark_in_any_language(template: str, pattern: str) -> None:
    assert set(step_patterns(template.format(city) for city in CITIES).values()) == {pattern}


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("charge order 17", "charge order #"),
        ("charge order 503", "charge order #"),
        ("charge order-17 of 2026-11-25", "charge order-# of #"),
        ("notify bob@example.com", "notify #"),
        ('search "two words"', "search #"),
        ("load f47ac10b-58cc-4372-a567-0e02b2c3d479", "load #"),
        ("call inv_1aBcDeFgHiJkLmNoPqRsTuVwXyZ012345", "call #"),
        ("GET https://svc/users/7", "GET #"),
        ("retry 2026-11-25T03:00:00.5Z now", "retry # now"),
        ("upload to s3", "upload to s3"),
        ("it's not the user's", "it's not the user's"),
        ("LLM call", "LLM call"),
        ("", ""),
    ],
)
def test_numbers_ids_dates_addresses_and_quoted_text_are_masked(name: str, pattern: str) -> None:
    assert step_patterns([name]) == {name: pattern}


@pytest.mark.parametrize(
    "names",
    [
        ("charge card", "send email"),
        ("reserve seat", "reserve room"),
        ("send email", "send letter", "send push", "send fax"),
        ("call LLM", "store session", "compaction LLM call"),
        ("step1", "step2", "upload to s3", "upload to s4"),
        ("get weather", "get user", "book flight", "pay"),
    ],
)
def test_names_with_different_fixed_parts_are_their_own_patterns(names: tuple[str, ...]) -> None:
    assert step_patterns(names) == {name: name for name in names}


def test_several_templates_and_fixed_steps_with_one_beginning_keep_a_pattern_each() -> None:
    names = [f"get {what} {city}" for what in ("weather", "forecast") for city in CITIES]
    fixed = ["get user", "get weather", "book flight"]
    found = step_patterns([*names, *fixed])
    assert set(found.values()) == {"get weather …", "get forecast …", *fixed}
    parts = step_patterns([*(f"fetch {city} forecast" for city in CITIES), "fetch invoice pdf"])
    assert set(parts.values()) == {"fetch … forecast", "fetch invoice pdf"}


@given(st.lists(NAMES, max_size=30), st.randoms(use_true_random=False))
def test_patterns_do_not_depend_on_order_or_frequency(names: list[str], chance: random.Random) -> None:
    once = groups(names)
    assert sorted(name for group in once for name in group) == sorted(set(names))
    mixed = [*names, *names[:7]]
    chance.shuffle(mixed)
    assert groups(mixed) == once
    assert step_patterns(mixed) == step_patterns(names)


@pytest.mark.parametrize("text", ["a", '"', "“", "'", "a.", "@", "-", "1", "a ", "#", "1-", "…"])
def test_hostile_names_take_no_longer_than_others(text: str) -> None:
    """Names of 20,000 equal characters are processed at once: their length is bounded, and so is each expression."""
    found = step_patterns([text * 20_000, *(f"{text * 20_000}{number}" for number in range(300))])
    assert len(found) == 301


def test_the_data_of_a_step_is_elided_in_its_message_but_not_within_a_longer_word() -> None:
    assert elide_data("no station in Denver", "get weather Denver", "get weather …") == "no station in …"
    assert elide_data("Denverton, Denver", "get weather Denver", "get weather …") == "Denverton, …"
    assert elide_data("keine Station in 東京", "get weather 東京", "get weather …") == "keine Station in …"
    assert elide_data("not in in", "get weather in", "get weather …") == "not in in"
    assert elide_data("no card", "charge card", "charge card") == "no card"


def test_words_that_are_skipped_contain_no_data() -> None:
    """A message is normalized as if the expression for data were applied to all of it, not only to parts."""
    chance = random.Random(7)  # noqa: S311 - messages, no secrets
    for _ in range(8_000):
        message = "- " + "".join(chance.choices(PIECES, k=chance.randrange(12)))
        whole = _VARYING.sub(lambda match: "“…”" if match["quoted"] else "#", message)
        assert normalize(message) == whole[:200].strip()


def test_messages_are_counted_by_kind_and_a_single_message_is_unchanged() -> None:
    messages = ["no bed 4 free"] * 3 + ["no cot 1 free", "no cot 2 free"]
    assert summarize_messages(messages) == "3 × no bed 4 free; 2 × no cot # free"


OFFICES = [f"office {number % 7} answered 503 to request {number}" for number in range(85, 3_000)]
CODES = ("404", "429", "500", "502", "503")
SIX = ("ant", "bee", "cow", "dog", "eel", "fox")


@pytest.mark.parametrize(
    ("messages", "kinds"),
    [
        (OFFICES, {"office # answered 503 to request #"}),
        (OFFICES[:5], {"office # answered 503 to request #"}),
        ([f"bed {number}" for number in range(101, 106)], {f"bed {number}" for number in range(101, 106)}),
        ([f"bed {number}" for number in range(101, 107)], {"bed #"}),
        ([f"bed {number}" for number in (7, 105)], {"bed #", "bed 105"}),
        ([f"request {number}: HTTP {code}" for number in range(100, 200) for code in CODES],
         {f"request #: HTTP {code}" for code in CODES}),
        ([f"HTTP {status.value}" for status in HTTPStatus], {f"HTTP {status.value}" for status in HTTPStatus}),
        ([f"no {name} in {number}" for name in ("bed", "cot") for number in range(100, 200)],
         {"no bed in #", "no cot in #"}),
        ([f"no station in {city}" for city in (*CITIES, "Rome")], {"no station in …"}),
        ([f"no station in {city}" for city in CITIES[:5]], {f"no station in {city}" for city in CITIES[:5]}),
        ([f"{code} for {name}" for code in ("503", "404") for name in SIX], {"503 for …", "404 for …"}),
        ([f"{name}: no answer" for name in SIX], {"…: no answer"}),
        (["request # failed", *(f"request {number} failed" for number in range(100, 200))], {"request # failed"}),
        (["", "a\0b"], {"", "a b"}),
    ],
)  # fmt: skip
def test_a_place_with_many_values_is_data_and_one_with_few_or_with_statuses_is_not(
    messages: list[str], kinds: set[str]
) -> None:
    assert set(message_kinds(messages).values()) == kinds


SLOTS = st.sampled_from([
    [str(number) for number in range(98, 140)],
    [str(number) for number in range(0, 4_000, 97)],
    [f"{letter}{other}" for letter in "abcdefgh" for other in "uvwxyz"],
    [f"ord_{number}" for number in range(95, 130)],
])  # fmt: skip


@given(data=SLOTS, codes=st.sets(st.sampled_from(CODES), min_size=1), before=st.booleans(), chance=st.randoms())
def test_kinds_do_not_depend_on_order_frequency_or_other_families(
    data: list[str], codes: set[str], before: bool, chance: random.Random
) -> None:
    templates = ["office {0} answered {1} today", "{1} was the answer of {0}"] if before else ["case {0}: HTTP {1}"]
    families = {
        (template, code): [template.format(each, code) for each in data] for template in templates for code in codes
    }
    messages = [message for family in families.values() for message in family]
    chance.shuffle(messages)
    kinds = message_kinds([*messages, *messages[:9]])
    found = {key: {kinds[message] for message in family} for key, family in families.items()}
    assert [len(each) for each in found.values()] == [1] * len(families)
    assert len(set.union(*found.values())) == len(families)


def test_rows_of_one_kind_of_message_are_merged_with_sums_and_the_last_failure_as_example() -> None:
    cause = {"target_service_name": "Svc", "target_handler_name": "run"}
    day = pd.to_datetime([f"2026-11-28T03:{number % 60:02}:00Z" for number in range(900)])
    rows = pd.DataFrame(
        {
            **dict.fromkeys(cause, "Svc"), "status": "failed", "code": "500", "error_code": "RT0007", "step": "fetch",
            "message": ["request # failed", *(f"request {number} failed" for number in range(101, 1_000))],
            "invocations": [2_015] + [1] * 899, "attempts": 3, "first_at": day, "last_at": day,
            "example_id": [f"inv_{number}" for number in range(900)], "example_message": "request 5 failed", "steps": 1,
        }
    )  # fmt: skip
    for merge, example in ((merge_by_pattern, "inv_0"), (merge_failures, "inv_59")):
        (row,) = merge(rows).to_dict("records")
        assert (row["invocations"], row["message"], row["example_id"]) == (2_914, "request # failed", example)
        assert (row["first_at"], row["last_at"]) == (day.min(), day.max())
        few = rows.head(3)
        assert merge(few) is few


@pytest.mark.parametrize("name", ["ModelRefusalError", "ContentFilterError"])
def test_the_text_of_a_refusal_is_removed_from_a_message_and_other_errors_keep_theirs(name: str) -> None:
    message = f"agents.{name}('I cannot help\\nwith 17 cards')\nTraceback"
    assert without_refusal(message) == f"agents.{name}(…)"
    assert summarize_messages([message, message]) == f"agents.{name}(…)"
    assert normalize(message) == f"agents.{name}(…)"
    assert without_refusal("ValueError('I cannot help')") == "ValueError('I cannot help')"
    rows = pd.DataFrame(
        {"invocations": [1, 2], "failure": [message, None], "message": ["no", message], "key": [message, "a"]}
    )
    hidden = hide_refusals(rows)
    assert hidden["failure"].tolist() == [f"agents.{name}(…)", rows["failure"][1]]
    assert hidden["message"].tolist() == ["no", f"agents.{name}(…)"]
    assert hidden[["invocations", "key"]].equals(rows[["invocations", "key"]])
    assert hide_refusals(hidden) is hidden
