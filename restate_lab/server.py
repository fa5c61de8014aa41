"""What differs between the versions and kinds of restate-server: this module alone interprets versions and flags.

A server reports its version and the flags of features that can be switched. Version 1.8 always has some of these
features and no longer reports their flags, so ``complete_features`` adds them. A flag describes the server that
answered, and not where an invocation is: a cluster can be in the middle of a migration, or was moved back to 1.7. Read
``sys_invocation_status.vqueue_id`` of an invocation for that; ``restate_lab.client.sql.parts`` has statements that do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

OLDEST, NEWEST = "1.7", "1.8"
"""The minor versions that are supported; for 1.8, the tests use an imitation."""
SUPPORTED = f"{OLDEST} and {NEWEST}"
_ALWAYS = ("1.8.0", {"vqueues": True, "scoped_virtual_objects": True, "protocol_v7": True, "invoker_yield": True,
                     "unique_random_seeds": True, "vqueues_migration_skip_completed": False})  # fmt: skip
"""The features that a server of this version or a newer one has without reporting their flags."""
_LOSES_STATE = ("1.7.0", "1.7.13")
"""The first version with restate issue 5416, and the first one without it."""


class _Server(Protocol):
    @property
    def version(self) -> str: ...
    @property
    def features(self) -> Mapping[str, bool]: ...


def is_older(version: str, than: str = OLDEST) -> bool:
    """Return whether a server's version is older than another; False if a version is not a number.

    A pre-release ("1.8.0-rc.1") counts as its release.
    """
    ours, theirs = _number(version), _number(than)
    return ours is not None and theirs is not None and ours < theirs


def is_newer(version: str) -> bool:
    """Return whether a server has a newer minor version than the supported ones; False if it is not a number."""
    ours, newest = _number(version), _number(NEWEST)
    return ours is not None and newest is not None and ours[:2] > newest[:2]


def complete_features(version: str, reported: Mapping[str, bool] | None) -> dict[str, bool]:
    """Return the flags that a server reports, with those that its version has without reporting them.

    A reported flag has precedence.
    """
    since, always = _ALWAYS
    is_known = _number(version) is not None and not is_older(version, since)
    return {**(always if is_known else {}), **(reported or {})}


def has_feature(source: _Server, name: str) -> bool:
    """Return whether the server of a source has a feature."""
    return bool(source.features.get(name, False))


def has_vqueues(source: _Server) -> bool:
    """Return whether the server of a source puts new invocations into vqueues; older ones can be elsewhere."""
    return has_feature(source, "vqueues")


def may_lose_state_changes(version: str) -> bool:
    """Return whether a version can lose changes of state in vqueues, if a partition has more than one replica.

    This is restate issue 5416: followers can skip a change that the leader applied.
    """
    first, fixed = _LOSES_STATE
    return _number(version) is not None and not is_older(version, first) and is_older(version, fixed)


def _number(version: str) -> tuple[int, ...] | None:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in found.groups()) if found else None
