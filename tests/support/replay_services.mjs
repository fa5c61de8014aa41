// Services that play the programs of ``replay_services.py``, with the TypeScript SDK: ``node replay_services.mjs PORT``.

import { appendFileSync, readFileSync } from "node:fs";
import * as restate from "@restatedev/restate-sdk";

const FOLDER = process.env.RESTATE_LAB_DEMO_FOLDER;
const HOUR = { hours: 1 };
const RARELY = { inactivityTimeout: { milliseconds: 150 }, retryPolicy: { initialInterval: HOUR, maxInterval: HOUR } };

const note = (file, text) => { appendFileSync(`${FOLDER}/${file}`, `${text}\n`); return text; };
const fail = (step) => { throw new Error(`the step ${step} failed`); };
const failFinally = (step) => { throw new restate.TerminalError(`the step ${step} failed`, { errorCode: 422 }); };
const step = (ctx, name) => ctx.run(name, () => note("steps.log", name));

const helper = restate.service({
  name: "Helper",
  handlers: {
    answer: async (ctx, text) => text,
    never: async (ctx) => { await ctx.sleep(HOUR); },
    refuse: async (ctx, text) => { throw new restate.TerminalError(text, { errorCode: 418 }); },
  },
  options: { inactivityTimeout: { milliseconds: 150 } },
});

async function terminalAsValue(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof restate.TerminalError) return null;
    throw error;
  }
}

const OPERATIONS = {
  run: step,
  run_terminal: (ctx, name) => terminalAsValue(ctx.run(name, () => failFinally(name))),
  run_failing: (ctx, name) => ctx.run(name, () => fail(name)),
  two_runs: (ctx, one, other) => restate.RestatePromise.all([step(ctx, one), step(ctx, other)]),
  sleep: (ctx, name) => ctx.sleep({ milliseconds: 1 }, name),
  nap: (ctx, name) => ctx.sleep(HOUR, name),
  call: (ctx, handler, value) => terminalAsValue(ctx.serviceClient(helper)[handler](value)),
  race: (ctx, value) => restate.RestatePromise.race([ctx.serviceClient(helper).never(value), ctx.sleep({ milliseconds: 1 })]),
  send: (ctx, value) => { ctx.serviceSendClient(helper).answer(value); },
  set: (ctx, key, value) => { ctx.set(key, value); },
  get: (ctx, key) => ctx.get(key),
  clear: (ctx, key) => { ctx.clear(key); },
  clear_all: (ctx) => { ctx.clearAll(); },
  keys: (ctx) => ctx.stateKeys(),
  uuid: (ctx, key) => { ctx.set(key, ctx.rand.uuidv4()); },
  awakeable: (ctx) => { ctx.serviceSendClient(helper).answer(ctx.awakeable().id); },
  resolve: (ctx, awakeable, value) => { ctx.resolveAwakeable(awakeable, value); },
  reject: (ctx, awakeable, text) => { ctx.rejectAwakeable(awakeable, text); },
  raise: (ctx, text) => { throw new Error(text); },
};

async function run(ctx, name) {
  note("outside.log", name);
  const values = [];
  for (const [operation, ...rest] of JSON.parse(readFileSync(`${FOLDER}/programs.json`, "utf8"))[name]) {
    if (operation === "return") return rest[0];
    values.push(await OPERATIONS[operation](ctx, ...rest));
  }
  return String(values.length);
}

const programs = restate.object({ name: "Programs", handlers: { run }, options: RARELY });

restate.serve({ services: [helper, programs], port: Number(process.argv[2]) });
