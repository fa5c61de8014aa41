"""An alert: one problem of one cluster, with a fingerprint that stays the same, and its text for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from restate_lab._text import escape_invisible, format_timestamp, join, one_line, sentences
from restate_lab.analysis.doctor.model import SEVERITY_RANKS, fingerprint_of, shorten_title
from restate_lab.redaction import mask_user_info

_ADDITIONS = ("draining", "shared", "deletion")
_LONGEST_TITLE = 240
_LONGEST_CAUSE = 500

# Signs that chats, mail and phones read as a mention, a link, formatting, an emoji or a command, and similar ones that
# none of them reads. Most of the signs are replaced everywhere: services have different escapes, or none.
_SIMILAR = str.maketrans(
    {
        "@": "﹫",
        "#": "﹟",
        "&": "﹠",
        "<": "﹤",
        ">": "﹥",
        "[": "［",
        "]": "］",
        "*": "﹡",
        "~": "∼",
        "`": "'",
        "|": "¦",
        "\\": "﹨",
        "$": "﹩",
    }
)
# These are frequent in names, numbers and times, so they are replaced only where they are signs.
_SIMILAR_IN_PLACE = {"/": "∕", ".": "·", "_": "＿", ":": "∶", "(": "（"}
_IN_PLACE = re.compile(
    r"""
    (?<!\w)/                            # https://, //host, and /command in Telegram
    | \.(?=[^\W\d_])                    # evil.example
    | (?<=\d)\.(?=\d+\.\d+\.\d)         # 10.0.0.1
    | (?<![^\W_])_ | _(?![^\W_])        # _word_, and not in two_words
    | (?<![\w:]):(?=[A-Za-z][\w+-]*:)   # :fire:
    | \((?=(?:met|rol|chn)\))           # (met)all(met) mentions everyone in KOOK
    """,
    re.VERBOSE,
)


def without_markup(text: str) -> str:
    """Return a text that makes no mention, link or formatting where it is shown: ``﹫everyone``, ``https:∕∕a·example``.

    Each sign with a meaning is replaced by a similar one, which is visible, so that the text stays readable.
    """
    return _IN_PLACE.sub(lambda match: _SIMILAR_IN_PLACE[match[0]], text).translate(_SIMILAR)


def rank_of(severity: str) -> int:
    """Return the position of a severity, 0 for the worst; an unknown one is the last."""
    return SEVERITY_RANKS.get(severity, len(SEVERITY_RANKS))


def parse_time(text: object) -> datetime:
    """Return the time of an ISO text with a zone, as the state file has them.

    Raises:
        ValueError: it is not such a text.
    """
    time = datetime.fromisoformat(text) if isinstance(text, str) else None
    if time is None or time.utcoffset() is None:
        raise ValueError("not a time with a zone")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is too far away") from error


class Event(StrEnum):
    """A change of an alert: a problem began, became worse, or ended; or it was acknowledged, without a message."""

    OPENED = "opened"
    WORSE = "worse"
    RESOLVED = "resolved"
    ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One problem of one cluster at the time of a visit.

    ``rule`` is the check or the question, and ``subject`` what the problem is about, without counts, ids of invocations
    and times. ``shared`` is what distinguishes the invocations from healthy ones, ``draining`` whether its backlog
    drains, and ``deletion`` when its evidence is deleted, all as they were when the alert opened.
    ``ids`` are at most three examples. ``link`` is the address in the web UI, and ``page`` that of ``restate-lab
    serve``. ``causes`` is the number of findings with this rule and subject. ``note`` is
    what the user of this process noted about the problem.
    """

    cluster: str
    rule: str
    subject: str
    severity: str
    title: str
    cause: str = ""
    shared: str = ""
    draining: str = ""
    deletion: str = ""
    blocks: str = ""
    ids: tuple[str, ...] = ()
    next_step: str = ""
    link: str = ""
    page: str = ""
    since: datetime | None = None
    causes: int = 1
    note: str = ""

    @property
    def fingerprint(self) -> str:
        """Return the identity of the problem, 16 hexadecimal digits: the same at each visit and after a restart."""
        return fingerprint_of(self.rule, self.subject, cluster=self.cluster)

    @property
    def additions(self) -> dict[str, Any]:
        """Return the fields that a finding has only at the visit that opens its alert, with their texts."""
        return {name: getattr(self, name) for name in _ADDITIONS}

    @property
    def rank(self) -> int:
        """Return the position of the severity, 0 for the worst."""
        return rank_of(self.severity)

    def clean(self) -> Alert:
        """Return the alert as text that is safe to print: short, one line each, without control characters."""
        title = shorten_title(self.title)
        additions: dict[str, Any] = {
            name: escape_invisible(one_line(text, _LONGEST_CAUSE), lines=False) for name, text in self.additions.items()
        }
        return replace(
            self,
            subject=escape_invisible(self.subject, lines=False),
            title=escape_invisible(one_line(title, _LONGEST_TITLE), lines=False),
            cause=escape_invisible(one_line(mask_user_info(self.cause), _LONGEST_CAUSE), lines=False),
            **additions,
            blocks=escape_invisible(one_line(self.blocks, _LONGEST_TITLE), lines=False),
            ids=self.ids[:3],
            note=escape_invisible(one_line(self.note, _LONGEST_CAUSE), lines=False),
        )

    def plain(self) -> Alert:
        """Return the alert for receivers: texts of the cluster and of notes have no markup.

        The subject is the same, because it identifies the alert.
        """
        additions: dict[str, Any] = {name: without_markup(text) for name, text in self.additions.items()}
        return replace(
            self,
            title=without_markup(self.title),
            cause=without_markup(self.cause),
            **additions,
            blocks=without_markup(self.blocks),
            ids=tuple(map(without_markup, self.ids)),
            note=without_markup(self.note),
        )

    def to_json(self) -> str:
        """Return the alert as JSON text, for the state file."""
        return json.dumps(asdict(self) | {"since": self.since and self.since.isoformat()})

    @classmethod
    def from_json(cls, text: str) -> Alert:
        """Return the alert of a JSON text; fields of other versions are ignored.

        Raises:
            ValueError: the text is not JSON, or a field has another type or an unknown severity.
        """
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("the alert is not a JSON object")  # noqa: TRY004 - one error for all damage
        values = {each.name: document[each.name] for each in fields(cls) if each.name in document}
        ids, since, causes = values.pop("ids", []), values.pop("since", None), values.pop("causes", 1)
        are_texts = isinstance(ids, list) and all(isinstance(each, str) for each in (*values.values(), *ids))
        if not are_texts or type(causes) is not int or values.get("severity") not in SEVERITY_RANKS:
            raise ValueError("a field of the alert has another type, or the severity is unknown")
        if missing := {"cluster", "rule", "subject", "title"} - set(values):
            raise ValueError(f"the alert has no {join(sorted(missing))}")
        "".join((*values.values(), *ids)).encode()  # half a character could not be sent or printed
        return cls(**values, ids=tuple(ids), since=parse_time(since) if since else None, causes=causes)


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one receiver. ``number`` orders the messages; ``attempts`` counts the failed deliveries.

    ``opened_at`` and ``at`` are the times at which the alert began and the event happened, UTC. ``previous`` is the
    severity before it became worse.
    """

    number: int
    receiver: str
    event: Event
    alert: Alert
    opened_at: datetime
    at: datetime
    previous: str = ""
    attempts: int = 0

    @property
    def title(self) -> str:
        """Return the title: the state, the cluster, and the title of the alert, without markup."""
        state = {Event.OPENED: self.alert.severity, Event.WORSE: f"worse, {self.alert.severity}"}
        return f"[{state.get(self.event, self.event).upper()}] {self.alert.cluster}: {self.alert.plain().title}"

    @property
    def body(self) -> str:
        """Return the other facts, one per line, without markup."""
        alert = self.alert.plain()
        facts = {
            "Cause": alert.cause,
            "Shared": alert.shared,
            "Backlog": alert.draining,
            "Evidence": alert.deletion,
            "Note": alert.note,
            "Blocks": alert.blocks,
            "Since": format_timestamp(alert.since or self.opened_at),
            "Resolved": format_timestamp(self.at) if self.event is Event.RESOLVED else "",
            "Examples": join(alert.ids),
            "Next": alert.next_step if self.event is not Event.RESOLVED else "",
            "Web UI": alert.link,
            "Page": alert.page,
            "Rule": alert.rule,
            "Fingerprint": alert.fingerprint,
        }
        return "\n".join(f"{name}: {text}" for name, text in facts.items() if text)


def merge_alerts(alerts: Iterable[Alert]) -> list[Alert]:
    """Return one alert per fingerprint, as the worst of those that have it; the others are named in its cause."""
    groups: dict[str, list[Alert]] = {}
    for alert in alerts:
        groups.setdefault(alert.fingerprint, []).append(alert)
    return [_merge(sorted(group, key=lambda each: each.rank)) for group in groups.values()]


def _merge(group: list[Alert]) -> Alert:
    worst, others = group[0], group[1:]
    if not others:
        return worst
    return replace(
        worst,
        cause=sentences(worst.cause, *(f"Also: {each.title}" for each in others)),
        blocks=join(dict.fromkeys(each.blocks for each in group if each.blocks)),
        ids=tuple(dict.fromkeys(id_ for each in group for id_ in each.ids[:1])) or worst.ids,
        since=min((each.since for each in group if each.since), default=None),
        causes=sum(each.causes for each in group),
    )
