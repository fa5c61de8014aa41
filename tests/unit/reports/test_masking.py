"""Secrets in reports and files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from restate_lab.redaction import MASK, Secret
from restate_lab.reports.masking import Masker, masker_for

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.c2lnbmF0dXJl"
CLOUD = "key_10ACQj9ugk5ELb5lI2.xQ9vZkqQ2XLtc5fQ"


@pytest.mark.parametrize(
    "text",
    [
        '{"authorization": "SECRET12"}',
        "{'api_key': 'SECRET12', 'city': 'Denver'}",
        '{"name": "x-api-key", "value": "SECRET12"}',
        "token = 'SECRET12'",
        "Authorization: Basic SECRET12",
        "Cookie: session=SECRET12; path=/",
        "bearer SECRET12.3456",
        "https://user:SECRET12@host/path",
        "https://user:p@SECRET12@host/path",
        '{"openai-organization": "SECRET12"}',
        '{"headers": {"set-cookie": ["SECRET12"]}, "score": NaN}',
        '{"response_headers": [["anthropic-organization-id", "SECRET12"]]}',
        '{"body": "{\\"headers\\": [[\\"openai-project\\", \\"SECRET12\\"]]}"}',
        "{&quot;password&quot;: &quot;SECRET12&quot;}",
        "{&#34;client_secret&#34;:&#34;SECRET12&#34;}",
        '{\\"access_token\\": \\"SECRET12\\"}',
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    """Headers, JSON, code and URLs lose the value and keep the name, escaped for HTML or not."""
    masked = Masker().text(text)
    assert "SECRET12" not in masked
    assert MASK in masked
    if "Denver" in text:
        assert "Denver" in masked


@pytest.mark.parametrize("token", [JWT, CLOUD])
def test_tokens_are_known_by_their_form(token: str) -> None:
    """A JSON web token and a key of Restate Cloud are masked wherever they are."""
    assert token not in Masker().text(f"failed with {token}: 401")


@pytest.mark.parametrize(
    "text",
    [
        "the token expired",
        "author: Denver",
        "ProviderDown('HTTP 503 from https://api.paystream.example/v1/charges')",
        "inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9",
        "bearer of bad news",
        "key_1 = 5",
        "{'headers': {'x-request-id': 'req_1'}, 'tokens': 5",
    ],
)
def test_other_text_stays(text: str) -> None:
    """A report that masks harmless text would be useless."""
    assert Masker().text(text) == text


def test_known_secrets_are_masked_wherever_they_stand() -> None:
    """The connection's token, variables named like a secret, and the caller's secrets; short ones would hit text."""
    source = SimpleNamespace(settings=SimpleNamespace(token=Secret("the-connection-token")))
    env = {"MY_API_TOKEN": "from-the-environment", "CITY": "Denver-Colorado", "DB_PASSWORD": "abc"}
    masker = masker_for(source, env=env, more=["handed-in"])
    shown = masker.text("the-connection-token from-the-environment Denver-Colorado abc handed-in")
    assert shown == f"{MASK} {MASK} Denver-Colorado abc {MASK}"
    assert "token" not in repr(masker)


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ({"headers": [{"cookie": "abc"}], "n": 1}, {"headers": [{"cookie": MASK}], "n": 1}),
        (b'{"password": "abcdef"}', f'{{"password": "{MASK}"}}'.encode()),
        (b"\xff\xfe", b"\xff\xfe"),
        (("a", None, 2.5), ["a", None, 2.5]),
    ],
)
def test_values_are_masked_with_their_parts(value: Any, masked: Any) -> None:
    """Mappings, lists and bytes are searched; other values stay unchanged."""
    assert Masker().value(value) == masked


def test_a_column_of_secrets_is_masked_whole() -> None:
    """A value under a secret name is masked, whatever it looks like."""
    assert Masker().value("anything", "x-api-key") == MASK
    assert Masker().value(None, "x-api-key") is None
