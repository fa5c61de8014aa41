"""Find a text in inputs: where it matches, what is never searched, and where a search stops and says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.analysis.find import search as search_module
from restate_lab.analysis.find.needle import Needle, masked
from restate_lab.client.lab import Lab
from restate_lab.client.transport import Transport
from restate_lab.errors import ArgumentError, NotOnThisServer, RateLimited, TimedOut
from restate_lab.payload_json import PayloadFunction
from restate_lab.reads import Stopped
from restate_lab.redaction import Secret
from support.sample_rows import NOW, SampleRows, invocation, sample_id

NEEDLE = "müller-4711"
OTHER = {"order": "ord-1"}
SEALED = b"RTv1\0" + (4).to_bytes(2, "big") + b"key!" + b"n" * 40
NESTED = json.dumps({"items": [{"note": f"for {NEEDLE}"}]})


def input_row(number: int, payload: bytes, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the first entry of a journal, as evidence and 1.6.1 have it."""
    pairs = [{"name": name, "value": value} for name, value in (headers or {}).items()]
    entry = {"Command": {"Input": {"headers": pairs, "payload": list(payload), "name": ""}}}
    return {"id": sample_id(number), "index": 0, "entry_type": "Command: Input", "entry_json": json.dumps(entry)}


def source_of(*payloads: Any, state: list[dict[str, Any]] | None = None, **options: Any) -> SampleRows:
    """Return a source with one invocation for each payload, the first one the newest; each a minute older."""
    contents = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in payloads]
    rows = [
        invocation(number, "succeeded", created_at=NOW - timedelta(minutes=number + 1))
        for number in range(len(contents))
    ]
    journal = [input_row(number, content) for number, content in enumerate(contents)]
    return SampleRows(sys_invocation_status=rows, sys_journal=journal, state=state or [], **options)


@pytest.mark.parametrize(
    ("payload", "paths"),
    [
        ({"order": {"id": NEEDLE}}, ["input.order.id"]),
        ({"items": [{"sku": "x"}, {"sku": f"A{NEEDLE}B"}]}, ["input.items[1].sku"]),
        (json.dumps({"a": NEEDLE}).replace("-", "\\u002D").encode(), ["input.a"]),
        (json.dumps({"a": NEEDLE}, ensure_ascii=False).encode(), ["input.a"]),
        ({"body": NESTED}, ["input.body.items[0].note"]),
        ({"body": json.dumps({"deeper": NESTED})}, ["input.body.deeper.items[0].note"]),
        ({NEEDLE: {"amount": 1}, "b": NEEDLE.upper()}, ["input.*", "input.b"]),
        ({"4711": {"alice@example.com": NEEDLE}}, ["input.*.*"]),
        (NEEDLE, ["input"]),
        (f"plain text with {NEEDLE}.".encode(), ["input"]),
        (b"\xff\xfe\x00" + NEEDLE.encode() + b"\x00", ["input"]),
        ({"a": "müller", "b": "4711"}, []),
    ],
    ids=["field", "element", "escaped", "not escaped", "JSON in a string", "twice", "names", "data as names",
         "one string", "text", "bytes", "in two fields"],
)  # fmt: skip
def test_a_text_is_found_in_each_form_of_a_payload(payload: Any, paths: list[str]) -> None:
    """The result has the path of each place; a name that is data, or has the text, is not in it."""
    found = rl.find(source_of(OTHER, payload), NEEDLE)
    assert found.ids == ([sample_id(1)] if paths else [])
    assert ", ".join(found.frame["path"]) == ", ".join(paths)


def test_numbers_fragments_and_slashes_are_literal() -> None:
    payload = {"order": 4711, "vector": [1, 24711], "url": "https://shop/a", "flag": True}
    assert list(rl.find(source_of(payload), "4711").frame["path"]) == ["input.order, input.vector"]
    assert list(rl.find(source_of(payload), '"order": 4711').frame["path"]) == ["input"]
    escaped = json.dumps(payload).replace("/", "\\/").encode()
    assert list(rl.find(source_of(escaped), "shop/a").frame["path"]) == ["input.url"]
    assert list(rl.find(source_of(payload), ".*47").frame["path"]) == []


