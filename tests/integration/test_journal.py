"""Journals of real servers: every type of entry, open entries, retried ones, callees, and two side by side."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from restate_lab.analysis.journal import journal
from restate_lab.analysis.journal.diff import journal_diff
from restate_lab.errors import NotFound, Truncated
from restate_lab.redaction import MASK
from support.bench import wait_for
from support.clusters import KINDS, PLAIN, Cluster
from support.journal_bench import SECRET, JournalBench, published_output, running_journal_bench

pytestmark = pytest.mark.server
OTHER_COUNTS = pytest.mark.also_on(PLAIN, reason="without vqueues attempts are counted in other tables")


@pytest.fixture(scope="module", params=KINDS)
def bench(
    request: pytest.FixtureRequest, server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JournalBench]:
    with running_journal_bench(request.param, tmp_path_factory.mktemp("journal")) as running:
        yield running


def of(bench: JournalBench, role: str, **options: object) -> pd.DataFrame:
    return journal(bench.lab, bench.roles[role], **options)


def shown(frame: pd.DataFrame, *columns: str) -> list[tuple[object, ...]]:
    objects = frame[list(columns)].astype(object)
    return [tuple(row) for row in objects.where(objects.notna(), None).itertuples(index=False)]


EVERY = [
    ("Input", None, "done", None),
    ("SetState", None, "done", None),
    ("GetEagerState", None, "done", "success"),
    ("GetEagerState", None, "done", "void"),
    ("GetEagerStateKeys", None, "done", None),
    ("ClearState", None, "done", None),
    ("ClearAllState", None, "done", None),
    ("Run", "good step", "done", "success"),
    ("Run", "bad step", "failed", "failure"),
    ("Sleep", "blink", "done", "void"),
    ("Call", None, "done", "success"),
    ("Call", None, "failed", "failure"),
    ("OneWayCall", None, "done", "success"),
    ("OneWayCall", None, "done", "success"),
    ("CompleteAwakeable", None, "done", "success"),
    ("SendSignal", "bell", "done", "success"),
    ("SendSignal", "cancel", "done", "void"),
    ("AttachInvocation", None, "done", "success"),
    ("Output", None, "done", "success"),
]


def test_every_type_of_entry_is_one_row_paired_with_its_notifications(bench: JournalBench) -> None:
    frame = of(bench, "every")
    assert shown(frame, "entry_type", "name", "status", "result") == EVERY
    assert frame["index"].is_monotonic_increasing
    assert list(frame["command_index"]) == list(range(len(EVERY)))
    assert not frame["open"].any()
    assert (frame["duration"] >= timedelta(0)).all()
    assert frame.attrs["status"] == "succeeded"
    assert frame.attrs["target"] == "Tour/k1/every"


def test_an_entry_names_what_it_touches(bench: JournalBench) -> None:
    """Callees exist under their target; state keys, wake-up times, awakeables and failures are in their columns."""
    frame = of(bench, "every")
    by_type = frame.groupby("entry_type")
    called = pd.concat([by_type.get_group("Call"), by_type.get_group("OneWayCall")])
    targets = bench.lab.sql("SELECT id, target FROM sys_invocation WHERE id IN :ids", ids=called["callee"])
    assert dict(zip(targets["id"], targets["target"], strict=True)) == dict(
        zip(called["callee"], called["callee_target"], strict=True)
    )
    assert shown(by_type.get_group("GetEagerState"), "state_key") == [("kept",), ("never",)]
    assert shown(frame[frame["status"] == "failed"], "failure", "failure_code") == [("spilled", 422), ("no tea", 418)]
    delayed, at_once = by_type.get_group("OneWayCall").itertuples()
    assert delayed.wakes_at - delayed.started > timedelta(minutes=59)
    assert pd.isna(at_once.wakes_at)
    assert by_type.get_group("AttachInvocation")["callee"].iloc[0] == bench.roles["finished"]
    assert list(by_type.get_group("SendSignal")["callee"]) == [bench.roles["listen"], bench.roles["nap"]]
    completed = by_type.get_group("CompleteAwakeable").iloc[0]
    assert (completed["awakeable_id"], completed["callee"]) == (published_output(bench, "wait"), bench.roles["wait"])


def test_the_size_of_an_entry_is_that_of_its_command_and_notifications(bench: JournalBench) -> None:
    sizes = of(bench, "every")["size"]
    rows = bench.lab.sql("SELECT raw_length FROM sys_journal WHERE id = :id", id=bench.roles["every"])
    assert sizes.sum() == rows["raw_length"].sum()


def test_a_command_starts_when_appended_and_completes_with_its_notification(bench: JournalBench) -> None:
    frame = of(bench, "every")
    rows = bench.lab.sql("SELECT index, appended_at FROM sys_journal WHERE id = :id", id=bench.roles["every"])
    written = dict(zip(rows["index"], rows["appended_at"], strict=True))
    for row in frame.itertuples():
        at = row.index if pd.isna(row.completion_index) else row.completion_index
        assert (row.started, row.completed) == (written[row.index], written[at])


def test_lazy_state_promises_and_signals_are_paired(bench: JournalBench) -> None:
    """Fetched state, promises on both sides, and received signals are rows like all others."""
    assert shown(of(bench, "lazily"), "entry_type", "state_key", "result", "status")[1:4] == [
        ("SetState", "other", None, "done"),
        ("GetLazyState", "kept", "success", "done"),
        ("GetLazyStateKeys", None, "success", "done"),
    ]
    assert shown(of(bench, "workflow"), "entry_type", "promise", "result")[1:3] == [
        ("PeekPromise", "granted", "void"),
        ("GetPromise", "granted", "success"),
    ]
    assert shown(of(bench, "grant"), "entry_type", "promise", "result")[1] == ("CompletePromise", "granted", "void")
    signal = of(bench, "wait").query("entry_type == 'Signal'").iloc[0]
    assert signal["awakeable_id"] == published_output(bench, "wait")
    assert pd.isna(signal["started"])
    assert shown(of(bench, "listen"), "entry_type", "name", "status")[1] == ("Signal", "bell", "done")


def test_what_is_open_is_marked(bench: JournalBench) -> None:
    """The open entry is the wait of a suspended invocation, with the time, the callee or the name."""
    nap = of(bench, "napping").query("open").iloc[0]
    assert (nap["entry_type"], nap["name"], nap["status"]) == ("Sleep", "siesta", "open")
    assert timedelta(minutes=30) < nap["wakes_at"] - datetime.now(UTC) < timedelta(hours=1)
    assert pd.isna(nap["completed"])
    assert shown(of(bench, "asked").query("open"), "entry_type", "promise") == [("GetPromise", "granted")]
    call = of(bench, "down").query("open").iloc[0]
    assert (call["entry_type"], call["callee_target"]) == ("Call", "Helper/down")
    assert of(bench, "always").query("open")["name"].tolist() == ["get weather"]


def test_an_awaited_awakeable_is_open_under_the_id_that_resolves_it(bench: JournalBench) -> None:
    """The id made of invocation and signal equals the SDK's, and the ingress accepts it."""
    frame = of(bench, "wait_for_two")
    _first, second = published_output(bench, "wait_for_two")
    assert frame.query("open")["awakeable_id"].tolist() == [second]
    found = of(bench, "waiting").query("open").iloc[0]
    assert (found["entry_type"], pd.isna(found["index"])) == ("Signal", True)
    bench.lab.ingress.resolve_awakeable(found["awakeable_id"], "by its id")
    bench.until("waiting", "completed")
    assert bench.lab.ingress.output(bench.roles["waiting"]) == "got by its id"
    assert not of(bench, "waiting")["open"].any()


