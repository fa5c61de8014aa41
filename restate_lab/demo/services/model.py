"""A stand-in for a language model: offline, the same answer every time, and just clever enough for the weather."""

import asyncio
import re
from typing import TypedDict

__all__ = ["Message", "Reply", "complete"]

THINKING = 0.1  # seconds


class Message(TypedDict):
    """One turn of a conversation; ``role`` is "user" or "tool"."""

    role: str
    content: str


class Reply(TypedDict):
    """What the model says: an answer, or the city whose weather it wants to know first."""

    answer: str | None
    wants_weather_of: str | None


async def complete(messages: list[Message]) -> Reply:
    """Return the model's next words."""
    await asyncio.sleep(THINKING)
    city = _city(messages[0]["content"])
    if city is None:
        return {"answer": "Name a city, and I will look up its weather.", "wants_weather_of": None}
    if messages[-1]["role"] == "tool":
        return {"answer": f"The weather in {city}: {messages[-1]['content']}.", "wants_weather_of": None}
    return {"answer": None, "wants_weather_of": city}


def _city(prompt: str) -> str | None:
    capitalised = re.findall(r"(?<!^)\b[A-Z]\w+(?: [A-Z]\w+)*", prompt)
    return capitalised[-1] if capitalised else None
