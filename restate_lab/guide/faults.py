"""What goes wrong between the toolkit and a server, what comes of each call then, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from restate_lab import errors

__all__: list[str] = []

GROUPS = ("for a moment", "from now on", "limits and logins", "damaged answers", "silence", "changes")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, and what comes of each call under it, in the words of the page; "" where it does not befall the call.

    ``reads`` is the same for every call that reads: sql, arrow, stream, to_parquet, ask, journal, waits, why, doctor,
    plan and freeze.
    """

    name: str
    group: str
    description: str
    connect: str
    reads: str
    execute: str
    set_state: str


def _transient_fault(
    name: str, description: str, *, group: str = "for a moment", connect: str = "Unreachable"
) -> Fault:
    return Fault(name, group, description, connect, "right", "done", "done")


def _lasting_fault(name: str, group: str, description: str, error: str, *, connect: str | None = None) -> Fault:
    return Fault(name, group, description, connect or error, error, "not sent", error)


def _change_fault(name: str, description: str, execute: str, set_state: str) -> Fault:
    return Fault(name, "changes", description, "", "", execute, set_state)


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a gateway answers to a change instead of the server, and what comes of each call, in the words of the page.

    ``unsent`` is the outcome of ``plan.execute`` where the server got nothing, ``acted`` where it has acted; "" where
    that does not occur. ``other`` comes of ``set_state`` and each changing method, in both cases.
    """

    name: str
    description: str
    unsent: str = "unknown"
    acted: str = "done"
    other: str = "OutcomeUnknown"


def _gateway_hint(name: str, description: str) -> Gateway:
    """Return a gateway that says that it did not forward the request: a plan reads, and then sends it again."""
    return Gateway(name, description, unsent="done")


_RESET = "`upstream connect error or disconnect/reset before headers."

GATEWAYS = (
    _gateway_hint("no healthy upstream", "Envoy, Istio: 503 `no healthy upstream`"),
    _gateway_hint("connection failure", f"Envoy, Istio: 503 {_RESET} reset reason: connection failure`"),
    _gateway_hint("connection timeout", f"Envoy, Istio: 503 {_RESET} reset reason: connection timeout`"),
    _gateway_hint("overflow", f"Envoy, Istio: 503 {_RESET} reset reason: overflow`"),
    Gateway("connection termination", f"Envoy, Istio: 503 {_RESET} reset reason: connection termination`"),
    Gateway("retried", f"Envoy, Istio: 503 {_RESET} retried and the latest reset reason: connection failure`"),
    Gateway("upstream request timeout", "Envoy, Istio: 504 `upstream request timeout`"),
    Gateway("stream timeout", "Envoy, Istio: 408 `stream timeout`"),
    Gateway("Cloudflare 520", "Cloudflare: 520, the server returned an unknown error"),
    Gateway("Cloudflare 521", "Cloudflare: 521, the server is down"),
    Gateway("Cloudflare 522", "Cloudflare: 522, the connection timed out"),
    Gateway("Cloudflare 523", "Cloudflare: 523, the server is unreachable"),
    Gateway("Cloudflare 524", "Cloudflare: 524, a timeout occurred"),
    Gateway("Cloudflare 525", "Cloudflare: 525, the TLS handshake failed"),
    Gateway("Cloudflare 526", "Cloudflare: 526, the certificate is invalid"),
    Gateway("Cloudflare 530", "Cloudflare: 530, the tunnel is down"),
    Gateway("nginx 408", "nginx: 408, a page"),
    Gateway("nginx 499", "nginx: 499, the client closed the request"),
    Gateway("nginx 500", "nginx: 500, a page"),
    Gateway("nginx 502", "nginx: 502, a page"),
    Gateway("nginx 503", "nginx: 503, a page"),
    Gateway("nginx 504", "nginx: 504, a page"),
    Gateway("ALB 502", "AWS Application Load Balancer: 502, a page"),
    Gateway("ALB 504", "AWS Application Load Balancer: 504, a page"),
    Gateway("ALB 561", "AWS Application Load Balancer: 561, the login service failed"),
    Gateway("API Gateway", 'AWS API Gateway: 504 `{"message": "Endpoint request timed out"}`'),
    Gateway("Kubernetes", "Kubernetes: 503, a JSON `Status`"),
    Gateway("empty 503", "503 without a body"),
    Gateway("420", "420 without a body"),
    Gateway("a login page", "a login page under 200"),
    Gateway("a JSON login", 'JSON of another service under 200: `{"error": "sign in"}`'),
    Gateway("a redirect", "a redirect to a login page (302), which is never followed"),
    Gateway("429", "a rate limit: 429, a page", unsent="done", acted="", other="RateLimited"),
)
"""Every answer of a gateway to a change that the tests try against real servers, with vqueues and without."""

FAULTS = (
    _transient_fault("502 for a moment", "a gateway does not reach the server (502)"),
    _transient_fault("503 for a moment", "the server cannot serve it now (503)"),
    _transient_fault("504 for a moment", "a gateway gives up waiting (504)"),
    _transient_fault("reset once", "the line is reset before the answer"),
    _transient_fault("closed once", "the line is closed before the answer"),
    _transient_fault("head cut once", "the answer is cut within its head"),
    Fault(
        "end lost once",
        "for a moment",
        "the answer to a query is cut before its last eight bytes",
        "right",
        "QueryInterrupted",
        "done",
        "QueryInterrupted",
    ),
    _transient_fault("429 for a moment", "a rate limit (429), with the time to wait", connect="RateLimited"),
    _transient_fault("429 without a word", "the limit of requests at a time (429)", connect="RateLimited"),
    _lasting_fault("502", "from now on", "a gateway does not reach the server (502)", "Unreachable"),
    _lasting_fault("503", "from now on", "the server cannot serve it (503)", "Unreachable"),
    _lasting_fault("504", "from now on", "a gateway gives up waiting (504)", "Unreachable"),
    _lasting_fault("reset", "from now on", "the line is reset before the answer", "Unreachable"),
    _lasting_fault(
        "reset within", "from now on", "the line is reset after a hundred bytes of the answer", "Unreachable"
    ),
    _lasting_fault(
        "429", "limits and logins", "a rate limit (429) that asks to wait longer than a read waits", "RateLimited"
    ),
    _lasting_fault("an expired token", "limits and logins", "the token is expired (401)", "AccessDenied"),
    _lasting_fault("a login page", "limits and logins", "a proxy's own page, under 200", "ServerFailed"),
    _lasting_fault("a redirect", "limits and logins", "a redirect to a login page (302)", "ServerFailed"),
    _lasting_fault(
        "another type", "damaged answers", "a real answer that says it is text", "ServerFailed", connect="right"
    ),
    _lasting_fault("no gzip", "damaged answers", "a real answer that says it is gzip and is not", "ServerFailed"),
    _lasting_fault("cut gzip", "damaged answers", "half of a real answer, as gzip", "ServerFailed", connect="right"),
    _lasting_fault("junk", "damaged answers", "bytes without a sense, as Arrow", "ServerFailed"),
    _lasting_fault(
        "end lost",
        "damaged answers",
        "every answer to a query is cut before its last eight bytes",
        "QueryInterrupted",
        connect="right",
    ),
    _lasting_fault(
        "end mended",
        "damaged answers",
        "the same, by a gateway that ends the answer in order",
        "QueryInterrupted",
        connect="right",
    ),
    _transient_fault("a slow line", "two hundred bytes at a time", group="silence", connect="right"),
    _lasting_fault("silence", "silence", "no answer, on a line that stays open", "TimedOut"),
    _lasting_fault(
        "silence within", "silence", "the answer stops after a hundred bytes, on a line that stays open", "TimedOut"
    ),
    _lasting_fault("too slow", "silence", "twenty bytes a second", "TimedOut"),
    _change_fault("change: 429", "a rate limit for a moment; the server got nothing", "done", "RateLimited"),
    _change_fault("change: 503", "Restate says for a moment that it did not take it (503)", "done", "Unreachable"),
    _change_fault("change: 502", "a gateway says 502, and the server got nothing", "unknown", "OutcomeUnknown"),
    _change_fault("change: 401", "the token may only read", "refused", "AccessDenied"),
    _change_fault("change: a redirect", "changes alone are redirected to a login page", "unknown", "OutcomeUnknown"),
    _change_fault("done: 502", "the server acts, and then a gateway says 502", "done", "OutcomeUnknown"),
    _change_fault("done: 504", "the server acts, and then a gateway gives up", "done", "OutcomeUnknown"),
    _change_fault("done: 500", "the server acts, and then a gateway breaks", "done", "OutcomeUnknown"),
    _change_fault(
        "done: a page", "the server acts, and a proxy answers with a page under 200", "done", "OutcomeUnknown"
    ),
    _change_fault("done: no gzip", "the server acts, and its answer cannot be unpacked", "done", "OutcomeUnknown"),
    _change_fault("done: reset", "the server acts, and the line is reset", "done", "OutcomeUnknown"),
    _change_fault("done: cut", "the server acts, and its answer is cut within its head", "done", "OutcomeUnknown"),
    _change_fault("done: silence", "the server acts, and no answer comes", "done", "OutcomeUnknown"),
    _change_fault("unseen", "the server acts, and then nothing can be read any more", "done", "OutcomeUnknown"),
)
"""Every fault that the tests try against real servers, with vqueues and without."""

EVIDENCE: Mapping[str, str] = {
    "nothing": "right",
    "a table is cut": "EvidenceBroken",
    "a bit of a table is flipped": "EvidenceBroken",
    "a table is missing": "EvidenceBroken",
    "the manifest is cut": "EvidenceBroken",
    "the manifest is missing": "EvidenceBroken",
    "there is no folder": "ArgumentError",
}
"""What comes of opening evidence, by what happened to its folder."""

_HEAD = """What goes wrong between you and a server, what comes of each call then, and what to do next.

