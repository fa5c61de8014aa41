"""Which invocation is this order? Its number in inputs of servers, of evidence and of a history; and the limits."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.cli import app
from restate_lab.client.lab import Lab
from support.bulk import Bulk, running_bulk
from support.clusters import NEWEST, Cluster

ORDER = "ord-1401"
INPUTS = "SELECT id, entry_json FROM sys_journal WHERE index = 0 AND entry_json IS NOT NULL"
MANY, AT_ONCE = 100_500, 5_000
LIMITS: dict[str, dict[str, Any]] = {
    "bytes": {"max_bytes": 90_000},
    "time": {"timeout": "1s"},
    "rows": {"timeout": "5m"},
}


@pytest.fixture
def lab(incident: Cluster, tmp_path: Path) -> Iterator[Lab]:
    with rl.connect(incident.admin_url, audit=tmp_path / "audit", read_only=True) as lab:
        yield lab


def with_text(lab: Lab, text: str) -> set[str]:
    """Return the ids with the text in their input, as a person would find them: all inputs are read and decoded."""
    rows = lab.arrow(INPUTS, progress=False).to_pylist()
    payloads = {row["id"]: bytes(json.loads(row["entry_json"])["Command"]["Input"]["payload"]) for row in rows}
    return {id_ for id_, payload in payloads.items() if text.encode() in payload}


def find_in_a_shell(incident: Cluster, *arguments: str, text: str = "") -> Any:
    return CliRunner().invoke(app, ["find", *arguments, "-e", incident.admin_url], input=text)


def test_an_order_is_found_by_a_field_of_its_input(
    lab: Lab, incident: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All and only the right ones, on a read-only connection; the text is in no log, record, statement or report."""
    caplog.set_level(logging.DEBUG)
    found = rl.find(lab, ORDER, progress=False)
    assert set(found.ids) == with_text(lab, ORDER)
    assert set(incident.ids("forgotten_awakeable")) <= set(found.ids)
    assert set(found.frame["path"]) == {"input.order"}
    assert (found.looked, found.ended_by) == (found.total, "")
    counts = {reason.partition(" ")[2]: int(reason.partition(" ")[0]) for reason in found.reasons}
    kept = lab.sql("SELECT id FROM sys_journal WHERE index = 0", progress=False)
    assert counts.pop("inputs whose journal was not kept, or is not in the source", 0) == found.looked - len(kept)
    assert counts == {}
    assert set(rl.find(lab, "ord-1", progress=False).ids) >= with_text(lab, "ord-1")
    assert rl.find(lab, "ord-nowhere").ids == []
    plan = rl.plan(lab, "cancel", found.frame)
    assert {*plan.frame["id"]} == set(found.ids)
    told = find_in_a_shell(incident, "-", "--json", text=f"{ORDER}\n")
    assert ([row["id"] for row in json.loads(told.stdout)["frame"]], told.exit_code) == (found.ids, 0)
    shown = find_in_a_shell(incident, "ord-1", "--max-bytes", "1kB")
    assert (shown.exit_code, "Not searched" in shown.stdout) == (4, True), "a limit ended the search"
    report = Path(rl.Report("INC-42", source=lab).add(found).write(tmp_path / "x.html")).read_text()
    assert "input.order" in report
    records = "".join(file.read_text() for file in (tmp_path / "audit").rglob("*.jsonl"))
    assert ORDER not in f"{report}{records}{caplog.text}{found.queries}{found!r}{vars(found)}"


def test_copies_have_the_same_answer_if_they_have_inputs(lab: Lab, tmp_path: Path) -> None:
    """Evidence of the same time, and a history of those that have ended; without payloads, the error says so."""
    live = rl.find(lab, "ord-1", progress=False)
    rl.freeze(lab, tmp_path / "with", payloads=True, progress=False)
    rl.archive(lab, tmp_path / "archive", cluster_name="x", payloads=True, progress=False)
    with rl.open_evidence(tmp_path / "with") as evidence, rl.open_history(tmp_path / "archive") as history:
        frozen = rl.find(evidence, "ord-1")
        assert set(zip(frozen.frame["id"], frozen.frame["path"], strict=True)) == set(
            zip(live.frame["id"], live.frame["path"], strict=True)
        )
        ended = rl.find(history, "ord-1", service="Payments")
        assert 0 < len(ended.ids) < len(live.ids)
        assert {each.partition("@")[0] for each in ended.ids} <= set(live.ids)
        assert ended.reasons == ["the state of Payments, which the source does not have"]
    rl.freeze(lab, tmp_path / "without", progress=False)
    with (
        rl.open_evidence(tmp_path / "without") as evidence,
        pytest.raises(rl.errors.NotOnThisServer, match="written with payloads=True"),
    ):
        rl.find(evidence, "ord-1")


@pytest.fixture(scope="module")
def bulk(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bulk]:
    """Give a server with 100,500 scheduled calls; the input of one in 5,000 is 4711."""
    with running_bulk(NEWEST, tmp_path_factory.mktemp("many")) as bulk:
        with ThreadPoolExecutor(4) as pool:
            sizes = [AT_ONCE] * (MANY // AT_ONCE) + [MANY % AT_ONCE]
            list(pool.map(lambda size: bulk.ingress.call("Bulk", "send", ["later", size], timeout="5m"), sizes))
        yield bulk


@pytest.mark.long
@pytest.mark.server
@pytest.mark.timeout(900)
@pytest.mark.parametrize("limit", LIMITS)
def test_a_search_of_100_000_stops_at_each_limit_and_says_so(
    bulk: Bulk, limit: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What it found is right back to the time that it states; the text is in no log and no audit record."""
    caplog.set_level(logging.DEBUG)
    found = rl.find(bulk.lab, "4711", progress=False, **LIMITS[limit])
    assert found.looked_back_to is not None
    assert 0 < found.looked <= 100_000
    reason = found.reasons[0]  # the others are about the senders, whose journals are not kept
    assert reason.startswith(f"the invocations created before {found.looked_back_to:%F %T} UTC, because ")
    expected = {
        "bytes": "the limit of 90 kB was reached",
        "time": "the limit of 1s was reached",
        "rows": "at most 100,000",
    }
    assert expected[limit] in reason
    assert found.total is None
    rows = bulk.lab.sql("SELECT id, created_at FROM sys_invocation_status WHERE id IN :ids", ids=with_4711(bulk.lab))
    newer = set(rows.loc[rows["created_at"] > found.looked_back_to, "id"])
    assert newer <= set(found.ids) <= set(rows["id"])
    if limit == "rows":
        assert found.looked == 100_000
    kept = "".join(file.read_text() for file in bulk.audit.rglob("*.jsonl"))
    assert "4711" not in f"{kept}{caplog.text}{found.queries}{str(found).replace(str(found.size), '')}{found.reasons}"


def with_4711(lab: Lab) -> list[str]:
    statement = "SELECT id FROM sys_journal WHERE index = 0 AND encode(raw, 'hex') LIKE '%34373131'"
    return list(lab.sql(statement, progress=False)["id"])
