// A small app of a user: its handlers do what a test of the helper needs. Some modules beside it cannot be tested.

import { connect } from "node:net";
import * as restate from "@restatedev/restate-sdk";

const never = () => { throw new Error("a step ran"); };

async function place(ctx: restate.ObjectContext, order: { sku: string; text: string }) {
  const price = await ctx.run("price", never) as { amount: number };
  ctx.set("sku", order.sku);
  if (price.amount < 0) throw new RangeError(`the price of ${order.text} is ${price.amount}`);
  await ctx.run("ship", never);
  return ctx.serviceClient<any>({ name: "Payments" }).charge({ amount: price.amount });
}

const hooks = [() => ({ interceptor: { handler: async (next: () => Promise<void>) => { await next(); } } })];

export const orders = restate.object({
  name: "Orders",
  handlers: {
    place,
    hang: async () => { await new Promise(() => {}); },
    block: async () => { for (;;); },
    connects: async () => {
      await new Promise((done, fail) => { connect(1, "127.0.0.1").on("connect", done).on("error", fail); });
    },
    fetches: async () => { await fetch("http://127.0.0.1:12345/").catch(() => {}); },
    waits: async (ctx: restate.Context) => {
      const { promise } = ctx.awakeable<string>();
      return `${await promise} ${await ctx.signal<string>("ding")}`;
    },
    asks: async (ctx: restate.ObjectContext) => {
      const [state, called] = [await ctx.get("state"), ctx.serviceSendClient<any>({ name: "Payments" }).charge(1)];
      ctx.set("state", state ?? "none");
      return { state, called: await called.invocationId, slept: await ctx.sleep(1000, "nap") };
    },
    swallows: async (ctx: restate.Context) => {
      for (const name of ["one", "two"]) await Promise.resolve(ctx.run(name, never)).catch(() => {});
      return "swallowed";
    },
    parallel: async (ctx: restate.Context) => restate.RestatePromise.all([ctx.run("one", never), ctx.run("two", never)]),
  },
});

export const hooked = restate.service({
  name: "Hooked",
  handlers: { fail: async () => { throw new TypeError("behind a hook"); } },
  options: { hooks },
});
export const notAService = 3;
