// Services that play random programs, written as a user writes them: types that Node.js strips, and lines that fail.
// A program is a list of operations; PROGRAMS is the file with the programs, and LOGS the folder of the logs.

import { appendFileSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import * as restate from "@restatedev/restate-sdk";

type Operation = [string, ...any[]];

class PriceError extends Error {}

const HOUR = { hours: 1 };
const options = { inactivityTimeout: { milliseconds: 150 }, retryPolicy: { maxAttempts: 1, onMaxAttempts: "pause" as const } };
const { binary } = restate.serde;

function note(file: string, text: string): string {
  appendFileSync(`${process.env.LOGS}/${file}`, `${text}\n`);
  return text;
}

const step = (ctx: restate.Context, name: string, value?: unknown) =>
  ctx.run(name, () => (note("steps.log", name), value ?? name));

function third(items: number[]): number {
  if (items.length < 3) throw new RangeError(`there are ${items.length} items`);
  return items[2];
}

export const helper = restate.service({
  name: "Helper",
  handlers: {
    answer: async (ctx: restate.Context, value: any) => value,
    refuse: async (ctx: restate.Context, text: string) => { throw new restate.TerminalError(text, { errorCode: 418 }); },
    resolve: async (ctx: restate.Context, [id, value]: [string, any]) => { ctx.resolveAwakeable(id, value); },
    reject: async (ctx: restate.Context, [id, text]: [string, string]) => { ctx.rejectAwakeable(id, text); },
    never: async (ctx: restate.Context) => { await ctx.sleep(HOUR); },
  },
  options: { inactivityTimeout: { milliseconds: 150 } },
});

async function terminalAsText(promise: PromiseLike<any>): Promise<any> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof restate.TerminalError) return error.message;
    throw error;
  }
}

const OPERATIONS: Record<string, (ctx: any, ...rest: any[]) => any> = {
  run: step,
  run_terminal: (ctx, name) => terminalAsText(ctx.run(name, () => { throw new restate.TerminalError(`no ${name}`); })),
  run_binary: (ctx, name) => ctx.run(name, () => new Uint8Array([0, 255, 128]), { serde: binary }),
  two_runs: (ctx, one, other) => restate.RestatePromise.all([step(ctx, one), step(ctx, other)]),
  sleep: (ctx, name) => ctx.sleep({ milliseconds: 1 }, name),
  call: (ctx, value) => ctx.serviceClient(helper).answer(value),
  call_key: (ctx, value, key) => ctx.serviceClient(helper).answer(value, restate.rpc.opts({ idempotencyKey: key, headers: { x: "ü" } })),
  call_object: (ctx, key, value) => ctx.objectClient(counter, key).add(value),
  refused: (ctx, text) => terminalAsText(ctx.serviceClient(helper).refuse(text)),
  send: (ctx, value) => { ctx.serviceSendClient(helper).answer(value); },
  send_later: (ctx, value) => { ctx.serviceSendClient(helper).answer(value, restate.rpc.sendOpts({ delay: HOUR })); },
  race: (ctx, value) => restate.RestatePromise.race([ctx.serviceClient(helper).never(value), ctx.sleep({ milliseconds: 1 })]),
  attach: async (ctx, key) => ctx.attach(await ctx.serviceSendClient(helper).answer(key, restate.rpc.sendOpts({ idempotencyKey: key })).invocationId),
  cancel: async (ctx, value) => { ctx.cancel(await ctx.serviceSendClient(helper).never(value).invocationId); },
  signal: (ctx, name) => { ctx.invocation(ctx.request().id).signal(name).resolve({ a: "ü" }); return ctx.signal(name); },
  awakeable: async (ctx, value) => {
    const { id, promise } = ctx.awakeable();
    ctx.serviceSendClient(helper).resolve([id, value]);
    return promise;
  },
  rejected: async (ctx, text) => {
    const { id, promise } = ctx.awakeable();
    ctx.serviceSendClient(helper).reject([id, text]);
    return terminalAsText(promise);
  },
  resolve: (ctx, id) => { ctx.resolveAwakeable(id, { a: "ü" }); },
  reject: (ctx, id) => { ctx.rejectAwakeable(id, "ü"); },
  uuid: (ctx, name) => ctx.serviceSendClient(helper).answer(ctx.rand.uuidv4()) && undefined,
  time: (ctx) => ctx.date.now(),
  get: (ctx, key) => ctx.get(key),
  keys: (ctx) => ctx.stateKeys(),
  set: (ctx, key, value) => { ctx.set(key, value); },
  set_binary: (ctx, key) => { ctx.set(key, new Uint8Array([254, 1]), binary); },
  clear: (ctx, key) => { ctx.clear(key); },
  clear_all: (ctx) => { ctx.clearAll(); },
  promise: async (ctx, name, value) => { await ctx.promise(name).resolve(value); return ctx.promise(name); },
  promise_rejected: async (ctx, name, text) => { await ctx.promise(name).reject(text); return terminalAsText(ctx.promise(name)); },
  peek: (ctx, name) => ctx.promise(name).peek(),

  missing: (_, order) => order.price.amount,
  range: (_, items) => third(items),
  custom: (_, text) => { throw new PriceError(text); },
  json: (_, text) => JSON.parse(text),
  later: async (_, text) => { await new Promise((done) => setTimeout(done, 1)); throw new Error(text); },
  refusal: (ctx, text) => ctx.serviceClient(helper).refuse(text),
  terminal: (_, text) => { throw new restate.TerminalError(text, { errorCode: 422 }); },
  cancelled: async (ctx) => { ctx.cancel(ctx.request().id); await ctx.sleep(HOUR, "cancelled"); },
  unserializable: (ctx) => ctx.run("big", () => 1n),
  bad_argument: (ctx) => { ctx.serviceSendClient(helper).answer(1n); },
  failing_step: (ctx, name) => ctx.run(name, () => { note("steps.log", name); throw new PriceError(`step ${name}`); }),
  wait: (ctx) => ctx.awakeable().promise,
  clock: (ctx) => ctx.run(`at ${process.hrtime.bigint()}`, () => 1).then(() => { throw new Error("after the clock"); }),
  socket: (_, port) => new Promise((done, fail) => { connect(port, "127.0.0.1").on("connect", done).on("error", fail); }),
};

async function play(ctx: any, name: string): Promise<any> {
  note("outside.log", name);
  const program: Operation[] = JSON.parse(readFileSync(process.env.PROGRAMS as string, "utf8"))[name];
  const values: unknown[] = [];
  for (const [operation, ...rest] of program) {
    if (operation === "return") return rest[0];
    values.push(await OPERATIONS[operation](ctx, ...rest));
  }
  return values.length;
}

export const plain = restate.service({ name: "Plain", handlers: { run: play }, options });
export const objects = restate.object({ name: "Objects", handlers: { run: play }, options });
export const lazy = restate.object({ name: "Lazy", handlers: { run: play }, options: { ...options, enableLazyState: true } });
export const flows = restate.workflow({ name: "Flows", handlers: { run: play }, options });
export const counter = restate.object({
  name: "Counter",
  handlers: { add: async (ctx: restate.ObjectContext, value: number) => {
    ctx.set("n", ((await ctx.get<number>("n")) ?? 0) + value);
    return value;
  } },
});
