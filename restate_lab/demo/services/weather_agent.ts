// The weather agent in TypeScript: Vercel's AI SDK, whose calls of the model Restate records with `durableCalls`.
// The demo starts it with `node weather_agent.ts --fd N`; N is the number of a listening socket.

import { createServer } from "node:http2";
import { createOpenAI } from "@ai-sdk/openai";
import { type Context, createEndpointHandler, service } from "@restatedev/restate-sdk";
import { durableCalls } from "@restatedev/vercel-ai-middleware";
import { generateText, stepCountIs, tool, wrapLanguageModel } from "ai";
import { z } from "zod";

const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const SKIES = ["sunny", "cloudy", "light rain", "windy", "clear"];

/** Return the invented weather of a city; it is always the same. */
function currentWeather(city: string): string {
  const number = [...city].reduce((sum, letter) => sum + letter.charCodeAt(0), 0);
  return `${SKIES[number % SKIES.length]}, ${5 + (number % 25)} °C`;
}

const weatherAgent = service({
  name: "WeatherAgent",
  handlers: {
    run: async (ctx: Context, prompt: string): Promise<string> => {
      const { text } = await generateText({
        model: wrapLanguageModel({
          model: openai("gpt-4o"),
          middleware: durableCalls(ctx, { maxRetryAttempts: 3 }),
        }),
        system: "You answer questions about the weather. Call the tool for each city.",
        prompt,
        tools: {
          get_weather: tool({
            description: "Get the current weather of a city.",
            inputSchema: z.object({ city: z.string() }),
            execute: ({ city }) => ctx.run("get weather", () => currentWeather(city)),
          }),
        },
        stopWhen: stepCountIs(5),
        maxRetries: 0, // Restate retries
        headers: { "x-restate-invocation-id": ctx.request().id }, // the model's ledger names the invocation with it
      });
      return text;
    },
  },
});

const fd = Number(process.argv[process.argv.indexOf("--fd") + 1]);
createServer(createEndpointHandler({ services: [weatherAgent] })).listen({ fd });