def test_the_case_counts_if_the_text_has_a_capital_letter() -> None:
    """As in the filter of the panel."""
    source = source_of({"a": "ORD-4711"}, {"a": "ord-4711"})
    assert len(rl.find(source, "ord-4711").ids) == 2
    assert rl.find(source, "ORD-4711").ids == [sample_id(0)]


def test_a_key_and_a_header_are_searched_and_secret_ones_are_not() -> None:
    names = {"x-order-id": NEEDLE, "authorization": f"Bearer {NEEDLE}", "x-restate-ingress-path": f"/Svc/{NEEDLE}"}
    source = SampleRows(
        sys_invocation_status=[
            invocation(0, created_at=NOW, target_service_key=f"customer {NEEDLE}"),
            invocation(1, created_at=NOW, idempotency_key=NEEDLE),
            invocation(2, created_at=NOW),
            invocation(3, created_at=NOW),
        ],
        sys_journal=[
            *(input_row(number, b"{}") for number in range(2)),
            input_row(2, b"{}", names),
            input_row(3, json.dumps({"password": NEEDLE, "headers": {"cookie": NEEDLE}}).encode()),
        ],
    )
    places = rl.find(source, NEEDLE).frame.set_index("id")["path"].to_dict()
    assert places == {
        sample_id(0): "key",
        sample_id(1): "idempotency key",
        sample_id(2): "header x-order-id",
    }


def test_no_part_of_a_result_has_the_text_or_a_value() -> None:
    found = rl.find(source_of({"order": NEEDLE, "iban": "DE-canary"}, OTHER), NEEDLE)
    texts = [str(found), repr(found), found._repr_html_(), str(found.queries), found.not_read.to_csv()]
    texts += [found.frame.to_csv(), str(found.frame.attrs), str(vars(found))]
    assert [text for text in texts if "4711" in text or "canary" in text] == []
    assert "1 invocation has the text" in str(found)
    assert "input.order" in str(found)


def test_payloads_are_shown_on_request_with_secrets_masked() -> None:
    payload = {"order": NEEDLE, "password": "canary", "headers": {"authorization": "canary"}}
    (shown,) = rl.find(source_of(payload), NEEDLE, payloads=True).frame["payload"]
    assert json.loads(shown)["order"] == NEEDLE
    assert "canary" not in shown


def test_the_state_of_a_service_is_searched_only_if_it_is_named() -> None:
    def value(content: str, key: str = "k", name: str = "cart") -> dict[str, Any]:
        raw = json.dumps({"id": content}).encode()
        return {"service_name": "Svc", "service_key": key, "key": name, "value": raw, "value_length": len(raw)}

    large = value("x") | {"value_length": 2 << 20, "value": b"x" * (2 << 20)}
    state = [value(NEEDLE), value("other", "l"), value(NEEDLE, "m", "api_token"), value(NEEDLE) | {"service_name": "B"}]
    source = source_of(OTHER, state=[*state, large])
    assert rl.find(source, NEEDLE).states.empty
    found = rl.find(source, NEEDLE, service="Svc")
    assert found.states.to_dict("records") == [{"service": "Svc", "key": "k", "name": "cart", "path": "value.id"}]
    assert "1 value of state" in found.summary
    assert found.reasons == ["1 value of state of more than 1 MiB"]
    without = rl.find(source_of(OTHER, without=("state",)), NEEDLE, service="Svc")
    assert without.reasons == ["the state of Svc, which the source does not have"]


def test_the_window_and_the_service_limit_the_search() -> None:
    source = source_of(*[{"a": NEEDLE}] * 4)
    assert rl.find(source, NEEDLE, since="150s").ids == [sample_id(0), sample_id(1)]
    nothing = rl.find(source, NEEDLE, since="1s")
    assert nothing.summary.startswith("No invocation was created since 2026-11-25 02:59:59")
    with pytest.raises(ArgumentError, match="No service 'Scv'"):
        rl.find(source, NEEDLE, service="Scv")


