"""The HTTP API: a request becomes the words of a command, the command's value becomes JSON.

    GET  /api/cache/{key}       GET, then GETORSET    POST /api/cache/lock/acquire  LOCK ACQUIRE
    GET  /api/cache/stats       STATS                 POST /api/cache/lock/release  LOCK RELEASE
    POST /api/cache/warm        WARM                  GET  /healthz  /readyz
    POST /api/cache/invalidate  INVALIDATE            GET  /metrics
    POST /api/cache/mget        MGETORSET             GET  /api/cache/jobs, also {id}, which may
                                                      be DELETEd: see jobs.py
    GET  /  and what it asks for: page.py

What a command does is the command's own: nothing is decided here but status codes. The paths that
are spelled out win, so a key called ``stats`` has no path. Whoever serves no HTTP does not import
this module."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import unquote_to_bytes

from ..errors import NoLoader, ProxyError, UpstreamNotReady, UpstreamRefused, shown
from ..keys.ours import lock_key, resource_of
from ..resp.replies import Value
from ..settings.address import BACKLOG
from .answers import answer, failure, fields_of, plain
from .body import Reading, Refusal
from .connection import Connection
from .gate import Gate
from .hosts import Hosts
from .jobs import Jobs
from .messages import Request, Response
from .page import Page, Shown
from .routes import Handler, NotAllowed, NotFound, Route, Routes

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 1000
AT_ONCE_S: Final = 0.01
READY_S: Final = 0.9  # probes give up after a second

API: Final = "/api/cache/"

# By the first word of a command's error; any other is 500.
STATUS: Final = {
    "ERR": 400,
    "WRONGTYPE": 400,
    "NOLOADER": 404,
    "LOADERR": 502,
    "LOADTIMEOUT": 504,
    "CACHEBUSY": 503,
    "LOCKBUSY": 503,
    "UPSTREAM": 503,
    # The server does not serve now, and may later.
    **dict.fromkeys(("LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY"), 503),
    **dict.fromkeys(("NOREPLICAS", "MISCONF", "OOM", "READONLY"), 503),
    # The user of the upstream URL may not.
    **dict.fromkeys(("NOAUTH", "WRONGPASS", "NOPERM"), 403),
}


def status_of(error: ProxyError) -> int:
    """The status for an error that a command ended with."""
    if isinstance(error, UpstreamNotReady) or (
        isinstance(error, UpstreamRefused) and not error.login
    ):
        return 503  # a lane could not be opened, whatever the server's word for it is
    return STATUS.get(str(error).partition(" ")[0], 500)


@dataclass(frozen=True, slots=True)
class Api:
    """What the handlers use. ``run`` and ``get`` raise ProxyError; so does ``ping`` when the
    upstream does not answer."""

    run: Callable[[Sequence[bytes]], Awaitable[Value]]  # a command of the proxy's own
    get: Callable[[bytes], Awaitable[bytes | None]]  # plain GET
    ping: Callable[[], Awaitable[object]]
    metrics: Callable[[], bytes]
    metrics_type: str
    hosts: Hosts
    gate: Gate = field(default_factory=Gate)
    # What a key without a loader has, and for how many milliseconds; None: nothing.
    demo: Callable[[bytes], Awaitable[tuple[bytes, int]]] | None = None
    status: Shown | None = None  # None: there is no status page


def app(api: Api) -> Handler:
    """Answers each request; whatever goes wrong is an answer too."""
    routes = routes_of(api)

    async def answered(request: Request) -> Response:
        try:
            check_host(api.hosts, request)
            api.gate.check(request.path, request.headers.get("Authorization"))
            return await routes.answer(request)
        except Exception as error:
            return failed(request, error)

    return answered


def routes_of(api: Api) -> Routes:
    endpoints = Endpoints(api)
    page = [] if api.status is None else Page(api.status).routes()
    return Routes(
        [
            Route("GET", "/healthz", endpoints.health),
            Route("GET", "/readyz", endpoints.ready),
            Route("GET", "/metrics", endpoints.metrics),
            Route("GET", API + "stats", endpoints.stats),
            Route("POST", API + "warm", endpoints.warm),
            Route("POST", API + "mget", endpoints.read_many),
            Route("POST", API + "invalidate", endpoints.invalidate),
            Route("POST", API + "lock/acquire", endpoints.acquire),
            Route("POST", API + "lock/release", endpoints.release),
            Route("GET", API + "jobs", endpoints.jobs),
            Route("GET", API + "jobs/{id}", endpoints.job),
            Route("DELETE", API + "jobs/{id}", endpoints.cancel_job),
            Route("GET", API + "{key}", endpoints.read),
            *page,
        ]
    )


# --- Answers --------------------------------------------------------------------------------------


def failed(request: Request, error: Exception) -> Response:
    """What went wrong, as JSON with its status."""
    if isinstance(error, Refusal):
        response = failure(error.status, str(error))
        if error.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response
    if isinstance(error, ProxyError):
        return failure(status_of(error), str(error))
    if isinstance(error, NotAllowed):
        response = failure(405, f"{request.method} is not for this path")
        response.headers["Allow"] = str(error)
        return response
    if isinstance(error, NotFound):
        return failure(404, "no such path")
    # A defect of ours must cost this request its answer, and nobody else anything.
    log.error("an HTTP request failed", exc_info=error)
    return failure(500, "a defect in the proxy")


def check_host(hosts: Hosts, request: Request) -> None:
    """Refusal: the request names a host that can be another's, and none of ours."""
    host = request.headers.get("Host")
    if not request.local and not hosts.allow(host):
        name = (host or "").encode("utf-8", "surrogateescape")
        raise Refusal(403, f"the host {shown(name)} is none of http_hosts")


