"""Freezing real servers: secrets are not written, and a killed process leaves nothing that opens."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import restate_lab as rl
from restate_lab.client.lab import Lab
from restate_lab.errors import EvidenceBroken, EvidenceWarning
from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.store import open_evidence
from restate_lab.redaction import MASK
from support.bench import once_served, running_bench, wait_for
from support.clusters import NEWEST, PLAIN, Cluster

SERVICES = str(Path(__file__).parents[1] / "support" / "secret_services.py")
HEADER, TOKEN, CARD, FAILURE, KEY = "canary-header", "canary-token", "canary-card", "canary-failure", "canary-key"
SECRET = {"card": {"number": CARD}, "token": TOKEN, "failure": FAILURE, "amount": 1.5}
ENDED = "SELECT id FROM sys_invocation_status WHERE status = 'completed'"
FAILING = "SELECT id FROM sys_journal_events"


@dataclass(frozen=True)
class SecretBench:
    kind: str
    lab: Lab
    kept: str


@pytest.fixture(scope="module", params=[PLAIN, NEWEST])
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, isolated: Path
) -> Iterator[SecretBench]:
    kind, folder = request.param, tmp_path_factory.mktemp("vault")
    with running_bench(kind, folder, SERVICES, ready=None, env={}) as bench:
        yield SecretBench(kind, bench.lab, _fill(bench.lab))


def _fill(lab: Lab) -> str:
    headers = {"authorization": HEADER, "x-tenant": "acme"}

    def send(service: str, handler: str, key: str | None = None, **more: Any) -> str:
        return str(lab.ingress.send(service, handler, SECRET, key=key, headers=headers, **more).invocation_id)

    kept = once_served(lambda: send("Vault", "keep", "a", idempotency_key=KEY))
    send("Till", "refuse", idempotency_key="plain")
    send("Till", "stumble")
    send("Order", "run", "w1")
    # With vqueues all four are kept; otherwise ended invocations without a key are not kept.
    ended = 4 if lab.features.get("vqueues") else 3
    wait_for(lambda: lab.arrow(ENDED).num_rows, lambda rows: rows >= ended)
    wait_for(lambda: lab.arrow(FAILING).num_rows, lambda rows: rows >= 1)
    return str(kept)


def words(folder: Path) -> str:
    """Return the contents of all files as one text, with the byte arrays of journals decoded."""
    texts = [each.read_bytes().decode("latin-1") for each in folder.iterdir()]
    for file in folder.glob("*.parquet"):
        texts += [repr(value) for column in pq.read_table(file).columns for value in column.to_pylist()]
    text = "\n".join(texts)
    arrays = re.findall(r"\[(\d{1,3}(?:,\d{1,3})*)\]", text)
    return text + "\n".join(bytes(int(n) % 256 for n in each.split(",")).decode("latin-1") for each in arrays)


def test_what_is_planted_can_be_found(bench: SecretBench, tmp_path: Path) -> None:
    """With payloads everything except the secret headers is there, so that the tests below would find it."""
    freeze(bench.lab, tmp_path / "all", payloads=True)
    text = words(tmp_path / "all")
    assert all(canary in text for canary in (TOKEN, CARD, FAILURE, KEY, "acme"))
    assert HEADER not in text
    with open_evidence(tmp_path / "all") as evidence:
        journal = rl.journal(evidence, bench.kept, depth=2, payloads=True)
        assert journal["payload"].iloc[0] == SECRET
        headers = [headers for headers in journal["headers"] if headers]
        assert headers[0]["authorization"] == MASK
        assert headers[0]["x-tenant"] == "acme"
        assert {"x-api-key": MASK} in [{"x-api-key": each.get("x-api-key")} for each in headers[1:]]
        state = evidence.sql("SELECT value, value_utf8 FROM state").iloc[0]
        assert json.loads(state["value"]) == json.loads(state["value_utf8"]) == SECRET
        promise = evidence.sql("SELECT completion_success_value_utf8 AS value FROM sys_promise")["value"][0]
        assert json.loads(promise) == SECRET


def test_evidence_has_no_input_or_output_of_a_handler_by_default(bench: SecretBench, tmp_path: Path) -> None:
    freeze(bench.lab, tmp_path / "plain")
    text = words(tmp_path / "plain")
    assert not [canary for canary in (HEADER, TOKEN, CARD, "acme") if canary in text]
    assert all(canary in text for canary in (FAILURE, KEY))


def test_redacted_values_are_in_no_file(bench: SecretBench, tmp_path: Path) -> None:
    redact = ["$.card.number", "$..token", "$.failure", "failures", "idempotency_key"]
    freeze(bench.lab, tmp_path / "redacted", payloads=True, redact=redact)
    text = words(tmp_path / "redacted")
    assert not [canary for canary in (HEADER, TOKEN, CARD, FAILURE, KEY) if canary in text]
    with open_evidence(tmp_path / "redacted") as evidence:
        masked = {"card": {"number": MASK}, "token": MASK, "failure": MASK, "amount": 1.5}
        assert rl.journal(evidence, bench.kept, payloads=True)["payload"].iloc[0] == masked
        assert json.loads(evidence.sql("SELECT value_utf8 FROM state")["value_utf8"][0]) == masked
        failures = evidence.sql("SELECT completion_failure FROM sys_invocation WHERE completion_failure IS NOT NULL")
        assert set(failures["completion_failure"]) == {MASK}
        assert set(evidence.manifest.redaction.masked) == set(redact)
        assert all(evidence.manifest.redaction.masked.values())


HUNTER = "canary-hunter2"
READABLE = (
    f'{{"password":"{HUNTER}","score":NaN,"amount":12345678901234567.89}}'.encode(),
    f'{{"n":{"9" * 5000},"password":"{HUNTER}","rate":1.10}}'.encode(),
    f'{{"text":"cut \\ud83d","password":"{HUNTER}"}}'.encode(),
    f'\ufeff{{"password":"{HUNTER}","raw":"a\nb\x01"}}\0'.encode(),
    f'{{"password":"{HUNTER}"}}\n{{"password":"{HUNTER}","k":1e2}}\n'.encode(),
    json.dumps({"arguments": json.dumps({"password": HUNTER, "city": "Bonn"})}).encode(),
    f'{{"password":"{HUNTER}"}}'.encode("utf-16-le"),
)
DAMAGED = (f'{{"password":"{HUNTER}",'.encode(), f"password={HUNTER}".encode(), b"\x0a\x0e" + HUNTER.encode() + b"\xff")
PROVIDER = {"set-cookie": HUNTER, "openai-organization": HUNTER, "x-request-id": "req_1"}
RESPONSE = json.dumps({"json": {"response": {"headers": PROVIDER}}, "score": float("nan")}).encode()


def test_no_form_of_a_payload_keeps_a_secret(bench: SecretBench, tmp_path: Path) -> None:
    payloads = {f"p{at}": value for at, value in enumerate([*READABLE, *DAMAGED, RESPONSE])}
    for key, value in payloads.items():
        bench.lab.ingress.send("Parcel", "pack", value, key=key)
    ended = "SELECT id FROM sys_invocation_status WHERE target_service_name = 'Parcel' AND status = 'completed'"
    wait_for(lambda: bench.lab.arrow(ended).num_rows, lambda rows: rows == len(payloads))
    freeze(bench.lab, tmp_path / "all", payloads=True, service="Parcel")
    assert HUNTER in words(tmp_path / "all")
    with pytest.warns(EvidenceWarning, match="could not be read as JSON. They were masked as a whole"):
        freeze(bench.lab, tmp_path / "redacted", payloads=True, redact="$..password")
    text = words(tmp_path / "redacted")
    assert HUNTER not in text
    assert "\0".join(HUNTER) not in text
    with open_evidence(tmp_path / "redacted") as evidence:
        unread = evidence.manifest.redaction.unread
        assert unread["state.value"] == len(DAMAGED)
        assert unread["sys_journal.entry_json"] >= 4 * len(DAMAGED)
        rows = evidence.arrow("SELECT service_key, value FROM state WHERE service_name = 'Parcel'").to_pylist()
        kept = {row["service_key"]: row["value"] for row in rows}
        for at, value in enumerate(READABLE):
            encoding = "utf-16-le" if b'\0"' in value else "utf-8"
            assert kept[f"p{at}"] == value.replace(HUNTER.encode(encoding), MASK.encode(encoding))
        response = kept[f"p{len(payloads) - 1}"]
        assert response == RESPONSE.replace(HUNTER.encode(), MASK.encode())
        assert isinstance(rl.state(evidence, "Parcel", "p0")["content"], dict)


FREEZES = """
import sys, itertools
import restate_lab as rl
from restate_lab.evidence.freeze import freeze
lab = rl.connect(sys.argv[1])
for number in itertools.count():
    print(number, flush=True)
    freeze(lab, f"{sys.argv[2]}/{number}", payloads=True)