Each line below is tried in every run of the tests: a real server, something that breaks the line to it, and every call.
**A call that reads gives what it gives on a good line, to the last cell, or raises one error.** It never gives a
shorter answer, a file that is not whole, or a diagnosis that finds health where it could not look.

The words: *right* is the whole answer. *done* has happened, once, and was seen. *unknown*, or `OutcomeUnknown`, may
have happened: nobody can tell from here. *not sent* and *refused* have not happened. The words of a change stand in the
frame of `plan.execute`, one per invocation, and in the audit log.

"""
_NEXT = """## What to do next

| what you got | next |
|---|---|
"""
_TABLE = """| what goes wrong | `rl.connect` | every read, `rl.plan` too | `plan.execute` | `rl.set_state` |
|---|---|---|---|---|
"""
_CHANGES = """| what goes wrong | `plan.execute` | `rl.set_state` |
|---|---|---|
"""
_TITLES = {
    "for a moment": "For a moment: it passes by itself\nReads ask again for ten seconds, plans for thirty; "
    "`rl.connect` does not, so that a wrong address is told at once.",
    "from now on": "From now on: nobody is there",
    "limits and logins": "Limits and logins",
    "damaged answers": "Answers that are damaged on their way",
    "silence": "Slow lines and silence",
    "changes": "While something is changed\nReads are well. `plan.execute` reads afterwards what came of a lost "
    "answer, and never sends twice what may have happened.",
}
_ADVICE = {
    "unknown": 'see whether it happened before you repeat it: `rl.why(lab, id)`; a restart: `rl.ask(lab, "restarts")`',
    "not sent": "make the plan again when the server is back",
    "refused": "read the row's `error`: a token, a status that has changed",
}
_GATEWAYS = """## A gateway answers a change

