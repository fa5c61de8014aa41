"""Status names, masking, versions, and what imports load."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from restate_lab import errors
from restate_lab.errors import ImpossibleValue
from restate_lab.redaction import MASK, Secret, is_secret_name, mask_header_values
from restate_lab.server import OLDEST, complete_features, is_newer, is_older, may_lose_state_changes
from restate_lab.status import (
    _CANCELLED,
    _KILLED,
    PAST_ONLY,
    STATUSES,
    STOPPED,
    STOPPED_SQL,
    describe_impossible_status,
    status_of,
)
from support.sample_rows import SampleRows, invocation

NOT_FOR_CONNECT = (
    *("IPython", "ipywidgets", "jinja2", "matplotlib", "networkx", "typer", "tqdm", "pydantic", "datafusion"),
    *("pyarrow.parquet", "pyarrow.fs", "platformdirs", "tomllib", "difflib", "getpass"),
)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("running",), "running"),
        (("completed", "success"), "succeeded"),
        (("completed", "failure", "[409] killed"), "killed"),
        (("completed", "failure", "[409 Aborted] killed"), "killed"),
        (("completed", "failure", "[409] Killed"), "killed"),
        (("completed", "failure", "[409] cancelled"), "cancelled"),
        (("completed", "failure", "[409] Canceled"), "cancelled"),
        (("completed", "failure", "[409] killed by a tiger"), "failed"),
        (("completed", "failure", None), "failed"),
        (("hibernating",), "hibernating"),
    ],
)
def test_the_end_of_an_invocation_comes_from_its_result_and_failure_text(
    columns: tuple[str, ...], expected: str
) -> None:
    assert status_of(*columns) == expected


def test_the_failures_in_the_list_of_statements_are_those_of_killed_and_cancelled_invocations() -> None:
    pattern = re.compile(f"{_KILLED}|{_CANCELLED}")
    words = ("killed", "cancelled", "canceled", "failed")
    texts = {f"[{code}] {word}" for code in ("409", "409 Aborted", "500") for word in words}
    texts |= {text.replace("] k", "] K").replace("] c", "] C") for text in texts}
    assert {text for text in texts if pattern.search(text)} == set(STOPPED)
    assert all(f"'{text}'" in STOPPED_SQL for text in STOPPED)


def test_every_status_has_a_colour_and_only_ends_have_ended() -> None:
    assert len(STATUSES) == 12 + len(PAST_ONLY)
    assert [status.name for status in STATUSES.values() if status.ended] == [
        "succeeded",
        "failed",
        "cancelled",
        "killed",
    ]


def test_no_repr_str_format_comparison_or_pickle_reveals_a_secret() -> None:
    secret = Secret("canary")
    assert "canary" not in f"{secret} {secret!r} {secret:>20} {[secret]} {vars(type(secret))}"
    assert secret != "canary"
    assert secret.reveal() == "canary"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize("name", ["Authorization", "x-api-key", "Cookie", "X-Auth-Token", "client_secret", "apikey"])
def test_headers_named_like_credentials_are_masked_and_others_are_not(name: str) -> None:
    assert is_secret_name(name)
    assert mask_header_values({name: "canary", "x-team": "lab"}) == {name: MASK, "x-team": "lab"}


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.6.2", True),
        ("0.9.12-dev", True),
        ("1.6", True),
        (OLDEST, False),
        ("1.7.0-rc.2", False),
        ("1.10.0", False),
        ("2.0", False),
        ("", False),
        ("made", False),
    ],
)
def test_which_servers_are_too_old(version: str, expected: bool) -> None:
    """Versions are compared as numbers; an invalid one, as of a user's own Source, does not count as old."""
    assert is_older(version) is expected