def many(count: int = 2_000) -> SampleRows:
    return source_of(*({"order": NEEDLE if number % 1_000 == 400 else "x" * 20} for number in range(count)))


def test_a_search_without_a_limit_says_that_it_searched_all() -> None:
    found = rl.find(many(), NEEDLE, since="3d")
    assert (len(found.ids), found.looked, found.total, found.ended_by) == (2, 2_000, 2_000, "")
    assert found.looked_back_to == found.since
    assert "Searched: all 2,000 invocations since 2026-11-22 03:00:00 UTC" in str(found)
    assert found.reasons == []


def test_a_search_stops_at_the_bytes_and_says_back_to_when_it_looked() -> None:
    found = rl.find(many(), NEEDLE, since="3d", max_bytes=40_000)
    oldest = NOW - timedelta(minutes=found.looked)
    assert 0 < found.looked < 2_000
    assert found.looked % 500 == 0
    assert found.looked_back_to == oldest
    assert found.size > 40_000
    (reason,) = found.reasons
    assert reason == f"the invocations created before {oldest:%F %T} UTC, because {found.ended_by}"
    assert found.ended_by == "the limit of 40 kB was reached (max_bytes=)"
    assert f"the newest {found.looked:,} of 2,000 invocations, back to" in str(found)
    first = rl.find(many(600), NEEDLE, since="3d", max_bytes=1, service="Svc")
    assert (first.looked, first.looked_back_to) == (0, None)
    assert first.reasons == [
        "the invocations, because the limit of 1 byte was reached (max_bytes=)",
        "the state of Svc, because the limit of 1 byte was reached (max_bytes=)",
    ]
    assert "only some of 600 invocations" in str(first)


class SlowRows(SampleRows):
    """Rows whose third statement for inputs fails as a read does that is stopped, or has no time left."""

    error: BaseException = TimedOut("late")

    def rows(self, statement: str, params: Mapping[str, Any], **options: Any) -> Any:
        if "entry_json" in statement and sum("entry_json" in each for each in self.asked) == 2:
            raise self.error
        return super().rows(statement, params, **options)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(TimedOut("late"), "the time limit of the connection was reached"), (Stopped(), "the search was stopped")],
)
def test_a_search_that_is_stopped_or_late_keeps_what_it_found(error: BaseException, reason: str) -> None:
    source = many()
    slow = SlowRows(now=NOW)
    slow.__dict__ |= source.__dict__ | {"error": error, "asked": []}
    found = rl.find(slow, NEEDLE, since="3d")
    assert (len(found.ids), found.looked, found.ended_by) == (1, 1_000, reason)
    slow.asked.append("entry_json")
    with pytest.raises(TimedOut, match=r"find did not finish within its timeout of 0s"):
        rl.find(source, NEEDLE, timeout=0)


def test_a_search_stops_after_a_thousand_places_and_at_the_most_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rl.find(source_of(*[{"a": NEEDLE}] * 1_200), NEEDLE)
    assert (len(found.ids), found.looked) == (1_000, 500)
    assert "1,000 places have the text" in found.ended_by
    monkeypatch.setattr("restate_lab.analysis.find.reader.MOST_ROWS", 700)
    monkeypatch.setattr(search_module, "MOST_ROWS", 700)
    found = rl.find(many(), NEEDLE, since="3d")
    assert (found.looked, found.total, found.looked_back_to) == (700, None, NOW - timedelta(minutes=700))
    assert "the newest 700 of more than 700 invocations" in found.searched


