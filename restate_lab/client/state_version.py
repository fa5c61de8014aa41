"""The version of a virtual object's state, which the server compares before it applies a change."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping


def state_version(state: Mapping[str, bytes]) -> str:
    """Return the version of a complete state (key → value); the empty state also has a version.

    It is a hash of all keys, in order, and their values. The server computes the same (observed on 1.7.12).
    """
    digest = hashlib.sha256()
    for position, key in enumerate(sorted(state, key=str.encode)):
        digest.update(position.to_bytes(8, "big") + b"\x01" + key.encode() + b"\x02" + state[key] + b"\x03")
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
