"""The rules that mask every displayed or stored payload: secret headers, and fields with a secret name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from restate_lab.payload_json.masking import MaskRule, mask_bytes
from restate_lab.payload_json.scan import Node, Unreadable, string_at
from restate_lab.redaction import has_secret_name, is_secret_name

__all__ = ["HEADERS", "SECRETS", "mask_headers", "mask_model_secrets", "mask_secrets"]

_HEADERS_NAME = re.compile(r"headers$", re.IGNORECASE)
_IN_NAME = "eaders"
_NAME_FIELDS = frozenset({"name", "key", "header", "field"})
# fields with reasoning that only the provider of a model can read
_ENCRYPTED = frozenset({"encrypted_content", "reasoningEncryptedContent", "thought_signature", "thoughtSignature"})
_BELOW = frozenset({"object", "array"})


class _HeadersRule(MaskRule):
    """Masks secret headers below any field named "headers", "responseHeaders", "response_headers" or similar."""

    label = "headers"

    def descend(self, node: Node, text: str) -> Iterator[tuple[Node, MaskRule | None]]:
        for name, below in node.pairs(text) if node.kind in _BELOW else ():
            if isinstance(name, str) and _HEADERS_NAME.search(name):
                yield below, _HEADER_FIELDS
            elif below.kind in _BELOW or below.kind == "string":
                yield below, self

    def is_mentioned(self, text: str) -> bool:
        return (_IN_NAME in text or "EADERS" in text) and has_secret_name(text)

    def is_possible(self, text: str) -> bool:
        return self.is_mentioned(text)  # serializers do not escape the letters of field names

    def is_among(self, names: Sequence[str]) -> bool:
        return any(map(_HEADERS_NAME.search, names)) and any(map(is_secret_name, names))


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
                if is_secret_name(name) or (hidden and name.lower() not in _NAME_FIELDS):
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
        return has_secret_name(text)

    def is_within(self, text: str) -> bool:
        return has_secret_name(text)  # headers as text, in the form of an HTTP message


class _SecretsRule(MaskRule):
    """Masks every field with a secret name."""

    label = "secrets"

    def descend(self, node: Node, text: str) -> Iterator[tuple[Node, MaskRule | None]]:
        for name, below in node.pairs(text) if node.kind in _BELOW else ():
            if isinstance(name, str) and is_secret_name(name):
                yield below, None
            elif below.kind in _BELOW or below.kind == "string":
                yield below, self

    def is_mentioned(self, text: str) -> bool:
        return has_secret_name(text)

    def is_among(self, names: Sequence[str]) -> bool:
        return any(map(is_secret_name, names))


class _EncryptedRule(MaskRule):
    """Masks the encrypted reasoning of models, also the signature of a thinking part."""

    label = "encrypted reasoning"

    def descend(self, node: Node, text: str) -> Iterator[tuple[Node, MaskRule | None]]:
        names = {name for name, _ in _fields(node)} if node.kind == "object" else set()
        is_thinking = bool(names & {"thinking", "part_kind"})
        for name, below in node.pairs(text) if node.kind in _BELOW else ():
            if name in _ENCRYPTED or (name == "signature" and is_thinking):
                if text[below.start : below.end] != "null":
                    yield below, None
            elif below.kind in _BELOW or below.kind == "string":
                yield below, self

    def is_mentioned(self, text: str) -> bool:
        return any(name in text for name in _ENCRYPTED) or "signature" in text

    def is_possible(self, text: str) -> bool:
        return self.is_mentioned(text)  # serializers do not escape the letters of field names

    def is_among(self, names: Sequence[str]) -> bool:
        return not _ENCRYPTED.isdisjoint(names)


HEADERS: MaskRule = _HeadersRule()
"""Masks the secret headers in a payload, such as those of a provider's response that an agent records."""
_ENCRYPTED_REASONING: MaskRule = _EncryptedRule()
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


def _fields(node: Node) -> Iterator[tuple[str, Node]]:
    return zip(node.names, node.parts, strict=True)


def _is_secret(node: Node, text: str) -> bool:
    """Return whether a value is the name of a secret header; True for a string that cannot be parsed."""
    if node.kind != "string":
        return False
    try:
        return is_secret_name(string_at(text, node.start))
    except Unreadable:
        return True
