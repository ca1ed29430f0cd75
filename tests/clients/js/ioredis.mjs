// ioredis, unmodified: node ioredis.mjs URL PROTOCOL

import { Redis } from "ioredis";
import { RELEASE, failure, report, until } from "./checks.mjs";

const [url, protocol] = [process.argv[2], Number(process.argv[3])];

function connect(options = {}) {
  const client = new Redis(url, { protocol, retryStrategy: () => 5, ...options });
  client.on("error", () => {}); // a killed connection reports here too; the checks look at replies
  return client;
}

const client = connect();
const other = connect();
client.defineCommand("addBy", {
  numberOfKeys: 1,
  lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])",
});
client.defineCommand("release", { numberOfKeys: 1, lua: RELEASE });
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
    return bytes.equals(await client.getBuffer("bytes"));
  },

  async hashes() {
    await client.hset("h", { a: "1", b: "2" });
    return client.hgetall("h");
  },

  async concurrent() {
    const numbers = Array.from({ length: 500 }, (_, n) => n);
    await Promise.all(numbers.map((n) => client.set(`c:${n}`, n)));
    const read = await Promise.all(numbers.map((n) => client.get(`c:${n}`)));
    return read.every((value, n) => value === String(n));
  },

  async auto_pipelining() {
    const auto = connect({ enableAutoPipelining: true });
    const numbers = Array.from({ length: 1000 }, (_, n) => n);
    await Promise.all(numbers.map((n) => auto.set(`a:${n}`, n)));
    const read = await Promise.all(
      numbers.map((n) => (n === 500 ? failure(auto.lpush(`a:${n}`, 1)) : auto.get(`a:${n}`))),
    );
    const wrong = read.filter((value, n) => value !== String(n));
    return wrong;
  },

  async pipeline() {
    const rows = await client.pipeline().set("p", "1").incr("p").lpush("p", "x").get("p").exec();
    return rows.map(([error, value]) => error?.message.split(" ")[0] ?? value);
  },

  async multi() {
    const rows = await client.multi().set("m", "1").incr("m").get("m").exec();
    return rows.map(([, value]) => value);
  },

  async multi_without_pipeline() {
    const own = connect();
    const queued = [await own.multi({ pipeline: false }), await own.set("q", "1"), await own.incr("q")];
    return [queued, (await own.exec()).map(([, value]) => value)];
  },

  async watch() {
    const addOne = async (own) => {
      for (let turn = 0; turn < 20; turn++) {
        for (;;) {
          await own.watch("watched");
          const seen = Number((await own.get("watched")) ?? 0);
          if ((await own.multi().set("watched", seen + 1).exec()) !== null) break;
        }
      }
    };
    await Promise.all([connect(), connect(), connect()].map(addOne));
    return client.get("watched");
  },

  async pubsub() {
    const heard = [];
    const subscriber = connect();
    subscriber.on("message", (channel, message) => heard.push(`${channel} ${message}`));
    subscriber.on("pmessage", (pattern, _, message) => heard.push(`${pattern} ${message}`));
    subscriber.on("smessage", (channel, message) => heard.push(`${channel} ${message}`));
    await subscriber.subscribe("news");
    await subscriber.psubscribe("ne*");
    await subscriber.ssubscribe("shard");
    const receivers = [await client.publish("news", "1"), await client.spublish("shard", "2")];
    await until(() => heard.length === 3, "messages");
    await subscriber.unsubscribe("news");
    receivers.push(await client.publish("news", "3"));
    await until(() => heard.length === 4, "the last message");
    return [receivers, heard];
  },

  async scripts() {
    const first = await client.addBy("n", 5);
    await other.script("FLUSH");
    const second = await client.addBy("n", 2);
    await other.script("FLUSH");
    const piped = await client.pipeline().addBy("n", 1).addBy("n", 1).exec();
    return [first, second, piped.map(([, value]) => value), await failure(client.evalsha("f".repeat(40), 0))];
  },

  async blocking() {
    const waiter = connect();
    const waiting = waiter.blpop("jobs", 10);
    await blocked(1);
    await client.rpush("jobs", "one");
    return [await waiting, await waiter.blpop("jobs", 0.05)];
  },

  async streams() {
    await client.xgroup("CREATE", "s", "g", "$", "MKSTREAM");
    const reader = connect();
    const waiting = reader.xreadgroup("GROUP", "g", "me", "BLOCK", 10_000, "STREAMS", "s", ">");
    await blocked(1);
    const id = await client.xadd("s", "*", "n", "1");
    return [JSON.stringify(await waiting).includes(id), await client.xack("s", "g", id)];
  },

  async locks() {
    const take = (token) => client.set("lock", token, "PX", 10_000, "NX");
    return [
      await take("me"), await take("you"),
      await client.release("lock", "you"), await client.release("lock", "me"), await take("you"),
    ];
  },

  async errors() {
    await client.rpush("list", "a");
    return [await failure(client.get("list")), await failure(client.call("NOSUCH")), await client.ping()];
  },

  async databases() {
    const three = connect();
    await three.select(3);
    await three.set("db", "three");
    return [await three.get("db"), await client.get("db")];
  },

  async scan() {
    const found = new Set();
    for await (const keys of client.scanStream({ match: "c:*", count: 50 })) {
      keys.forEach((key) => found.add(key));
    }
    return found.size;
  },

  async killed() {
    const victim = connect({ connectionName: "victim", autoResubscribe: true });
    const before = await victim.client("ID");
    await other.client("KILL", "ID", before);
    await until(async () => (await victim.client("ID").catch(() => before)) !== before, "a new id");
    return victim.client("GETNAME");
  },

  async subscriber_killed() {
    const heard = [];
    const subscriber = connect();
    subscriber.on("message", (_, message) => heard.push(message));
    await subscriber.subscribe("kept");
    await other.client("KILL", "TYPE", "pubsub");
    await until(async () => (await client.publish("kept", "again")) >= 1, "subscribed again");
    await until(() => heard.length > 0, "a message");
    return heard[0];
  },

  async monitor() {
    const watcher = await connect().monitor();
    const seen = new Promise((resolve) => {
      watcher.on("monitor", (_, args) => args.includes("seen") && resolve(args));
    });
    await client.set("seen", "by monitor");
    const args = await seen;
    watcher.disconnect();
    return args;
  },

  async quit() {
    const leaving = connect();
    await leaving.ping();
    return leaving.quit();
  },
};

await report(checks);
