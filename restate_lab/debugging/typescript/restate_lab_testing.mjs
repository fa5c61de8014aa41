// Replay an invocation that was recorded in production, in a test: no server, no socket, and no step runs.
// restate-lab wrote this file beside the tests that use it. It needs @restatedev/restate-sdk and Node.js 22 only.

import childProcess from "node:child_process";
import dgram from "node:dgram";
import { readFileSync } from "node:fs";
import inspector from "node:inspector";
import { createRequire, syncBuiltinESMExports } from "node:module";
import net from "node:net";
import { URL } from "node:url";
import workerThreads from "node:worker_threads";
import { createEndpointHandler } from "@restatedev/restate-sdk/fetch";

/** A recorded journal was not replayed to its end. */
export class ReplayError extends Error {}
/** The record is incomplete, or its form is unknown. */
export class UnusableRecord extends ReplayError {}
/** The module has no service of Restate, or its import failed. */
export class AppNotFound extends ReplayError {}
/** The services do not have the recorded handler. */
export class HandlerNotFound extends ReplayError {}
/** The code takes another path than the record. */
export class Diverges extends ReplayError {}
/** The code needs the result of a step that has none; steps are not run. */
export class StepWithoutResult extends ReplayError {}
/** Code outside of a step, or an import, used the network, or started a program or a thread. */
export class NetworkUsed extends ReplayError {}
/** The code did not end within the time limit. */
export class ReplayTimedOut extends ReplayError {}

const FORMAT = 1;
const IMPORT_LIMIT = 60; // seconds
const MISMATCH = 570, VIOLATION = 571; // what the SDK reports if the code does not follow the journal
const OLD_SDK = "; update @restatedev/restate-sdk to 1.12 or newer";
const START = 0x0000, SUSPENSION = 0x0001, ERROR = 0x0002, COMMAND = 0x0400, NOTIFICATION = 0x8000;

// The messages of the service protocol: number, name and form of each field. The commands have consecutive numbers.
const KEY = "1 key text";
const ID_AND_NAME = "11 result_completion_id number, 12 name text";
const RESULT = "4 void void, 5 value value, 6 failure failure";
const RETURNED = "13 void void, 14 value value, 15 failure failure";
const COMPLETED = "2 value value, 3 failure failure";
const SIGNAL = `2 signal_id number, 3 signal_name text, ${RESULT}`;
const ATTACH = `1 invocation_id text, 3 idempotent_request idempotent, 4 workflow workflow, ${ID_AND_NAME}`;
const CALLED = `10 invocation_id_completion_id number`;
const SCOPE = "13 scope text, 14 limit_key text";
const COMMANDS = {
  Input: "1 headers headers, 12 name text, 14 value value",
  Output: `12 name text, ${RETURNED}`,
  GetLazyState: `${KEY}, ${ID_AND_NAME}`,
  SetState: `${KEY}, 3 value value, 12 name text`,
  ClearState: `${KEY}, 12 name text`,
  ClearAllState: "12 name text",
  GetLazyStateKeys: ID_AND_NAME,
  GetEagerState: `${KEY}, 12 name text, ${RETURNED}`,
  GetEagerStateKeys: "12 name text, 14 state_keys keys",
  GetPromise: `${KEY}, ${ID_AND_NAME}`,
  PeekPromise: `${KEY}, ${ID_AND_NAME}`,
  CompletePromise: `${KEY}, ${COMPLETED}, ${ID_AND_NAME}`,
  Sleep: `1 wake_up_time number, ${ID_AND_NAME}`,
  Call: "1 service text, 2 handler text, 3 parameter payload, 4 headers headers, 5 key text, 6 idempotency_key text, " +
    `${CALLED}, ${ID_AND_NAME}, ${SCOPE}`,
  OneWayCall: "1 service text, 2 handler text, 3 parameter payload, 4 invoke_time number, 5 headers headers, " +
    `6 key text, 7 idempotency_key text, ${CALLED}, 12 name text, ${SCOPE}`,
  "": "", // not used by the protocol
  SendSignal: `1 invocation_id text, ${SIGNAL}, 12 name text`,
  Run: ID_AND_NAME,
  AttachInvocation: ATTACH,
  GetInvocationOutput: ATTACH,
  CompleteAwakeable: `1 awakeable_id text, ${COMPLETED}, 12 name text`,
};
const NAMES = Object.keys(COMMANDS);
const COMPLETION = `1 completion_id number, ${RESULT}, 16 invocation_id text, 17 state_keys keys`;
const NESTED = {
  failure: table("1 code number, 2 message text, 3 metadata headers"),
  idempotent: table("1 service text, 2 key text, 3 handler text, 4 idempotency_key text"),
  workflow: table("1 workflow text, 2 key text"),
};

