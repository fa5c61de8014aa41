"""The faults between the toolkit and a server, the result of each call under each fault, and the next step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from restate_lab import errors

GROUPS = ("temporary", "lasting", "limits and logins", "damaged answers", "silence", "changes")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and the result of each call under it; "" if the fault cannot occur for the call.

    ``reads`` is the result of every call that reads: sql, arrow, stream, to_parquet, ask, journal, waits, why, doctor,
    plan and freeze.
    """

    name: str
    group: str
    description: str
    connect: str
    reads: str
    execute: str
    set_state: str


def _transient_fault(name: str, description: str, *, group: str = "temporary", connect: str = "Unreachable") -> Fault:
    return Fault(name, group, description, connect, "right", "done", "done")


def _lasting_fault(name: str, group: str, description: str, error: str, *, connect: str | None = None) -> Fault:
    return Fault(name, group, description, connect or error, error, "not sent", error)


def _change_fault(name: str, description: str, execute: str, set_state: str) -> Fault:
    return Fault(name, "changes", description, "", "", execute, set_state)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A response of a gateway to a change, instead of the server's response, and the result of each call.

    ``unsent`` is the outcome of ``plan.execute`` if the server did not receive the request, ``acted`` if it executed
    it; "" if that does not occur. ``other`` is the result of ``set_state`` and of each method that changes something,
    in both cases.
    """

    name: str
    description: str
    unsent: str = "unknown"
    acted: str = "done"
    other: str = "OutcomeUnknown"


_RESET = "`upstream connect error or disconnect/reset before headers."

GATEWAYS = (
    # These report that they did not forward the request: a plan reads, and then sends it again.
    Gateway("no healthy upstream", "Envoy, Istio: 503 `no healthy upstream`", "done"),
    Gateway("connection failure", f"Envoy, Istio: 503 {_RESET} reset reason: connection failure`", "done"),
    Gateway("connection timeout", f"Envoy, Istio: 503 {_RESET} reset reason: connection timeout`", "done"),
    Gateway("overflow", f"Envoy, Istio: 503 {_RESET} reset reason: overflow`", "done"),
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
"""The responses of gateways that the tests try against real servers, with vqueues and without."""

FAULTS = (
    _transient_fault("temporary 502", "a gateway cannot reach the server (502)"),
    _transient_fault("temporary 503", "the server cannot serve the request now (503)"),
    _transient_fault("temporary 504", "a gateway times out (504)"),
    _transient_fault("reset once", "the connection is reset before the response"),
    _transient_fault("closed once", "the connection is closed before the response"),
    _transient_fault("head cut once", "the response is cut within its headers"),
    Fault(
        "end lost once",
        "temporary",
        "the response to a query is cut before its last eight bytes",
        "right",
        "QueryInterrupted",
        "done",
        "QueryInterrupted",
    ),
    _transient_fault("temporary 429", "a rate limit (429) with the time to wait", connect="RateLimited"),
    _transient_fault("429 without a body", "a limit of concurrent requests (429)", connect="RateLimited"),
    _lasting_fault("502", "lasting", "a gateway cannot reach the server (502)", "Unreachable"),
    _lasting_fault("503", "lasting", "the server cannot serve the request (503)", "Unreachable"),
    _lasting_fault("504", "lasting", "a gateway times out (504)", "Unreachable"),
    _lasting_fault("reset", "lasting", "the connection is reset before the response", "Unreachable"),
    _lasting_fault("reset within", "lasting", "the connection is reset after 100 bytes of the response", "Unreachable"),
    _lasting_fault(
        "429", "limits and logins", "a rate limit (429) with a longer time than a read waits", "RateLimited"
    ),
    _lasting_fault("an expired token", "limits and logins", "an expired token (401)", "AccessDenied"),
    _lasting_fault("a login page", "limits and logins", "a login page of a proxy (200)", "ServerFailed"),
    _lasting_fault("a redirect", "limits and logins", "a redirect to a login page (302)", "ServerFailed"),
    _lasting_fault(
        "another type", "damaged answers", "a response that is labeled as text", "ServerFailed", connect="right"
    ),
    _lasting_fault("no gzip", "damaged answers", "a response that is labeled as gzip and is not", "ServerFailed"),
    _lasting_fault("cut gzip", "damaged answers", "half of a gzip response", "ServerFailed", connect="right"),
    _lasting_fault("junk", "damaged answers", "random bytes that are labeled as Arrow", "ServerFailed"),
    _lasting_fault(
        "end lost",
        "damaged answers",
        "every response to a query is cut before its last eight bytes",
        "QueryInterrupted",
        connect="right",
    ),
    _lasting_fault(
        "end repaired",
        "damaged answers",
        "the same, and a gateway ends the response correctly",
        "QueryInterrupted",
        connect="right",
    ),
    _transient_fault("a slow line", "200 bytes at a time", group="silence", connect="right"),
    _lasting_fault("silence", "silence", "no response on an open connection", "TimedOut"),
    _lasting_fault("silence within", "silence", "the response stops after 100 bytes on an open connection", "TimedOut"),
    _lasting_fault("too slow", "silence", "20 bytes per second", "TimedOut"),
    _change_fault("change: 429", "a temporary rate limit; the server received nothing", "done", "RateLimited"),
    _change_fault("change: 503", "Restate temporarily rejects the request (503)", "done", "Unreachable"),
    _change_fault(
        "change: 502", "a gateway responds with 502; the server received nothing", "unknown", "OutcomeUnknown"
    ),
    _change_fault("change: 401", "a token that can only read", "refused", "AccessDenied"),
    _change_fault("change: a redirect", "only changes are redirected to a login page", "unknown", "OutcomeUnknown"),
    _change_fault("done: 502", "the server acts, then a gateway responds with 502", "done", "OutcomeUnknown"),
    _change_fault("done: 504", "the server acts, then a gateway times out", "done", "OutcomeUnknown"),
    _change_fault("done: 500", "the server acts, then a gateway fails", "done", "OutcomeUnknown"),
    _change_fault("done: a page", "the server acts, then a proxy responds with a page (200)", "done", "OutcomeUnknown"),
    _change_fault("done: no gzip", "the server acts; its response cannot be decompressed", "done", "OutcomeUnknown"),
    _change_fault("done: reset", "the server acts, then the connection is reset", "done", "OutcomeUnknown"),
    _change_fault("done: cut", "the server acts; its response is cut within its headers", "done", "OutcomeUnknown"),
    _change_fault("done: silence", "the server acts and sends no response", "done", "OutcomeUnknown"),
    _change_fault("unseen", "the server acts, then all reads fail", "done", "OutcomeUnknown"),
)
"""The faults that the tests try against real servers, with vqueues and without."""

EVIDENCE: Mapping[str, str] = {
    "nothing": "right",
    "a table is cut": "EvidenceBroken",
    "a bit of a table is flipped": "EvidenceBroken",
    "a table is missing": "EvidenceBroken",
    "the manifest is cut": "EvidenceBroken",
    "the manifest is missing": "EvidenceBroken",
    "there is no folder": "ArgumentError",
}
"""The result of opening evidence, by the damage to its folder."""

_HEAD = """# Failures

