"""Secrets in reports and files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from markupsafe import escape

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
def test_secrets_in_headers_json_code_and_urls_are_masked_and_their_names_stay(text: str) -> None:
    masked = Masker().text(text)
    assert "SECRET12" not in masked
    assert MASK in masked
    if "Denver" in text:
        assert "Denver" in masked


@pytest.mark.parametrize("token", [JWT, CLOUD])
def test_a_json_web_token_and_a_key_of_restate_cloud_are_masked_everywhere(token: str) -> None:
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
def test_harmless_text_is_not_masked(text: str) -> None:
    assert Masker().text(text) == text


def test_known_secrets_are_masked_wherever_they_stand() -> None:
    source = SimpleNamespace(settings=SimpleNamespace(token=Secret("the-connection-token")))
    env = {"MY_API_TOKEN": "from-the-environment", "CITY": "Denver-Colorado", "DB_PASSWORD": "abc"}
    masker = masker_for(source, env=env)
    shown = masker.text("the-connection-token from-the-environment Denver-Colorado abc")
    assert shown == f"{MASK} {MASK} Denver-Colorado abc"
    assert "token" not in repr(masker)


@pytest.mark.parametrize("secret", ["a<b>'c\"&d", "p&ssword-1", "<token>-2"])
def test_known_secrets_are_masked_in_html_too(secret: str) -> None:
    """A card is masked after its template has escaped the values."""
    assert Masker([secret]).text(f"<b>{escape(secret)}</b> {secret}") == f"<b>{MASK}</b> {MASK}"


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ({"headers": [{"cookie": "abc"}], "n": 1}, {"headers": [{"cookie": MASK}], "n": 1}),
        (b'{"password": "abcdef"}', f'{{"password": "{MASK}"}}'.encode()),
        (b"\xff\xfe", b"\xff\xfe"),
        (("a", None, 2.5), ["a", None, 2.5]),
    ],
)
def test_mappings_lists_and_bytes_are_masked_and_other_values_stay(value: Any, masked: Any) -> None:
    assert Masker().value(value) == masked


def test_a_value_with_a_secret_name_is_masked_whatever_it_looks_like() -> None:
    assert Masker().value("anything", "x-api-key") == MASK
    assert Masker().value(None, "x-api-key") is None