/** The number and the fields of each type of entry, as in restate_lab.protocol. */
export const TYPES = {
  "Notification: CallInvocationId": { number: 0x800e, fields: table(COMPLETION) },
  "Notification: Signal": { number: 0xfbff, fields: table(SIGNAL) },
};
for (const [at, name] of NAMES.entries()) {
  if (name) TYPES[`Command: ${name}`] = { number: COMMAND + at, fields: table(COMMANDS[name]) };
  if (COMMANDS[name].includes(ID_AND_NAME)) TYPES[`Notification: ${name}`] = { number: NOTIFICATION + at, fields: table(COMPLETION) };
}

function table(text) {
  return text.split(", ").map((each) => each.split(" ")).map(([number, name, form]) => [Number(number), name, form]);
}

// Messages as bytes

const EMPTY = Buffer.alloc(0);

function varint(value) {
  const bytes = [];
  let rest = BigInt(value);
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(rest)]);
}

const numberField = (number, value) => Buffer.concat([varint(number << 3), varint(value)]);
const bytesField = (number, content) => Buffer.concat([varint((number << 3) | 2), varint(content.length), content]);
const textField = (number, text) => (text ? bytesField(number, Buffer.from(text)) : EMPTY);
const pairOf = ([name, value]) => Buffer.concat([textField(1, name), textField(2, value)]);
const payload = (value) => (typeof value === "string" ? Buffer.from(value) : Buffer.from(value.base64, "base64"));

const FORMS = {
  text: (value) => Buffer.from(value),
  payload,
  value: (value) => (payload(value).length ? bytesField(1, payload(value)) : EMPTY),
  void: () => EMPTY,
  keys: (value) => Buffer.concat(value.map((key) => bytesField(1, Buffer.from(key)))),
  ...Object.fromEntries(Object.keys(NESTED).map((form) => [form, (value) => encode(NESTED[form], value)])),
};

function encode(fields, members) {
  return Buffer.concat(fields.filter(([, name]) => Object.hasOwn(members, name)).map(([number, name, form]) => {
    if (form === "number") return numberField(number, members[name]);
    if (form === "headers") return Buffer.concat(members[name].map((pair) => bytesField(number, pairOf(pair))));
    return bytesField(number, FORMS[form](members[name]));
  }));
}

/** Returns the body of the message of an entry. */
export function encodeEntry(entry) {
  if (!Object.hasOwn(TYPES, entry.type)) throw new UnusableRecord(`unknown type of entry ${JSON.stringify(entry.type)}`);
  if ("body" in entry) return Buffer.from(entry.body, "base64");
  const known = ["type", ...TYPES[entry.type].fields.map(([, name]) => name)];
  const unknown = Object.keys(entry).find((name) => !known.includes(name));
  if (unknown !== undefined) throw new UnusableRecord(`${entry.type} has the unknown field ${JSON.stringify(unknown)}`);
  return encode(TYPES[entry.type].fields, entry);
}

/** Returns the last value of each field of a message by its number: numbers, and bytes. */
function decode(body) {
  const values = {};
  let at = 0;
  const readVarint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = body[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (!(byte & 0x80)) return Number(value);
    }
  };
  while (at < body.length) {
    const tag = readVarint();
    const size = { 1: 8, 2: -1, 5: 4 }[tag & 7];
    if (size === undefined) values[tag >> 3] = readVarint();
    else {
      const length = size < 0 ? readVarint() : size;
      values[tag >> 3] = body.subarray(at, (at += length));
    }
  }
  return values;
}