def test_what_cannot_be_searched_is_counted_with_its_reason() -> None:
    source = source_of({"a": NEEDLE}, b"x" * (2 << 20), OTHER, OTHER)
    journal = source.arrow("SELECT * FROM sys_journal WHERE id <> :id ORDER BY id", id=sample_id(2)).to_pylist()
    journal[-1] |= {"entry_json": '{"Command": {"Input": 7}}'}
    source.put(sys_journal=journal)
    found = rl.find(source, NEEDLE)
    assert (found.ids, found.looked) == ([sample_id(0)], 4)
    keyed = invocation(2, "succeeded", created_at=NOW, target_service_key=NEEDLE)
    assert list(rl.find(SampleRows(sys_invocation_status=[keyed]), NEEDLE).frame["path"]) == ["key"]
    assert sorted(found.reasons) == [
        "1 input of an unknown form",
        "1 input of more than 1 MiB",
        "1 input whose journal was not kept, or is not in the source",
    ]


def test_a_payload_is_searched_as_it_is_shown() -> None:
    """An encrypted one is counted; with a function that decodes it, its content is searched."""

    def decode(content: bytes) -> bytes:
        return content.removeprefix(SEALED)[::-1]

    class Decoded(SampleRows):
        decoder = PayloadFunction(decode, "decode")

    rows = source_of(SEALED + json.dumps({"a": NEEDLE}).encode()[::-1], b"not decoded: " + NEEDLE.encode())
    decoded = Decoded(now=NOW)
    decoded.__dict__ |= rows.__dict__
    found = rl.find(rows, NEEDLE, payloads=True)
    assert found.ids == [sample_id(1)]
    assert found.reasons == ["1 input encrypted by the SDK (a connection with decode= searches what it decodes)"]
    assert list(rl.find(decoded, NEEDLE).frame["path"]) == ["input.a"]


def test_a_source_without_inputs_cannot_be_searched() -> None:
    with pytest.raises(NotOnThisServer, match="the source has no inputs; evidence and an archive have them if"):
        rl.find(source_of(OTHER, without=("sys_journal.entry_json",)), NEEDLE)


@pytest.mark.parametrize("text", ["", "abc", " abc ", "x" * 1_001, 90_215, None])
def test_an_impossible_text_is_refused_without_repeating_it(text: Any) -> None:
    with pytest.raises(ArgumentError) as caught:
        rl.find(source_of(OTHER), text)
    assert str(caught.value).startswith("text ")
    assert not text or str(text).strip() not in str(caught.value) or text == "abc"


@pytest.mark.parametrize("size", ["much", "-1MB", 0, True, "10 TB"])
def test_an_impossible_size_is_refused(size: Any) -> None:
    with pytest.raises(ArgumentError, match="max_bytes must be"):
        rl.find(source_of(OTHER), NEEDLE, max_bytes=size)


def test_a_connection_has_one_search_at_a_time() -> None:
    lab: Any = rl.connect("127.0.0.1:9", check=False)
    assert isinstance(lab, Lab)
    assert isinstance(lab.transport, Transport)
    with lab.transport.searching, pytest.raises(RateLimited, match="another search runs on this connection"):
        rl.find(lab, NEEDLE)
    with pytest.raises((rl.errors.Unreachable, TimedOut)):
        rl.find(lab, NEEDLE, timeout=0.1)
    assert not lab.transport.searching.locked()


def test_a_deep_or_hostile_payload_is_searched() -> None:
    """Nesting of any depth, damaged JSON, half of a pair of surrogates, and a text of backslashes."""
    deep = b"[" * 50_000 + json.dumps(NEEDLE).encode() + b"]" * 50_000
    for payload in (deep, b'{"a": "' + NEEDLE.encode(), b'{"a": "\\ud800 ' + NEEDLE.encode() + b'"}'):
        assert len(rl.find(source_of(payload), NEEDLE).ids) == 1
    assert rl.find(source_of(b"\\" * 100_000), "a\\/b").ids == []


def test_a_needle_shows_nothing_of_its_text() -> None:
    needle = Needle(Secret(NEEDLE))
    assert NEEDLE not in f"{needle!r}{needle}"
    assert needle.places(masked('{"secret": "' + NEEDLE + '"}')) == []
