// A Nest application whose cache is Nearhit: @nestjs/cache-manager by its usual store, and ioredis
// for Nearhit's own commands. CACHE_URL names Nearhit, which runs beside the application.
import "reflect-metadata";
import { createKeyv } from "@keyv/redis";
import { CACHE_MANAGER, CacheModule } from "@nestjs/cache-manager";
import { Controller, Delete, Get, Inject, Module, Param } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { Redis } from "ioredis";

const url = process.env.CACHE_URL ?? "redis://127.0.0.1:6380";
const NEARHIT = Symbol("NEARHIT");

interface Cache {
  wrap<T>(key: string, compute: () => Promise<T>, ttl: number): Promise<T>;
}

let rendered = 0;

// Computed once in the fleet: one caller gets a token and computes, the others wait.
async function once(nearhit: Redis, key: string, compute: () => Promise<string>): Promise<string> {
  const [value, token] = (await nearhit.call("LEASE", "GET", key, "WAIT", 5000)) as (string | null)[];
  if (value !== null) return value;
  if (token === null) return compute(); // another has been computing for 5 s
  try {
    const made = await compute();
    await nearhit.call("LEASE", "SET", key, token, made, "EX", 60);
    return made;
  } catch (error) {
    await nearhit.call("LEASE", "CANCEL", key, token);
    throw error;
  }
}

@Controller()
class Pages {
  constructor(
    @Inject(CACHE_MANAGER) private readonly cache: Cache,
    @Inject(NEARHIT) private readonly nearhit: Redis,
  ) {}

  // The application's usual way: `wrap` computes once in this process.
  @Get("pages/:id")
  page(@Param("id") id: string) {
    return this.cache.wrap(`page:${id}`, async () => ({ id, rendered: ++rendered }), 60_000);
  }

  @Get("reports/:id")
  report(@Param("id") id: string) {
    return once(this.nearhit, `report:${id}`, async () => `report ${id}, forty pages`);
  }

  // What is being rendered meanwhile by `once` can store nothing afterwards.
  @Delete("pages/:id")
  async forget(@Param("id") id: string) {
    return { removed: await this.nearhit.call("INVALIDATE", "KEYS", `page:${id}`) };
  }
}

@Module({
  imports: [CacheModule.register({ stores: [createKeyv(url)] })],
  controllers: [Pages],
  providers: [{ provide: NEARHIT, useFactory: () => new Redis(url) }],
})
class App {}

const app = await NestFactory.create(App, { logger: ["error", "warn"] });
app.enableShutdownHooks();
await app.listen(Number(process.env.PORT ?? 8000), "127.0.0.1");