const asText = (bytes) => bytes?.toString() ?? "";

function frame(type, body) {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(type, 0);
  head.writeUInt32BE(body.length, 4);
  return Buffer.concat([head, body]);
}

function* readFrames(data) {
  for (let at = 0; at + 8 <= data.length; ) {
    const end = at + 8 + data.readUInt32BE(at + 4);
    yield { type: data.readUInt16BE(at), body: data.subarray(at + 8, end) };
    at = end;
  }
}

function startBody(data, known) {
  const parts = [bytesField(1, Buffer.from(data.id_bytes, "base64")), textField(2, data.id)];
  parts.push(numberField(3, known), numberField(5, 1), textField(6, data.key));
  if (data.protocol >= 6 && data.seed !== "0") parts.push(numberField(9, data.seed));
  if (data.protocol >= 7) parts.push(textField(10, data.scope), textField(11, data.limit_key), textField(12, data.idempotency_key));
  return Buffer.concat(parts);
}

// The stop command comes last, and no code can issue it: a step runs only after the last recorded command.
const STOP = "restate-lab-replay-stop";
const STOP_BODY = Buffer.concat([textField(1, STOP), bytesField(2, EMPTY), textField(12, STOP)]);
const STOP_FRAME = frame(TYPES["Command: CompleteAwakeable"].number, STOP_BODY);

// Commands, as people name them

const isCall = (kind) => kind === "Call" || kind === "OneWayCall";
const quote = (text) => (text.includes("'") ? JSON.stringify(text) : `'${text}'`);

/** Returns a command as text, such as Run 'charge' or Call Payments/charge. */
function describe({ kind, name }) {
  if (!name) return kind || "a command";
  return isCall(kind) ? `${kind} ${name}` : `${kind} ${quote(name)}`;
}

/** Returns the name of a command in answers and results: "Run ship", "Payments/charge" for a call, "Sleep". */
const keyOf = ({ kind, name }) => (kind === "Call" ? name : name ? `${kind} ${name}` : kind);

/** Returns the commands among the entries: the index of the entry, the kind, the name, and the ids of completions. */
function commandsOf(entries) {
  return entries.flatMap((entry, index) => {
    if (!entry.type.startsWith("Command: ")) return [];
    const kind = entry.type.slice("Command: ".length);
    const fields = decode(encodeEntry(entry));
    const target = isCall(kind) ? `${asText(fields[1])}/${asText(fields[2])}` : COMMANDS[kind].startsWith(KEY) && asText(fields[1]);
    return [{ index, kind, name: asText(fields[12]) || target || "", id: fields[11], invocationId: isCall(kind) ? fields[10] : undefined }];
  });
}

const isNotification = (entry) => entry.type.startsWith("Notification: ") && entry.type !== "Notification: Signal";
const completionOf = (entry) => decode(encodeEntry(entry))[1];
const COMPLETED_ALONE = "CompletePromise"; // its result says only that it was done
const VOID_IF_NONE = ["GetLazyState", "GetEagerState", "PeekPromise", "Sleep", COMPLETED_ALONE];

/** Returns a result as fields of a notification; an Error is a terminal failure. */
function resultOf(kind, value) {
  if (value == null && VOID_IF_NONE.includes(kind)) return { void: true };
  if (kind === "GetLazyStateKeys") return { state_keys: value };
  if (value instanceof Error) return { failure: { code: value.code ?? 500, message: value.message } };
  if (value instanceof Uint8Array) return { value: { base64: Buffer.from(value).toString("base64") } };
  return { value: value === undefined ? "" : JSON.stringify(value) };
}

/** Returns the entries with results for the open commands that have an answer. */
function withAnswers(entries, answers, invocation) {
  const done = new Set(entries.filter(isNotification).map(completionOf));
  const added = commandsOf(entries).flatMap((command) => {
    const { kind, id, invocationId } = command;
    const known = [];
    if (invocationId !== undefined && !done.has(invocationId)) {
      known.push({ type: "Notification: CallInvocationId", completion_id: invocationId, invocation_id: invocation });
    }
    const isAnswered = kind === COMPLETED_ALONE || Object.hasOwn(answers, keyOf(command));
    if (id === undefined || done.has(id) || !isAnswered) return known;
    return [...known, { type: `Notification: ${kind}`, completion_id: id, ...resultOf(kind, answers[keyOf(command)]) }];
  });
  return [...entries, ...added];
}

