"""Frames in a notebook after ``%load_ext restate_lab``: those of restate_lab are readable, all others as in pandas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab._html import table
from restate_lab.errors import ArgumentError
from restate_lab.redaction import MASK
from support.sample_rows import NOW, SampleRows, invocation, sample_id
from support.shell import Shell, shell

MESSAGE = "<script>alert(1)</script> \u202e" + "no answer from the payment service " * 3
SOURCE = SampleRows(
    sys_invocation_status=[invocation(1, "invoked"), invocation(2, "paused"), invocation(3, "succeeded")],
    sys_invocation_state=[{"id": sample_id(1), "in_flight": False, "retry_count": 4, "last_failure": MESSAGE}],
)
STATEMENT = """SELECT s.id, s.status, i.retry_count, i.last_failure, s.created_at, i.last_failure_error_code
FROM sys_invocation_status s LEFT JOIN sys_invocation_state i ON i.id = s.id ORDER BY s.id"""


@pytest.fixture
def notebook(capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """Give a shell with the extension."""
    with shell(capsys) as running:
        running.run("%load_ext restate_lab")
        yield running


def html_of(notebook: Shell, value: object) -> str:
    formatter: Any = notebook.ip.display_formatter
    return str(formatter.format(value)[0].get("text/html", ""))


def sample() -> pd.DataFrame:
    return SOURCE.sql(STATEMENT)


READABLE: dict[str, Callable[[], pd.DataFrame]] = {
    "sql": sample,
    "ask": lambda: rl.ask(SOURCE, "overview"),
    "a part of the questions": lambda: rl.questions().query("cost == 'heavy'"),
    "a part of the findings": lambda: rl.doctor(SOURCE).findings[["severity", "title"]],
    "checks": lambda: rl.doctor(SOURCE).checked,
    "options": lambda: rl.why(SOURCE, sample_id(2)).options,
    "chain": lambda: rl.why(SOURCE, sample_id(2)).chain,
    "not read": lambda: rl.waits(SOURCE).not_read,
    "the audit log": rl.audit_log,
    "head": lambda: sample().head(1),
    "filter": lambda: sample()[sample()["status"] == "paused"],
    "columns": lambda: sample()[["id", "status"]],
    "order": lambda: sample().sort_values("status"),
    "another column": lambda: sample().assign(mine=1),
}
AS_IN_PANDAS: dict[str, Callable[[], pd.DataFrame]] = {
    "a frame of the user": lambda: pd.DataFrame({"id": [sample_id(1)], "status": ["paused"]}),
    "a source of the user": lambda: _with_attrs(source="my file", version="3"),
    "a maker of the user": lambda: _with_attrs(made_by="me", sql="SELECT 1"),
    "groupby": lambda: sample().groupby("status").agg(n=("id", "count")),
    "groupby without index": lambda: sample().groupby("status", as_index=False).agg(id=("id", "count")),
    "pivot": lambda: sample().pivot_table(index="status", columns="retry_count", values="id", aggfunc="count"),
    "describe": lambda: sample().describe(),
    "transposed": lambda: sample().T,
    "index of ids": lambda: sample().set_index("id"),
    "counts": lambda: sample()["status"].value_counts().to_frame(),
}


def _with_attrs(**attrs: str) -> pd.DataFrame:
    frame = pd.DataFrame({"id": [sample_id(1)]})
    frame.attrs = dict(attrs)
    return frame


@pytest.mark.parametrize("name", READABLE)
def test_frames_of_restate_lab_and_their_parts_are_readable(notebook: Shell, name: str) -> None:
    frame = READABLE[name]()
    html = html_of(notebook, frame)
    assert 'class="dataframe"' not in html
    assert f"{len(frame):,} row" in html


@pytest.mark.parametrize("name", AS_IN_PANDAS)
def test_frames_of_the_user_and_combined_rows_look_as_in_pandas(notebook: Shell, name: str) -> None:
    frame: Any = AS_IN_PANDAS[name]()
    assert html_of(notebook, frame) == frame._repr_html_()


def test_a_frame_with_a_card_keeps_it_and_a_changed_one_is_a_table(notebook: Shell) -> None:
    frame: Any = rl.doctor(SOURCE).findings
    assert html_of(notebook, frame) == frame._repr_html_()
    frame["mine"] = 1
    assert "mine</th>" in html_of(notebook, frame)


def test_ids_are_short_times_are_ages_and_long_texts_are_folded(notebook: Shell) -> None:
    frame = sample()
    frame["took"] = timedelta(milliseconds=398)
    frame["secret"] = MASK
    frame.attrs["read_at"] = (frame["created_at"].max() + timedelta(hours=3, minutes=5)).isoformat()
    before = frame.copy()
    html = html_of(notebook, frame)
    for text in (
        f'title="{sample_id(1)}"',
        ">3h 5m ago<",
        f'title="{frame["created_at"].max():%Y-%m-%d %H:%M:%S}.000 UTC"',
        ">398ms<",
        ">–<",
        f">{MASK}<",
        "<details",
        "&lt;script&gt;alert(1)&lt;/script&gt; ‹U+202E›",
        "Without a value: last_failure_error_code.",
    ):
        assert text in html, text
    assert "<script>" not in html
    assert "nan" not in html.lower()
    pd.testing.assert_frame_equal(frame, before)


def test_ages_count_from_the_time_of_the_read(notebook: Shell) -> None:
    frame = sample()
    assert f"Ages count from {NOW:%Y-%m-%d %H:%M:%S} UTC." in html_of(notebook, frame)
    frame.attrs["asked_at"] = (NOW + timedelta(hours=1)).isoformat()  # of a live cluster, by the clock of this machine
    del frame.attrs["read_at"]
    assert f"Ages count from {NOW + timedelta(hours=1):%Y-%m-%d %H:%M:%S} UTC." in html_of(notebook, frame)


def test_of_a_large_frame_only_the_first_rows_are_converted(notebook: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = 0
    table_cell = table.table_cell

    def counted(*arguments: Any) -> Any:
        nonlocal converted
        converted += 1
        return table_cell(*arguments)

    monkeypatch.setattr(table, "table_cell", counted)
    frame = pd.concat([sample()] * 3_000, ignore_index=True)
    frame.attrs = sample().attrs
    html = html_of(notebook, frame)
    assert "The first 25 of 9,000 rows; rl.show(frame, rows=…) shows more." in html
    assert converted <= 25 * len(frame.columns)
    assert len(html) < 100_000


def test_a_value_after_the_first_rows_keeps_its_column(notebook: Shell) -> None:
    frame = pd.DataFrame({"id": range(100), "late": [None] * 99 + ["x"], "never": [""] * 100})
    frame.attrs = sample().attrs
    html = html_of(notebook, frame)
    assert ">late</th>" in html
    assert "Without a value: never." in html


def test_a_switch_turns_readable_frames_off_and_on(notebook: Shell) -> None:
    frame: Any = sample()
    notebook.run("%restate frames off")
    assert html_of(notebook, frame) == frame._repr_html_()
    notebook.run("%restate frames on")
    assert "Ages count from" in html_of(notebook, frame)
    off = False
    with pd.option_context("display.notebook_repr_html", off):
        assert html_of(notebook, frame) in {"", "None"}
    for wrong in ("frames", "frames maybe", "frames on off"):
        assert isinstance(notebook.run(f"%restate {wrong}").error, ArgumentError)


def test_a_formatter_of_the_user_stays_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with shell(capsys) as notebook:
        formatter: Any = notebook.ip.display_formatter
        formatter.formatters["text/html"].for_type(pd.DataFrame, lambda _: "mine")
        notebook.run("%load_ext restate_lab")
        assert html_of(notebook, pd.DataFrame({"a": [1]})) == "mine"
        assert "Ages count from" in html_of(notebook, sample())
        notebook.run("%unload_ext restate_lab")
        assert html_of(notebook, sample()) == "mine"


def test_without_the_extension_frames_look_as_in_pandas(capsys: pytest.CaptureFixture[str]) -> None:
    frame: Any = sample()
    with shell(capsys) as notebook:
        assert html_of(notebook, frame) == frame._repr_html_()
