"""Reports that take a while, computed once however many ask for them.

CACHE_URL names Nearhit, which runs beside this service."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from redis.asyncio import Redis

cache = Redis.from_url(os.environ.get("CACHE_URL", "redis://127.0.0.1:6380"), decode_responses=True)


@asynccontextmanager
async def closing(app: FastAPI) -> AsyncIterator[None]:
    yield
    await cache.aclose()


app = FastAPI(lifespan=closing)


async def once(key: str, compute: Callable[[], Awaitable[str]], seconds: int) -> str:
    """The value at the key; where there is none one caller in the fleet computes it, and the others
    wait for it. What an INVALIDATE overtakes is returned and not stored."""
    value, token = await cache.execute_command("LEASE", "GET", key, "WAIT", 5000)
    if value is not None:
        return value
    if token is None:  # another has been computing for 5 s: answer, and store nothing
        return await compute()
    try:
        value = await compute()
    except BaseException:
        await cache.execute_command("LEASE", "CANCEL", key, token)
        raise
    await cache.execute_command("LEASE", "SET", key, token, value, "EX", seconds, "TAG", "reports")
    return value


computed = 0


async def report(number: int) -> str:
    global computed
    computed += 1
    await asyncio.sleep(0.2)
    return json.dumps({"number": number, "pages": 40, "computed": computed})


@app.get("/reports/{number}")
async def read(number: int) -> dict[str, int]:
    return json.loads(await once(f"report:{number}", lambda: report(number), 60))


@app.delete("/reports")
async def forget() -> dict[str, int]:
    return {"removed": await cache.execute_command("INVALIDATE", "TAG", "reports")}
