"""The identity that a journal is replayed under: the bytes of the id, and the seed of random numbers.

Code sends the ids of its awakeables, which contain the invocation's id, and random values, which are drawn from the
seed. No table has the seed; it is computed like on the server. Observed on 1.7.12, with both kinds of seeds.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

_MASK = (1 << 64) - 1
_KEY_BYTES = 8  # of the partition key; the other 16 bytes are the invocation's own


def random_seed(id_: bytes, created_at: datetime, *, is_unique: bool) -> int:
    """Return the seed of an invocation: from its id, or with ``unique_random_seeds`` also from its creation time."""
    return _unique_seed(id_, created_at) if is_unique else _siphash_1_3(len(id_).to_bytes(8, "little") + id_)


def other_id(id_: bytes) -> bytes:
    """Return the bytes of another id with the same partition key, as a restarted invocation has it."""
    return id_[:_KEY_BYTES] + hashlib.sha256(id_).digest()[: len(id_) - _KEY_BYTES]


def _unique_seed(id_: bytes, created_at: datetime) -> int:
    milliseconds = round(created_at.timestamp() * 1000)
    high, low = int.from_bytes(id_[_KEY_BYTES:-8], "big"), int.from_bytes(id_[-8:], "big")
    mixed = high ^ _rotate(low, 21) ^ _rotate(milliseconds & _MASK, 43)
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
    return mixed ^ mixed >> 31


def _siphash_1_3(data: bytes) -> int:
    """Return SipHash-1-3 with both keys 0, the default hash of Rust's standard library."""
    state = [0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573]
    tail = len(data) % 8
    blocks = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data) - tail, 8)]
    blocks.append((len(data) & 0xFF) << 56 | int.from_bytes(data[len(data) - tail :], "little"))
    for block in blocks:
        state[3] ^= block
        _sip_round(state)
        state[0] ^= block
    state[2] ^= 0xFF
    for _ in range(3):
        _sip_round(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _sip_round(v: list[int]) -> None:
    v[0] = v[0] + v[1] & _MASK
    v[1] = _rotate(v[1], 13) ^ v[0]
    v[0] = _rotate(v[0], 32)
    v[2] = v[2] + v[3] & _MASK
    v[3] = _rotate(v[3], 16) ^ v[2]
    v[0] = v[0] + v[3] & _MASK
    v[3] = _rotate(v[3], 21) ^ v[0]
    v[2] = v[2] + v[1] & _MASK
    v[1] = _rotate(v[1], 17) ^ v[2]
    v[2] = _rotate(v[2], 32)


def _rotate(value: int, by: int) -> int:
    return (value << by | value >> 64 - by) & _MASK