/** Returns the signals that are awaited and have an answer: "awakeable", or "signal NAME". */
function signalsOf(awaited, answers) {
  return awaited.flatMap((text) => {
    const isAwakeable = text.startsWith("Awakeable ");
    const key = isAwakeable ? "awakeable" : text.replace("Named signal: ", "signal ");
    if (!Object.hasOwn(answers, key)) return [];
    const id = isAwakeable ? { signal_id: Buffer.from(text.slice("Awakeable sign_1".length), "base64url").readUInt32BE(24) } : { signal_name: key.slice(7) };
    return [{ type: "Notification: Signal", ...id, ...resultOf("Signal", answers[key]) }];
  });
}

/** Returns the entries with other results for some commands. */
function withResults(entries, results) {
  const commands = commandsOf(entries);
  for (const key of Object.keys(results)) {
    const places = commands.filter((each) => keyOf(each) === key);
    const isPlace = (entry, at) => places.some(({ kind, id, index }) =>
      kind === "GetEagerState" ? index === at : entry.type === `Notification: ${kind}` && completionOf(entry) === id);
    if (!entries.some(isPlace)) throw new TypeError(`results has ${quote(key)}, which has no result in the record`);
    entries = entries.map((entry, at) => {
      if (!isPlace(entry, at)) return entry;
      const { value, void: none, failure, ...kept } = entry;
      return { ...kept, ...resultOf(places[0].kind, results[key]) };
    });
  }
  return entries;
}

// The network, programs and the time

const { Worker } = workerThreads;
const PROGRAMS = ["spawnSync", "execSync", "execFileSync"]; // the others use the prototype
let refused; // by the current replay: code can keep a replaced function of an earlier one

/**
 * Refuses connections, servers, programs and threads in this process, notes them, and returns the function that ends
 * this. It does not see native addons, lookups of names, connections of before the replay, and threads of before it.
 */
function refuseNetwork(noted) {
  const replace = (prototype, name, value) => {
    const original = Object.getOwnPropertyDescriptor(prototype, name);
    Object.defineProperty(prototype, name, { ...original, value });
    return () => Object.defineProperty(prototype, name, original);
  };
  const refuse = (owner, name, text) => {
    const original = owner[name];
    return replace(owner, name, function (...args) {
      if (refused) throw refused(text);
      return new.target ? Reflect.construct(original, args, new.target) : original.apply(this, args);
    });
  };
  const note = (text, isServer = false) => {
    noted.push({ text, isServer });
    return new NetworkUsed(`the code ${text} outside of a step; set allowNetwork to allow it`);
  };
  function connect(...args) {
    const options = args.flat().find((each) => typeof each === "object" && each !== null) ?? { port: args[0], host: args[1] };
    return this.destroy(note(`opened a connection to ${options.path ?? `${options.host ?? "localhost"}:${options.port}`}`));
  }
  function listen() {
    note("started a server", true); // it never listens: many modules serve at their import
    return this;
  }
  function sendDatagram() { throw note("used a datagram socket"); }
  const ends = [
    replace(net.Socket.prototype, "connect", connect),
    replace(net.Server.prototype, "listen", listen),
    ...["bind", "connect", "send"].map((name) => replace(dgram.Socket.prototype, name, sendDatagram)),
    refuse(childProcess.ChildProcess.prototype, "spawn", "started a program"),
    ...PROGRAMS.map((name) => refuse(childProcess, name, "started a program")),
    refuse(workerThreads, "Worker", "started a thread"),
  ];
  refused = note;
  syncBuiltinESMExports(); // for modules that import the names
  return () => {
    refused = undefined;
    ends.forEach((end) => end());
    syncBuiltinESMExports();
  };
}

