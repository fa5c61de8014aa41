"""Read, write and mask JSON payloads; all other modules use these functions."""

from restate_lab.payload_json.decoding import (
    NOT_DECODED,
    Decoding,
    EncryptedPayload,
    PayloadFunction,
    describe_bytes,
)
from restate_lab.payload_json.masking import (
    MASKED,
    Edit,
    MaskResult,
    MaskRule,
    MaskWalk,
    Replacement,
    mask,
    mask_bytes,
    splice,
)
from restate_lab.payload_json.paths import PathRule, PathStep, parse_path
from restate_lab.payload_json.rules import HEADERS, SECRETS, mask_headers, mask_model_secrets, mask_secrets
from restate_lab.payload_json.scan import Node, Unreadable, begins_like_json, scan, string_at
from restate_lab.payload_json.values import read, write, write_for_display

__all__ = [
    "HEADERS",
    "MASKED",
    "NOT_DECODED",
    "SECRETS",
    "Decoding",
    "Edit",
    "EncryptedPayload",
    "MaskResult",
    "MaskRule",
    "MaskWalk",
    "Node",
    "PathRule",
    "PathStep",
    "PayloadFunction",
    "Replacement",
    "Unreadable",
    "begins_like_json",
    "describe_bytes",
    "mask",
    "mask_bytes",
    "mask_headers",
    "mask_model_secrets",
    "mask_secrets",
    "parse_path",
    "read",
    "scan",
    "splice",
    "string_at",
    "write",
    "write_for_display",
]