"""


@contextlib.contextmanager
def freezing(cluster: Cluster, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that freezes repeatedly."""
    command = [sys.executable, "-c", FREEZES, cluster.admin_url, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.server
@pytest.mark.parametrize("delay", [0.05, 0.21, 0.43])
def test_unfinished_evidence_of_a_killed_freeze_does_not_open(newest: Cluster, tmp_path: Path, delay: float) -> None:
    with freezing(newest, tmp_path) as process:
        time.sleep(delay)
        process.kill()
        process.wait()
    there = list(tmp_path.iterdir())
    unfinished = [each for each in there if each.name.endswith(".unfinished")]
    assert len(unfinished) <= 1
    for each in there:
        # Between its last file and its final name it is complete; before that it must not open.
        with contextlib.suppress(EvidenceBroken) if each in unfinished else contextlib.nullcontext():
            open_evidence(each).close()


@pytest.mark.server
def test_an_interrupted_freeze_leaves_only_complete_evidence(newest: Cluster, tmp_path: Path) -> None:
    with freezing(newest, tmp_path) as process:
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in said
    assert not [each.name for each in tmp_path.iterdir() if each.name.endswith(".unfinished")]
    for each in tmp_path.iterdir():
        open_evidence(each).close()
        shutil.rmtree(each)
