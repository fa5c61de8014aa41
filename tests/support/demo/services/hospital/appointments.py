"""Appointments: booked, confirmed, and remembered a quarter later. Problems here do not last."""

from datetime import timedelta
from typing import TypedDict

from restate import Context, Service, TerminalError

from support.demo.services.hospital.policies import BRIEF, ON_CALL

appointments = Service(
    "Appointments",
    description="Books and reminds",
    inactivity_timeout=BRIEF,
    invocation_retry_policy=ON_CALL,
)


class MessageLost(Exception):
    """The provider of text messages lost a message."""


class Confirmations:
    """The gateway to the provider of text messages, which loses the first message to every Polish number."""

    def __init__(self) -> None:
        self._lost: set[str] = set()

    def send(self, patient: str, phone: str) -> str:
        """Send a confirmation and return its text.

        Raises:
            MessageLost: it did not arrive; the next one will.
            TerminalError: the number does not exist.

        """
        if phone.startswith("+48") and patient not in self._lost:
            self._lost.add(patient)
            raise MessageLost(f"bramka SMS nie odpowiada (numer {phone})")
        if not phone.startswith("+"):
            raise TerminalError(f"{phone!r} is no phone number", 400)
        return f"to {phone}: we expect you, {patient}"


class Appointment(TypedDict):
    """The patient, and how to notify them."""

    patient: str
    phone: str


confirmations = Confirmations()


@appointments.handler()
async def arrange(ctx: Context, appointment: Appointment) -> str:
    return await ctx.run_typed("send confirmation", confirmations.send, **appointment)


@appointments.handler()
async def remind(ctx: Context, patient: str) -> str:
    """Remind a patient of their check-up in a quarter."""
    await ctx.sleep(timedelta(days=90), name="a quarter")
    return f"{patient} was reminded"


@appointments.handler()
async def follow_up(ctx: Context, patient: str) -> str:
    """See a patient once more when they have been reminded."""
    return await ctx.service_call(remind, patient)