def test_a_named_signal_is_open_before_it_arrives(bench: JournalBench) -> None:
    bench.send("listening", "Helper/listen")
    bench.until("listening", "suspended")
    assert shown(of(bench, "listening").query("open"), "entry_type", "name") == [("Signal", "bell")]


def test_an_open_command_of_an_ended_invocation_is_abandoned(bench: JournalBench) -> None:
    frame = of(bench, "nap")
    assert shown(frame, "entry_type", "name", "status", "open") == [
        ("Input", None, "done", False),
        ("Sleep", "siesta", "abandoned", False),
        ("Signal", "cancel", "done", False),
        ("Output", None, "failed", False),
    ]
    assert shown(frame.tail(1), "failure", "failure_code") == [("cancelled", 409)]
    assert frame.attrs["status"] == "cancelled"


def test_a_failed_step_and_output_have_their_reason_without_payloads(bench: JournalBench) -> None:
    frame = of(bench, "fails")
    assert "payload" not in frame
    assert shown(frame.tail(2), "entry_type", "failure", "failure_code") == [
        ("Run", "spilled", 422),
        ("Output", "spilled", 422),
    ]


def test_payloads_are_values_and_secret_headers_are_masked(bench: JournalBench) -> None:
    frame = of(bench, "every", payloads=True).set_index("entry_type", append=True)
    values = {(row, type_): payload for (row, type_), payload in frame["payload"].items() if payload is not None}
    assert values[1, "SetState"] == values[2, "GetEagerState"] == {"n": 1}
    assert values[4, "GetEagerStateKeys"] == ["kept"]
    assert values[7, "Run"] == {"done": True}
    assert values[10, "Call"] == "answer to call"
    assert frame["argument"].iloc[10:14].tolist() == ["call", "no tea", "later", "now"]
    assert (values[14, "CompleteAwakeable"], values[15, "SendSignal"]) == ("awake", "ding")
    raw = of(bench, "raw", payloads=True)
    assert raw["payload"].tolist() == ["hey", b"\x00\xffhey"]
    headers = of(bench, "finished", payloads=True)["headers"].iloc[0]
    assert (headers["authorization"], headers["x-tenant"]) == (MASK, "acme")
    assert SECRET not in str(headers)