The result of each call if the connection, the server or a node fails, and the next step.

The tests try every row on a real server. **A read returns the complete result or raises one error.** It never returns
a shorter result, writes an incomplete file, or reports health that it could not check.

| Result | Meaning |
|---|---|
| *right* | The result is complete. |
| *done* | The change happened once and was verified. |
| *unknown*, `OutcomeUnknown` | The change may have happened. |
| *not sent*, *refused* | The change did not happen. |

The outcome frame of `plan.execute` and the audit log have these results, one per invocation.

"""
_NEXT = """## Next steps

| Result | Next step |
|---|---|
"""
_TABLE = """| Fault | `rl.connect` | reads and `rl.plan` | `plan.execute` | `rl.set_state` |
|---|---|---|---|---|
"""
_CHANGES = """| Fault | `plan.execute` | `rl.set_state` |
|---|---|---|
"""
_TITLES = {
    "temporary": "Temporary faults\nReads are repeated for ten seconds, plans for thirty. `rl.connect` is not "
    "repeated, so that it reports a wrong address at once.",
    "lasting": "Lasting faults",
    "limits and logins": "Limits and logins",
    "damaged answers": "Damaged responses",
    "silence": "Slow connections and silence",
    "changes": "Faults during a change\nReads succeed. `plan.execute` reads the cluster after a lost response, and "
    "never repeats a change that may have happened.",
}
_ADVICE = {
    "unknown": 'see if it happened before you repeat it: `rl.why(lab, id)`; a restart: `rl.ask(lab, "restarts")`',
    "not sent": "make the plan again when the server is back",
    "refused": "read the `error` of the row: the token, or a status that changed",
}
_GATEWAYS = """## Responses of gateways to a change

