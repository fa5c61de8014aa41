"""The verdict on each kind of response, what is refused before anything is sent, and the result of a replay."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab._text import escape_invisible
from restate_lab.analysis.ids import decode_invocation_id, encode_invocation_id
from restate_lab.analysis.journal.encoding import encode_entry
from restate_lab.analysis.replay.check import choose_sample
from restate_lab.analysis.replay.recording import ReplayOutcome, other_id, random_seed, recording_of
from restate_lab.analysis.replay.result import outcome_frames
from restate_lab.analysis.replay.verdict import judge
from restate_lab.client.endpoint import Answer
from restate_lab.protocol.messages import ErrorMessage, Message
from restate_lab.protocol.wire import bytes_field
from support.fake_endpoint import (
    INVOCATION,
    MANIFEST,
    OneInvocation,
    deployment,
    discovery,
    error_frame,
    response,
)
from support.raw_server import raw_server

AWAIT = "Found a mismatch.\n'await' could not be replayed. …\nNotifications awaited on this await point:\n"
VALUES = "Found a mismatch.\n- The mismatch happened while executing 'call' (index '1')\n- Difference:\n   {}: {} != {}"
FITS = response(error_frame(570, "mismatch", 2, "b", 0x411))


def entry(kind: str, name: str | None = None, raw: bytes = b"") -> dict[str, Any]:
    return {"entry_type": kind, "name": name, "raw": raw}


OPEN = (entry("Command: Input"), entry("Command: Run", "a", b"\x58\x01b\x01a"), entry("Notification: Run"))
ENDED = (*OPEN, entry("Command: Output"))


def verdict(
    *answers: Answer, entries: Sequence[Mapping[str, Any]] = OPEN, **row: Any
) -> tuple[ReplayOutcome, list[int]]:
    """Return the outcome for these responses, and the number of messages in each request."""
    recording = recording_of(
        OneInvocation(**row).row,
        [{"index": index, **each} for index, each in enumerate(entries)],
        as_restart=False,
        has_unique_seeds=bool(row),
    )
    left, sent = list(answers), []

    def ask(_: Any, messages: Sequence[Message]) -> Answer:
        sent.append(len(messages))
        return left.pop(0)

    return judge(recording, ask), sent


def error(code: int, message: str = "", index: int | None = None, name: str = "", command: str = "") -> Answer:
    return Answer(200, ErrorMessage(code, message, index, name, command))


@pytest.mark.parametrize("kind", ["Call", "OneWayCall"])
def test_a_recorded_call_is_described_with_its_handler(kind: str) -> None:
    calling = (entry("Command: Input"), entry(f"Command: {kind}", "", b"\x0a\x08Payments\x12\x06charge"))
    outcome, _ = verdict(error(570, "mismatch", 1, "b", "Run"), entries=calling)
    assert f"the journal has {kind} Payments/charge as command 1" in outcome.reason


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (error(570, "mismatch", 1, "b", "Run"), ("diverges", 1, "Run 'b'")),
        (error(570, "mismatch", 1, "", "Output"), ("diverges", 1, "Output")),
        (error(570, VALUES.format("name", "a", "b"), 1, "b", "Run"), ("diverges", 1, "Run 'b'")),
        (error(570, VALUES.format("parameter", "'4111'", "'4222'"), 1, "a", "Run"), ("diverges", 1, "Run 'a' with")),
        (error(570, "mismatch", 2, "b", "Run"), ("fits", None, None)),
        (error(570, "mismatch", 3, "b", "Run"), ("cannot say", None, None)),
        (error(570, "mismatch"), ("cannot say", None, None)),
        (error(571, "violation"), ("cannot say", None, None)),
        (error(500, "ValueError('x')\nmore"), ("fails", None, None)),
        (Answer(200), ("cannot say", None, None)),
        (Answer(302), ("not checkable", None, None)),
        (Answer(401), ("not checkable", None, None)),
        (Answer(403), ("not checkable", None, None)),
        (Answer(404), ("fails", None, None)),
        (Answer(415), ("not checkable", None, None)),
        (Answer(500), ("cannot say", None, None)),
        (Answer(0, problem="no connection"), ("cannot say", None, None)),
        (Answer(200, ErrorMessage(500, ""), problem="it ended early"), ("cannot say", None, None)),
    ],
)
def test_each_response_has_its_verdict_after_one_request_without_values_of_payloads(
    answer: Answer, expected: tuple[str, int | None, str | None]
) -> None:
    outcome, sent = verdict(answer)
    assert (outcome.verdict, outcome.command_index) == expected[:2]
    assert (outcome.now or "").startswith(expected[2] or "")
    assert sent == [3]
    assert "4111" not in repr(outcome)
    assert "4222" not in repr(outcome)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (error(571, "violation"), "fits"),
        (error(570, "mismatch", 2, "", "Output"), "other result"),
        (error(570, "mismatch", 2, "b", "Run"), "diverges"),
        (error(570, "mismatch", 3, "b", "Run"), "cannot say"),
    ],
)
def test_code_with_a_recorded_result_must_end_with_this_result(answer: Answer, expected: str) -> None:
    assert verdict(answer, entries=ENDED)[0].verdict == expected


@pytest.mark.parametrize(
    ("first", "second", "expected", "continues_with"),
    [
        (error(570, AWAIT + " - run [b]\n - Cancellation"), error(570, "", 1, "a", "Run"), "fits", "Run 'b'"),
        (error(570, AWAIT + " - completion id 1\n"), error(570, "", 1, "a", "Run"), "fits", "Run 'a'"),
        (error(570, AWAIT + " - Awakeable sign_1x\n"), error(570, AWAIT), "diverges", None),
        (Answer(200, is_suspended=True), error(570, "", 1, "a", "Run"), "fits", "a result"),
        (Answer(200, is_suspended=True), Answer(200, is_suspended=True), "diverges", None),
        (error(570, AWAIT), error(570, "", 0, "a", "Run"), "cannot say", None),
        (error(570, AWAIT), error(571), "cannot say", None),
        (error(570, AWAIT), Answer(0, problem="no connection"), "cannot say", None),
    ],
)
def test_an_await_needs_a_second_request(
    first: Answer, second: Answer, expected: str, continues_with: str | None
) -> None:
    """Without the last command, code that had come to it meets the stop command, and other code waits again."""
    outcome, sent = verdict(first, second)
    assert (outcome.verdict, outcome.continues_with) == (expected, continues_with)
    assert sent == [3, 2]


HIDDEN = "\x1b[2J\u202egnp\U000e0049"


@pytest.mark.parametrize(
    "answers",
    [
        [error(500, HIDDEN)],
        [error(571, HIDDEN)],
        [error(570, HIDDEN, 99)],
        [error(570, "", 1, HIDDEN, "Run")],
        [error(570, f"{AWAIT} - run [{HIDDEN}]\n - {HIDDEN}\n"), error(570, "", 1, "a", "Run")],
        [Answer(0, problem=HIDDEN)],
    ],
)
def test_no_verdict_has_an_invisible_character_of_the_endpoint(answers: list[Answer]) -> None:
    outcome, _ = verdict(*answers)
    texts = [each for each in astuple(outcome) if isinstance(each, str)]
    escaped = ("‹U+001B›[2J‹U+202E›gnp‹U+E0049›", repr(HIDDEN)[1:-1])  # a text, or the name of a command
    assert any(each in "".join(texts) for each in escaped)
    assert all(text == escape_invisible(text, lines=False) for text in texts)


def test_an_await_with_only_the_input_needs_one_request() -> None:
    outcome, sent = verdict(error(570, AWAIT + " - run [b]\n"), entries=OPEN[:1])
    assert (outcome.verdict, outcome.continues_with, sent) == ("fits", "Run 'b'", [1])


def test_another_value_under_an_unknown_seed_says_nothing() -> None:
    values = error(570, VALUES.format("parameter", "'a'", "'b'"), 1, "a", "Run")
    assert verdict(values, restarted_from=INVOCATION)[0].verdict == "cannot say"
    assert verdict(error(570, "mismatch", 1, "b", "Run"), restarted_from=INVOCATION)[0].verdict == "diverges"


@pytest.mark.parametrize(
    ("row", "entries", "expected", "reason"),
    [
        ({"protocol_version": 4}, OPEN, "not checkable", "old form"),
        ({"protocol_version": 8}, OPEN, "not checkable", "newer"),
        ({}, (), "not checkable", "no entries"),
        ({}, [{**each, "raw": None} for each in OPEN], "not checkable", "payloads=True"),
        ({}, (*OPEN, entry("Command: New")), "cannot say", "unknown"),
        ({"status": "scheduled", "protocol_version": None}, OPEN[:1], "fits", "not started"),
        ({"protocol_version": None}, OPEN, "cannot say", "no protocol version"),
    ],
)
def test_a_journal_that_cannot_be_replayed_has_a_verdict_without_a_request(
    row: dict[str, Any], entries: Sequence[Mapping[str, Any]], expected: str, reason: str
) -> None:
    outcome, sent = verdict(entries=entries, **row)
    assert (outcome.verdict, sent) == (expected, [])
    assert reason in outcome.reason


def frozen(kind: str, body: str) -> dict[str, Any]:
    return {"entry_type": kind, "name": None, "entry_json": body}


INPUT_JSON = '{{"Command":{{"Input":{{"headers":[{{"name":"a","value":"{}"}}],"payload":{},"name":""}}}}}}'


def test_a_masked_value_that_code_reads_gives_no_verdict_and_a_masked_header_does_not_matter() -> None:
    masked = list('"•••"'.encode())
    for headers, payload, sent in (("•••", [49], [1]), ("b", masked, []), ("b", [49], [1])):
        entries = [frozen("Command: Input", INPUT_JSON.format(headers, payload))]
        outcome, requests = verdict(error(570, AWAIT), entries=entries) if sent else verdict(entries=entries)
        assert requests == sent
        assert outcome.verdict == ("fits" if sent else "cannot say")
    call = '{"Command":{"SetState":{"key":"•••","value":[49],"name":""}}}'
    entries = [frozen("Command: Input", INPUT_JSON.format("b", [49])), frozen("Command: SetState", call)]
    assert verdict(entries=entries)[0].verdict == "cannot say"


@pytest.mark.parametrize("wrong", [None, [], {}, {"Command": {}}, {"Command": {"New": {}}}, {"Notification": {}}])
def test_an_entry_of_an_unknown_form_is_not_encoded(wrong: Any) -> None:
    with pytest.raises(ValueError, match="unknown form"):
        encode_entry(wrong)


def test_seeds_are_those_of_the_server() -> None:
    """SipHash-1-3 of the id as Rust's standard library computes it, or with the creation time the unique seed."""
    id_ = decode_invocation_id(INVOCATION)
    assert id_ is not None
    assert encode_invocation_id(id_) == INVOCATION
    created = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
    plain, unique = (random_seed(id_, created, is_unique=each) for each in (False, True))
    assert len({plain, unique, random_seed(other_id(id_), created, is_unique=False)}) == 3
    assert other_id(id_)[:8] == id_[:8]
    assert random_seed(b"", created, is_unique=False) != random_seed(b"\0", created, is_unique=False)