// Code that blocks cannot be ended from its own thread; this one then ends the process, with a message.
const WATCHDOG = `
const { workerData: { clock, pid } } = require("node:worker_threads");
for (;;) {
  const seen = Atomics.load(clock, 0); // odd while a limit is set
  if (Atomics.wait(clock, 0, seen, seen % 2 ? clock[1] : Infinity) !== "timed-out") continue;
  require("node:fs").writeSync(2, "restate-lab: ReplayTimedOut: the code blocks this process, which is now ended\\n");
  process.kill(pid, "SIGKILL");
}`;
let clock;

/** Awaits work for some seconds; a debugger switches the limit off. */
async function withLimit(seconds, what, work) {
  if (inspector.url() !== undefined || !Number.isFinite(seconds)) return work();
  if (clock === undefined) {
    clock = new Int32Array(new SharedArrayBuffer(8));
    new Worker(WATCHDOG, { eval: true, execArgv: [], workerData: { clock, pid: process.pid } }).unref();
  }
  const tick = () => { Atomics.add(clock, 0, 1); Atomics.notify(clock, 0); };
  clock[1] = (seconds + 1) * 1000;
  tick();
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new ReplayTimedOut(`${what} did not end within ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([work(), limit]);
  } finally {
    clearTimeout(timer);
    tick();
  }
}

// The code of the user

/** Imports the module of an app and returns its services. */
async function servicesOf(app, names, noted) {
  const module = await withLimit(IMPORT_LIMIT, "the import of the app", app).catch((error) => {
    if (error instanceof ReplayError) throw error;
    throw new AppNotFound(`the app cannot be imported: ${error?.stack ?? error}`, { cause: error });
  });
  const has = Object.keys(module).join(", ") || "nothing";
  const missing = names.find((name) => !Object.hasOwn(module, name));
  if (missing !== undefined) throw new AppNotFound(`the module has no export ${JSON.stringify(missing)}; it has ${has}`);
  const isService = (each) => typeof each?.name === "string" && typeof handlersOf(each) === "object";
  const services = (names.length ? names.map((name) => module[name]) : Object.values(module)).flat().filter(isService);
  if (services.length) return services;
  const why = noted.some((each) => each.isServer) ? "it only serves them" : `it exports ${has}`;
  throw new AppNotFound(`the module exports no service of Restate (${why}): export the services`);
}

/** The SDK has a build for import and one for require; a service belongs to the build that made it. */
function endpointOf(options) {
  const isOther = (error) => /is not a restate handler/.test(error?.message);
  try {
    return createEndpointHandler(options);
  } catch (error) {
    if (!isOther(error)) throw error;
  }
  try {
    return createRequire(import.meta.url)("@restatedev/restate-sdk/fetch").createEndpointHandler(options);
  } catch (error) {
    if (!isOther(error)) throw error;
    const why = "the app uses another installation of @restatedev/restate-sdk than this test, or exports more than services";
    throw new AppNotFound(`${error.message} Either ${why}: name the services in exports`, { cause: error });
  }
}

const handlersOf = ({ service, object, workflow }) => service ?? object ?? workflow;
const PLAIN = { encode: (bytes) => bytes, decode: async (bytes) => bytes };

/** Services as an endpoint without a socket; send() gives them the messages of a journal. */
class Endpoint {
  constructor(data, services, codec) {
    this.data = data;
    this.abort = new AbortController();
    this.handlers = services.flatMap((each) => Object.keys(handlersOf(each)).map((name) => `${each.name}/${name}`));
    // This hook comes before those of a service. It sees the error of the handler, and runs no step.
    const hook = () => {
      const attempt = this.attempt;
      attempt.isSeen = true;
      const handler = (next) => next().catch((error) => { attempt.thrown = { error }; throw error; });
      const run = async (name) => { throw new StepWithoutResult(`the step ${quote(name)} was not run`); };
      return { interceptor: { handler, run } };
    };
    const hooked = services.map((each) => ({ ...each, options: { ...each.options, hooks: [hook, ...(each.options?.hooks ?? [])] } }));
    // With a codec, the SDK does not compare payloads. The last bytes that it encodes are the result of the handler.
    const watched = async () => {
      const { encode, decode } = await codec();
      return { encode: (bytes) => { this.attempt.encoded = bytes; return encode(bytes); }, decode };
    };
    this.fetch = endpointOf({ services: hooked, logger: () => {}, ...(codec && { journalValueCodecProvider: watched }) });
  }

  async send(entries, { stop = true } = {}) {
    const { service, handler, protocol } = this.data;
    if (!this.handlers.includes(`${service}/${handler}`)) {
      throw new HandlerNotFound(`the app has no handler ${service}/${handler}; it has ${this.handlers.join(", ")}`);
    }
    const frames = [...entries.map((each) => frame(TYPES[each.type].number, encodeEntry(each))), ...(stop ? [STOP_FRAME] : [])];
    const type = `application/vnd.restate.invocation.v${protocol}`;
    this.attempt = {};
    const response = await this.fetch(new Request(`http://in.process/invoke/${service}/${handler}`, {
      method: "POST",
      headers: { "content-type": type, accept: type },
      body: Buffer.concat([frame(START, startBody(this.data, frames.length)), ...frames]),
      signal: this.abort.signal,
    }));
    const body = Buffer.from(await response.arrayBuffer());
    if (response.status !== 200) throw new UnusableRecord(`the SDK responds with ${response.status}: ${body}`);
    return new Answer(this.attempt, [...readFrames(body)]);
  }
}

