"""The messages for a new user's mistakes: each has the next step."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pandas as pd
import pyarrow as pa
import pytest

import restate_lab as rl
from restate_lab.client.parquet import write_parquet
from restate_lab.client.responses import error_from_transport
from restate_lab.client.settings import Settings
from restate_lab.client.sql.suggestions import add_suggestions
from restate_lab.errors import ArgumentError, QueryRefused, ReadOnly
from support.sample_rows import SampleRows

LAB: Any = SampleRows()
ROWS = pa.table({"n": [1]})
MISTAKES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "a name with a typo": (lambda: cast("Any", rl).conect, AttributeError, "Did you mean 'connect'"),
    "the source second": (
        lambda: rl.ask(cast("Any", "retry_storm"), LAB),
        ArgumentError,
        r"ask\(lab, \"retry_storm\"\)",
    ),
    "a frame for an id": (
        lambda: rl.why(LAB, cast("Any", pd.DataFrame({"id": ["x"]}))),
        ArgumentError,
        r"frame\.id\[0\]",
    ),
    "an action with another name": (
        lambda: rl.plan(LAB, cast("Any", "restart"), ["inv_1"]),
        ArgumentError,
        "Did you mean 'restart_as_new'",
    ),
    "a folder that is not there": (
        lambda: write_parquet(ROWS.to_batches(), ROWS.schema, Path("nowhere/rows.parquet"), None),
        ArgumentError,
        "nowhere does not exist: create it",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_its_remedy(mistake: str) -> None:
    """The message names the right value, and shows a frame only as its type."""
    call, error, words = MISTAKES[mistake]
    with pytest.raises(error, match=words) as raised:
        call()
    assert len(str(raised.value)) < 200


def test_nobody_there_is_told_with_how_to_name_another() -> None:
    """If no cluster was named, the message explains how to name one; after a TLS error it asks about http."""
    settings = Settings("local", "http://127.0.0.1:9070", None, None, "", "the default")
    said = {
        reason: str(
            error_from_transport(
                httpx.ConnectError(reason), request_line="GET /version", settings=settings, address="http://x"
            )
        )
        for reason in ("[Errno 111] Connection refused", "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    }
    assert [("connect(" in each, "http:// instead" in each) for each in said.values()] == [(True, False), (False, True)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("127.0.0.1:9", "the argument"), "Cannot reach http://127.0.0.1:9: connection refused. Is the server running"),
        (("prod", "the argument"), "Cannot reach prod (http://127.0.0.1:9): connection refused. Is the server"),
        (
            ("prod", "RESTATE_ENVIRONMENT"),
            "Cannot reach prod (http://127.0.0.1:9), chosen by RESTATE_ENVIRONMENT: conn",
        ),
    ],
)
def test_an_address_that_is_not_reached_is_named_once(settings: tuple[str, str], said: str) -> None:
    name, chosen_by = settings
    address = "http://127.0.0.1:9"
    error = error_from_transport(
        httpx.ConnectError("[Errno 111] Connection refused"),
        request_line="GET /version",
        settings=Settings(name, address, None, None, "", chosen_by),
        address=address,
    )
    assert str(error).startswith(said)
    assert str(error).count("127.0.0.1:9") == 1


def test_a_text_in_double_quotes_is_told_from_a_typo() -> None:
    """A column unlike any existing one is most often a text; a typo has only its nearest column."""
    said = {
        name: str(
            add_suggestions(
                QueryRefused("no", status=500, code=None, reason=reason), lambda: (), lambda: (), version="1.7.12"
            )
        )
        for name in ("Payments", "statsu")
        for reason in [f"Schema error: No field named {name}. Valid fields are s.id, s.status."]
    }
    assert ["single quotes" in each for each in said.values()] == [True, False]


def test_read_only_says_how_to_change_something() -> None:
    """The remedy is there once, also after pickling into another process."""
    error = ReadOnly("resume was not sent: this connection to prod is read-only.")
    assert str(error).count("RESTATE_LAB_READ_ONLY") == 1
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes
