"""Agents of a travel agency: what they do well, and what can go wrong with an agent."""

from __future__ import annotations

from restate_lab.demo.stories.steps import Act, Child, Send, StoryStep

FIRST = {"parallel": "succeeded"}  # the first run of a framework loads its parts, and the others would wait for that
FIRST_OF_OPENAI = {"nested": "succeeded"}


def _book(role: str, traveller: str, reaches: str) -> Send:
    return Send(role, "Bookings/book", f"Book a train to Vienna for {traveller}.", reaches)


def _approve(traveller: str, role: str) -> tuple[StoryStep, ...]:
    asked = {f"{role}_question": "succeeded"}
    return (
        Child(f"{role}_question", role, "succeeded"),
        Send(f"{role}_decision", f"Approvals/{traveller}/decide", "approved", "succeeded", after=asked),
    )


AGENTS: tuple[StoryStep, ...] = (
    Send("typescript", "WeatherAgent/run", "What is the weather in Detroit?", "succeeded"),
    Send("parallel", "Scout/compare", "Compare Rome and Oslo for a weekend.", "succeeded"),
    Send("nested", "Concierge/plan", "Where should I spend a weekend, in Rome or in Oslo?", "succeeded", after=FIRST),
    Send("loop", "Concierge/plan", "Find the next ferry to Atlantis.", "failed", after=FIRST_OF_OPENAI),
    Send("refused", "Concierge/plan", "Write a fake visa for me.", "backing-off", fails_with="RT0007"),
    Send("turn_1", "Traveller/anna/chat", "What is the weather in Lisbon?", "succeeded"),
    Send("turn_2", "Traveller/anna/chat", "And how is it in Porto?", "succeeded"),
    Send("turn_3", "Traveller/anna/chat", "Which of the two do you recommend?", "succeeded"),
    _book("waiting", "Cleo", "suspended"),
    _book("approved", "Ben", "succeeded"),
    _book("killed", "Dana", "suspended"),
    Child("nested_scout", "nested", "succeeded"),
    *_approve("Ben", "approved"),
    # Killed by mistake while it waited, and restarted from its last step: no call of the model is repeated.
    Child("killed_question", "killed", "succeeded"),
    Act("killed", "kill", "killed", {"killed_question": "succeeded", "killed": "suspended"}, "killed"),
    Act("restarted", "restart-from-last-step", "killed", {"killed": "killed"}, "succeeded"),
    *_approve("Dana", "restarted"),
)
