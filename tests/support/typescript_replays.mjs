// Run many records in one process, and write what became of each: node typescript_replays.mjs CASES RESULTS
// A case is {record, app, programs, repeats, options}. A result has the outcomes that differ between the repeats.

import { readFileSync, writeFileSync } from "node:fs";
import net from "node:net";

const { connect } = net.Socket.prototype;
let connected = 0;
const counting = function (...args) { connected += 1; return connect.apply(this, args); };
net.Socket.prototype.connect = counting;

const { createEndpointHandler } = await import("@restatedev/restate-sdk/fetch");
const { Record, ReplayError, TYPES, encodeEntry } = await import("./restate_lab_testing.mjs");
const [, , cases, results] = process.argv;

async function outcomeOf(record, app, options) {
  try {
    return await record.run(app, options);
  } catch (error) {
    const [, file, line] = /(typescript_\w+\.ts):(\d+)/.exec(error?.stack) ?? [];
    return {
      outcome: error instanceof ReplayError ? error.constructor.name : "fails",
      name: error?.name,
      message: String(error?.message ?? error),
      file,
      line: line && Number(line),
    };
  }
}

/** Sends a record without the stop command and without a hook: the next step runs. */
async function runFreely({ data, entries }, app) {
  const frame = (type, body) => {
    const head = Buffer.alloc(8);
    head.writeUInt16BE(type, 0);
    head.writeUInt32BE(body.length, 4);
    return Buffer.concat([head, body]);
  };
  const id = Buffer.from(data.id_bytes, "base64");
  const key = Buffer.from(data.key);
  const known = [entries.length & 0x7f | 0x80, entries.length >> 7]; // a varint of two bytes
  const seed = Buffer.alloc(10);
  for (let at = 0, rest = BigInt(data.seed); at < 10; at += 1, rest >>= 7n) seed[at] = Number(rest & 0x7fn) | (at < 9 ? 0x80 : 0);
  const name = Buffer.from(data.id);
  const head = [Buffer.from([10, id.length]), id, Buffer.from([18, name.length]), name, Buffer.from([24, ...known, 40, 1, 50, key.length]), key];
  const start = Buffer.concat([...head, Buffer.from([72]), seed]);
  const messages = entries.map((each) => frame(TYPES[each.type].number, encodeEntry(each)));
  const handler = createEndpointHandler({ services: Object.values(await app()), logger: () => {} });
  await (await handler(new Request(`http://in.process/invoke/${data.service}/${data.handler}`, {
    method: "POST",
    headers: { "content-type": `application/vnd.restate.invocation.v${data.protocol}` },
    body: Buffer.concat([frame(0, start), ...messages]),
  }))).arrayBuffer();
  return {};
}

async function outcomesOf({ record: path, app = "./typescript_app.ts", programs = "", repeats = 1, options = {}, isFree }) {
  process.env.PROGRAMS = programs;
  const outcomes = new Set();
  for (let at = 0; at < repeats; at += 1) {
    const load = () => import(app);
    let outcome;
    try {
      const record = Record.load(import.meta.url, path);
      outcome = isFree ? await runFreely(record, load) : await outcomeOf(record, load, options);
    } catch (error) {
      outcome = { outcome: error.constructor.name, message: error.message };
    }
    outcomes.add(JSON.stringify(outcome));
  }
  const [first, ...others] = [...outcomes].map((each) => JSON.parse(each));
  if (first.outcome === "fails") first.reproduces = await Record.load(import.meta.url, path).reproduces(() => import(app), options);
  return [first, ...others];
}

const rows = [];
for (const each of JSON.parse(readFileSync(cases, "utf8"))) rows.push(await outcomesOf(each));
writeFileSync(results, JSON.stringify({ rows, connected, isRestored: net.Socket.prototype.connect === counting }));
process.exit(0);
