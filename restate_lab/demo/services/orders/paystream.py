"""A stand-in for a payment provider: what it answers depends on the card alone."""

import zlib

from restate import TerminalError

__all__ = ["BankRejected", "Gateway", "ProviderDown", "pay_out"]


class ProviderDown(Exception):
    """The provider does not do its work; the next attempt may be luckier."""


class BankRejected(Exception):
    """A bank did not take a transfer."""


class Gateway:
    """The way to the provider, which loses the first request of every order that is paid with "tok_flaky"."""

    def __init__(self) -> None:
        self._lost: set[str] = set()

    def charge_card(self, order: str, cents: int, card: str) -> str:
        """Charge a card and return the receipt's number.

        Raises:
            ProviderDown: its gateway for this card's network is not there.
            TerminalError: the card's bank refused; asking again would not help.

        """
        if card == "tok_amex":
            raise ProviderDown("HTTP 503 Service Unavailable from https://api.paystream.example/v1/charges")
        if card == "tok_mastercard":
            raise ProviderDown("connect to mc-gateway.paystream.example:443 timed out after 10.0 s")
        if card == "tok_flaky" and order not in self._lost:
            self._lost.add(order)
            raise ProviderDown("connection to api.paystream.example:443 reset by peer")
        number = zlib.crc32(f"{order} {cents} {card}".encode())
        if card == "tok_insufficient_funds":
            raise TerminalError(f"card declined: insufficient_funds (order {order}, request req_{number:08x})", 402)
        return f"ch_{number:08x}"


def pay_out(iban: str) -> str:
    """Send money to a bank account and return the transfer's number.

    Raises:
        BankRejected: the account is not there any more.

    """
    if iban.endswith("00"):
        raise BankRejected(f"SEPA transfer returned AC04, account closed: {iban}")
    return f"po_{zlib.crc32(iban.encode()):08x}"
