"""Read, write and mask JSON payloads; all other modules use these functions."""

from restate_lab.payload_json.masking import MASKED, Edit, MaskResult, MaskRule, MaskWalk, mask, mask_bytes, splice
from restate_lab.payload_json.rules import HEADERS, SECRETS, mask_headers, mask_model_secrets, mask_secrets
from restate_lab.payload_json.scan import Node, Unreadable, begins_like_json, scan
from restate_lab.payload_json.values import read, write, write_for_display

__all__ = [
    "HEADERS",
    "MASKED",
    "SECRETS",
    "Edit",
    "MaskResult",
    "MaskRule",
    "MaskWalk",
    "Node",
    "Unreadable",
    "begins_like_json",
    "mask",
    "mask_bytes",
    "mask_headers",
    "mask_model_secrets",
    "mask_secrets",
    "read",
    "scan",
    "splice",
    "write",
    "write_for_display",
]