/** What the services did with the messages of a journal. */
class Answer {
  constructor(attempt, messages) {
    const error = decode(messages.find((each) => each.type === ERROR)?.body ?? EMPTY);
    this.isSeen = attempt.isSeen === true;
    this.thrown = attempt.thrown;
    this.encoded = attempt.encoded;
    this.code = error[1];
    this.message = asText(error[2]);
    this.stack = asText(error[3]);
    this.index = error[4]; // of the command; the Input is 0
    this.kind = NAMES[error[6] - COMMAND] ?? "";
    this.name = asText(error[5]);
    this.commands = messages.filter(({ type }) => type > COMMAND + 1 && type < COMMAND + NAMES.length)
      .map(({ type, body }) => ({ type: `Command: ${NAMES[type - COMMAND]}`, body: body.toString("base64") }));
    const isSuspended = this.code === undefined && messages.some(({ type }) => type === SUSPENSION);
    this.isAwait = isSuspended || (this.code === MISMATCH && this.message.includes("could not be replayed"));
  }

  /** The error of the code: what it threw, if the SDK has hooks. */
  get error() { return this.thrown ? this.thrown.error : Object.assign(new Error(this.message), { stack: this.stack || this.message }); }

  /** What an await waits for, such as "run [seal]" and "completion id 3"; a cancellation is always among it. */
  get awaited() { return [...this.message.matchAll(/^ *- ([^\n]+)$/gm)].map(([, text]) => text).filter((text) => text !== "Cancellation"); }

  /** The names of the fields in which a command differs from the recorded one. */
  get differences() { return [...new Set([...this.message.matchAll(/^\s*([\w .]{1,40}): [^\n]* != /gm)].map(([, name]) => name.trim()))]; }
}

/** What the code did: it "returns" ``returned``, "continues" with ``next``, or "waits" for ``waitsFor``. */
export class Outcome {
  constructor(outcome, passed, values = {}) {
    this.outcome = outcome;
    this.passed = passed; // the index of the last entry that the code passed
    Object.assign(this, values);
  }

  /** Returns whether the code took the recorded path past the entry with this index. */
  continuesPast(index) { return this.outcome === "waits" ? this.passed > index : this.passed >= index; }
}

let previous = Promise.resolve();

/** An invocation that was recorded in production. */
export class Record {
  constructor(data) {
    if (data.format !== FORMAT) throw new UnusableRecord(`the record has format ${data.format}; this file reads format ${FORMAT}. Update restate-lab`);
    this.data = data;
    this.entries = data.entries.filter(({ type }) => type !== "Command: Output"); // fixed code ends differently, or goes on
  }

  /** What the handler returned in production; undefined if it did not. */
  get returned() {
    const last = this.data.entries.at(-1);
    return last?.type === "Command: Output" && "value" in last ? valueOf(payload(last.value)) : undefined;
  }

  /** Reads a record; with import.meta.url first, the path is relative to the folder of the test. */
  static load(base, path) { return new Record(JSON.parse(readFileSync(new URL(path, base), "utf8"))); }