@pytest.mark.parametrize(
    ("condition", "hint"),
    [
        ("status = 'backing-of'", "no row has the status 'backing-of'. Did you mean 'backing-off'?"),
        ("i.status IN ('pausd', 'paused')", "no row has the status 'pausd'. Did you mean 'paused'?"),
        ("status = :status", "no row has the status 'runing'. Did you mean 'running'?"),
        ("status = 'failed'", "no row has the status 'failed': an ended invocation is 'completed'"),
        ("status = 'paused'", ""),
        ("status <> 'pausd'", ""),
        ("status = 'xyz' -- status = 'pausd'", ""),
    ],
)
def test_an_impossible_status_is_named_with_the_nearest(condition: str, hint: str) -> None:
    statement = f"SELECT id FROM sys_invocation i WHERE {condition}"
    found = describe_impossible_status(statement, {"status": "runing"})
    assert found.startswith(hint)
    assert bool(found) == bool(hint)
    assert describe_impossible_status(statement.replace("sys_invocation", "mine"), {"status": "runing"}) == ""
    own = "SELECT * FROM (SELECT 'failed' AS status FROM sys_invocation) WHERE status = 'failed'"
    assert describe_impossible_status(own, {}) == ""


def test_an_empty_result_for_an_impossible_status_warns_at_the_line_of_the_call() -> None:
    with pytest.warns(ImpossibleValue, match="Did you mean 'paused'") as caught:
        SampleRows(sys_invocation_status=[invocation(1)]).sql(
            "SELECT id FROM sys_invocation_status WHERE status = 'pausd'"
        )
    assert caught[0].filename == __file__


def test_each_public_error_is_in_all_and_in_the_tree_of_the_docstring() -> None:
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == errors.__name__
        if not name.startswith("_")
    }
    assert classes == set(errors.__all__) - {"tracebacks"}
    assert all(name in (errors.__doc__ or "") for name in classes)


def test_importing_loads_nothing_heavy() -> None:
    heavy = ("pandas", "pyarrow", "matplotlib", "IPython", "nbformat", "sqlglot", "pyspark")
    script = f"import sys, restate_lab; print([name for name in {heavy!r} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_connecting_loads_what_a_query_needs(tmp_path: Path) -> None:
    """``connect()`` loads pandas, pyarrow and httpx, and ``at()`` loads the parts that only some calls need."""
    script = f"""
import sys
import restate_lab
lab = restate_lab.connect("http://127.0.0.1:9", check=False, timeout=1)
needless = {NOT_FOR_CONNECT!r}
print([name for name in needless if name in sys.modules], all(name in sys.modules for name in ("pandas", "httpx")))
try:
    lab.at("2h")
except (restate_lab.errors.Unreachable, restate_lab.errors.TimedOut) as error:
    print("restate_lab.history.past" in sys.modules, "127.0.0.1:9" in str(error))
"""
    variables = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=variables)
    assert out.stdout.splitlines() == ["[] True", "True True"]


@pytest.mark.parametrize(
    ("version", "reported", "has_vqueues"),
    [
        ("1.6.1", None, False),
        ("1.7.12", {}, False),
        ("1.7.12", {"vqueues": True}, True),
        ("1.8.0", None, True),
        ("1.8.1", {"vqueue_obsolete_cleanup": False}, True),
        ("1.8.0-rc.1", {}, True),
        ("1.8.0-dev", {"vqueues": False}, False),
        ("2.0.0", {}, True),
        ("unknown", {}, False),
    ],
)
def test_features_that_a_version_always_has_are_added(
    version: str, reported: dict[str, bool] | None, has_vqueues: bool
) -> None:
    """From 1.8 on a server does not report the flag of vqueues; a flag that it reports has precedence."""
    features = complete_features(version, reported)
    assert features.get("vqueues", False) is has_vqueues
    assert features.items() >= (reported or {}).items()


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.7.0-rc.1", True), ("1.7.0", True), ("1.7.12", True), ("1.7.13", False), ("1.8.0", False),
        ("my own", False),
    ],
)  # fmt: skip
def test_issue_5416_is_in_all_releases_of_1_7_before_1_7_13(version: str, expected: bool) -> None:
    assert may_lose_state_changes(version) is expected


def test_only_a_newer_minor_version_is_newer() -> None:
    """Patch releases of the newest tested minor version are not reported; an unknown version is not, either."""
    assert [is_newer(version) for version in ("1.7.12", "1.8.0", "1.8.99", "1.9.0-rc.1", "2.0.0", "main")] == [
        *(False, False, False, True, True, False)
    ]
