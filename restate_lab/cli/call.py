"""``restate-lab call``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restate_lab.cli._errors import BAD, INTERRUPTED, exit_on_error, interrupt_on_sigterm, note_change, warn
from restate_lab.cli._options import SCAN_LIMIT, Cluster, Json, Timeout, duration_option, examples
from restate_lab.errors import ArgumentError, InvocationFailed, OutcomeUnknown, RestateLabError

if TYPE_CHECKING:
    from restate_lab.client.ingress import SentInvocation
    from restate_lab.client.lab import Lab

_STDIN, _FILE = "-", "@"

Target = Annotated[
    str, typer.Argument(metavar="TARGET", help="Service/handler; of a virtual object or workflow Service/key/handler.")
]
Body = Annotated[
    str | None,
    typer.Argument(
        metavar="BODY",
        help="The request as JSON; @FILE reads it from a file, and - from standard input, so that neither the list of "
        "processes nor the history of the shell has it. Default: no body.",
    ),
]
Send = Annotated[bool, typer.Option("--send", help="Print the id at once, and do not wait for the result.")]
Delay = Annotated[float | None, duration_option("--delay", "With --send: start it after this time: 30s, 2h.")]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        metavar="KEY",
        help="With the key of an earlier call, nothing new is started. Default: a new key.",
    ),
]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="The reason for the audit log: INC-42: charge it again.")
]

_EXIT_CODES = """\b
Exit codes:
  0  the handler returned; with --send: the server has accepted the call
  1  error: nothing was sent, or the server refused the request
  2  invalid usage: nothing was sent
  3  it was sent, and it failed, has not ended in time, or its outcome is
     unknown
  130  interrupted; an invocation that has begun continues

"""

app = typer.Typer(rich_markup_mode=None)


@app.command(
    short_help="Call a handler, and print its result.",
    epilog=_EXIT_CODES
    + examples(
        """restate-lab call Greeter/greet '"Ada"' --reason "INC-42: a test" """.rstrip(),
        """restate-lab call Account/acme/debit @request.json --reason "INC-42: by hand" """.rstrip(),
        """restate-lab call Orders/place - --send --reason "INC-42: again" < order.json""",
    ),
)
def call(
    target: Target,
    body: Body = None,
    *,
    reason: Reason,
    send: Send = False,
    delay: Delay = None,
    idempotency_key: IdempotencyKey = None,
    timeout: Timeout = SCAN_LIMIT,
    cluster: Cluster = None,
    as_json: Json = False,
) -> None:
    """Call a handler as a change with a reason: the audit log has the target and the reason, and not the body.

    The call is sent once, with an idempotency key. If the response is lost, the invocation is looked up by this key.
    The result is printed as JSON, or its bytes if it is not JSON. If the command ends before the invocation, the
    invocation continues.
    """
    with exit_on_error():
        from restate_lab.actions.call import prepare_call, send_call
        from restate_lab.client.arguments import check_reason
        from restate_lab.client.lab import connect

        interrupt_on_sigterm()
        check_reason(reason, name="--reason")
        if delay is not None and not send:
            raise ArgumentError("--delay needs --send: a call that starts later has no result yet.")
        content, is_json = _read_body(body)
        with connect(cluster, timeout=timeout) as lab:
            prepared = prepare_call(lab, target, content, is_json=is_json, idempotency_key=idempotency_key)
            try:
                sent = send_call(lab, prepared, reason=reason, delay=delay)
            except OutcomeUnknown as error:
                warn(f"{error} No invocation has its idempotency key {prepared.idempotency_key}.")
                raise typer.Exit(BAD) from None
            note_change(
                f"{prepared.target} was called",
                shown_by=f"restate-lab why {sent.invocation_id}",
                code=0 if send else BAD,
            )
            code = _print_sent(sent, as_json=as_json) if send else _wait(lab, sent, timeout, as_json=as_json)
            sys.stdout.flush()
            raise typer.Exit(code)


def _read_body(body: str | None) -> tuple[bytes | None, bool]:
    """Return the bytes of a body, and whether they are JSON; those of an argument must be."""
    if body is None:
        return None, False
    is_argument = body != _STDIN and not body.startswith(_FILE)
    if is_argument:
        content = body.encode()
    elif body == _STDIN:
        content = sys.stdin.buffer.read()
    else:
        content = Path(body.removeprefix(_FILE)).read_bytes()
    try:
        json.loads(content)
    except ValueError as error:
        if is_argument:
            raise ArgumentError(
                f"BODY is not JSON ({error}): a text needs quotes within quotes, as '\"Ada\"'."
            ) from error
        return content, False
    return content, True


def _print_sent(sent: SentInvocation, *, as_json: bool) -> int:
    from restate_lab.cli._output import print_json

    begins = sent.execution_time.isoformat() if sent.execution_time else None
    if as_json:
        print_json({"invocation": sent.invocation_id, "status": sent.status, "execution_time": begins})
    else:
        typer.echo(sent.invocation_id)
    if sent.status == "PreviouslyAccepted":
        warn("an earlier call has this key: nothing new was started.")
    return 0


def _wait(lab: Lab, sent: SentInvocation, timeout: float, *, as_json: bool) -> int:
    """Wait for an invocation, print its result, and return the exit code."""
    from restate_lab.cli._output import print_json

    id_ = sent.invocation_id
    shown = f"restate-lab why {id_} shows it"
    try:
        value = lab.ingress.attach(id_, timeout=timeout)
    except InvocationFailed as error:
        if as_json:
            print_json({"invocation": id_, "status": "failed", "code": error.status, "error": error.reason})
        warn(f"the invocation {id_} failed: [{error.status}] {error.reason}")
        return BAD
    except KeyboardInterrupt:
        warn(f"interrupted; the invocation continues: {shown}.")
        return INTERRUPTED
    except RestateLabError as error:
        warn(f"{error} The invocation continues, or its result was not kept: {shown}.")
        return BAD
    note_change(f"the invocation {id_} succeeded", shown_by=f"restate-lab why {id_}", code=0)
    if as_json:
        print_json({"invocation": id_, "status": "succeeded", "result": _for_json(value)})
    elif isinstance(value, bytes):
        sys.stdout.buffer.write(value)
    elif value is not None:
        print_json(value)
    if sent.status == "PreviouslyAccepted":
        warn("an earlier call has this key: this is its result, and nothing new was started.")
    return 0


def _for_json(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