  /**
   * Runs the handler on the record, and returns what it did; throws what it throws. No step runs.
   *
   * @param {() => Promise<object>} app imports the module of the services: () => import("../src/app.ts")
   * @param {object} [options]
   * @param {string[]} [options.exports] names of exported services; default: all
   * @param {object} [options.answers] results for what has none in the record: {"Run ship": "ok", "Payments/charge": 3}
   * @param {object} [options.results] other results for what has one
   * @param {boolean} [options.checkPayloads] whether arguments must be the recorded ones; default: unless it is masked
   * @param {number} [options.timeout] seconds
   * @param {boolean} [options.allowNetwork] whether code outside of steps may use the network, and start programs
   * @param {() => Promise<object>} [options.codec] the journalValueCodecProvider of the app
   */
  async run(app, options = {}) {
    const turn = previous.then(() => this.#run(app, options)); // one at a time: the network is that of the process
    previous = turn.catch(() => {});
    return turn;
  }

  /** Returns whether the handler fails with the error that it had in production: its type, message and code. */
  async reproduces(app, options = {}) {
    try {
      await this.run(app, options);
    } catch (error) {
      return !(error instanceof ReplayError) && this.#isProduction(error);
    }
    return false;
  }

  #isProduction(error) {
    const production = this.data.error;
    if (!production) return false;
    const types = [error?.name, /^[\w.$]+/.exec(error?.stack ?? "")?.[0]];
    for (let each = error; each; each = Object.getPrototypeOf(each)) types.push(each.constructor?.name);
    const isText = this.data.masked.length > 0 || production.message === String(error?.message ?? error);
    const isCode = production.code == null || production.code === (types.includes("TerminalError") ? error.code : 500);
    return isText && isCode && (!production.type || types.includes(production.type));
  }

  async #run(app, { exports = [], answers = {}, results = {}, checkPayloads = !this.data.masked.length, timeout = 10, allowNetwork = false, codec }) {
    const noted = [];
    const allow = allowNetwork ? () => {} : refuseNetwork(noted);
    let who = "the import of the app";
    let endpoint;
    try {
      const services = await servicesOf(app, exports, noted);
      if (!noted.some((each) => !each.isServer)) noted.length = 0; // a module that serves was kept from it
      who = "the code";
      endpoint = new Endpoint(this.data, services, checkPayloads ? codec : (codec ?? (async () => PLAIN)));
      const outcome = await withLimit(timeout, "the handler", () => this.#replay(endpoint, withResults(this.entries, results), answers));
      if (outcome.outcome === "returns") {
        const watched = new Endpoint(this.data, services, codec ?? (async () => PLAIN));
        const { encoded } = await withLimit(timeout, "the handler", () => watched.send(outcome.entries));
        outcome.returned = valueOf(encoded);
        delete outcome.entries;
      }
      checkNetwork(noted, who);
      return outcome;
    } catch (error) {
      checkNetwork(noted, who, error);
      throw error;
    } finally {
      endpoint?.abort.abort();
      allow();
    }
  }

