"""The rules that mask every displayed or stored payload: secret headers, and fields with a secret name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from restate_lab.payload_json.masking import MaskRule, mask_bytes
from restate_lab.payload_json.scan import Node, Unreadable, string_at
from restate_lab.redaction import has_secret_header, has_secret_name, is_secret_header, is_secret_name

_HEADERS_NAME = re.compile(r"headers$", re.IGNORECASE)
_IN_NAME = "eaders"
_NAME_FIELDS = frozenset({"name", "key", "header", "field"})
# fields with content that only the provider of a model can read
_ENCRYPTED = frozenset(
    [
        *("encrypted_content", "encryptedContent", "encrypted_index", "encryptedIndex"),
        *("encrypted_stdout", "encryptedStdout", "reasoningEncryptedContent", "reasoning_encrypted_content"),
        *("thought_signature", "thoughtSignature", "thought_signatures", "thoughtSignatures"),
        *("__gemini_function_call_thought_signatures__", "reasoning_signature", "reasoningSignature"),
        *("redacted_thinking", "redactedThinking", "redactedContent", "redactedData"),
    ]
)
# such fields within reasoning, or within what a provider adds to a part; elsewhere they have another meaning
_ENCRYPTED_IN_REASONING = frozenset({"signature", "redacted_content", "redacted_data"})
_REASONING_FIELDS = frozenset(
    [
        *("reasoningContent", "reasoning_content", "reasoningText", "reasoning_text", "reasoning", "thinking"),
        *("reasoningDetails", "reasoning_details", "thinkingBlocks", "thinking_blocks"),
        *("providerMetadata", "provider_metadata", "providerOptions", "provider_options", "callProviderMetadata"),
        *("providerDetails", "provider_details", "providerSpecificFields", "provider_specific_fields"),
    ]
)
_KIND_FIELDS = frozenset({"type", "kind", "part_kind", "block_type"})
_REASONING_KIND = re.compile(r"reasoning|thinking|thought|signature_delta")
_OPAQUE_KIND = re.compile(r"redacted|encrypted")
_KINDS_WITH_EXTRAS = frozenset({"text", "tool_call"})  # in LangChain, parts of Gemini have their signature there
_LONGEST_KIND = 60  # characters
_BELOW = frozenset({"object", "array"})


class _HeadersRule(MaskRule):
    """Masks secret headers below any field named "headers", "responseHeaders", "response_headers" or similar."""

    label = "headers"

    def descend(self, node: Node, text: str) -> Iterator[tuple[Node, MaskRule | None]]:
        for name, below in node.pairs(text) if node.kind in _BELOW else ():
            if isinstance(name, str) and _HEADERS_NAME.search(name):
                yield below, _HEADER_FIELDS
            elif _may_hold_fields(below):
                yield below, self

    def is_mentioned(self, text: str) -> bool:
        return (_IN_NAME in text or "EADERS" in text) and has_secret_header(text)

    def is_possible(self, text: str) -> bool:
        return self.is_mentioned(text)  # serializers do not escape the letters of field names

    def is_among(self, names: Sequence[str]) -> bool:
        return any(map(_HEADERS_NAME.search, names)) and any(map(is_secret_header, names))


class _HeaderFieldsRule(MaskRule):
    """Masks headers in each form that libraries use.

    The forms are an object of names and values, objects with a name and a value, pairs, alternating names and values,
    and a text.
    """

    label = "headers"

    def descend(self, node: Node, text: str) -> Iterator[tuple[Node, MaskRule | None]]:
        if node.kind == "object":
            hidden = any(name.lower() in _NAME_FIELDS and _is_secret(part, text) for name, part in _fields(node))
            for name, below in _fields(node):
                if is_secret_header(name) or (hidden and name.lower() not in _NAME_FIELDS):
                    yield below, None
                elif below.kind in _BELOW:
                    yield below, self
        elif node.kind == "array":
            for at, below in enumerate(node.parts):
                if at % 2 and _is_secret(node.parts[at - 1], text):
                    yield below, None
                elif below.kind in _BELOW:
                    yield below, self

    def is_mentioned(self, text: str) -> bool:
        return has_secret_header(text)

    def is_within(self, text: str) -> bool:
        return has_secret_header(text)  # headers as text, in the form of an HTTP message


class _SecretsRule(MaskRule):
    label = "secrets"

    def descend(self, node: Node, text: str) -> Iterator[tuple[Node, MaskRule | None]]:
        for name, below in node.pairs(text) if node.kind in _BELOW else ():
            if isinstance(name, str) and is_secret_name(name):
                yield below, None
            elif _may_hold_fields(below):
                yield below, self

    def is_mentioned(self, text: str) -> bool:
        return has_secret_name(text)

    def is_among(self, names: Sequence[str]) -> bool:
        return any(map(is_secret_name, names))


class _EncryptedRule(MaskRule):
    """Masks the encrypted reasoning of models in the forms of their providers and of frameworks.

    With ``is_reasoning``, it is for values within reasoning, where the field "signature" is encrypted, too.
    """

    label = "encrypted reasoning"

    def __init__(self, *, is_reasoning: bool = False) -> None:
        self._is_reasoning = is_reasoning

    def descend(self, node: Node, text: str) -> Iterator[tuple[Node, MaskRule | None]]:
        if node.kind != "object":
            yield from ((below, self) for _, below in node.pairs(text) if _may_hold_fields(below))
            return
        kind = " ".join(_short_text(part, text) for name, part in _fields(node) if name in _KIND_FIELDS)
        is_reasoning = self._is_reasoning or "thinking" in node.names or _REASONING_KIND.search(kind) is not None
        is_opaque = is_reasoning and _OPAQUE_KIND.search(kind) is not None
        for name, below in _fields(node):
            hidden = name in _ENCRYPTED or (is_reasoning and name in _ENCRYPTED_IN_REASONING)
            if hidden or (is_opaque and name == "data"):
                if text[below.start : below.end] != "null":
                    yield below, None
            elif _may_hold_fields(below):
                inner = is_reasoning or name in _REASONING_FIELDS or (name == "extras" and kind in _KINDS_WITH_EXTRAS)
                yield below, _ENCRYPTED_WITHIN if inner else _ENCRYPTED_REASONING

    def is_mentioned(self, text: str) -> bool:
        return "ignature" in text or "edacted" in text or "ncrypted" in text

    def is_possible(self, text: str) -> bool:
        return self.is_mentioned(text)  # serializers do not escape the letters of field names

    def is_among(self, names: Sequence[str]) -> bool:
        return not _ENCRYPTED.isdisjoint(names) or {"thinking", "signature"} <= {*names}


HEADERS: MaskRule = _HeadersRule()
"""Masks the secret headers in a payload, such as those of a provider's response that an agent records."""
_ENCRYPTED_REASONING: MaskRule = _EncryptedRule()
_ENCRYPTED_WITHIN: MaskRule = _EncryptedRule(is_reasoning=True)
_HEADER_FIELDS: MaskRule = _HeaderFieldsRule()
SECRETS: MaskRule = _SecretsRule()
"""Masks the fields with a secret name in a payload."""


def mask_headers(value: bytes) -> bytes:
    """Return a payload with secret headers masked."""
    return mask_bytes(value, [HEADERS])[0]


def mask_model_secrets(value: bytes) -> bytes:
    """Return a payload with secret headers, and what a model's provider encrypted, masked."""
    return mask_bytes(value, [HEADERS, _ENCRYPTED_REASONING])[0]


def mask_secrets(value: bytes) -> bytes:
    """Return a payload for display, with secret headers and fields with a secret name masked."""
    return mask_bytes(value, [HEADERS, SECRETS])[0]


def _may_hold_fields(node: Node) -> bool:
    return node.kind in _BELOW or node.kind == "string"


def _short_text(node: Node, text: str) -> str:
    if node.kind != "string" or node.end - node.start > _LONGEST_KIND:
        return ""
    try:
        return string_at(text, node.start)
    except Unreadable:
        return ""


def _fields(node: Node) -> Iterator[tuple[str, Node]]:
    return zip(node.names, node.parts, strict=True)


def _is_secret(node: Node, text: str) -> bool:
    """Return whether a value is the name of a secret header; True for a string that cannot be parsed."""
    if node.kind != "string":
        return False
    try:
        return is_secret_header(string_at(text, node.start))
    except Unreadable:
        return True
