"""The demo's language model; start it with ``python -m restate_lab.demo.model --fd N``."""

import os
import re
from pathlib import Path

from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.model.replies import ModelRequest, Reply, ScriptedCall
from restate_lab.demo.model.server import model_application
from restate_lab.demo.services_host import serve_inherited

__all__ = ["reply_about_weather"]

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


if __name__ == "__main__":
    serve_inherited(model_application(Path(os.environ[FOLDER_VARIABLE]), {}, reply_about_weather))
