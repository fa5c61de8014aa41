"""The demo's stories by name."""

from types import MappingProxyType

from restate_lab.demo.stories.agents import AGENTS
from restate_lab.demo.stories.first_look import FIRST_LOOK
from restate_lab.demo.stories.incident import INCIDENT
from restate_lab.demo.stories.week import WEEK, WEEK_SETTINGS

STORIES = MappingProxyType({"incident": INCIDENT, "first-look": FIRST_LOOK, "agents": AGENTS, "week": WEEK})
SETTINGS = MappingProxyType({"week": WEEK_SETTINGS})
