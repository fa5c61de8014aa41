"""Names of headers and fields whose values are never shown, and names that look alike and stay visible."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from restate_lab.client.models.base import SafeMap
from restate_lab.evidence.masking import may_need_masking
from restate_lab.payload_json import mask_headers, mask_model_secrets, mask_secrets, read
from restate_lab.redaction import MASK, is_secret_header, is_secret_name, mask_header_values, secrets_in
from restate_lab.reports.masking import Masker, masker_for

VALUE = "canary-77"


def words(text: str) -> list[str]:
    return text.split()


BOTH = words("""
Authorization Proxy-Authorization Cookie Set-Cookie X-Api-Key api-key apikey X-Auth-Token X-Csrf-Token jwt X-JWT bearer
X-Auth-Key X-Auth-Email-Token Cf-Access-Jwt-Assertion CF-Access-Client-Secret CF-Access-Token DPoP X-Amz-Security-Token
X-Goog-Iap-Jwt-Assertion X-Goog-Authenticated-User-Email X-Goog-Api-Key X-Serverless-Authorization X-Amz-Signature
Ocp-Apim-Subscription-Key x-functions-key x-ms-client-principal x-ms-client-principal-id x-ms-client-principal-name
x-ms-token-aad-id-token x-ms-token-aad-access-token x-ms-token-aad-refresh-token x-ms-token-aad-expires-on
X-ARR-ClientCert X-Amzn-Mtls-Clientcert x-amzn-oidc-accesstoken X-Auth-Request-Access-Token X-Forwarded-Access-Token
x-forwarded-client-cert x-ssl-client-cert Client-Cert X-Forwarded-Tls-Client-Cert X-Vault-Token PRIVATE-TOKEN JOB-TOKEN
X-Gitlab-Token X-Slack-Signature Stripe-Signature X-Hub-Signature-256 X-Twilio-Signature X-Shopify-Hmac-Sha256
X-Telegram-Bot-Api-Secret-Token DD-API-KEY DD-APPLICATION-KEY X-License-Key Kong-Admin-Token X-Credential-Identifier
x-restate-jwt-v1 passphrase CB-ACCESS-PASSPHRASE otp X-GitHub-OTP pwd hmac subscription-key license-key X-RapidAPI-Key
openai-organization openai-project
""")
"""Hidden as headers and as fields."""
HEADERS_ONLY = words("""
X-Auth-User-Service-Key x-amzn-oidc-data x-amzn-oidc-identity X-Assertion X-Userinfo X-Honeycomb-Team
X-Endpoint-API-UserInfo X-Grafana-Id X-Zumo-Auth X-Sentry-Auth Helicone-Auth X-Auth auth X-SSL-Cert X-WSSE php-auth-pw
pass X-Pass session X-SFDC-Session X-Session-Id Mcp-Session-Id sig Paypal-Transmission-Sig API-Sign X-Bapi-Sign
aeg-sas-key X-Master-Key x-query-key Fastly-Key X-Goog-Encryption-Key HTTP_X_ADMIN_KEY X-Goog-Drive-Resource-Keys
""")
PLAIN_HEADERS = words("""
Idempotency-Key X-Idempotency-Key idempotency_key Content-Type Accept User-Agent Host Origin Referer traceparent
tracestate baggage sentry-trace X-Request-Id X-Correlation-Id X-Amzn-Trace-Id X-Forwarded-For X-Forwarded-User
X-Auth-Request-Email CF-Access-Client-Id X-Scope-OrgID X-Tenant x-team X-Author Authority X-Session-Count
X-Session-Affinity X-Passenger X-Cache-Bypass X-Compass X-Monkey X-Keyboard Keynote X-Signal X-Design X-Hotpot
X-Assigned ETag Digest x-datadog-trace-id X-Restate-Id X-Vault-Namespace X-Consumer-Username X-Principal X-Certainty
X-Key-Count key
""")
PLAIN_FIELDS = words("""
author authors session session_id session_count sessions passenger pass passed bypass compass hotpot monkey keyboard key
keys primary_key sort_key partition_key idempotency_key target_service_key foreign_key signal design sign assertion team
auth oauth_provider principal certificate bearing digest hash userinfo routing_key cache-key public_key_id
""")


@pytest.mark.parametrize("name", [*BOTH, *HEADERS_ONLY])
def test_secret_headers_are_masked(name: str) -> None:
    """The values of headers of proxies, clouds, webhooks and vendors are masked in each form that has headers."""
    spellings = {name, name.lower(), name.upper(), name if name.startswith("openai") else name.replace("-", "_")}
    for spelling in spellings:
        assert is_secret_header(spelling), spelling
    assert mask_header_values({name: VALUE, "x-team": "lab"}) == {name: MASK, "x-team": "lab"}
    assert SafeMap({name: VALUE})[name] == MASK
    assert secrets_in({name: f"Basic {VALUE}"})
    for headers in ({name: VALUE}, [[name, VALUE]], [{"name": name, "value": VALUE}], {name.lower(): [VALUE]}):
        payload = json.dumps({"body": json.dumps({"responseHeaders": headers, "city": "Rome"})}).encode()
        assert VALUE.encode() not in mask_headers(payload)
        assert b"Rome" in mask_headers(payload)
    entry = json.dumps({"Command": {"Input": {"headers": [{"name": name, "value": VALUE}]}}}, separators=(",", ":"))
    assert may_need_masking(pa.array([entry]), []).to_pylist() == [True]
    assert VALUE not in Masker().text(json.dumps({"name": name, "value": VALUE}))
    assert not name.lower().startswith("x-") or VALUE not in Masker().text(f"401 for {name}: {VALUE}")


def test_other_headers_stay() -> None:
    assert [name for name in PLAIN_HEADERS if is_secret_header(name)] == []
    headers = dict.fromkeys(PLAIN_HEADERS, VALUE)
    assert mask_header_values(headers) == headers
    payload = json.dumps({"headers": headers}).encode()
    assert mask_headers(payload) == payload


def test_fields_are_hidden_if_their_names_have_no_other_meaning() -> None:
    """A field named like a credential is masked at any depth; names with another meaning in payloads stay."""
    assert [name for name in BOTH if not is_secret_name(name)] == []
    assert [name for name in (*HEADERS_ONLY, *PLAIN_FIELDS) if is_secret_name(name)] == []
    fields = dict.fromkeys(PLAIN_FIELDS, VALUE)
    payload = json.dumps({"items": [fields]}).encode()
    assert mask_secrets(payload) == payload
    for name in (
        *BOTH,
        "clientSecret",
        "subscriptionKey",
        "client_assertion",
        "db_pwd",
        "user.otp",
        "clientCertificate",
    ):
        assert VALUE.encode() not in mask_secrets(json.dumps({"items": [{name: VALUE}]}).encode()), name


def test_the_current_folder_is_no_secret() -> None:
    masker = masker_for(env={"PWD": "/home/ada/incident", "OLDPWD": "/home/ada", "DB_PWD": "swordfish"})
    assert masker.text("/home/ada/incident /home/ada swordfish") == f"/home/ada/incident /home/ada {MASK}"


C = "canary"
REASONING: dict[str, Any] = {
    "Anthropic thinking": {"type": "thinking", "thinking": "hm", "signature": C},
    "Anthropic redacted": {"type": "redacted_thinking", "data": C},
    "Anthropic stream": {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": C}},
    "Anthropic search": {"type": "web_search_result", "url": "u", "encrypted_content": C},
    "Anthropic citation": {"type": "web_search_result_location", "encrypted_index": C, "cited_text": "Rome"},
    "Anthropic code": {"type": "encrypted_code_execution_result", "encrypted_stdout": C, "return_code": 0},
    "Claude Agent SDK": {"content": [{"thinking": "hm", "signature": C}], "model": "m"},
    "Bedrock": {"reasoningContent": {"reasoningText": {"text": "hm", "signature": C}}},
    "Bedrock redacted": {"reasoningContent": {"redactedContent": C}},
    "Bedrock bytes": {"reasoningContent": {"redactedContent": {"__bytes_encoded__": True, "data": C}}},
    "Bedrock stream": {"contentBlockDelta": {"delta": {"reasoningContent": {"signature": C}}}},
    "Bedrock in snake case": {"reasoning_content": {"reasoning_text": {"text": "hm", "signature": C}}},
    "LangChain Bedrock": {"type": "reasoning_content", "reasoning_content": {"text": "hm", "signature": C}},
    "LangChain Bedrock redacted": {"type": "reasoning_content", "reasoning_content": {"redacted_content": C}},
    "OpenRouter": {"reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": C}]},
    "OpenRouter encrypted": {"reasoning_details": [{"type": "reasoning.encrypted", "data": C, "id": "r", "index": 0}]},
    "OpenRouter in camel case": {"reasoningDetails": [{"type": "reasoning.encrypted", "data": C}]},
    "litellm": {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": C}], "reasoning_content": "hm"},
    "litellm redacted": {"thinking_blocks": [{"type": "redacted_thinking", "data": C}]},
    "litellm Gemini": {"provider_specific_fields": {"thought_signatures": [C, C]}},
    "Vercel Anthropic": {"type": "reasoning", "text": "hm", "providerMetadata": {"anthropic": {"signature": C}}},
    "Vercel redacted": {"type": "reasoning", "text": "", "providerMetadata": {"anthropic": {"redactedData": C}}},
    "Vercel options": {"type": "reasoning", "text": "hm", "providerOptions": {"bedrock": {"signature": C}}},
    "Vercel Google": {"type": "tool-call", "providerMetadata": {"google": {"thoughtSignature": C}}},
    "Vercel OpenAI": {"providerMetadata": {"openai": {"itemId": "rs_1", "reasoningEncryptedContent": C}}},
    "Vercel xAI": {"callProviderMetadata": {"xai": {"reasoningEncryptedContent": C}}},
    "Vercel 4": {"reasoning": [{"type": "text", "text": "hm", "signature": C}, {"type": "redacted", "data": C}]},
    "Vercel 4 message": {"type": "redacted-reasoning", "data": C},
    "Gemini REST": {"functionCall": {"name": "f"}, "thoughtSignature": C},
    "google-genai": {"function_call": {"name": "f"}, "thought_signature": C},
    "Gemini as OpenAI": {"tool_calls": [{"extra_content": {"google": {"thought_signature": C}}}]},
    "LangChain Gemini": {"type": "text", "text": "Hi", "extras": {"signature": C}},
    "LangChain reasoning": {"type": "reasoning", "reasoning": "hm", "extras": {"signature": C}},
    "LangChain Gemini calls": {"additional_kwargs": {"__gemini_function_call_thought_signatures__": {"c1": C}}},
    "OpenAI": {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": C},
    "OpenAI in TypeScript": {"type": "reasoning", "providerData": {"encryptedContent": C}},
    "OpenAI compaction": {"type": "compaction", "encrypted_content": C},
    "xAI": {"message": {"role": "assistant", "content": "Hi", "encrypted_content": C}},
    "Mistral": {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "signature": C},
    "Pydantic AI": {"part_kind": "thinking", "content": "hm", "id": "rs_1", "signature": C, "provider_name": "a"},
    "Pydantic AI calls": {"part_kind": "tool-call", "provider_details": {"thought_signature": C}},
    "LlamaIndex": {"block_type": "thinking", "content": "hm", "additional_information": {"signature": C}},
    "Haystack": {"reasoning": {"reasoning_text": "hm", "extra": {"signature": C, "redacted_thinking": C}}},
}
ORDINARY: list[Any] = [
    {"type": "text", "text": "Rome", "signature": "Ada", "data": "d"},
    {"type": "redacted", "data": "black bars", "redacted_data": 3, "redacted_content": "x"},
    {"type": "encrypted", "data": "d"},
    {"type": "signature", "signature": "Ada Lovelace"},
    {"type": "dish", "extras": {"signature": "carbonara"}},
    {"reasoning": "because", "signature": "Ada"},
    {"signature": "f(x: int)", "encrypted": True, "encrypted_at": "2026-11-28"},
    {"type": "redacted_thinking", "data": None, "text": "t"},
    {"type": "reasoning", "text": "hm", "data": "d", "encrypted_content": None},
    {"providerMetadata": {"google": {"groundingMetadata": {"data": "d", "text": "t"}}}},
]


@pytest.mark.parametrize("shape", REASONING)
def test_encrypted_reasoning_is_masked(shape: str) -> None:
    part = REASONING[shape]
    for value in (part, [{"messages": [part]}], {"body": json.dumps(part)}, {"response": json.dumps({"x": [part]})}):
        masked = mask_model_secrets(json.dumps(value).encode())
        assert C.encode() not in masked
        assert [
            text for text in (b"hm", b"Hi", b"rs_1") if text in json.dumps(value).encode() and text not in masked
        ] == []
        assert read(masked)
    as_bytes = json.dumps(part).replace(f'"{C}"', "[99, 97, 110]").encode()
    assert b"97" not in mask_model_secrets(as_bytes)


def test_fields_named_data_signature_or_text_elsewhere_stay() -> None:
    for value in ORDINARY:
        payload = json.dumps(value).encode()
        assert mask_model_secrets(payload) == payload
