"""The HTTP API: a request becomes the words of a command, the command's value becomes JSON.

    GET  /api/cache/{key}       GET, then GETORSET    POST /api/cache/lock/acquire  LOCK ACQUIRE
    GET  /api/cache/stats       STATS                 POST /api/cache/lock/release  LOCK RELEASE
    POST /api/cache/warm        WARM                  GET  /healthz  /readyz
    POST /api/cache/invalidate  INVALIDATE            GET  /metrics
    POST /api/cache/mget        MGETORSET             GET  /api/cache/jobs, also {id}, which may
                                                      be DELETEd: see jobs.py
    GET  /  and what it asks for: page.py

What a command does is the command's own: nothing is decided here but status codes. The paths that
are spelled out win, so a key called ``stats`` has no path. aiohttp takes 0.2 s to import: whoever
serves no HTTP does not import this module."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import unquote_to_bytes

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.typedefs import Handler, Middleware

from ..errors import NoLoader, ProxyError, UpstreamNotReady, UpstreamRefused, shown
from ..keys.ours import lock_key, resource_of
from ..log import event
from ..resp.replies import Value
from ..settings.address import BACKLOG
from .answers import answer, failure, fields_of, plain
from .body import BODY_MAX, Reading, Refusal
from .gate import Gate, by_gate
from .hosts import Hosts
from .jobs import Jobs
from .page import Page, Shown

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 1000
KEEPALIVE_S: Final = 75
AT_ONCE_S: Final = 0.01
FIRST_S: Final = 30  # for the head of a connection's first request
READY_S: Final = 0.9  # probes give up after a second
LINE_MAX: Final = 16380  # a request's first line, and so a key in it
HEADER_MAX: Final = 8190  # a header: another number, for the two are told apart by it

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


def app(api: Api) -> web.Application:
    endpoints = Endpoints(api)
    made = web.Application(
        client_max_size=BODY_MAX,
        middlewares=[in_time, in_json, of_host(api.hosts), by_gate(api.gate)],
    )
    made.add_routes(
        [
            web.get("/healthz", endpoints.health),
            web.get("/readyz", endpoints.ready),
            web.get("/metrics", endpoints.metrics),
            web.get(API + "stats", endpoints.stats),
            web.post(API + "warm", endpoints.warm),
            web.post(API + "mget", endpoints.read_many),
            web.post(API + "invalidate", endpoints.invalidate),
            web.post(API + "lock/acquire", endpoints.acquire),
            web.post(API + "lock/release", endpoints.release),
            web.get(API + "jobs", endpoints.jobs),
            web.get(API + "jobs/{id}", endpoints.job),
            web.delete(API + "jobs/{id}", endpoints.cancel_job),
            web.get(API + "{key:(?s:.+)}", endpoints.read),
        ]
    )
    if api.status is not None:
        made.add_routes(Page(api.status).routes())
    return made


# --- Answers --------------------------------------------------------------------------------------


@web.middleware
async def in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The connection has said something."""
    if isinstance(request.protocol, Connection):
        request.protocol.came()
    return await handler(request)


@web.middleware
async def in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Everything that goes wrong, as JSON with its status."""
    try:
        return await handler(request)
    except Refusal as refusal:
        response = failure(refusal.status, str(refusal))
        if refusal.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response
    except ProxyError as error:
        return failure(status_of(error), str(error))
    except web.HTTPMethodNotAllowed as error:
        response = failure(405, f"{request.method} is not for this path")
        response.headers["Allow"] = error.headers["Allow"]
        return response
    except web.HTTPNotFound:
        return failure(404, "no such path")
    except Exception:
        # A defect of ours must cost this request its answer, and nobody else anything.
        log.exception("an HTTP request failed")
        return failure(500, "a defect in the proxy")


def of_host(hosts: Hosts) -> Middleware:
    """Requests that name a host of ours, or one that cannot be another's."""

    @web.middleware
    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host")
        by_unix = isinstance(request.get_extra_info("sockname"), str)
        if not by_unix and not hosts.allow(host):
            raise Refusal(403, f"the host {shown((host or '').encode())} is none of http_hosts")
        return await handler(request)

    return checked


# --- Endpoints ------------------------------------------------------------------------------------