def test_a_sample_has_a_member_of_each_group_before_a_second_one() -> None:
    groups = {f"a{number}": "a" for number in range(5)} | {"b": "b", "c": "c"}
    assert choose_sample(groups, 3) == ["a0", "b", "c"]
    assert choose_sample(groups, 4) == ["a0", "a1", "b", "c"]
    assert choose_sample(groups, 9) == list(groups)


def replay(respond: Any, source: Any = None, **options: Any) -> tuple[rl.Replay, list[bytes]]:
    with raw_server(respond=respond) as server:
        defaults = {"confirm": server.address, "progress": False}
        result = rl.replay(source or OneInvocation(), [INVOCATION], server.address, **{**defaults, **options})
        return result, [each for each in server.requests if each.startswith(b"POST")]


@pytest.mark.parametrize(
    ("sdk", "allow", "is_sent"),
    [
        ("restate-sdk-python/1.3.0", (), True),
        ("restate-sdk-python/1.9.0", (), True),
        ("restate-sdk-python/2.0.0", (), False),
        ("restate-sdk-python/0.9.0", (), False),
        ("restate-sdk-python/x", (), False),
        ("restate-sdk-typescript/1.17.2", (), True),
        ("restate-sdk-java/2.4.1", (), False),
        ("restate-sdk-java/2.4.1", ("restate-sdk-java",), True),
        ("restate-sdk-java/2.4.1", "restate-sdk-java/2.4.1", True),
        ("restate-sdk-java/2.4.1", ("restate-sdk-go",), False),
        (None, (), False),
        (None, ("unknown",), True),
    ],
)
def test_no_journal_is_sent_to_an_untried_sdk_unless_allow_names_it(sdk: str | None, allow: Any, is_sent: bool) -> None:
    result, sent = replay(deployment(FITS, discover=discovery(sdk)), allow=allow)
    assert bool(sent) == is_sent
    assert result.verdict == ("fits" if is_sent else "not checkable")
    assert is_sent or "allow=" in result.rows["reason"][0]
    assert ("never tried" in str(result)) == bool((allow and is_sent) or not is_sent)


