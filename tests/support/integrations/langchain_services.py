"""Agents of LangChain, with both of OpenAI's interfaces: ``python langchain_services.py --fd N`` serves them."""

from __future__ import annotations

from typing import Any

import httpx
import restate
from agent_tools import INSTRUCTIONS, PATIENT, SOON, TOOLS, TRIES, name_invocation
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from restate import Context
from restate.ext.langchain import RestateMiddleware

from restate_lab.demo.services_host import serve_inherited


def _agent(**options: Any) -> Any:
    client = httpx.AsyncClient(event_hooks={"request": [name_invocation]}, timeout=60)
    # no retries inside the client, so that Restate sees each failure
    model = ChatOpenAI(model="gpt-4o", max_retries=0, http_async_client=client, **options)
    middleware = [RestateMiddleware(TRIES)]
    return create_agent(model, tools=[*TOOLS.values()], system_prompt=INSTRUCTIONS, middleware=middleware)


chat, responses = _agent(), _agent(use_responses_api=True)
service = restate.Service("LangChainAgent", invocation_retry_policy=PATIENT, inactivity_timeout=SOON)


async def _run(agent: Any, prompt: str) -> str:
    result = await agent.ainvoke({"messages": [{"role": "user", "content": prompt}]})
    return str(result["messages"][-1].text)


@service.handler("chat")
async def ask_in_chat(ctx: Context, prompt: str) -> str:
    return await _run(chat, prompt)


@service.handler("responses")
async def ask(ctx: Context, prompt: str) -> str:
    return await _run(responses, prompt)


app = restate.app(services=[service])

if __name__ == "__main__":
    serve_inherited(app)
