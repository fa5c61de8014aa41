"""Agents of Google's ADK, which call Gemini: ``python adk_services.py --fd N`` serves them."""

from __future__ import annotations

from typing import Any

import restate
from agent_tools import INSTRUCTIONS, PATIENT, SOON, TOOLS, TRIES, headers
from google.adk import Runner
from google.adk.agents import Agent
from google.adk.apps import App
from google.genai import types
from restate import ObjectContext
from restate.ext.adk import RestatePlugin, RestateSessionService

from restate_lab.demo.services_host import serve_inherited

service = restate.VirtualObject("ADKAgent", invocation_retry_policy=PATIENT, inactivity_timeout=SOON)


def _runner(ctx: ObjectContext) -> Runner:
    options = types.HttpOptions(headers=headers(ctx), retry_options=types.HttpRetryOptions(attempts=1))
    agent = Agent(
        name="assistant",
        model="gemini-2.5-flash",
        instruction=INSTRUCTIONS,
        tools=[*TOOLS.values()],
        generate_content_config=types.GenerateContentConfig(http_options=options),
    )
    app = App(name="agents", root_agent=agent, plugins=[RestatePlugin(run_options=TRIES)])
    return Runner(app=app, session_service=RestateSessionService())


@service.handler("ask")
async def ask(ctx: ObjectContext, prompt: str) -> str:
    runner, texts = _runner(ctx), list[Any]()
    if await runner.session_service.get_session(app_name="agents", user_id=ctx.key(), session_id="s1") is None:
        await runner.session_service.create_session(app_name="agents", user_id=ctx.key(), session_id="s1")
    message = types.Content(role="user", parts=[types.Part(text=prompt)])
    async for event in runner.run_async(user_id=ctx.key(), session_id="s1", new_message=message):
        parts = event.content.parts if event.content and event.content.parts else []
        texts = [part.text for part in parts if part.text and not part.thought] or texts
    return "".join(texts)


app = restate.app(services=[service])

if __name__ == "__main__":
    serve_inherited(app)