@pytest.mark.parametrize(
    ("change", "expected", "reason"),
    [
        ({"services": []}, "fails", "does not have the handler Orders/place"),
        ({"minProtocolVersion": 7}, "not checkable", "protocol version 6, and the deployment supports 7"),
    ],
)
def test_a_missing_handler_or_protocol_version_is_reported_and_nothing_is_sent(
    change: dict[str, Any], expected: str, reason: str
) -> None:
    result, sent = replay(deployment(FITS, discover=discovery(manifest={**MANIFEST, **change})))
    assert (result.verdict, sent) == (expected, [])
    assert reason in result.rows["reason"][0]


@pytest.mark.parametrize(("pinned", "is_sent"), [(None, True), (6, False)])
def test_an_invocation_without_a_protocol_version_gets_the_newest_of_the_deployment(
    pinned: int | None, is_sent: bool
) -> None:
    only_5 = discovery(manifest={**MANIFEST, "minProtocolVersion": 5, "maxProtocolVersion": 5})
    result, sent = replay(deployment(FITS, discover=only_5), OneInvocation(protocol_version=pinned, journal_size=1))
    assert bool(sent) == is_sent
    assert (b"invocation.v5" in b"".join(sent)) == is_sent
    assert (result.verdict == "not checkable") == (not is_sent)


