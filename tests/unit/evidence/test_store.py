"""Opening evidence: changed files are rejected, and the rest answers like a live source."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from restate_lab.errors import (
    ArgumentError,
    EvidenceBroken,
    EvidenceWarning,
    NotOnThisServer,
    QueryRefused,
    ResultTooLarge,
    StatementError,
    TimedOut,
    UnknownName,
)
from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.store import Evidence, open_evidence
from restate_lab.source import Source
from support.freezable import START, Freezable, invocation, sample_id

STATE = [{"service_name": "Svc", "service_key": "k", "key": "x", "value": b"1", "value_utf8": "1"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = Freezable(sys_invocation_status=[invocation(1), invocation(2, status="completed")], state=STATE)
    path = tmp_path / "inc 42 [draft] 100%#?.evidence"
    freeze(source, path)
    return path


@pytest.fixture
def evidence(folder: Path) -> Iterator[Evidence]:
    with open_evidence(folder) as opened:
        yield opened


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return edit


def of(manifest: dict[str, Any], table: str) -> dict[str, Any]:
    return next(each for each in manifest["files"] if each["table"] == table)


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / "state.parquet").read_bytes())
    content[10] ^= 1
    (folder / "state.parquet").write_bytes(content)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_a_link(folder: Path) -> None:
    (folder / "state.parquet").rename(folder.parent / "elsewhere.parquet")
    (folder / "state.parquet").symlink_to(folder.parent / "elsewhere.parquet")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte": (flip_a_byte, r"state\.parquet was changed or damaged after the freeze: its sha256"),
    "cut off": (lambda folder: (folder / "state.parquet").write_bytes(b"PAR1"), r"state\.parquet .* 4 bytes"),
    "missing": (lambda folder: (folder / "state.parquet").unlink(), r"state\.parquet is missing"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "the freeze did not finish"),
    "half a manifest": (
        lambda folder: (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes()[:500]),
        "not a manifest of restate_lab, or is incomplete",
    ),
    "not a manifest": (lambda folder: (folder / "manifest.json").write_text("[]"), "not a manifest of restate_lab"),
    "newer": (edited(lambda manifest: manifest.update(format=3)), r"format 3, but .* only format 2"),
    "a format that is no number": (edited(lambda manifest: manifest.update(format=True)), r"format True"),
    "a long format": (edited(lambda manifest: manifest.update(format="x" * 10**6)), r"format 'x{39}, but"),
    "a moment that no clock says": (
        edited(lambda manifest: manifest.update(now="9999-12-31T23:59:59-14:00")),
        r"now 9999-.*which is not a plausible time",
    ),
    "a moment without a zone": (edited(lambda manifest: manifest.update(ended_at="2026-11-25T03:00:00")), "ended_at"),
    "text for a number": (
        edited(lambda manifest: of(manifest, "state").update(rows="1")),
        "not a manifest of restate_lab",
    ),
    "a name of 5,000 letters": (
        edited(lambda manifest: of(manifest, "state").update(file=f"{'a' * 5000}.parquet")),
        r"'a{200}' is not a plain file name",
    ),
    "one file for two tables": (
        edited(lambda manifest: of(manifest, "state").update(file="sys_journal.parquet")),
        r"the file 'sys_journal\.parquet' for more than one table",
    ),
    "a pipe": (lambda folder: pipe(folder / "state.parquet"), r"state\.parquet is missing"),
    "a folder": (lambda folder: directory(folder / "state.parquet"), r"state\.parquet is missing"),
    "a pipe for a manifest": (lambda folder: pipe(folder / "manifest.json"), "the freeze did not finish"),
    "lies about rows": (
        edited(lambda manifest: of(manifest, "state").update(rows=7)),
        r"state\.parquet .* 1 rows instead of 7",
    ),
    "lies about columns": (
        edited(lambda manifest: of(manifest, "state")["columns"].pop()),
        r"state\.parquet .* its columns differ from the manifest",
    ),
    "lies about a type": (
        edited(lambda manifest: of(manifest, "state")["columns"][0].update(arrow="int64")),
        r"state\.parquet .* its columns differ from the manifest",
    ),
    "escapes": (
        edited(lambda manifest: of(manifest, "state").update(file="../state.parquet")),
        r"'../state\.parquet' is not a plain file name",
    ),
    "absolute": (
        edited(lambda manifest: of(manifest, "state").update(file="/etc/hostname")),
        "'/etc/hostname' is not a plain file name",
    ),
    "a link": (replace_by_a_link, r"state\.parquet is a link"),
    "twice": (edited(lambda manifest: of(manifest, "state").update(table="sys_journal")), "'sys_journal' twice"),
    "an odd name": (edited(lambda manifest: of(manifest, "state").update(table='a"; b')), "or it is invalid"),
    "a view that writes": (
        edited(lambda manifest: manifest["views"][0].update(definition="CREATE VIEW x AS DROP TABLE state")),
        "the view sys_invocation cannot be created",
    ),
    "a view of another shape": (
        edited(lambda manifest: manifest["views"][0].update(definition="CREATE VIEW x AS SELECT 1 AS id")),
        "the view sys_invocation cannot be created: its columns differ",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_changed_evidence_is_not_opened_and_the_error_names_the_file(folder: Path, how: str) -> None:
    change, message = BROKEN[how]
    open_evidence(folder).close()
    change(folder)
    with pytest.raises(EvidenceBroken, match=message) as caught:
        open_evidence(folder)
    assert str(folder) in str(caught.value)


def test_a_file_that_is_removed_or_cut_while_evidence_is_open_is_an_error(folder: Path) -> None:
    with open_evidence(folder) as evidence:
        file = folder / "state.parquet"
        content = file.read_bytes()
        for change, message in ((file.unlink, "missing"), (lambda: file.write_bytes(content[:100]), "100 bytes")):
            change()
            with pytest.raises(EvidenceBroken, match=message):
                evidence.sql("SELECT count(*) AS n FROM state")
        file.write_bytes(content)
        assert evidence.sql("SELECT count(*) AS n FROM state")["n"].tolist() == [1]
        folder.rename(folder.with_name("moved"))
        with pytest.raises(EvidenceBroken, match="missing"):
            evidence.sql("SELECT count(*) AS n FROM state")


def test_unverified_evidence_is_marked_in_its_line_and_card_and_sizes_are_still_checked(folder: Path) -> None:
    content = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(content.replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(EvidenceBroken, match="sha256"):
        open_evidence(folder)
    with pytest.warns(EvidenceWarning, match="without a check of the sha256"):
        evidence = open_evidence(folder, verify=False)
    assert evidence.sql("SELECT count(*) AS n FROM state")["n"].tolist() == [1]
    assert "not verified" in repr(evidence)
    assert "NOT VERIFIED" in evidence._repr_html_()
    (folder / "state.parquet").unlink()
    with pytest.raises(EvidenceBroken, match="missing"):
        open_evidence(folder, verify=False)


def test_a_hostile_name_in_the_manifest_is_short_text_on_one_line(folder: Path) -> None:
    evil = "\x1b]52;c;AAAA\x07\u202e\n</script><img src=x onerror=alert(1)>" + "x" * 10**6
    edited(lambda manifest: manifest["server"].update(name=evil, version=evil))(folder)
    with open_evidence(folder) as evidence:
        for text in (repr(evidence), evidence.name):
            assert len(text) < 2000
            assert all(each.isprintable() for each in text)
        card = evidence._repr_html_()
        assert "<img" not in card
        assert len(card) < 10_000


def test_a_path_without_a_folder_is_an_argument_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("nothing", "file"):
        with pytest.raises(ArgumentError, match="does not exist"):
            open_evidence(tmp_path / name)


def test_evidence_describes_itself_as_the_live_source_did_and_its_name_has_the_time(evidence: Evidence) -> None:
    assert isinstance(evidence, Source)
    assert (evidence.version, dict(evidence.features)) == ("1.7.12", {"vqueues": False})
    assert evidence.now == evidence.manifest.now > START
    assert evidence.name == "made @ 2026-11-25 03:00:05 UTC"
    live = Freezable().tables()
    there = live[~live["column"].isin(["entry_json", "raw", "value", "value_utf8"])]
    expected = there.sort_values("table", kind="stable").reset_index(drop=True)
    pd.testing.assert_frame_equal(evidence.tables(), expected)


def test_the_coverage_has_scope_payloads_masks_and_missing_parts_with_reasons(
    evidence: Evidence, tmp_path: Path
) -> None:
    assert not evidence.live
    assert evidence.address == str(evidence.path)
    assert (evidence.coverage.part, evidence.coverage.payloads, evidence.coverage.masked) == ("", False, frozenset())
    assert set(evidence.coverage.missing) >= {"state.value", "sys_journal.raw", "sys_journal.entry_json"}
    assert "payloads" in evidence.coverage.missing["state.value"]
    whole = Freezable(sys_invocation_status=[invocation(1), invocation(2)], state=STATE)
    freeze(whole, tmp_path / "part", service="Svc", payloads=True, redact="state.value")
    with open_evidence(tmp_path / "part") as part:
        assert part.coverage.part == "service Svc"
        assert part.coverage.payloads
        assert "state.value" in part.coverage.masked
        assert "sys_invocation_status.id" not in part.coverage.masked
        assert part.coverage.incomplete == frozenset()


def test_parameters_types_and_limits_are_those_of_a_live_connection(evidence: Evidence) -> None:
    frame = evidence.sql(
        "SELECT id, created_at, :now - created_at AS age FROM sys_invocation_status WHERE id IN :ids",
        now=START,
        ids=[sample_id(1)],
    )
    assert frame["age"].tolist() == [pd.Timedelta(hours=1)]
    assert str(frame["created_at"].dtype) == "datetime64[ms, UTC]"
    assert evidence.sql("SELECT status FROM sys_invocation ORDER BY id", params={})["status"].tolist() == [
        "suspended",
        "completed",
    ]
    assert evidence.sql("SELECT now() AS now")["now"][0] == pd.Timestamp(evidence.now)
    assert evidence.arrow("SELECT key FROM state WHERE 1 = 0").column_names == ["key"]
    with evidence.stream("SELECT * FROM generate_series(1, 100000)") as reader:
        assert sum(batch.num_rows for batch in reader) == 100_000
    with pytest.raises(ResultTooLarge, match="was stopped"):
        evidence.sql("SELECT * FROM generate_series(1, 1000000)", max_bytes=100_000)
    with pytest.raises(TimedOut, match="stopped at its timeout"):
        evidence.sql("SELECT * FROM generate_series(1, 100000)", timeout=0)


def test_no_statement_writes_or_reads_other_files_and_an_excluded_column_has_its_reason(
    evidence: Evidence, folder: Path
) -> None:
    before = sorted(each.name for each in folder.parent.iterdir())
    for statement in ("DROP TABLE state", "CREATE TABLE x AS SELECT 1", "SELECT 1; SELECT 2", "SET a = 1"):
        with pytest.raises(StatementError):
            evidence.sql(statement)
    for statement in (f"COPY state TO '{folder}/x.csv'", "EXPLAIN ANALYZE COPY state TO 'x.csv'"):
        with pytest.raises((StatementError, QueryRefused)):
            evidence.sql(statement)
    with pytest.raises(QueryRefused):
        evidence.sql(f"SELECT * FROM '{folder}/state.parquet'")
    assert sorted(each.name for each in folder.parent.iterdir()) == before
    with pytest.raises(NotOnThisServer, match=r"state\.value is excluded from made .*payloads=True"):
        evidence.sql("SELECT s.value FROM state s")
    with pytest.raises(UnknownName, match="nearest: sys_journal"):
        evidence.sql("SELECT * FROM sys_jurnal")
    with pytest.raises(UnknownName, match="json_get_str"):
        evidence.sql("SELECT json_get_string('{}', 'a')")
    with pytest.raises(QueryRefused, match="Cannot cast"):
        evidence.sql("SELECT CAST(id AS INT) FROM sys_invocation_status")
    assert evidence.sql("SELECT 1 AS x")["x"].tolist() == [1]


def test_a_query_about_an_excluded_table_reports_the_exclusion(tmp_path: Path) -> None:
    freeze(Freezable(), tmp_path / "part", tables=["state"])
    with open_evidence(tmp_path / "part") as evidence:
        assert set(evidence.tables()["table"]) == {"state"}
        for name in ("sys_journal", "sys_invocation"):
            with pytest.raises(NotOnThisServer, match=f"{name} is excluded"):
                evidence.sql(f"SELECT * FROM {name}")


def test_the_repr_is_one_line_and_names_on_the_card_are_text_not_html(tmp_path: Path) -> None:
    class Evil(Freezable):
        name = "<b>prod</b>"

    path = tmp_path / "evil"
    freeze(Evil(sys_invocation_status=[invocation(1)]), path, service="Svc", redact="$..x")
    with open_evidence(path) as evidence:
        assert "\n" not in repr(evidence)
        assert repr(evidence) == f"<Evidence <b>prod</b> @ 2026-11-25 03:00:05 UTC, restate 1.7.12, at {path}>"
        html = evidence._repr_html_()
    assert "<b>prod" not in html
    for words in (
        "2026-11-25 03:00",
        "1 invocations, 1 with callers",
        "sys_journal.raw",
        evidence.digest[:16],
        "$..x (0)",
    ):
        assert words in html, words
    with pytest.raises(StatementError, match="is closed"):
        evidence.sql("SELECT 1")


def test_freezing_needs_no_engine_and_opening_names_the_extra(folder: Path) -> None:
    program = f"""
import sys
sys.modules["datafusion"] = None
import restate_lab.evidence.freeze
from restate_lab.errors import MissingExtra
from restate_lab.evidence.store import open_evidence
try:
    open_evidence({str(folder)!r})
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'restate-lab[evidence]'" in done.stdout
    assert list(pd.read_parquet(folder / "state.parquet")["service_key"]) == ["k"]
    assert pq.read_table(folder / "sys_invocation_status.parquet").num_rows == 2
