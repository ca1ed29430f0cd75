// node-redis, unmodified: node node_redis.mjs URL PROTOCOL

import { RESP_TYPES, WatchError, createClient, createClientPool, defineScript } from "redis";
import { RELEASE, failure, report, until } from "./checks.mjs";

const [url, protocol] = [process.argv[2], Number(process.argv[3])];
const options = {
  url,
  RESP: protocol,
  scripts: {
    add: defineScript({
      SCRIPT: "return redis.call('INCRBY', KEYS[1], ARGV[1])",
      NUMBER_OF_KEYS: 1,
      FIRST_KEY_INDEX: 1,
      parseCommand(parser, key, by) {
        parser.pushKey(key);
        parser.push(String(by));
      },
      transformReply: (reply) => Number(reply),
    }),
  },
};

async function connected(more = {}) {
  const client = createClient({ ...options, ...more });
  client.on("error", () => {}); // a killed connection reports here too; the checks look at replies
  return client.connect();
}

const client = await connected();
const other = await connected();
const blocked = async (count) =>
  until(async () => (await other.info("clients")).includes(`blocked_clients:${count}\r`), "blocked");

const checks = {
  async strings() {
    await client.set("k", "ü");
    return [await client.get("k"), await client.get("none"), await client.exists("k")];
  },

  async binary() {
    const bytes = Buffer.from(Array.from({ length: 256 * 4096 }, (_, n) => n % 256));
    await client.set("bytes", bytes);
    const typed = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    return bytes.equals(await typed.get("bytes"));
  },

  async hashes() {
    await client.hSet("h", { a: "1", b: "2" });
    return { ...(await client.hGetAll("h")) };
  },

  async sorted_sets() {
    await client.zAdd("z", [{ score: 1.5, value: "low" }, { score: 9, value: "high" }]);
    return client.zRangeWithScores("z", 0, -1);
  },

  async concurrent() {
    const numbers = Array.from({ length: 500 }, (_, n) => n);
    await Promise.all(numbers.map((n) => client.set(`c:${n}`, n)));
    const read = await Promise.all(numbers.map((n) => client.get(`c:${n}`)));
    return read.every((value, n) => value === String(n));
  },

  async pool() {
    const pool = createClientPool(options, { minimum: 1, maximum: 4 });
    await pool.connect();
    await Promise.all(Array.from({ length: 200 }, () => pool.incr("pooled")));
    const total = await pool.get("pooled");
    await pool.close();
    return total;
  },

  async multi() {
    return client.multi().set("m", "1").incr("m").get("m").exec();
  },

  async multi_with_an_error() {
    await client.set("text", "x");
    return failure(client.multi().incr("text").set("after", "1").exec());
  },

  async pipeline() {
    return client.multi().set("p", "1").incr("p").get("p").execAsPipeline();
  },

  async watch() {
    const addOne = async (own) => {
      for (let turn = 0; turn < 20; turn++) {
        for (;;) {
          await own.watch("watched");
          const seen = Number((await own.get("watched")) ?? 0);
          try {
            await own.multi().set("watched", seen + 1).exec();
            break;
          } catch (error) {
            if (!(error instanceof WatchError)) throw error;
          }
        }
      }
    };
    const clients = await Promise.all([connected(), connected(), connected()]);
    await Promise.all(clients.map(addOne));
    clients.forEach((own) => own.destroy());
    return client.get("watched");
  },

  async pubsub() {
    const heard = [];
    const subscriber = await connected();
    await subscriber.subscribe("news", (message) => heard.push(`news ${message}`));
    await subscriber.pSubscribe("ne*", (message) => heard.push(`ne* ${message}`));
    await subscriber.sSubscribe("shard", (message) => heard.push(`shard ${message}`));
    const receivers = [await client.publish("news", "1"), await client.sPublish("shard", "2")];
    await until(() => heard.length === 3, "messages");
    await subscriber.unsubscribe("news");
    receivers.push(await client.publish("news", "3"));
    await until(() => heard.length === 4, "the last message");
    subscriber.destroy();
    return [receivers, heard];
  },

  async scripts() {
    const first = await client.add("n", 5);
    await client.scriptFlush();
    return [first, await client.add("n", 2), await failure(client.evalSha("f".repeat(40)))];
  },

  async blocking() {
    const waiter = await connected();
    const waiting = waiter.blPop("jobs", 10);
    await blocked(1);
    await client.rPush("jobs", "one");
    const woken = await waiting;
    const nothing = await waiter.blPop("jobs", 0.05);
    waiter.destroy();
    return [woken, nothing];
  },

  async streams() {
    await client.xGroupCreate("s", "g", "$", { MKSTREAM: true });
    const reader = await connected();
    const waiting = reader.xReadGroup("g", "me", { key: "s", id: ">" }, { BLOCK: 10_000 });
    await blocked(1);
    const id = await client.xAdd("s", "*", { n: "1" });
    const reply = JSON.stringify(await waiting);
    const acked = await client.xAck("s", "g", id);
    reader.destroy();
    return [reply.includes(id), acked];
  },

  async locks() {
    const options = { condition: "NX", expiration: { type: "PX", value: 10_000 } };
    const take = (token) => client.set("lock", token, options);
    const release = (token) => client.eval(RELEASE, { keys: ["lock"], arguments: [token] });
    return [
      await take("me"), await take("you"),
      await release("you"), await release("me"), await take("you"),
    ];
  },

  async errors() {
    await client.rPush("list", "a");
    return [await failure(client.get("list")), await failure(client.sendCommand(["NOSUCH"])), await client.ping()];
  },

  async databases() {
    const three = await connected({ database: 3 });
    await three.set("db", "three");
    const seen = [await three.get("db"), await client.get("db")];
    three.destroy();
    return seen;
  },

  async scan() {
    const found = new Set();
    for await (const keys of client.scanIterator({ MATCH: "c:*", COUNT: 50 })) {
      keys.forEach((key) => found.add(key));
    }
    return found.size;
  },

  async killed() {
    const victim = await connected({ name: "victim", socket: { reconnectStrategy: 1 } });
    const before = await victim.clientId();
    await other.sendCommand(["CLIENT", "KILL", "ID", String(before)]);
    await until(async () => (await victim.clientId().catch(() => before)) !== before, "a new id");
    const name = await victim.clientGetName();
    victim.destroy();
    return name;
  },

  async client_side_cache() {
    if (protocol !== 3) return "RESP3 only";
    const cached = await connected({ clientSideCache: { ttl: 0, maxEntries: 100 } });
    await other.set("csc", "old");
    const before = [await cached.get("csc"), await cached.get("csc")];
    await other.set("csc", "new");
    await until(async () => (await cached.get("csc")) === "new", "the new value");
    cached.destroy();
    return before;
  },
};

await report(checks);