def test_nothing_is_sent_to_a_deployment_that_accepts_only_signed_requests() -> None:
    result, sent = replay(deployment(FITS, discover=response(status="401 Unauthorized")))
    assert (result.verdict, sent) == ("not checkable", [])


def test_a_step_that_ran_ends_the_whole_call() -> None:
    with pytest.raises(errors.StepRan):
        replay(deployment(response(b"\0\x05\0\0\0\0\0\x02\x08\x01")))


def test_http_beyond_loopback_warns_before_anything_is_sent() -> None:
    address = "http://10.1.2.3:9080"
    with pytest.raises(errors.ArgumentError, match=rf"Nothing was sent\. To confirm, pass confirm='{address}'"):
        rl.replay(OneInvocation(), [INVOCATION], address)
    with pytest.raises(errors.UnencryptedWarning, match="not encrypted"):
        rl.replay(OneInvocation(), [INVOCATION], address, confirm=address)


def test_the_warning_about_encryption_names_the_line_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restate_lab.analysis.replay.check.is_unencrypted", lambda _: True)
    with pytest.warns(errors.UnencryptedWarning) as caught:
        replay(deployment(FITS))
    assert [each.filename for each in caught] == [__file__]


@pytest.mark.parametrize(
    "options",
    [
        *({"workers": 0}, {"workers": 65}, {"sample": 0}, {"timeout": 0}, {"journal_timeout": "0s"}),
        *({"headers": ["a"]}, {"headers": {"a b": "c"}}, {"allow": [1]}, {"targets": 5}, {"confirm": 5}),
    ],
    ids=str,
)
def test_a_wrong_argument_is_reported_with_its_name_and_nothing_is_sent(options: dict[str, Any]) -> None:
    with raw_server(respond=deployment(FITS)) as server:
        targets = options.pop("targets", INVOCATION)
        with pytest.raises(errors.ArgumentError):
            rl.replay(OneInvocation(), targets, server.address, **{"confirm": server.address, **options})
        assert server.requests == []


