"""Agents of which a journal shows less: encrypted payloads are reported, and steps that ran again saved nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

import restate_lab as rl
from support.bench import Bench, once_served, running_bench
from support.clusters import NEWEST, PLAIN

pytestmark = pytest.mark.server

SERVICES = Path(__file__).parent.parent / "support" / "unread_agent_services.py"
DECODE = "connect(decode=…) decodes payloads for showing"


@pytest.fixture(scope="module", params=[NEWEST, pytest.param(PLAIN, marks=pytest.mark.long)])
def bench(request: pytest.FixtureRequest, server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("unread")
    with running_bench(request.param, folder, SERVICES, ready=("Replaying", "save", "x"), env={}) as bench:
        for path, service in (("sealed", "Sealed"), ("inverted", "Inverted")):
            bench.lab.admin.create_deployment(uri=f"{bench.uri.rstrip('/')}/{path}")
            once_served(partial(bench.ingress.send, service, "save", "x"))  # what a call returns is encoded
        yield bench


def run(bench: Bench, target: str, prompt: str) -> str:
    id_ = str(bench.ingress.send(*target.split("/"), prompt).invocation_id)
    bench.until(id_, "completed")
    return id_


@pytest.mark.parametrize(
    ("service", "verb", "prompts"), [("Sealed", "encrypted", ("hi", "large")), ("Inverted", "encoded", ("hi",))]
)
def test_an_agent_whose_payloads_are_encoded_has_a_row_with_a_note_and_no_tokens(
    bench: Bench, service: str, verb: str, prompts: tuple[str, ...]
) -> None:
    ids = {run(bench, f"{service}/run", prompt) for prompt in prompts}
    plain = run(bench, f"{service}/save", "a text")
    runs = rl.agent_runs(bench.lab, service=service)
    assert ids <= set(runs["id"])
    assert plain not in set(runs["id"])
    assert set(runs["note"]) == {f"the SDK {verb} 3 responses of a model, so tokens are unknown; {DECODE}"}
    unknown = ["model_calls", "tool_calls", "input_tokens", "spent_tokens", "wasted_tokens", "saved_tokens", "cost"]
    assert runs[unknown].isna().all().all()
    assert runs.attrs["encoded"] > len(runs), "the step without a model is encoded, too"
    assert rl.agent_runs(bench.lab, ids=[plain])["note"].tolist() == ["no step has the shape of a model response"]
    for id_ in ids:
        assert any(verb in reason and DECODE in reason for reason in rl.conversation(bench.lab, id_).reasons)


def test_evidence_has_the_same_rows_of_agents_with_encrypted_payloads(bench: Bench, tmp_path: Path) -> None:
    run(bench, "Sealed/run", "hi")
    runs = rl.agent_runs(bench.lab, service="Sealed")
    rl.freeze(bench.lab, tmp_path / "all.evidence", payloads=True, progress=False)
    with rl.open_evidence(tmp_path / "all.evidence") as evidence:
        pd.testing.assert_frame_equal(rl.agent_runs(evidence, service="Sealed"), runs)


def test_a_function_that_decodes_payloads_gives_the_tokens(bench: Bench) -> None:
    id_ = run(bench, "Inverted/run", "hi")

    def decode(payload: bytes) -> bytes:
        return bytes(255 - byte for byte in payload)

    def fail(payload: bytes) -> bytes:
        raise ValueError

    for function, tokens, notes in ((decode, [45], []), (fail, [], ["the SDK encoded 3 responses of a model"])):
        with rl.connect(bench.url, decode=function) as lab:
            runs = rl.agent_runs(lab, ids=[id_])
        assert runs["spent_tokens"].dropna().tolist() == tokens
        assert [text.partition(", so")[0] for text in runs["note"].dropna()] == notes


def test_model_calls_that_every_attempt_makes_again_are_not_saved(bench: Bench) -> None:
    """With explicit recovery of the Python SDK, no attempt replays the journal, so each response was paid."""
    ids = {service: run(bench, f"{service}/run", "fail") for service in ("Replaying", "Explicit")}
    paid = (bench.folder / "paid.log").read_text().split()
    runs = rl.agent_runs(bench.lab, ids=list(ids.values())).set_index("id")
    numbers = {service: tuple(runs.loc[id_, ["spent_tokens", "saved_tokens"]]) for service, id_ in ids.items()}
    assert numbers == {"Replaying": (3 * 15, 2 * 15), "Explicit": (7 * 15, 0)}
    assert {service: 15 * paid.count(id_) for service, id_ in ids.items()} == {"Replaying": 3 * 15, "Explicit": 7 * 15}
    new = {
        service: str(bench.admin.restart_as_new_invocation(id_, from_index=4, reason="a test").new_invocation_id)
        for service, id_ in ids.items()
    }
    for id_ in new.values():
        bench.until(id_, "completed")
    runs = rl.agent_runs(bench.lab, ids=list(new.values())).set_index("id")
    saved = {service: runs.loc[id_, "saved_tokens"] for service, id_ in new.items()}
    assert saved == {"Replaying": 2 * 15, "Explicit": 0}
