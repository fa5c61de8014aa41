"""The front door: from the desk down to the register of the insured, each calling the next."""

from restate import Context, Service

from support.demo.services.hospital.policies import BRIEF, FOUR_TIMES

admission = Service("Admission", description="The front desk", inactivity_timeout=BRIEF)
insurance = Service("insurance.Coverage", description="Who pays", inactivity_timeout=BRIEF)
registry = Service(
    "insurance.Registry",
    description="The register of the insured",
    inactivity_timeout=BRIEF,
    invocation_retry_policy=FOUR_TIMES,
)


class RegisterClosed(Exception):
    """The register of the insured does not respond."""


@registry.handler()
async def read_card(ctx: Context, card: str) -> str:
    """Look a card up and return the contract's number."""
    return await ctx.run_typed("consulter l'annuaire", _contract, card=card)


@registry.handler()
async def identify(ctx: Context, card: str) -> str:
    return await ctx.service_call(read_card, card)


@insurance.handler()
async def find_contract(ctx: Context, card: str) -> str:
    return await ctx.service_call(identify, card)


@insurance.handler()
async def confirm(ctx: Context, card: str) -> str:
    return await ctx.service_call(find_contract, card)


@admission.handler()
async def assess(ctx: Context, card: str) -> str:
    """Assess how urgent the case is, and return the payer."""
    return await ctx.service_call(confirm, card)


@admission.handler()
async def arrive(ctx: Context, card: str) -> str:
    return await ctx.service_call(assess, card)


def _contract(card: str) -> str:
    if card.startswith("CV-"):
        raise RegisterClosed(
            f"L'annuaire des assurés est fermé jusqu'à nouvel ordre (carte {card}, réf. {card[::-1].lower()})"
        )
    return f"contract of {card}"
