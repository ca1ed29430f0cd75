// Runs named checks one after another and prints their outcomes as one JSON line.
// Each check has a deadline; what it throws becomes its outcome, so that one failure hides no other.
// Called by node_redis.mjs and ioredis.mjs; the values expected are in test_node_clients.py.

const DEADLINE_MS = 15_000;

/** The promise, or a rejection when it has not settled in time. */
export function within(promise, ms = DEADLINE_MS, what = "check") {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Asks again and again until the answer is true; rejects at the deadline. */
export async function until(condition, what = "condition") {
  const deadline = Date.now() + DEADLINE_MS / 2;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`${what} did not hold in time`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** The first two words of the error that a command must fail with: where servers agree. */
export async function failure(promise) {
  try {
    return `no error but ${JSON.stringify(await promise)}`;
  } catch (error) {
    return error.message.split(" ").slice(0, 2).join(" ");
  }
}

export async function report(checks) {
  const outcomes = {};
  for (const [name, check] of Object.entries(checks)) {
    try {
      outcomes[name] = await within(check(), DEADLINE_MS, name);
    } catch (error) {
      outcomes[name] = `threw ${error.name}: ${error.message}`;
    }
  }
  console.log(JSON.stringify(outcomes));
  process.exit(0);
}

export const RELEASE = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`;