  /** Replays the entries; with answers, again with what the code does after them, until nothing more is known. */
  async #replay(endpoint, entries, answers) {
    for (;;) {
      entries = withAnswers(entries, answers, this.data.id);
      const outcome = await this.#attempt(endpoint, entries);
      const { awaited = [], isNamed, isSeen, ...values } = outcome;
      const signals = signalsOf(awaited, answers);
      const hasAnswers = Object.keys(answers).length > 0;
      const isOver = outcome.outcome !== "continues" || (!hasAnswers && (isNamed || !isSeen));
      if (signals.length) entries = [...entries, ...signals];
      else if (isOver) return new Outcome(values.outcome, values.passed, values);
      else if (!isSeen) throw new UnusableRecord(`answers need an SDK with hooks${OLD_SDK}`);
      else {
        // Without the stop command the code goes on to its next await; the hook runs no step there either.
        const { commands } = await endpoint.send(entries, { stop: false });
        const isOpen = (each) => each.id !== undefined && each.kind !== COMPLETED_ALONE && !Object.hasOwn(answers, keyOf(each));
        const named = commandsOf(commands);
        const open = hasAnswers ? named.findIndex(isOpen) : 0;
        if (named.length === 0) return new Outcome("continues", values.passed, values);
        if (open >= 0) return new Outcome("continues", entries.length - 1, { next: describe(named[open]) });
        entries = [...entries, ...commands];
      }
    }
  }

  /** Replays the entries once, with the stop command, and returns how the code follows them. */
  async #attempt(endpoint, entries) {
    const answer = await endpoint.send(entries);
    const commands = commandsOf(entries);
    const passed = entries.length - 1;
    if (answer.isAwait) return this.#attemptToWait(endpoint, entries, commands, answer);
    if (answer.code !== undefined && ![MISMATCH, VIOLATION].includes(answer.code)) throw answer.error;
    if (answer.code !== MISMATCH || answer.index === undefined) throw new UnusableRecord(`the SDK reports ${answer.code ?? "no error"}: ${answer.message}`);
    if (answer.index < commands.length) {
      const recorded = commands[answer.index];
      const isOther = answer.kind !== recorded.kind || (answer.name && answer.name !== recorded.name);
      const fields = isOther || !answer.differences.length ? "" : ` with another ${answer.differences.join(", ")}`;
      throw new Diverges(`entry ${recorded.index}: recorded ${describe(recorded)}, now ${describe(answer)}${fields}`);
    }
    if (answer.kind !== "Output") {
      return { outcome: "continues", passed, next: describe(answer), isNamed: !isCall(answer.kind), isSeen: answer.isSeen };
    }
    if (answer.thrown) throw answer.error; // a terminal error is how the invocation ends
    if (!answer.isSeen) throw new UnusableRecord(`how the handler ends is known only from an SDK with hooks${OLD_SDK}`);
    return { outcome: "returns", passed, entries };
  }

  /** Decides whether the code waits where the record ends, or earlier: without the last command it goes on there. */
  async #attemptToWait(endpoint, entries, commands, answer) {
    const waitsFor = answer.awaited.map((text) => {
      const [, step, id] = /^(?:run \[(.*)\]|completion id (\d+))$/s.exec(text) ?? [];
      if (step !== undefined) return describe({ kind: "Run", name: step });
      const command = commands.find((each) => id && each.id === Number(id));
      return command ? describe(command) : text;
    });
    const last = commands.at(-1).index;
    if (commands.length > 1) {
      const second = await endpoint.send(entries.filter((_, index) => index !== last));
      if (second.isAwait) throw new Diverges(`the code waits for ${waitsFor.join(", ") || "a result"} before it has issued all recorded commands`);
      if (second.code !== MISMATCH || second.index !== commands.length - 1) throw new UnusableRecord("two attempts with the same journal contradict each other");
    }
    if (!answer.awaited.some((text) => text.startsWith("run ["))) {
      return { outcome: "waits", passed: last, waitsFor, awaited: answer.awaited };
    }
    const done = new Set(entries.filter(isNotification).map(completionOf));
    const steps = commands.filter(({ kind, id }) => kind === "Run" && !done.has(id));
    const { error } = this.data;
    const why = error?.in_step ? `, which failed in production with ${quote(error.message)}` : "";
    throw new StepWithoutResult(`stops at step ${steps.map(({ name }) => quote(name)).join(", ")}${why}: no recorded result. ` +
      `It was not run. Give answers: { ${JSON.stringify(keyOf(steps[0] ?? { kind: "Run" }))}: … }`);
  }
}

function checkNetwork(noted, who, cause) {
  const used = noted.find((each) => !each.isServer || who === "the code");
  if (used) throw new NetworkUsed(`${who} ${used.text} outside of a step; set allowNetwork to allow it`, { cause });
}

/** Returns the result of a handler: its JSON, else a text, else bytes. */
function valueOf(bytes = EMPTY) {
  if (!bytes.length) return undefined;
  const text = Buffer.from(bytes).toString();
  try {
    return JSON.parse(text);
  } catch {
    return Buffer.from(text).equals(Buffer.from(bytes)) ? text : Buffer.from(bytes);
  }
}
