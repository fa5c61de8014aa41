"""Service protocol 7, which 1.8 has on by default: suspensions with their results, and payloads that an SDK encodes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.analysis.journal.bars import journal_bars
from restate_lab.analysis.replay.reader import RecordingReader
from restate_lab.panels._base.source import PanelSource
from restate_lab.reads import Reads
from restate_lab.sources import open_sources
from support.awaiting_services import RESPONSE, SEALED, decode, encode
from support.bench import Bench, running_bench, wait_for
from support.clusters import NEWEST

SERVICES = Path(__file__).parents[1] / "support" / "awaiting_services.py"
pytestmark = pytest.mark.server


@dataclass(frozen=True)
class WaitingBench(Bench):
    ids: dict[str, str] = field(default_factory=dict)

    def start(self, service: str, handler: str, key: str | None = None, body: Any = None) -> str:
        self.ids[handler] = self.lab.ingress.send(service, handler, body, key=key).invocation_id
        return self.ids[handler]


@pytest.fixture(scope="module")
def counted(bench: WaitingBench) -> str:
    """Give the id of an invocation whose payloads and state are encoded."""
    sent = bench.lab.ingress.send("Vault", "count", encode(b'{"order": "A-1"}'), key="v")
    wait_for(lambda: bench.status(sent.invocation_id) == "completed")
    return sent.invocation_id


@pytest.fixture(scope="module")
def decoding(bench: WaitingBench) -> Iterator[rl.Lab]:
    with rl.connect(bench.lab.address, audit=bench.folder / "audit", decode=decode, encode=encode) as lab:
        yield lab


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WaitingBench]:
    folder = tmp_path_factory.mktemp("protocol-7")
    with running_bench(NEWEST, folder, SERVICES, ready=None, env={}, bench=WaitingBench) as bench:
        for handler in ("rest", "both", "any_of_four"):
            bench.start("Waiter", handler)
        bench.start("Approval", "run", key="a")
        wait_for(lambda: {bench.status(id_) for id_ in bench.ids.values()} == {"suspended"})
        yield bench


def test_the_journal_shows_since_when_and_for_what_an_invocation_waits(bench: WaitingBench) -> None:
    """The tree has the combination, and each result by its entry; the time is that of the suspension."""
    frame = rl.journal(bench.lab, bench.ids["any_of_four"])
    (suspension,) = frame.attrs["suspensions"]
    kinds = [(part["kind"], part["index"]) for part in suspension["tree"]["parts"]]
    assert suspension["tree"]["kind"] == "FirstCompleted"
    assert kinds == [("Sleep", 1), ("Call", 2), ("Signal", None), ("Signal", None)]
    awakeable = frame.loc[frame["awakeable_id"].notna(), "awakeable_id"].iloc[0]
    assert suspension["waits_for"].startswith("the first of: the sleep until 2")
    assert suspension["waits_for"].endswith(f", the call to Waiter/rest, the awakeable {awakeable}, the signal “go”")
    event = bench.lab.sql(
        "SELECT appended_at FROM sys_journal_events WHERE id = :id AND event_type = 'Suspended'", id=frame.attrs["id"]
    )
    assert suspension["since"] == event["appended_at"].iloc[0].isoformat()
    (line,) = journal_bars(frame).lines
    assert line.startswith("waits for the first of: the sleep")
    assert "(suspended since " in line
    assert "the signal “go”" in frame._repr_html_()


def test_every_reader_of_waits_sees_the_results_of_a_combination(bench: WaitingBench) -> None:
    """The server's lists of awaited results have nothing of a combination; waits, why and questions still have all."""
    lists = bench.lab.sql("SELECT suspended_waiting_for_completions AS c FROM sys_invocation WHERE id = :id",
                          id=bench.ids["both"])  # fmt: skip
    assert not len(lists["c"].iloc[0]), "the server lists these again: the part `awaited` is not needed any more"
    waits = rl.waits(bench.lab).edges.groupby("waiter")["kind"].agg(sorted).to_dict()
    assert waits[bench.ids["both"]] == ["call", "sleep"]
    assert waits[bench.ids["any_of_four"]] == ["awakeable", "call", "sleep"]
    assert waits[bench.ids["run"]] == ["promise", "sleep"]
    explanation = rl.why(bench.lab, bench.ids["both"])
    assert dict(explanation.facts)["waits for"].startswith("all of: the sleep “nap” until 2")
    assert "its call to Waiter/rest" in explanation.summary
    questions = ("waiting_on", "wakes_next", "open_awakeables", "open_promises")
    asked = {name: set(rl.ask(bench.lab, name)["id"]) & set(bench.ids.values()) for name in questions}
    assert asked["waiting_on"] == asked["wakes_next"] == set(bench.ids.values())
    assert asked["open_awakeables"] == {bench.ids["any_of_four"]}
    assert asked["open_promises"] == {bench.ids["run"]}


def test_a_killed_invocation_shows_what_it_waited_for(bench: WaitingBench) -> None:
    """The event of the last suspension stays; it names what the invocation waited for when it was ended."""
    id_ = bench.start("Waiter", "both")
    wait_for(lambda: bench.status(id_) == "suspended")
    bench.lab.admin.kill_invocation(id_, reason="INC-42")
    wait_for(lambda: bench.status(id_) == "completed")
    frame = rl.journal(bench.lab, id_)
    assert journal_bars(frame).lines[0].startswith("was ended while it waited for all of: the sleep “nap” until 2")