An error that Restate did not write does not tell whether the change happened: a gateway can also send it after the
server acted. It counts as a lost response. `rl.set_state` and the methods of `lab.admin` and `lab.ingress` raise
`OutcomeUnknown`, and the audit log has *unknown*.

`plan.execute` reads the cluster to find the outcome. It repeats a request only if the text of the response reports that
the gateway did not forward the request, and if a read at least three seconds later finds no effect. A restart is
searched from the first attempt on. All new ids of a restart are in the outcome frame and in the audit log: `new_id`,
and `other_new_ids` if a gateway caused several restarts.

| Response of the gateway | `plan.execute`; the server received nothing | `plan.execute`; the server acted | \
`rl.set_state`, changing methods of `lab.admin` and `lab.ingress` |
|---|---|---|---|
"""
_RESTARTS = """## A server stops and comes back

| At that time | Result |
|---|---|
| the response to a query is incomplete | `QueryInterrupted`, with the received rows as `partial`; repeat the query |
| a read waits | it is repeated for ten seconds, and is complete if the server is back in this time |
| a plan is made | complete, or an error |
| a plan is executed | each row is *done* or *unknown*; nothing happens twice |
| evidence is frozen | complete evidence, or `QueryInterrupted` and no folder |
| the doctor runs, and the server does not come back | `Unreachable`, or the verdict "incomplete"; never "healthy" |
| a panel is open | a banner counts down to the next read; old rows are gray; it recovers when the server responds |
| you click a button of the panel | an error, or "not sent"; your text and the plan are kept |
| a panel executes a plan | each row is *done* or *unknown* |

**A server that just came back can return too few rows.** For some seconds, until its partitions have read their logs,
it responds with 200 and with no rows or some of the rows. A connection that saw the failure rejects query results for
three seconds. Behind a tunnel or a load balancer, it does so after every connection that breaks before a response. A
new connection cannot detect this: after a restart, query twice before you conclude that data is missing.

## One of three nodes fails

| At that time, on another node | Result |
|---|---|
| a query | complete, or `QueryInterrupted`; complete again after some seconds |
| the doctor runs | the same findings, or the verdict "incomplete" |
| a plan is made | complete, or an error; nothing is sent |
| a plan is executed | each row is *done* or *unknown*; nothing happens twice |
| evidence is frozen | complete evidence, or `QueryInterrupted` and no folder |
| a panel is open | a banner counts down to the next read; old rows are gray; it recovers when the server responds |

"""
_OPEN = """## Damaged evidence

| Damage to the folder | `rl.open_evidence` |
|---|---|
"""


def _page() -> str:
    parts = [_section(group) for group in GROUPS]
    opened = "".join(f"| {damage} | {_format_outcome(outcome)} |\n" for damage, outcome in EVIDENCE.items())
    gateways = ""
    for each in GATEWAYS:
        outcomes = [_format_outcome(outcome) or "does not occur" for outcome in (each.unsent, each.acted, each.other)]
        gateways += f"| {each.description} | {' | '.join(outcomes)} |\n"
    return f"{_HEAD}{_next_steps()}\n" + "".join(parts) + f"{_GATEWAYS}{gateways}\n" + _RESTARTS + _OPEN + opened


def _section(group: str) -> str:
    title, _, more = _TITLES[group].partition("\n")
    lines = ""
    for fault in (each for each in FAULTS if each.group == group):
        outcomes = filter(None, (fault.connect, fault.reads, fault.execute, fault.set_state))
        lines += f"| {fault.description} | {' | '.join(map(_format_outcome, outcomes))} |\n"
    return f"## {title}\n{more}\n\n{_CHANGES if group == 'changes' else _TABLE}{lines}\n"


def _next_steps() -> str:
    rows = [f"| *{outcome}* | {advice} |\n" for outcome, advice in _ADVICE.items()]
    outcomes = {outcome for each in FAULTS for outcome in (each.connect, each.reads, each.set_state)}
    for name in sorted(outcomes.union(EVIDENCE.values()) & set(errors.__all__)):
        first_line = str(getattr(errors, name).__doc__).partition("\n")[0].rstrip(".")
        rows.append(f"| `{name}` | {first_line} |\n")
    return _NEXT + "".join(rows)


def _format_outcome(outcome: str) -> str:
    return f"`{outcome}`" if outcome in errors.__all__ else outcome


__doc__ = _page()