# --- Endpoints ------------------------------------------------------------------------------------


class Endpoints:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._jobs = Jobs(api.run)
        self._reading = Reading()

    async def read(self, request: Request) -> Response:
        if request.query:
            raise Refusal(400, "a key takes no query; a question mark in it is written %3F")
        *_, raw = request.raw_path.split("/", API.count("/"))
        key = unquote_to_bytes(raw)
        value: Value = await self._api.get(key)
        hit = value is not None
        if not hit:
            value = await self._load(key)
        if value is None:
            return failure(404, f"there is no {shown(key)}, its loader says")
        assert isinstance(value, bytes)
        return answer(200, {**fields_of("key", key), **fields_of("value", value), "hit": hit})

    async def _load(self, key: bytes) -> Value:
        try:
            return await self._api.run([b"GETORSET", key])
        except NoLoader:
            if self._api.demo is None:
                raise
        value, ttl_ms = await self._api.demo(key)
        return await self._api.run([b"GETORSET", key, value, b"PX", b"%d" % ttl_ms])

    async def read_many(self, request: Request) -> Response:
        body = await self._reading.body(request, "keys", "keys_base64", "partial")
        keys = body.words("keys")
        option = (b"PARTIAL",) if body.switch("partial") else ()
        values = await self._api.run([b"MGETORSET", b"%d" % len(keys), *keys, *option])
        assert isinstance(values, Sequence)
        found = [
            {**fields_of("key", key), **fields_of("value", cast("bytes | None", value))}
            for key, value in zip(keys, values, strict=True)
        ]
        return answer(200, {"values": found})

    async def warm(self, request: Request) -> Response:
        body = await self._reading.body(request, "keys", "keys_base64", "ttl", "async")
        words = [*body.seconds("ttl"), b"KEYS", *body.words("keys")]
        if body.switch("async"):
            return await self._begin([b"WARM", b"ASYNC", *words])
        return await self._map([b"WARM", *words])

    async def invalidate(self, request: Request) -> Response:
        forms = {"key": b"KEYS", "pattern": b"PATTERN", "tag": b"TAG"}
        names = [name for form in forms for name in (form, f"{form}_base64")]
        body = await self._reading.body(request, *names, "async", "soft")
        given = [form for form in forms if form in body or f"{form}_base64" in body]
        if len(given) != 1:
            raise Refusal(400, "give one of key, pattern and tag")
        soft = [b"SOFT"] if body.switch("soft") else []
        words = [*soft, forms[given[0]], body.word(given[0])]
        if body.switch("async"):
            if given == ["key"]:
                raise Refusal(400, "async is for a pattern or a tag, not for a key")
            return await self._begin([b"INVALIDATE", b"ASYNC", *words])
        return answer(200, {"removed": plain(await self._api.run([b"INVALIDATE", *words]))})

    async def _begin(self, words: Sequence[bytes]) -> Response:
        return answer(202, {"id": plain(await self._api.run(words))})

    async def jobs(self, request: Request) -> Response:
        return answer(200, {"jobs": plain(await self._jobs.all())})

    async def job(self, request: Request) -> Response:
        id = request.captures["id"]
        found = await self._jobs.one(id.encode("utf-8", "surrogateescape"))
        if found is None:
            return failure(404, f"there is no job {shown(id.encode())}, or not any more")
        return answer(200, cast("Mapping[str, object]", plain(found)))

    async def cancel_job(self, request: Request) -> Response:
        id = request.captures["id"].encode("utf-8", "surrogateescape")
        return answer(200, {"cancelled": await self._jobs.cancel(id)})

    async def stats(self, request: Request) -> Response:
        return await self._map([b"STATS"])

    async def acquire(self, request: Request) -> Response:
        body = await self._reading.body(request, "resource", "resource_base64", "ttl")
        resource = body.word("resource")
        granted = await self._api.run(
            [b"LOCK", b"ACQUIRE", resource, *body.milliseconds("ttl"), b"FENCE"]
        )
        if granted is None:
            return failure(409, f"the lock of {shown(resource)} is held by another")
        assert isinstance(granted, Sequence)
        token, fence = granted[:2]
        assert isinstance(token, bytes)
        names = fields_of("key", lock_key(resource))
        return answer(200, {**names, "token": plain(token), "fence": plain(fence)})

    async def release(self, request: Request) -> Response:
        body = await self._reading.body(request, "key", "key_base64", "token")
        key, token = body.word("key"), body.text("token")
        resource = resource_of(key)
        if resource is None:
            raise Refusal(400, "key must be what acquire gave: lock:{resource}")
        released = await self._api.run([b"LOCK", b"RELEASE", resource, token])
        return answer(200, {"released": bool(released)})

    async def health(self, request: Request) -> Response:
        return answer(200, {"status": "ok"})

    async def ready(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(READY_S):
                await self._api.ping()
        except (ProxyError, TimeoutError) as error:
            why = str(error) or f"no answer in {READY_S} s"
            return answer(503, {"status": "unavailable", "error": why})
        return answer(200, {"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        text = self._api.metrics()
        return Response(200, text, self._api.metrics_type, {"Server": "nearhit"})

    async def _map(self, words: Sequence[bytes]) -> Response:
        value = await self._api.run(words)
        assert isinstance(value, Mapping)
        return answer(200, {name: plain(item) for name, item in value.items()})


# --- Serving --------------------------------------------------------------------------------------


class TooMany(asyncio.Protocol):
    """A client beyond the bound."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have asyncio.Transport's methods, not its class.
        client = cast(asyncio.Transport, transport)
        client.write(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: 33\r\n\r\n"
            b'{"error": "too many connections"}'
        )
        client.close()


class Http:
    """Serves an app on listening sockets that the caller has bound, and that it closes."""

    def __init__(self, api: Api) -> None:
        self._handler = app(api)
        self._listeners: list[asyncio.Server] = []
        self._connections = set[Connection]()

    def __repr__(self) -> str:
        return f"<Http listeners={len(self._listeners)} connections={len(self._connections)}>"

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for sock in sockets:
            listener = await loop.create_server(self.accept, sock=sock, backlog=BACKLOG)
            self._listeners.append(listener)

    def accept(self) -> asyncio.Protocol:
        """For a client that has just connected."""
        if len(self._connections) >= CONNECTIONS_MAX:
            return TooMany()
        return Connection(self._handler, self._connections)

    def close(self) -> None:
        """Accept no more, and close who is idle; what runs goes on."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.finish()

    async def stop(self, seconds: float) -> None:
        """Answer what runs within so many seconds, and have it taken; close everything."""
        self.close()
        await asyncio.sleep(0)  # what was accepted just now begins, so that it can be ended
        self.close()
        for connection in self._connections:
            connection.give_up_body()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + max(seconds, AT_ONCE_S)
        tasks = [one.task for one in self._connections if one.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=deadline - loop.time())
        for task in tasks:
            task.cancel()
        # What was written goes out.
        for connection in list(self._connections):
            connection.close()
        if self._connections:
            gone = [one.gone for one in self._connections]
            await asyncio.wait(gone, timeout=max(AT_ONCE_S, deadline - loop.time()))
        for connection in list(self._connections):
            connection.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