def test_a_result_has_frames_texts_and_a_card_and_can_be_pickled() -> None:
    diverging = response(error_frame(570, "mismatch", 1, "<b>", 0x411))
    result, _ = replay(deployment(diverging), headers={"x-key": "swordfish"})
    (row,) = result.rows.to_dict("records")
    assert (row["verdict"], row["journal_index"], row["command_index"]) == ("diverges", 1, 1)
    assert (row["recorded"], row["now"]) == ("Run 'a'", "Run '<b>'")
    assert result.counts == {"diverges": 1}
    (group,) = result.groups.to_dict("records")
    assert (group["handler"], group["invocations"], group["example_id"]) == ("Orders/place", 1, INVOCATION)
    assert "the journal has Run 'a' as command 1, and the code issues Run '<b>'" in str(result)
    assert "Code outside of steps ran" in str(result)
    assert "\n" not in repr(result)
    card = result._repr_html_()
    assert "Run &#39;a&#39;" in card
    assert "&lt;b&gt;" in card
    assert "<b>'" not in card
    assert str(pickle.loads(pickle.dumps(result))) == str(result)  # noqa: S301 - our own
    assert "swordfish" not in str(result) + card + repr(vars(result))


def test_equal_divergences_are_one_group() -> None:
    entries = [{"index": index, **each} for index, each in enumerate(OPEN)]
    recording = recording_of(OneInvocation().row, entries, as_restart=False, has_unique_seeds=False)
    other = ReplayOutcome("diverges", "another step", 1, "Run 'b'")
    outcomes = [other, ReplayOutcome("fits", "the same"), other, ReplayOutcome("fails", "an error")]
    rows, groups = outcome_frames([(recording, each) for each in outcomes])
    assert rows["group"].fillna(-1).tolist() == [0, -1, 0, 1]
    assert groups["invocations"].tolist() == [2, 1]


def cells(frame: Any) -> list[tuple[Any, ...]]:
    return [
        tuple(None if pd.isna(value) else value for value in row) for row in frame.itertuples(index=False, name=None)
    ]


