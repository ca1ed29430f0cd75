// One BullMQ worker process: node bullmq_worker.mjs HOST PORT QUEUE; ends on SIGTERM.
// Counts each run of each job in the hash "runs", and fails each "flaky" job the first time.

import { Redis } from "ioredis";
import { Worker } from "bullmq";

const [host, port, queue] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const counts = new Redis({ host, port });

const worker = new Worker(
  queue,
  async (job) => {
    if (job.name === "flaky" && job.attemptsMade === 0) throw new Error("first time unlucky");
    await counts.hincrby("runs", job.id, 1);
    return job.data.n * job.data.n;
  },
  { connection: { host, port }, concurrency: 10 },
);
worker.on("error", (error) => console.error(error));

process.on("SIGTERM", async () => {
  await worker.close();
  await counts.quit();
  process.exit(0);
});
