"""Bills: to insurers that may not answer, and to patients with cards that may fail."""

import uuid
import zlib
from typing import TypedDict

from restate import Context, Service, TerminalError

from support.demo.services.hospital.policies import BRIEF, FOUR_TIMES

billing = Service("Billing", description="Who owes what", inactivity_timeout=BRIEF, invocation_retry_policy=FOUR_TIMES)

CARDS = {"1": "abgelaufen", "2": "gesperrt"}
RATES = {"K01": 412, "K17": 98}


class InsurerSilent(Exception):
    """An insurer did not respond."""


class InsurerRefused(Exception):
    """An insurer sent a response that a person must check."""


class Claim(TypedDict):
    """A claim to an insurer: the case number, the insurer, and the code of the treatment."""

    case: int
    insurer: str
    code: str


class CoPayment(TypedDict):
    """A patient's payment by card; the card's last digit decides its outcome."""

    case: int
    card: str


@billing.handler()
async def settle(ctx: Context, claim: Claim) -> int:
    rate = await ctx.run_typed("find rate", _rate, code=claim["code"])
    return await ctx.run_typed("enviar guia", _claim, case=claim["case"], insurer=claim["insurer"], rate=rate)


@billing.handler()
async def charge_co_payment(ctx: Context, payment: CoPayment) -> str:
    return await ctx.run_typed("Zuzahlung einziehen", _charge, **payment)


def _rate(code: str) -> int:
    return RATES[code]


def _claim(case: int, insurer: str, rate: int) -> int:
    number = zlib.crc32(f"{case} {insurer}".encode())
    if insurer == "saúde-norte":
        raise InsurerSilent(f"A operadora não respondeu em 15 s (guia {number}, caso {case}): conexão expirada")
    if insurer == "anadolu":
        raise InsurerRefused(f"Poliçe bulunamadı: dosya {case}, istek {number:08x}; sigortalıyı arayın")
    return rate


def _charge(case: int, card: str) -> str:
    receipt = uuid.uuid5(uuid.NAMESPACE_OID, f"{case} {card}")
    if what := CARDS.get(card[-1]):
        raise TerminalError(f"Zuzahlung abgelehnt: Karte {what} (Fall {case}, Beleg {receipt})", 402)
    return str(receipt)
