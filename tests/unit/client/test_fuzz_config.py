"""Configuration of any kind: read, or refused with a message that never contains a secret."""

from __future__ import annotations

import itertools
import json
import warnings
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from restate_lab.client.settings import Settings, load_settings
from restate_lab.errors import SettingsError

SECRET = "hunter2-canary"
NAMES = st.sampled_from(["local", "prod", "PROD", "default", "global", "cloud", "a b", "", "ü", "prod.cloud"])
KEYS = st.sampled_from([
    "environment_type", "ingress_base_url", "admin_base_url", "bearer_token", "account_id", "environment_id",
    "access_token", "cloud",
])  # fmt: skip
URLS = st.sampled_from([
    "http://127.0.0.1:9070", "http://[::1", "https://", "//x", "unix:/x", "http://a b/", "http://x:99999999", "ü",
    f"http://user:{SECRET}@host:1", "http://x/%zz", "ftp://x", "http://\u202egro.elpmaxe",
])  # fmt: skip
VALUES = st.one_of(
    URLS, st.text(max_size=20), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(),
    st.lists(st.text(max_size=3), max_size=2), st.sampled_from(["default", "cloud"]),
)  # fmt: skip
TOKENS = st.fixed_dictionaries({}, optional={"bearer_token": st.just(SECRET), "access_token": st.just(SECRET)})
INNER = st.tuples(st.dictionaries(KEYS, VALUES, max_size=4), TOKENS).map(lambda both: both[0] | both[1])
TABLES = st.dictionaries(
    NAMES, st.tuples(INNER, st.dictionaries(KEYS, INNER, max_size=2)).map(lambda both: both[0] | both[1]), max_size=4
)
VARIABLES = st.dictionaries(
    st.sampled_from([
        "RESTATE_ENVIRONMENT", "RESTATE_HOST", "RESTATE_HOST_SCHEME", "RESTATE_INGRESS_URL", "RESTATE_ADMIN_URL",
        "RESTATE_AUTH_TOKEN",
    ]),
    URLS | NAMES | st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    max_size=3,
)  # fmt: skip
NUMBERS = itertools.count()


def toml(value: Any) -> str:
    """Return a value in TOML's form."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)


def load(home: Path, config: bytes, cluster: str | None, env: dict[str, str], dotenv: bytes = b"") -> Settings | None:
    """Return the parsed configuration; None if it is refused with a message that has no secret."""
    place = home / str(next(NUMBERS))
    (place / ".config" / "restate").mkdir(parents=True)
    (place / ".config" / "restate" / "config.toml").write_bytes(config)
    (place / ".env").write_bytes(dotenv)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            made = load_settings(cluster, env={"HOME": str(place)} | env, cwd=place)
        except SettingsError as error:
            said = f"{error!s}{error!r}{error.__cause__!r}{error.__context__!r}"
            made = None
        else:
            said = repr(made)
    assert SECRET not in said + "".join(str(each.message) for each in caught)
    return made


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=100)
@given(tables=TABLES, cluster=NAMES | URLS | st.none(), env=VARIABLES)
def test_any_configuration_is_read_or_refused_without_a_secret(
    home: Path, tables: dict[str, Any], cluster: str | None, env: dict[str, str]
) -> None:
    config = "".join(f"{json.dumps(name, ensure_ascii=False)} = {toml(table)}\n" for name, table in tables.items())
    made = load(home, config.encode(), cluster, env)
    if made is not None:
        assert SECRET not in repr(made)
        assert SECRET not in f"{made.admin_url} {made.environment} {made.chosen_by} {made.token_source}"


@settings(max_examples=80)
@given(config=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_as_a_configuration(home: Path, config: bytes) -> None:
    """A file that is not TOML, or not text, is refused by its name; one that happens to be TOML is read."""
    load(home, config, None, {}, dotenv=config)


def test_a_date_of_toml_is_not_accepted_as_an_address(home: Path) -> None:
    for value in (date(2026, 1, 1), time(1, 2), datetime(2026, 1, 1, 1, 2)):  # noqa: DTZ001 - TOML's own
        assert load(home, f"[local]\nadmin_base_url = {value.isoformat()}\n".encode(), None, {}) is None