An error that Restate did not write says nothing of the change: a gateway also sends it after the server has acted. It
counts as a lost response. `rl.set_state` and the methods of `lab.admin` and `lab.ingress` raise `OutcomeUnknown`, and
the audit log has *unknown*. `plan.execute` reads what happened. It sends a request again only where a text says that
the gateway did not forward it and reading, at least three seconds later, shows nothing of it; a restart is looked for
since the first attempt. Every new id of a restart is in the frame and in the audit log: `new_id`, and `other_new_ids`
where a gateway made more than one.

| what the gateway answers | `plan.execute`, and the server got nothing | `plan.execute`, and the server has acted | \
`rl.set_state`, each changing method of `lab.admin` and `lab.ingress` |
|---|---|---|---|
"""
_RESTARTS = """## A server that is killed, and comes back

| meanwhile | what comes of it |
|---|---|
| a query's answer is on its way | `QueryInterrupted`, with the rows that came as `partial`; asked again it is whole |
| a read waits | it is asked again for ten seconds, and is whole when the server is back in that time |
| a plan is made | it is whole, or an error |
| a plan is executed | each row is *done* or *unknown*, nothing happens twice |
| evidence is frozen | whole evidence, or `QueryInterrupted` and no folder |
| the doctor looks, and the server stays away | `Unreachable`, or the verdict "incomplete"; never healthy |
| a panel is open | a banner counts down to the next try; old rows stay, grey; it reads again when the server answers |
| a button of it is clicked | an error, or "not sent"; what was written, and a plan, stay |
| a panel executes a plan | each row is *done* or *unknown* |

