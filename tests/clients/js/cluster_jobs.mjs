// Jobs by ioredis or node-redis alone, not in cluster mode:
// node cluster_jobs.mjs ioredis|node-redis PORT COUNT SECONDS; prints one JSON line.
// A job is a SET, a transaction of its tag and reads of several slots; eight run at a time.

import { Redis } from "ioredis";
import { createClient } from "redis";
import { within } from "./checks.mjs";

const [kind, port] = [process.argv[2], Number(process.argv[3])];
const [count, seconds] = [Number(process.argv[4]), Number(process.argv[5])];
const TAGS = 40;
const AT_ONCE = 8;
const PATIENCE_MS = 60_000;
const errors = {};

function note(error) {
  const text = `${error.name}: ${error.message}`.replace(/\d{4,}/g, "N").slice(0, 160);
  errors[text] = (errors[text] ?? 0) + 1;
}

async function ofIoredis() {
  const client = new Redis(port, "127.0.0.1", { maxRetriesPerRequest: null });
  client.on("error", note);
  return {
    ask: (...words) => client.call(...words.map(String)),
    together: async (first, second) => {
      const named = ([name, ...words]) => [name.toLowerCase(), ...words];
      const rows = await client.multi([first, second].map(named)).exec();
      for (const [error] of rows) if (error) throw error;
    },
    more: ofIoredis,
    end: () => client.disconnect(),
  };
}

async function ofNodeRedis() {
  const client = createClient({ url: `redis://127.0.0.1:${port}` });
  client.on("error", note);
  await client.connect();
  return {
    ask: (...words) => client.sendCommand(words.map(String)),
    together: (first, second) =>
      client.multi().addCommand(first.map(String)).addCommand(second.map(String)).exec(),
    more: ofNodeRedis,
    end: () => client.destroy(),
  };
}

async function untilDone(work) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      note(error);
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

const client = await { ioredis: ofIoredis, "node-redis": ofNodeRedis }[kind]();

async function job(n) {
  const tag = n % TAGS;
  await untilDone(async () => {
    await client.ask("SET", `job:${n}`, n);
    await client.together(["SADD", `done:{${tag}}`, n], ["HINCRBY", `runs:{${tag}}`, n, 1]);
    const read = await client.ask("MGET", `job:${n}`, `job:${Math.max(n - 32, 0)}`);
    if (read[0] !== String(n)) throw new Error(`read ${read}`);
    await client.ask("RPUSH", `queue:{${tag % 4}}`, n);
  });
  await new Promise((resolve) => setTimeout(resolve, (seconds * 1000 * AT_ONCE) / count));
}

const popped = new Set();
let ended = false;
async function pop(queue) {
  const own = await client.more();
  for (;;) {
    const found = await untilDone(() => own.ask("BLPOP", `queue:{${queue}}`, 1));
    if (found !== null) popped.add(Number(found[1]));
    else if (ended) return own.end();
  }
}

const poppers = [0, 1, 2, 3].map(pop);
let next = 0;
await within(
  Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < count) await job(next++);
    }),
  ),
  PATIENCE_MS + seconds * 1000,
  "the jobs",
);
ended = true;
await Promise.all(poppers);

const done = new Set();
let doubled = 0;
for (let tag = 0; tag < TAGS; tag++) {
  for (const one of await client.ask("SMEMBERS", `done:{${tag}}`)) done.add(Number(one));
  for (const times of await client.ask("HVALS", `runs:{${tag}}`)) doubled += Number(times) - 1;
}
const numbers = Array.from({ length: count }, (_, n) => n);
const kept = await client.ask("MGET", ...numbers.map((n) => `job:${n}`));
const there = (n) => done.has(n) && popped.has(n) && kept[n] === String(n);
const lost = numbers.filter((n) => !there(n)).length;
console.log(JSON.stringify({ done: done.size, lost, doubled, errors }));
process.exit(0);
