"""The weather agent: a prompt in, an answer out, every step durable."""

from datetime import timedelta

from restate import Context, InvocationRetryPolicy, Service

from restate_lab.demo.services.model import Message, Reply, complete
from restate_lab.demo.services.weather import current_weather

__all__ = ["agent"]

# Short waits and many of them: whoever looks sees it retrying, also hours later, and a fix shows within seconds.
PATIENT = InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=400),
    exponentiation_factor=1.2,
    max_interval=timedelta(milliseconds=1500),
    max_attempts=20_000,
    on_max_attempts="pause",
)

agent = Service("agent", description="Answers questions about the weather", invocation_retry_policy=PATIENT)


@agent.handler()
async def run(ctx: Context, prompt: str) -> str:
    """Ask the model, call the tool it wants, and ask again until it answers."""
    messages: list[Message] = [{"role": "user", "content": prompt}]
    while True:
        reply: Reply = await ctx.run_typed("Call LLM", complete, messages=messages)
        if reply["wants_weather_of"] is None:
            return reply["answer"] or ""
        weather = await ctx.run_typed("get weather", current_weather, city=reply["wants_weather_of"])
        messages.append({"role": "tool", "content": weather})
