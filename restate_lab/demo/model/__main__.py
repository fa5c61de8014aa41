"""The demo's language model; start it with ``python -m restate_lab.demo.model --fd N``."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.model.replies import ModelRequest, Reply, ScriptedCall
from restate_lab.demo.model.server import model_application
from restate_lab.demo.services_host import serve_inherited

THINKING = 0.1  # seconds
CITY = re.compile(r"(?<!^)\b[A-Z]\w+(?: [A-Z]\w+)*")


def reply_about_weather(turn: ModelRequest) -> Reply:
    """Request the weather of the city in the prompt first, and then return it."""
    cities = CITY.findall(turn.prompt)
    if not cities:
        return Reply("Name a city, and I will look up its weather.", delay=THINKING)
    if not turn.results:
        return Reply(calls=(ScriptedCall("get_weather", {"city": cities[-1]}),), delay=THINKING)
    return Reply(f"The weather in {cities[-1]}: {turn.results[-1][1]}.", delay=THINKING)


def _weather(city: str) -> ScriptedCall:
    return ScriptedCall("get_weather", {"city": city})


def _hotel(city: str) -> ScriptedCall:
    return ScriptedCall("get_hotel_price", {"city": city})


def _booking(turn: ModelRequest) -> Sequence[Reply]:
    traveller = CITY.findall(turn.prompt)[-1]
    question = f"May {traveller} take the train to Vienna?"
    return (
        Reply(calls=(ScriptedCall("reserve_seat", {"train": "Vienna"}),)),
        Reply(
            "I need an approval.", calls=(ScriptedCall("ask_manager", {"traveller": traveller, "question": question}),)
        ),
        Reply("The trip is booked: {results}."),
    )


Replies: TypeAlias = "Sequence[Reply] | Callable[[ModelRequest], Sequence[Reply]]"
SCRIPTS: Mapping[str, Replies] = MappingProxyType(
    {
        "Compare": (
            Reply(
                "I look up the weather and the hotels of both cities.",
                calls=(_weather("Rome"), _weather("Oslo"), _hotel("Rome"), _hotel("Oslo")),
            ),
            Reply("I found: {results}."),
        ),
        "spend a weekend": (
            Reply(calls=(ScriptedCall("ask_scout", {"question": "Compare Rome and Oslo for a weekend."}),)),
            Reply("The scout reports: {results}"),
        ),
        "ferry": (Reply(calls=(ScriptedCall("find_ferry", {"to": "Atlantis"}),)),),  # until the agent ends it
        "fake": (Reply(refusal="I cannot help with forged documents."),),
        "recommend": (Reply("I recommend Porto."),),
        "Book": _booking,
    }
)
"""Part of the prompt → the replies; each one follows the results of the tools that the one before requested."""


def reply_in_demo(turn: ModelRequest) -> Reply:
    """Reply by the script for the prompt, or about the weather."""
    script = next((replies for part, replies in SCRIPTS.items() if part in turn.prompt), None)
    if script is None:
        return reply_about_weather(turn)
    replies = script(turn) if callable(script) else script
    return replace(replies[min(len(turn.results), len(replies) - 1)], delay=THINKING)


if __name__ == "__main__":
    serve_inherited(model_application(Path(os.environ[FOLDER_VARIABLE]), {}, reply_in_demo))