@OTHER_COUNTS
def test_retries_come_from_the_servers_counter_or_are_a_least_number(bench: JournalBench) -> None:
    """A current retry has the server's count; for past ones, equal errors count once."""
    seen = int(wait_for(lambda: of(bench, "always").query("open")["retries"].iloc[0], lambda n: n > 2))
    row = of(bench, "always").query("open").iloc[0]
    assert row["retries"] >= seen > bench.errors("always")
    assert not row["retries_at_least"]
    assert (row["last_error"], row["last_error_code"]) == ("ValueError('weather service is down')", "RT0007")
    for role, name in (("third_time", "get weather"), ("own_policy", "limited"), ("pauses", "get weather")):
        frame = of(bench, role)
        assert shown(frame[frame["name"] == name], "retries", "retries_at_least") == [(1, True)]
        assert (frame.loc[frame["name"] != name, "retries"] == 0).all()


@OTHER_COUNTS
def test_the_counter_of_an_invocation_is_not_given_to_one_of_two_steps(bench: JournalBench) -> None:
    """The counter continues from a step that failed and succeeded to the next: each then has only a minimum."""
    wait_for(lambda: of(bench, "two_steps")["last_error"].notna().sum() == 2)
    frame = of(bench, "two_steps")
    assert shown(frame.tail(2), "name", "status", "retries", "retries_at_least") == [
        ("first", "done", 1, True),
        ("second", "open", 1, True),
    ]
    assert frame.attrs["failed_attempts"] >= 1


@OTHER_COUNTS
def test_an_error_outside_of_a_step_stands_at_the_entry_before(bench: JournalBench) -> None:
    """An error that names no command belongs after the last entry that was appended."""
    frame = of(bench, "between_steps")
    assert frame["last_error"].notna().tolist() == [False, True]
    assert frame["retries"].iloc[1] >= 1


@OTHER_COUNTS
def test_a_long_back_off_has_its_count_on_both_kinds(bench: JournalBench) -> None:
    """With vqueues a long back-off is ready and without a count in sys_invocation; the journal still has both."""
    frame = wait_for(
        lambda: of(bench, "slowly"),
        lambda seen: seen.attrs["status"] == "backing-off" and seen["retries"].iloc[-1] >= 2,
    )
    assert not frame["retries_at_least"].iloc[-1]
    if bench.has_vqueues:
        assert bench.errors("slowly") >= 2  # every error of a long back-off is kept there


