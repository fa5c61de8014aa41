"""The result of a contrast: its sentences, what it hides at each level of payloads, and its card."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from restate_lab.analysis.contrast.decide import decide
from restate_lab.analysis.contrast.model import (
    MISSING,
    Attribute,
    Counted,
    Many,
    Observed,
    Payloads,
    Sample,
    Where,
)
from restate_lab.analysis.contrast.result import Contrast
from restate_lab.analysis.contrast.wording import percent
from restate_lab.cli._page import TextPage
from restate_lab.document.text import COLUMNS, ROWS, count_rows
from restate_lab.result import unread
from restate_lab.status import STATUSES
from support.contrast_samples import column, field, sample_of
from support.contrast_worlds import null_world, plant_world

DEPLOYMENT = Attribute(Where.COLUMN, "pinned_deployment_id", verb="run on", is_sequential=True)
CALLER = Attribute(Where.COLUMN, "invoked_by_service_name", verb="were called by")
KEY = Attribute(Where.KEY, "target_service_key", sql="target_service_key")
HEADER = Attribute(Where.HEADER, "x-mode", is_payload=True)
STEP = Attribute(Where.STEP, "charge card")
CANARY = "CANARY"


def contrast_of(sample: Sample, *, payloads: Payloads = True, shows_keys: bool = True) -> Contrast:
    failing = int(sample.failing.sum())
    healthy = len(sample.failing) - failing
    sides = pd.DataFrame(
        {
            "side": ["failing", "healthy"],
            "total": [failing, 10 * healthy],
            "read": [failing, healthy],
            "chosen": ["with the status failed", "that succeeded in the same 6 hours"],
            "service": "Orders",
            "handler": "place",
        }
    )
    return Contrast(
        decision=decide(sample, payloads=payloads, shows_keys=shows_keys),
        payloads=payloads,
        sides=sides,
        source="prod",
        version="1.7.12",
        read_at=datetime(2026, 11, 29, 3, tzinfo=UTC),
    )


def verdict(failing: Sequence[Any], healthy: Sequence[Any], attribute: Attribute, payloads: Payloads = True) -> str:
    observed = Observed(attribute, [*failing, *healthy])
    return contrast_of(sample_of(len(failing), len(healthy), observed), payloads=payloads).verdict


def everything(result: Contrast) -> str:
    """Return all that a result shows or stores, as one text."""
    frames = [result.conditions, result.attributes, result.sides, result.not_read]
    shown = [frame.to_json() + repr(frame.attrs) + frame.to_csv() for frame in frames]
    texts = [str(result), repr(result), result.summary, result.verdict, *result.sentences, *result.notes]
    stored = pickle.dumps(result.decision).decode("latin-1") + repr(result.decision)
    return "\n".join([*shown, *texts, result._repr_html_(), stored])


@pytest.mark.parametrize(
    ("failing", "healthy", "attribute", "shape", "whole"),
    [
        (
            ["eu-west"] * 40,
            ["eu-west"] * 9 + ["us"] * 291,
            field("region"),
            "All 40 failing have one and the same value in `input.region` (hidden); 3 % of the healthy do.",
            'All 40 failing have `input.region = "eu-west"`; 3 % of the healthy do.',
        ),
        (
            [*range(9_001, 9_094), *range(7)],
            [*range(5, 1_003), 9_050, 9_060],
            field("amount"),
            (
                "93 of 100 failing have `input.amount` higher than in more than 99 % of the healthy; "
                "2 of the 1,000 healthy do."
            ),
            "93 of 100 failing have `input.amount > 5,000`; 2 of the 1,000 healthy do.",
        ),
        (
            [MISSING] * 38 + ["1"] * 3,
            ["1"] * 800,
            field("tax_id"),
            "`input.tax_id` is missing in 38 of 41 failing and in none of the 800 healthy.",
            "`input.tax_id` is missing in 38 of 41 failing and in none of the 800 healthy.",
        ),
        (
            [str(n) for n in range(300)],
            [12] * 300,
            field("total"),
            (
                "`input.total` is a string in all 300 failing and in none of the 300 healthy; "
                "in the other healthy ones it is a number."
            ),
            (
                "`input.total` is a string in all 300 failing and in none of the 300 healthy; "
                "in the other healthy ones it is a number."
            ),
        ),
        (
            [True] * 40,
            [MISSING] * 300,
            STEP,
            "All 40 failing took the step `charge card`; none of the 300 healthy did.",
            "All 40 failing took the step `charge card`; none of the 300 healthy did.",
        ),
        (
            ["yes"] * 40,
            ["no"] * 300,
            HEADER,
            "All 40 failing have one and the same value in the header `x-mode` (hidden); none of the 300 healthy do.",
            'All 40 failing have `header x-mode = "yes"`; none of the 300 healthy do.',
        ),
        (
            ["yes"] * 40,
            [MISSING] * 300,
            Attribute(Where.HEADER, "x-dry-run", is_payload=True),
            "All 40 failing have the header `x-dry-run`; none of the 300 healthy do.",
            "All 40 failing have the header `x-dry-run`; none of the 300 healthy do.",
        ),
        (
            ["Backfill"] * 40,
            ["Orders"] * 300,
            CALLER,
            "All 40 failing were called by Backfill; none of the 300 healthy were.",
            "All 40 failing were called by Backfill; none of the 300 healthy were.",
        ),
        (
            ["dp_1a", "dp_1b"] * 20,
            ["dp_1old"] * 300,
            DEPLOYMENT,
            "All 40 failing run on something other than dp_1old; none of the 300 healthy do.",
            "All 40 failing run on something other than dp_1old; none of the 300 healthy do.",
        ),
        (
            ["k7"] * 40,
            [f"k{n}x" for n in range(300)],
            KEY,
            "All 40 failing have one and the same value in the key (hidden); none of the 300 healthy do.",
            'All 40 failing have `key = "k7"`; none of the 300 healthy do.',
        ),
        (
            ["a" * 12] * 20 + ["b" * 13] * 20,
            ["c" * (n % 9) for n in range(300)],
            field("language"),
            "All 40 failing have more than 10 characters in `input.language`; none of the 300 healthy do.",
            "All 40 failing have more than 10 characters in `input.language`; none of the 300 healthy do.",
        ),
    ],
    ids=lambda each: each.path if isinstance(each, Attribute) else "",
)
def test_the_sentence_of_a_condition(
    failing: list[Any], healthy: list[Any], attribute: Attribute, shape: str, whole: str
) -> None:
    assert verdict(failing, healthy, attribute, "shape") == shape
    assert verdict(failing, healthy, attribute) == whole


@pytest.mark.parametrize("large", [10**400, Decimal("9" * 5_000), math.inf])
def test_a_number_of_any_size_is_compared_and_shown_on_one_line(large: Any) -> None:
    assert len(verdict([large] * 20 + [large + 1] * 20, [2] * 150 + [3] * 150, field("n"))) < 200


@pytest.mark.parametrize(
    ("failing", "healthy", "attribute", "whole"),
    [
        ([float("nan") for _ in range(40)], [*range(300)], field("n"), "All 40 failing have `input.n = NaN`; none"),
        ([float("nan") for _ in range(40)], [1.5, math.inf] * 150, field("a.n"), "have `input.a.n = NaN`; none"),
        (
            [Many((1, float("nan"))) for _ in range(40)],
            [Many((1, 2))] * 300,
            field("items[].n"),
            "All 40 failing have `input.items[].n = NaN`; none",
        ),
        ([math.inf] * 40, [float("nan") for _ in range(300)], field("n"), "have `input.n = Infinity`; none"),
        ([*range(40)], [float("nan") for _ in range(300)], field("n"), "`input.n` is a number in all 40 failing and"),
    ],
)
def test_nan_is_one_value_with_a_type_of_its_own(
    failing: list[Any], healthy: list[Any], attribute: Attribute, whole: str
) -> None:
    sample = sample_of(len(failing), len(healthy), Observed(attribute, [*failing, *healthy]))
    result = contrast_of(sample)
    assert whole in result.verdict
    assert set(result.conditions["value"]) <= {"NaN", "number", math.inf, None} | set(range(40))
    assert "NaN" not in str(contrast_of(sample, payloads="shape").conditions["value"].loc[lambda each: each != "NaN"])


def test_few_healthy_ones_give_a_clue_and_no_conclusion(capsys: pytest.CaptureFixture[str]) -> None:
    """The card is gray, and the first line of each text says that there are too few."""
    few, enough = (
        contrast_of(sample_of(14, healthy, Observed(CALLER, ["Backfill"] * 14 + ["Orders"] * healthy)))
        for healthy in (29, 30)
    )
    clue = "All 14 failing were called by Backfill; none of the {} healthy were."
    assert few.doubt == few.verdict == "Too few healthy ones (29) for a conclusion."
    assert few.summary.splitlines() == [few.doubt, clue.format(29)]
    assert few.sentences == [clue.format(29)]
    assert (enough.doubt, enough.verdict) == ("", clue.format(30))
    card, red = few._repr_html_(), STATUSES["failed"].colour
    assert few.doubt.removesuffix(".") in card
    assert "called by Backfill" in card
    assert (red in card, red in enough._repr_html_()) == (False, True)
    assert "with 14 failing and 29 healthy ones, only a difference of" in str(few)
    TextPage().document(few.document())
    assert capsys.readouterr().out.startswith(few.doubt)


@pytest.mark.parametrize(("apart", "is_clue"), [(0.001, True), (0.9, True), (2.0, False), (600.0, False)])
def test_times_that_hardly_differ_are_a_clue(apart: float, *, is_clue: bool) -> None:
    times = [*np.linspace(0.0, apart / 10, 40), *np.linspace(-apart - apart / 10, -apart, 40)]
    rows = sample_of(40, 40, seconds=times)
    created = Observed(Attribute(Where.TIME, "created_at", is_sequential=True), rows.created_at.tolist())
    result = contrast_of(replace(rows, observed=(created,)), payloads=False)
    assert result.sentences, "a cause was found"
    assert result.doubt.startswith("Too few for a conclusion: the sides differ only in times") is is_clue
    deployment = Observed(DEPLOYMENT, ["dp_1new"] * 40 + ["dp_1old"] * 40)
    with_deployment = contrast_of(replace(rows, observed=(deployment, created)), payloads=False)
    assert with_deployment.doubt == "", "not only times differ"


def test_a_pair_names_the_share_of_each_condition() -> None:
    first = ["maple"] * 60 + ["maple"] * 100 + ["oak"] * 300
    second = ["dp_1"] * 60 + ["dp_2"] * 100 + ["dp_1"] * 80 + ["dp_2"] * 220
    result = contrast_of(sample_of(60, 400, Observed(field("plan"), first), Observed(DEPLOYMENT, second)))
    assert result.verdict == (
        'All 60 failing run on dp_1 and have `input.plan = "maple"`; '
        "of the healthy, 20 % have the first, 25 % the second, and none both."
    )


def test_conditions_on_the_same_invocations_are_one_sentence() -> None:
    deployment, sdk = ["dp_1new"] * 40 + ["dp_1old"] * 300, ["1.5"] * 40 + ["1.4"] * 300
    observed = [Observed(DEPLOYMENT, deployment), Observed(Attribute(Where.COLUMN, "sdk", verb="use SDK"), sdk)]
    result = contrast_of(sample_of(40, 300, *observed), payloads=False)
    assert result.sentences == [
        (
            "All 40 failing run on dp_1new and use SDK 1.5; none of the 300 healthy do: the same invocations, so this "
            "does not tell which of the two it is."
        )
    ]
    assert list(result.conditions["role"]) == ["distinguishes", "same rows"]


def test_a_further_cause_is_about_the_other_failing_ones() -> None:
    caller = ["Backfill"] * 57 + ["Orders"] * 43 + ["Backfill"] * 10 + ["Orders"] * 990
    header = [MISSING] * 57 + ["yes"] * 40 + [MISSING] * 1_003
    result = contrast_of(sample_of(100, 1_000, Observed(CALLER, caller), Observed(HEADER, header)))
    assert result.summary.splitlines() == [
        "57 of 100 failing were called by Backfill; 1 % of the healthy were.",
        "Of the other 43 failing, 40 have the header `x-mode`; none of the 990 healthy do.",
    ]


def test_the_rate_among_all_is_named_if_the_population_was_counted() -> None:
    values = ["Backfill"] * 40 + ["Backfill"] * 30 + ["Orders"] * 270
    counts = (np.array([4_000]), np.array([1_000]))
    counted = Counted(CALLER, ["Backfill"], *counts, failing_total=4_000, healthy_total=10_000)
    result = contrast_of(sample_of(40, 300, Observed(CALLER, values), counted=[counted]), payloads=False)
    assert result.verdict == (
        "All 4,000 failing were called by Backfill; 10 % of the healthy were. Of all 5,000 with it, 80 % are failing."
    )


def test_nothing_in_common_names_the_comparison_and_what_would_have_been_found() -> None:
    result = contrast_of(null_world("plain", 1).sample, payloads=False)
    failing, healthy = (int(each) for each in result.sides["read"])
    assert result.verdict == (
        f"Nothing distinguishes the {failing:,} failing from {healthy:,} healthy invocations of Orders/place."
    )
    seen = (
        rf"with {failing:,} failing and {healthy:,} healthy ones, only a difference of \d+ points or more can be seen"
    )
    assert re.search(rf"Compared: \d+ attributes, [\d,]+ conditions; {seen}", str(result))
    assert 'payloads="shape"' in str(result)
    assert result.sentences == []


def test_a_result_without_a_comparison_gives_its_reason() -> None:
    result = Contrast(
        decision=None,
        statement="3 failing invocations are too few to compare: at least 4 are needed",
        payloads=False,
        sides=pd.DataFrame(),
        source="prod",
        version="1.7.12",
        read_at=datetime(2026, 11, 29, tzinfo=UTC),
        not_read=unread(healthy=["the journals were purged"]),
    )
    assert result.verdict == "3 failing invocations are too few to compare: at least 4 are needed."
    assert "too few" in result._repr_html_()
    assert (result.tests, len(result.conditions), len(result.attributes)) == (0, 0, 0)
    assert "Not read: the journals were purged." in str(result)


def test_a_burst_is_described() -> None:
    seconds = [n * 0.1 for n in range(30)] + [n * 10.0 for n in range(1, 1_001)]
    callers = ["inv_1"] * 30 + [None] * 1_000
    region = Observed(field("region"), ["eu"] * 30 + ["us"] * 1_000)
    result = contrast_of(sample_of(30, 1_000, region, seconds=seconds, callers=callers))
    assert result.verdict == (
        "All 30 failing came within 2.9s, in one burst, from one caller: one event, so what else they share proves "
        "nothing."
    )
    assert list(result.conditions["role"]) == ["in a burst"]


def secrets() -> Sample:
    """Return a sample in which each kind of condition on a payload or a key distinguishes, and has a canary."""
    n1, n0 = 60, 240
    mark = f"{CANARY}-x@{CANARY}.example"
    observed = [
        Observed(field("region"), [mark] * n1 + ["us"] * n0),
        Observed(field("beginning"), [f"{CANARY}-{n}" for n in range(n1)] + [f"u-{n}" for n in range(n0)]),
        Observed(field("mail"), [f"u{n}@{CANARY}.example" for n in range(n1)] + [f"u{n}@b.example" for n in range(n0)]),
        Observed(field("amount"), [7_391_001 + n for n in range(n1)] + list(range(n0))),
        Observed(field("items[].sku"), [Many((mark, "b"))] * n1 + [Many(("c",))] * n0),
        Observed(field(f"accounts.{CANARY}name"), [1] * n1 + [MISSING] * n0),
        Observed(field(f"lost.{CANARY}other"), [MISSING] * n1 + [1] * n0),
        Observed(HEADER, [mark] * n1 + ["b"] * n0),
        Observed(KEY, [mark] * n1 + [f"k{n}" for n in range(n0)]),
        Observed(
            Attribute(Where.KEY, "limit_key"), [f"{CANARY}{n}" for n in range(n1)] + [f"k.{n}" for n in range(n0)]
        ),
    ]
    return sample_of(n1, n0, *observed)


@pytest.mark.parametrize("payloads", [False, "shape"])
@pytest.mark.parametrize("shows_keys", [False, True])
def test_no_value_no_key_and_no_name_of_a_map_is_shown_or_stored(payloads: Payloads, shows_keys: bool) -> None:
    result = contrast_of(secrets(), payloads=payloads, shows_keys=shows_keys)
    text = everything(result)
    assert CANARY not in text
    assert "7391" not in text.replace(",", "")
    assert "7390" not in text.replace(",", "")
    assert len(result.conditions) >= 9


def test_with_payloads_values_and_names_are_shown() -> None:
    text = everything(contrast_of(secrets()))
    assert f'input.region = "{CANARY}-x@{CANARY}.example"' in text.replace("\\", "")
    assert f"accounts.{CANARY}name" in text


def test_a_name_that_a_side_hardly_has_is_a_star() -> None:
    values = [1] * 60 + [1] * 11 + [MISSING] * 229
    result = contrast_of(sample_of(60, 240, Observed(field("map.anna"), values)), payloads="shape")
    assert list(result.conditions["path"]) == ["*.*"]
    other = Observed(field("map.kind"), ["a"] * 300)
    result = contrast_of(sample_of(60, 240, Observed(field("map.anna"), values), other), payloads="shape")
    assert list(result.conditions["path"]) == ["map.*"]
    values[71:73] = [1, 1]
    result = contrast_of(sample_of(60, 240, Observed(field("map.anna"), values)), payloads="shape")
    assert list(result.conditions["path"]) == ["map.anna"]


def test_a_beginning_that_many_keys_share_is_shown_only_where_it_is_allowed() -> None:
    keys = Observed(KEY, [f"acme-{n}" for n in range(40)] + [f"u{n}" for n in range(300)])
    shown = contrast_of(sample_of(40, 300, keys), payloads=False, shows_keys=True)
    assert shown.verdict == 'All 40 failing have a key that begins with "acme-"; none of the 300 healthy do.'
    assert shown.conditions["sql"][0] == "starts_with(target_service_key, 'acme-')"
    assert "acme" not in everything(contrast_of(sample_of(40, 300, keys), payloads=False, shows_keys=False))


def test_a_beginning_of_few_keys_is_hidden() -> None:
    """The beginning of the keys of one person can be a name."""
    keys = Observed(KEY, [f"anna-{n % 4}" for n in range(40)] + [f"u{n}" for n in range(300)])
    result = contrast_of(sample_of(40, 300, keys), payloads="shape", shows_keys=True)
    assert result.verdict.startswith("All 40 failing have one and the same beginning in the key (hidden); none")
    assert "anna" not in everything(result)


def test_a_secret_name_hides_its_values_at_every_level() -> None:
    attributes = [
        field("password"),
        field("login.token.kind"),
        Attribute(Where.HEADER, "authorization", is_payload=True),
        Attribute(Where.INPUT, "note", ("note",), is_payload=True, is_hidden=True),
    ]
    for attribute in attributes:
        observed = Observed(attribute, [f"{CANARY}-{n % 2}" for n in range(40)] + ["b"] * 300)
        result = contrast_of(sample_of(40, 300, observed))
        assert CANARY not in everything(result)
        assert "(hidden)" in result.verdict


def test_a_literal_in_a_filter_is_quoted() -> None:
    values = ["it's"] * 40 + ["b"] * 300
    result = contrast_of(sample_of(40, 300, Observed(column("scope"), values)), payloads=False)
    assert result.conditions["sql"][0] == "scope = 'it''s'"


def test_a_time_has_a_filter() -> None:
    times = Attribute(Where.TIME, "created_at", sql="created_at", is_sequential=True)
    hour, start = 3_600 * 10**9, 1_795_000_000 * 10**9 // (3_600 * 10**9) * 3_600 * 10**9
    values = [start + hour + 1 + n for n in range(40)] + [start + n for n in range(300)]
    result = contrast_of(sample_of(40, 300, Observed(times, values)), payloads=False)
    assert result.conditions["sql"][0] == "created_at > '2026-11-18T12:00:00Z'"
    assert result.verdict == "All 40 failing were created after 2026-11-18 12:00:00 UTC; none of the 300 healthy were."


def test_hostile_text_is_shown_as_text() -> None:
    hostile = "</div><script>alert(1)</script>`\u202e"
    names = ("a", hostile)
    attribute = Attribute(Where.INPUT, hostile, names, is_payload=True)
    result = contrast_of(sample_of(40, 300, Observed(attribute, [hostile] * 40 + ["b"] * 300)))
    card = result._repr_html_()
    assert "<script>" not in card
    assert "\u202e" not in card + str(result) + repr(result)
    assert "&lt;script&gt;" in card
    assert result.verdict.count("`") == 2


def test_a_text_fits_on_a_screen() -> None:
    """Fifty attributes with long values select the same rows."""
    observed = [Observed(field(f"{'long' * 20}{n}"), ["x" * 900] * 40 + ["y"] * 300) for n in range(50)]
    result = contrast_of(sample_of(40, 300, *observed))
    assert count_rows(str(result)) <= ROWS
    assert len(result.summary.splitlines()) <= 10
    assert "\n" not in repr(result)
    assert len(repr(result)) <= 5 * COLUMNS
    assert len(result.conditions) == 50


def test_the_card_has_two_bars_and_an_interval_for_each_cause_and_no_p_value() -> None:
    card = contrast_of(plant_world("two_causes", 3, is_small=True).sample)._repr_html_()
    assert card.count('role="img"') == 4
    assert card.count("95 % interval of the difference:") == 2
    assert "p =" not in card
    assert "adjusted" not in card


def test_the_frames_have_their_columns() -> None:
    for world in (null_world("plain", 1, is_small=True), plant_world("json_value", 1, is_small=True)):
        result = contrast_of(world.sample)
        assert list(result.conditions) == [
            *("group", "role", "condition", "where", "path", "op", "value", "failing_with", "failing"),
            *("healthy_with", "healthy", "gap", "low", "high", "adjusted_p", "all_with", "all_failing", "sql"),
        ]
        assert list(result.attributes) == ["where", "path", "conditions", "unknown", "gap", "low", "high", "verdict"]
        assert result.conditions.attrs["source"] == "prod"
        assert {str(each) for each in result.conditions[["gap", "low", "high"]].dtypes} == {"float64"}


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 9, "0 %"), (9, 9, "100 %"), (1, 900, "less than 1 %"), (899, 900, "more than 99 %"), (1, 3, "33 %")],
)
def test_a_share_is_zero_or_all_only_if_it_is_exactly_that(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text
