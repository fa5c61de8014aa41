"""Invoices as PDF: the slow corner of the order system."""

import asyncio
from datetime import timedelta
from typing import TypedDict

from restate import Context, Service

from restate_lab.demo.services.orders.policies import PATIENT

__all__ = ["invoices"]

PAGES_PER_SECOND = 10

# Rendering is work, not waiting: nobody may interrupt it because nothing was heard of it for a while.
invoices = Service(
    "Invoices",
    description="Renders invoices",
    inactivity_timeout=timedelta(days=7),
    invocation_retry_policy=PATIENT,
)


class Document(TypedDict):
    """What to render."""

    order: str
    pages: int


@invoices.handler()
async def render(ctx: Context, document: Document) -> str:
    """Render an invoice and return where it lies."""
    return await ctx.run_typed("render pdf", _render, **document)


async def _render(order: str, pages: int) -> str:
    await asyncio.sleep(pages / PAGES_PER_SECOND)
    return f"invoices/{order}.pdf"
