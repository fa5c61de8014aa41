"""Who is who in a story: role → id, and all ids of a role that several invocations play."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["ids"]

_NUMBERED = re.compile(r"(.+)_(\d+)")


def ids(roles: Mapping[str, str], role: str) -> list[str]:
    """Return the ids of everyone who plays a role: that of ``role``, or those of ``role_1``, ``role_2``, … in order.

    Raises:
        KeyError: nobody does; the message has the roles that are played.

    """
    if role in roles:
        return [roles[role]]
    players = {int(found[2]): id_ for each, id_ in roles.items() if (found := _matches(each, role))}
    if not players:
        raise KeyError(f"nobody plays {role!r}; there are {', '.join(sorted({_role(each) for each in roles}))}")
    return [players[number] for number in sorted(players)]


def _matches(numbered: str, role: str) -> re.Match[str] | None:
    found = _NUMBERED.fullmatch(numbered)
    return found if found and found[1] == role else None


def _role(name: str) -> str:
    found = _NUMBERED.fullmatch(name)
    return found[1] if found else name
