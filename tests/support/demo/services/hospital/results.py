"""Findings of the laboratory, sent to the hospital's information system, which does not accept all of them."""

import uuid
import zlib
from typing import TypedDict

from restate import Context, Service

from support.demo.services.hospital.policies import BRIEF, OVERNIGHT

results = Service(
    "lab.Results",
    description="Hands findings to the information system",
    inactivity_timeout=BRIEF,
    invocation_retry_policy=OVERNIGHT,
)


class NotAcknowledged(Exception):
    """The information system did not accept a finding; it may accept it later."""


class Result(TypedDict):
    """A finding: the laboratory's order, the patient's case, and the building that waits for it."""

    order: str
    case: int
    house: str


@results.handler()
async def publish(ctx: Context, result: Result) -> str:
    await ctx.run_typed("Befund prüfen", _plausible, order=result["order"])
    return await ctx.run_typed("Befund übermitteln", _transmit, **result)


def _plausible(order: str) -> bool:
    return bool(order)


def _transmit(order: str, case: int, house: str) -> str:
    message = uuid.uuid5(uuid.NAMESPACE_OID, order)
    if house != "HAUS-A":
        return f"ACK AA {message}"
    number = zlib.crc32(order.encode())
    # In the style of such systems: the number of the message first, and all details after it.
    raise NotAcknowledged(
        f"[{message}] Schnittstelle kis-gw-{number % 3 + 1}.klinik.example:2575 hat den Befund nicht quittiert: "
        f"MSH|^~\\&|LABOR|ZENTRALLABOR|KIS|{house}|202611{number % 28 + 1:02}{number % 86_400:06}||ORU^R01|"
        f"{number:010}|P|2.5 → ACK AE „Tablespace KIS_BEFUND voll“ (Auftrag {order}, Fall {case}, "
        f"Patient P-{number % 900_000 + 100_000}, Spur {number:08x}); der Befund bleibt im Ausgang "
        f"/var/spool/hl7/{message}.oru und wird erneut gesendet"
    )