def test_payloads_are_decoded_for_showing(bench: WaitingBench, decoding: rl.Lab, counted: str) -> None:
    """Journals, states and agents show what the function returns; what it cannot decode has the reason."""
    plain = rl.journal(bench.lab, counted, payloads=True).set_index("name")["payload"]
    shown = rl.journal(decoding, counted, payloads=True)
    payloads = shown.set_index("name")["payload"]
    assert plain["ask the model"] == encode(json.dumps(RESPONSE).encode()).decode()
    assert payloads["ask the model"] == RESPONSE
    assert shown["payload"].iloc[0] == {"order": "A-1"}, "the input"
    assert payloads["seal"].startswith("not decoded: Error")
    assert plain["seal"] == SEALED
    assert str(plain["seal"]) == f"encrypted by the SDK, {len(SEALED)} bytes"
    assert "Seven mugs." in rl.journal(decoding, counted, payloads=True)._repr_html_()

    assert PanelSource(decoding, threading.Event()).decoder is decoding.decoder
    state = rl.state(decoding, "Vault", "v")
    assert state["mugs"] == {"count": 7, "order": {"order": "A-1"}}
    assert "A-1" in state._repr_html_()
    assert state.frame["value"].iloc[0] == state["mugs"]

    assert "Seven mugs." in str(rl.conversation(decoding, counted))
    assert any("encrypted 1 payload" in note for note in rl.conversation(bench.lab, counted).reasons)
    runs = [rl.agent_runs(lab, since="1h") for lab in (bench.lab, decoding)]
    assert [len(frame) for frame in runs] == [0, 1]
    assert runs[1]["input_tokens"].tolist() == [11]


def test_what_is_sent_or_written_keeps_the_recorded_bytes(
    bench: WaitingBench, decoding: rl.Lab, counted: str, tmp_path: Path
) -> None:
    recordings = []
    for lab in (bench.lab, decoding):
        reader = RecordingReader(Reads(lab))
        ((recorded, _),) = reader.recordings(reader.rows([counted]), {})
        recordings.append(recorded[0].messages)
        rl.freeze(lab, tmp_path / f"{lab is decoding}.evidence", payloads=True, progress=False)
    assert recordings[0] == recordings[1]
    rl.save_dataset(decoding, [counted], tmp_path / "runs.jsonl")
    assert "Seven mugs." not in (tmp_path / "runs.jsonl").read_text("utf-8")
    statement = "SELECT id, index, entry_json FROM sys_journal ORDER BY id, index"
    with rl.open_evidence(tmp_path / "False.evidence") as one, rl.open_evidence(tmp_path / "True.evidence") as other:
        assert one.arrow(statement) == other.arrow(statement)
        assert one.arrow("SELECT value FROM state") == other.arrow("SELECT value FROM state")
        assert rl.journal(other, counted, payloads=True)["payload"].iloc[0] != {"order": "A-1"}
    with rl.open_evidence(tmp_path / "True.evidence", decode=decode) as decoded:
        assert rl.journal(decoded, counted, payloads=True)["payload"].iloc[0] == {"order": "A-1"}


@pytest.mark.long
def test_an_archive_keeps_the_recorded_bytes(
    bench: WaitingBench, decoding: rl.Lab, counted: str, tmp_path: Path
) -> None:
    """An archive is the same with and without the function; no response of a model is found in encoded payloads."""
    assert counted
    statement = "SELECT id, index, entry_json FROM sys_journal ORDER BY id, index"
    archived = []
    for lab in (bench.lab, decoding):
        rl.archive(lab, tmp_path / f"{lab is decoding}-archive", cluster_name="x", payloads=True, progress=False)
        with rl.open_history(tmp_path / f"{lab is decoding}-archive") as history:
            archived.append(
                (history.arrow(statement), history.sql("SELECT count(*) AS n FROM agent_steps")["n"].iloc[0])
            )
    assert archived[0] == archived[1]
    assert archived[1][1] == 0, "the archive reads the recorded bytes, which have no response of a model"


def test_an_encoded_state_is_written_encoded_or_not_at_all(bench: WaitingBench, decoding: rl.Lab, counted: str) -> None:
    """Without encode= a value is refused and nothing is sent; with it, the written bytes are those of the function."""
    assert counted
    reason = "test"
    with rl.connect(bench.lab.address, audit=bench.folder / "audit", decode=decode) as half:
        before = rl.state(half, "Vault", "v")
        with pytest.raises(rl.errors.ArgumentError, match=r"an SDK encoded .'mugs'.* Nothing was sent"):
            rl.set_state(half, "Vault", "v", {"more": 1}, reason=reason)
    assert rl.state(bench.lab, "Vault", "v").version == before.version
    after = rl.set_state(decoding, "Vault", "v", {"mugs": {"count": 8}}, reason=reason)
    assert after["mugs"] == {"count": 8}
    assert rl.state(bench.lab, "Vault", "v").raw["mugs"] == encode(b'{"count": 8}')
    assert rl.set_state(decoding, "Vault", "v", {"mugs": {"count": 8}}, reason=reason).version == after.version
    with rl.connect(bench.lab.address, audit=bench.folder / "audit", decode=decode, encode=lambda _: b"") as wrong:
        with pytest.raises(rl.errors.ArgumentError, match="'mugs' was not encoded: decode= does not return"):
            rl.set_state(wrong, "Vault", "v", {"mugs": 1}, reason=reason)


def test_assistants_and_alerts_never_decode(bench: WaitingBench) -> None:
    """They connect by themselves, without a function, whatever the settings are."""
    with open_sources([bench.lab.address], ()) as sources:
        assert sources.lab is not None
        assert sources.lab.decoder is None
    package = Path(rl.__file__).parent
    for folder in ("alerts", "mcp", "history", "evidence/watch", "cli"):
        texts = [path.read_text("utf-8") for path in (package / folder).rglob("*.py")]
        assert not any("decoding_of" in text or "decode=decode" in text for text in texts), folder
