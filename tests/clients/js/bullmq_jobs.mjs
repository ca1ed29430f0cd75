// Adds jobs to a BullMQ queue and waits until the workers have ended them all:
// node bullmq_jobs.mjs HOST PORT QUEUE COUNT; prints one JSON line with what became of them.

import { Queue, QueueEvents } from "bullmq";
import { Redis } from "ioredis";
import { within } from "./checks.mjs";

const [host, port, name] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const count = Number(process.argv[5]);
const connection = { host, port };

const queue = new Queue(name, { connection });
const events = new QueueEvents(name, { connection });
const completed = new Map();
const done = new Promise((resolve) => {
  events.on("completed", ({ jobId, returnvalue }) => {
    completed.set(jobId, [...(completed.get(jobId) ?? []), returnvalue]);
    if (completed.size === count) resolve();
  });
});
await events.waitUntilReady();

const kinds = ["plain", "plain", "delayed", "flaky", "urgent"];
const options = {
  plain: {},
  delayed: { delay: 50 },
  flaky: { attempts: 2 },
  urgent: { priority: 1 },
};
await queue.addBulk(
  Array.from({ length: count }, (_, n) => {
    const kind = kinds[n % kinds.length];
    return { name: kind, data: { n }, opts: { jobId: `job-${n}`, ...options[kind] } };
  }),
);
await within(done, 20_000, "the jobs").catch((error) => console.error(error.message));

const counts = new Redis(connection);
const runs = await counts.hgetall("runs");
const right = ([id, values]) =>
  values.length === 1 && values[0] === Number(id.slice(4)) ** 2 && runs[id] === "1";
console.log(
  JSON.stringify({
    once_and_right: [...completed].filter(right).length,
    counts: await queue.getJobCounts("completed", "failed", "waiting", "active", "delayed"),
  }),
);
await Promise.all([events.close(), queue.close(), counts.quit()]);