@pytest.mark.parametrize(
    ("answer", "rows", "divergence"),
    [
        ("mismatch", [(0, 0, "Input", "Input", None, False), (1, 1, "Run 'a'", "Run 'b'", "REASON", True)], 1),
        ("early", [(0, 0, "Input", "Output", "REASON", True), (1, 1, "Run 'a'", None, "not known", False)], 0),
        ("fits", [
            (0, 0, "Input", "Input", None, False),
            (1, 1, "Run 'a'", "Run 'a'", None, False),
            (None, None, None, "Run 'b'", "after the recorded commands", False),
        ], None),
        ("fails", [
            (0, 0, "Input", None, "not known", False),
            (1, 1, "Run 'a'", None, "not known", False),
            (None, None, None, None, "REASON", True),
        ], 2),
        ("cannot say", [
            (0, 0, "Input", None, "not known", False),
            (1, 1, "Run 'a'", None, "not known", False),
            (None, None, None, None, "REASON", False),
        ], None),
    ],
)  # fmt: skip
def test_a_diff_shows_equal_commands_and_then_the_first_difference_with_its_reason(
    answer: str, rows: list[tuple[Any, ...]], divergence: int | None
) -> None:
    frames = {
        "mismatch": error_frame(570, "mismatch", 1, "b", 0x411),
        "early": error_frame(570, "mismatch", 0, "", 0x401),
        "fits": error_frame(570, "mismatch", 2, "b", 0x411),
        "fails": error_frame(500, "ValueError('x')"),
        "cannot say": error_frame(571, "violation"),
    }
    result, _ = replay(deployment(response(frames[answer])))
    reason, frame = result.rows["reason"][0], result.diff(INVOCATION)
    assert cells(frame) == [tuple(reason if cell == "REASON" else cell for cell in row) for row in rows]
    assert frame.attrs["divergence"] == divergence
    assert reason in frame.attrs["summary"]
    assert ("would do next is not known" in frame.attrs["summary"]) == (answer == "early")
    assert cells(pickle.loads(pickle.dumps(result)).diff(INVOCATION)) == cells(frame)  # noqa: S301 - our own


def test_a_diff_without_a_journal_has_only_the_reason() -> None:
    result, _ = replay(deployment(FITS), OneInvocation(protocol_version=4))
    assert cells(result.diff(INVOCATION)) == [(None, None, None, None, result.rows["reason"][0], False)]
    with pytest.raises(errors.ArgumentError, match="is not in this replay"):
        result.diff(f"inv_1{0:033}")
    with pytest.raises(errors.ArgumentError, match="invocation_id"):
        result.diff("dp_1")


def test_the_verdict_without_a_checked_invocation_is_cannot_say() -> None:

    class Empty(OneInvocation):
        def rows(self, statement: str, params: Mapping[str, Any], *, timeout: Any = None) -> Any:
            rows = super().rows(statement, params, timeout=timeout)
            return rows if "information_schema" in statement else rows.slice(0, 0)

    result, sent = replay(deployment(FITS), Empty())
    assert (result.verdict, sent, len(result.not_read)) == ("cannot say", [], 1)
    with pytest.raises(errors.ArgumentError, match="was not checked: it does not exist"):
        result.diff(INVOCATION)


def test_an_input_of_the_older_form_is_sent_in_the_current_one() -> None:
    """Such as 1.6.1 stores it until the code has issued a command: its value is not a message."""
    raw = bytes_field(1, bytes_field(1, "accept") + bytes_field(2, "*/*")) + bytes_field(14, b"{}")
    recording = recording_of(
        OneInvocation(protocol_version=None).row,
        [{"index": 0, "entry_type": "Input", "name": None, "raw": raw, "entry_json": None}],
        as_restart=False,
        has_unique_seeds=False,
    )
    headers = bytes_field(1, bytes_field(1, "accept") + bytes_field(2, "*/*"))
    assert recording.messages == ((0x400, headers + bytes_field(14, bytes_field(1, b"{}"))),)
    assert [each.type for each in recording.commands] == ["Input"]


def test_an_earlier_run_of_a_history_is_sent_with_its_own_id() -> None:
    """A history appends the time to the id of a run whose id was used again."""
    row = OneInvocation().row
    earlier = {**row, "id": f"{row['id']}@2026-11-28T12:00:00.123Z"}
    recordings = [
        recording_of(each, [{"index": 0, **OPEN[0]}], as_restart=False, has_unique_seeds=False)
        for each in (row, earlier)
    ]
    assert recordings[0].start == recordings[1].start
    assert recordings[0].start is not None
    assert recordings[0].start.debug_id == row["id"]