class Endpoints:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._jobs = Jobs(api.run)
        self._reading = Reading()

    async def read(self, request: web.Request) -> web.Response:
        if request.query_string:
            raise Refusal(400, "a key takes no query; a question mark in it is written %3F")
        key = unquote_to_bytes(request.rel_url.raw_path.removeprefix(API))
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

    async def read_many(self, request: web.Request) -> web.Response:
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

    async def warm(self, request: web.Request) -> web.Response:
        body = await self._reading.body(request, "keys", "keys_base64", "ttl", "async")
        words = [*body.seconds("ttl"), b"KEYS", *body.words("keys")]
        if body.switch("async"):
            return await self._begin([b"WARM", b"ASYNC", *words])
        return await self._map([b"WARM", *words])

    async def invalidate(self, request: web.Request) -> web.Response:
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

    async def _begin(self, words: Sequence[bytes]) -> web.Response:
        return answer(202, {"id": plain(await self._api.run(words))})

    async def jobs(self, request: web.Request) -> web.Response:
        return answer(200, {"jobs": plain(await self._jobs.all())})

    async def job(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        found = await self._jobs.one(id.encode("utf-8", "surrogateescape"))
        if found is None:
            return failure(404, f"there is no job {shown(id.encode())}, or not any more")
        return answer(200, cast("Mapping[str, object]", plain(found)))

    async def cancel_job(self, request: web.Request) -> web.Response:
        id = request.match_info["id"].encode("utf-8", "surrogateescape")
        return answer(200, {"cancelled": await self._jobs.cancel(id)})

    async def stats(self, request: web.Request) -> web.Response:
        return await self._map([b"STATS"])

    async def acquire(self, request: web.Request) -> web.Response:
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

    async def release(self, request: web.Request) -> web.Response:
        body = await self._reading.body(request, "key", "key_base64", "token")
        key, token = body.word("key"), body.text("token")
        resource = resource_of(key)
        if resource is None:
            raise Refusal(400, "key must be what acquire gave: lock:{resource}")
        released = await self._api.run([b"LOCK", b"RELEASE", resource, token])
        return answer(200, {"released": bool(released)})

    async def health(self, request: web.Request) -> web.Response:
        return answer(200, {"status": "ok"})

    async def ready(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(READY_S):
                await self._api.ping()
        except (ProxyError, TimeoutError) as error:
            why = str(error) or f"no answer in {READY_S} s"
            return answer(503, {"status": "unavailable", "error": why})
        return answer(200, {"status": "ok"})

    async def metrics(self, request: web.Request) -> web.Response:
        headers = {"Server": "nearhit", "Content-Type": self._api.metrics_type}
        return web.Response(body=self._api.metrics(), headers=headers)

    async def _map(self, words: Sequence[bytes]) -> web.Response:
        value = await self._api.run(words)
        assert isinstance(value, Mapping)
        return answer(200, {name: plain(item) for name, item in value.items()})


# --- Serving --------------------------------------------------------------------------------------


class Connection(web.RequestHandler):
    """One client."""

    __slots__ = ("_first",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # aiohttp waits for a first request as long as for a next one.
        self._first = asyncio.get_running_loop().call_later(FIRST_S, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._first.cancel()
        super().connection_lost(exc)

    def came(self) -> None:
        """A request has come."""
        self._first.cancel()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        # Bytes that are no HTTP. aiohttp's own method would log a traceback for each port scan,
        # and tell its version.
        event(log, logging.DEBUG, "bad HTTP request", peer=request.remote, error=exc)
        why = "not a request that HTTP allows"
        if isinstance(exc, LineTooLong):
            is_line = str(exc.args[1]) == str(LINE_MAX)
            status, most = (414, LINE_MAX) if is_line else (431, HEADER_MAX)
            what = "path" if is_line else "header"
            why = f"the {what} is longer than {most} bytes"
        response = failure(status, why)
        response.force_close()
        return response


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
        self._runner = web.AppRunner(app(api))
        self._listeners: list[asyncio.Server] = []

    def __repr__(self) -> str:
        return (
            f"<Http listeners={len(self._listeners)} connections={len(self._server.connections)}>"
        )

    @property
    def _server(self) -> web.Server:
        assert self._runner.server is not None, "not started"
        return self._runner.server

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        for sock in sockets:
            listener = await loop.create_server(self.accept, sock=sock, backlog=BACKLOG)
            self._listeners.append(listener)

    def accept(self) -> asyncio.Protocol:
        """For a client that has just connected."""
        if len(self._server.connections) >= CONNECTIONS_MAX:
            return TooMany()
        return Connection(
            self._server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEPALIVE_S,
            access_log=None,  # type: ignore[arg-type]  # what AppRunner passes on for "off"
            auto_decompress=False,  # a small body must not become a large one
            max_line_size=LINE_MAX,
            max_field_size=HEADER_MAX,
        )

    def close(self) -> None:
        """Accept no more, and close who is idle; what runs goes on."""
        for listener in self._listeners:
            listener.close()
        self._server.pre_shutdown()

    async def stop(self, seconds: float) -> None:
        """Answer what runs within so many seconds, close everything."""
        self.close()
        await asyncio.sleep(0)  # what was accepted just now begins, so that it can be ended
        self._server.pre_shutdown()
        # It waits twice: for the request, then for its task. And 0 would be for ever.
        await self._server.shutdown(max(seconds, AT_ONCE_S) / 2)
        await self._runner.cleanup()
