"""A server that runs at most two invocations at a time, which shows the status "ready"."""

from __future__ import annotations

from types import MappingProxyType

from restate_lab.demo.stories.steps import Deploy, Send, StoryStep, repeat

TWO_AT_A_TIME = MappingProxyType(
    {
        # The limit counts for each partition.
        "RESTATE_DEFAULT_NUM_PARTITIONS": "1",
        "RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT": "2",
    }
)
"""Settings of the server for this story."""


def saturated_story(*, vqueues: bool) -> tuple[StoryStep, ...]:
    """Return a story of two invocations that run for days, and three that wait until one of them ends.

    Without vqueues the three are ready. With vqueues they are pending, and ``sys_scheduler`` shows that they are
    blocked on "invoker-concurrency".
    """
    waiting = "pending" if vqueues else "ready"
    return (
        Deploy("orders_deployment", "orders"),
        *repeat(2, lambda n: _render(f"busy_{n}", "running")),
        *repeat(3, lambda n: _render(f"waiting_{n}", waiting)),
    )


def _render(role: str, reaches: str) -> Send:
    return Send(role, "Invoices/render", {"order": role, "pages": 4_000_000}, reaches)
