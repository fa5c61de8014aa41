// Agents of Vercel AI, with both of OpenAI's interfaces: `node vercel_services.mjs --fd N` serves them.
// Tools are those of `agent_tools.py`; the name of the service is in SERVICE_NAME.
import fs from "node:fs";
import http2 from "node:http2";
import path from "node:path";
import { createOpenAI } from "@ai-sdk/openai";
import * as restate from "@restatedev/restate-sdk";
import { durableCalls } from "@restatedev/vercel-ai-middleware";
import { generateText, stepCountIs, tool, wrapLanguageModel } from "ai";
import { z } from "zod";

const folder = process.env.RESTATE_LAB_DEMO_FOLDER;
const instructions = "Answer questions about the weather. canary-system-prompt";

function note(name, value) {
  fs.appendFileSync(path.join(folder, "tools.log"), `${name} ${value}\n`);
}

function fetchWeather(city) {
  note("get_weather", city);
  if (city === "Denver" && !fs.existsSync(path.join(folder, "repaired"))) {
    throw new Error(`no answer from the weather service for ${city}`);
  }
  if (city === "Bonn") throw new restate.TerminalError("no station in Bonn", { errorCode: 404 });
  const sum = [...city].reduce((total, letter) => total + letter.codePointAt(0), 0);
  return { city, celsius: sum % 35 };
}

function tools(ctx) {
  const city = z.object({ city: z.string() });
  const retries = { initialRetryInterval: 50, maxRetryInterval: 500 };
  return {
    get_weather: tool({
      description: "Return the weather of a city.",
      inputSchema: city,
      execute: async ({ city }) => await ctx.run("get weather", () => fetchWeather(city), retries),
    }),
    get_population: tool({
      description: "Return the number of inhabitants.",
      inputSchema: city,
      execute: async ({ city }) => await ctx.run(`get population ${city}`, () => city.length * 100000),
    }),
    book: tool({
      description: "Book a trip.",
      inputSchema: city,
      execute: async ({ city }) => {
        const hotel = await ctx.run("reserve hotel", () => `hotel in ${city}`);
        const train = await ctx.run("reserve train", () => `train to ${city}`);
        return `${hotel} and ${train}`;
      },
    }),
    ask_person: tool({
      description: "Ask a person and wait for the reply.",
      inputSchema: z.object({ question: z.string() }),
      execute: async ({ question }) => {
        const { id, promise } = ctx.awakeable();
        await ctx.run("notify person", () => ({ question, awakeable: id }));
        return await promise;
      },
    }),
    add: tool({
      description: "Add two numbers, without a step.",
      inputSchema: z.object({ a: z.number(), b: z.number() }),
      execute: async ({ a, b }) => {
        note("add", `${a} ${b}`);
        return a + b;
      },
    }),
  };
}

async function ask(ctx, prompt, interface_) {
  const openai = createOpenAI({
    baseURL: process.env.OPENAI_BASE_URL,
    apiKey: "none",
    headers: { "x-restate-invocation-id": ctx.request().id },
  });
  const model = wrapLanguageModel({
    model: interface_ === "chat" ? openai.chat("gpt-4o") : openai.responses("gpt-4o"),
    middleware: durableCalls(ctx, { initialRetryInterval: 50, maxRetryAttempts: 10 }),
  });
  const { text } = await generateText({
    model, prompt, system: instructions, tools: tools(ctx), stopWhen: [stepCountIs(8)], maxRetries: 0,
  });
  return text;
}

const agent = restate.service({
  name: process.env.SERVICE_NAME,
  handlers: {
    chat: async (ctx, prompt) => await ask(ctx, prompt, "chat"),
    responses: async (ctx, prompt) => await ask(ctx, prompt, "responses"),
  },
  options: {
    inactivityTimeout: 500,
    retryPolicy: { initialInterval: 50, maxInterval: 500, exponentiationFactor: 1.5 },
  },
});

const fd = Number(process.argv[process.argv.indexOf("--fd") + 1]);
http2.createServer(restate.createEndpointHandler({ services: [agent] })).listen({ fd });