def test_callees_come_in_below_their_calls_down_to_the_depth(bench: JournalBench) -> None:
    assert of(bench, "down")["depth"].tolist() == [1, 1]
    assert of(bench, "down", depth=2)["depth"].tolist() == [1, 1, 2, 2]
    whole = of(bench, "down", depth=9)
    assert whole["depth"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert whole["children"].tolist()[1::2] == [2, 2, 2, pd.NA]
    assert (whole["callee"].dropna().to_numpy() == whole["invocation_id"].iloc[2::2].to_numpy()).all()
    assert (whole["caller"].dropna().iloc[::2].to_numpy() == whole["invocation_id"].iloc[:6:2].to_numpy()).all()


def test_a_limit_per_level_warns_with_the_number_of_missing_callees(bench: JournalBench) -> None:
    with pytest.warns(Truncated, match="3 callees at depth 2"):
        frame = of(bench, "fan", depth=2, limit=2)
    assert frame.attrs["truncated"]["excluded"] == {"depth 2": 3}
    assert (frame["depth"] == 2).sum() == 4
    assert "truncated" not in of(bench, "fan", depth=2).attrs


def test_an_empty_journal_has_its_reason_and_its_columns(bench: JournalBench) -> None:
    with pytest.raises(NotFound, match="has no invocation"):
        journal(bench.lab, bench.roles["every"][:-5] + "aaaaa")
    full, empty = of(bench, "every"), of(bench, "forgets")
    assert "not retained" in empty.attrs["note"]
    assert empty.dtypes.equals(full.dtypes)
    bench.send("purged", "Helper/answer", "x")
    bench.until("purged", "completed")
    bench.lab.admin.purge_journal(bench.roles["purged"], reason="INC-42")
    wait_for(lambda: of(bench, "purged").empty)
    assert "purged" in of(bench, "purged").attrs["note"]


@pytest.mark.parametrize(
    ("how", "now"), [("name", ("Run", "new step")), ("type", ("Call", None)), ("end", ("Output", None))]
)
def test_a_mismatch_is_explained_by_its_journal_and_its_error(
    bench: JournalBench, how: str, now: tuple[str, str]
) -> None:
    """RT0016: the journal's entry, the code's command instead, the replayed entries, and the entries never reached."""
    frame = journal_diff(bench.lab, bench.roles[f"changes_{how}"])
    assert shown(frame.head(4), "entry_type", "name", "status_b", "difference", "divergence") == [
        ("Input", None, "replayed", None, False),
        ("Run", "common", "replayed", None, False),
        ("Run", "old step", None, "only in the journal", True),
        (*now, "now", "only in the code", False),
    ]
    assert set(frame["difference"].iloc[4:]) <= {"not reached"}
    assert all(each in frame.attrs["summary"] for each in ("RT0016", "'old step'", now[0], "Retries/changes", "dp_1"))


def test_a_good_and_a_bad_run_part_at_the_open_step(bench: JournalBench) -> None:
    frame = journal_diff(bench.lab, bench.roles["own_policy"], bench.roles["fails"])
    assert shown(frame, "entry_type", "name", "difference", "divergence") == [
        ("Input", None, None, False),
        ("Run", "limited", "only in a", True),
        ("Run", "bad step", "only in b", False),
        (
            "Output",
            None,
            f"failed in a with {of(bench, 'own_policy')['failure'].iloc[-1]!r}, in b with 'spilled'",
            False,
        ),
    ]
    assert "They differ after 1 entry: a has Run 'limited', b has Run 'bad step'." in frame.attrs["summary"]
    good = journal_diff(bench.lab, bench.roles["workflow"], bench.roles["asked"])
    at = good.attrs["divergence"]
    assert shown(good.iloc[[at]], "entry_type", "name", "difference") == [
        ("GetPromise", "granted", "done in a, open in b")
    ]


def test_entries_that_a_restart_copied_equal_the_old_journal(bench: JournalBench) -> None:
    new = bench.lab.admin.restart_as_new_invocation(bench.roles["third_time"], from_index=2, reason="INC-42")
    bench.roles["restarted"] = new.new_invocation_id
    bench.until("restarted", "completed")
    before, after = of(bench, "third_time"), of(bench, "restarted")
    assert before["started"].iloc[:2].tolist() == after["started"].iloc[:2].tolist()
    assert before["started"].iloc[2] < after["started"].iloc[2]
    frame = journal_diff(bench.lab, bench.roles["third_time"], bench.roles["restarted"], payloads=True)
    assert frame.attrs["divergence"] is None
    assert "All 4 entries are equal." in frame.attrs["summary"]


def test_the_incidents_mismatch_is_explained(incident: Cluster) -> None:
    import restate_lab as rl

    with rl.connect(incident.admin_url, read_only=True) as lab:
        for id_ in incident.ids("mismatch"):
            frame = journal_diff(lab, id_)
            assert frame["difference"].iloc[frame.attrs["divergence"]] == "only in the journal"
            assert "RT0016" in frame.attrs["summary"]
