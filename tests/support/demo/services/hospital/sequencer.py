"""Genomes: one step that takes days, as designed."""

import asyncio
from datetime import timedelta

from restate import Context, Service

BASES_PER_SECOND = 3_000

# The server must not interrupt it only because it was silent for a while.
sequencer = Service("Sequencer", description="Reads genomes", inactivity_timeout=timedelta(days=14))


@sequencer.handler()
async def sequence(ctx: Context, bases: int) -> str:
    """Read a genome of this many bases."""
    return await ctx.run_typed("read bases", _read, bases=bases)


async def _read(bases: int) -> str:
    await asyncio.sleep(bases / BASES_PER_SECOND)
    return f"{bases} bases"