**A server that has just come back shows less than there is**, for up to some seconds: it answers 200 with no rows, or
with some, until its partitions have caught up with their logs. A connection that saw it away takes no answer to a query
for three seconds. Behind a tunnel or a load balancer it sees a broken line, and does so after every line that breaks
before an answer. One that is made just afterwards cannot know: after a restart, ask twice before you believe that
something is gone.

## One of three nodes dies

| meanwhile, asking another node | what comes of it |
|---|---|
| a query | whole, or `QueryInterrupted`; whole again after some seconds |
| the doctor looks | the same findings, or the verdict "incomplete" |
| a plan is made | whole, or an error, and nothing was sent |
| a plan is executed | each row is *done* or *unknown*, nothing happens twice |
| evidence is frozen | whole evidence, or `QueryInterrupted` and no folder |
| a panel is open | a banner counts down to the next try; old rows stay, grey; it reads again when the server answers |

"""
_OPEN = """## Evidence whose folder was damaged

| what happened to the folder | `rl.open_evidence` |
|---|---|
"""


def _page() -> str:
    """Return the page as Markdown: the table by kind of trouble, and what to do next for each word in it."""
    parts = [_section(group) for group in GROUPS]
    opened = "".join(f"| {damage} | {_format_outcome(outcome)} |\n" for damage, outcome in EVIDENCE.items())
    gateways = "".join(f"{_gateway_row(each)}\n" for each in GATEWAYS)
    return f"{_HEAD}{_next_steps()}\n" + "".join(parts) + f"{_GATEWAYS}{gateways}\n" + _RESTARTS + _OPEN + opened


def _section(group: str) -> str:
    title, _, more = _TITLES[group].partition("\n")
    lines = "".join(_fault_row(each) for each in FAULTS if each.group == group)
    return f"## {title}\n{more}\n\n{_CHANGES if group == 'changes' else _TABLE}{lines}\n"


def _fault_row(fault: Fault) -> str:
    outcomes = filter(None, (fault.connect, fault.reads, fault.execute, fault.set_state))
    return f"| {fault.description} | {' | '.join(map(_format_outcome, outcomes))} |\n"


def _gateway_row(gateway: Gateway) -> str:
    outcomes = (
        _format_outcome(outcome) or "does not occur" for outcome in (gateway.unsent, gateway.acted, gateway.other)
    )
    return f"| {gateway.description} | {' | '.join(outcomes)} |"


def _next_steps() -> str:
    rows = [f"| *{word}* | {advice} |\n" for word, advice in _ADVICE.items()]
    rows += [f"| `{name}` | {_first_line(name)} |\n" for name in sorted(set(_outcomes()) & set(errors.__all__))]
    return _NEXT + "".join(rows)


def _outcomes() -> Iterable[str]:
    for each in FAULTS:
        yield from (each.connect, each.reads, each.set_state)
    yield from EVIDENCE.values()


def _first_line(name: str) -> str:
    return str(getattr(errors, name).__doc__).partition("\n")[0].rstrip(".")


def _format_outcome(outcome: str) -> str:
    return f"`{outcome}`" if outcome in errors.__all__ else outcome


__doc__ = _page()
