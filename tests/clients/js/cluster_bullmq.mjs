// Jobs by BullMQ with a hash tag as its prefix, all of whose keys go to one slot:
// node cluster_bullmq.mjs worker|jobs PORT COUNT; the jobs print one JSON line.

import { Queue, Worker } from "bullmq";

const [what, port, count] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const options = {
  prefix: "{bull}",
  connection: { host: "127.0.0.1", port, maxRetriesPerRequest: null },
};
const PATIENCE_MS = 60_000;
const errors = {};

function note(error) {
  const text = `${error.name}: ${error.message}`.replace(/\d{4,}/g, "N").slice(0, 160);
  errors[text] = (errors[text] ?? 0) + 1;
}

async function work() {
  const worker = new Worker("jobs", async (job) => job.data.n ** 2, {
    ...options,
    concurrency: 10,
    lockDuration: 3000,
    stalledInterval: 2000,
    maxStalledCount: 10,
  });
  worker.on("error", (error) => console.error(error));
  process.on("SIGTERM", async () => {
    await worker.close(true);
    process.exit(0);
  });
}

async function untilDone(ask) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      note(error);
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

async function add() {
  const queue = new Queue("jobs", options);
  queue.on("error", note);
  const numbers = Array.from({ length: count }, (_, n) => n);
  for (const n of numbers) {
    await untilDone(() =>
      queue.add("square", { n }, { jobId: `job-${n}`, attempts: 5, backoff: 50 }),
    );
  }
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline) {
    if ((await untilDone(() => queue.getCompletedCount())) >= count) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  let [done, lost, doubled] = [0, 0, 0];
  for (const n of numbers) {
    const job = await untilDone(() => queue.getJob(`job-${n}`));
    if (job?.returnvalue === n ** 2) done++;
    else lost++;
    doubled += Math.max((job?.attemptsStarted ?? 1) - 1, 0);
  }
  console.log(JSON.stringify({ done, lost, doubled, errors }));
  process.exit(0);
}

await { worker: work, jobs: add }[what]();
