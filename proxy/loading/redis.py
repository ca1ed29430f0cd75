"""Values from another Redis or Valkey: the same key, with the TTL that it has there.

Reads with GET and PTTL only, by redis-py: that server is somebody else's, old perhaps, and not the
one that the lanes are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from ..errors import StartError
from ..settings.address import Upstream
from ..upstream.tls import context_of
from .source import NO_SUCH_THING, Loaded, SourceError, said

NO_KEY: Final = -2
NO_EXPIRY: Final = -1
PAGE: Final = 500  # keys that one SCAN looks at

_KEPT: Final = ("connection_class", "host", "port", "path", "username", "password", "db")


class RedisSource:
    def __init__(self, url: str, concurrency: int) -> None:
        upstream = Upstream.parse(url)
        if upstream.tls:
            _check_tls(upstream)
        self._address = upstream.path or f"{upstream.host}:{upstream.port}"
        # One more is for looking keys up.
        self._client = Redis(connection_pool=_pool(url, concurrency + 1))

    def __repr__(self) -> str:
        return f"<RedisSource {self._address}>"

    async def load(self, key: bytes, captures: Mapping[str, bytes] | None) -> Loaded:
        try:
            # No transaction: proxies in front of old clusters know none.
            async with self._client.pipeline(transaction=False) as pipeline:
                pipeline.get(key)
                pipeline.pttl(key)
                value, ttl_ms = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            raise SourceError(f"{self._address}: {said(str(error))}") from None
        return _loaded(value, ttl_ms)

    async def load_many(
        self, keys: Sequence[bytes], captures: Sequence[Mapping[str, bytes] | None]
    ) -> list[Loaded | SourceError]:
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                pipeline.mget(keys)
                for key in keys:
                    pipeline.pttl(key)
                values, *ttls = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            raise SourceError(f"{self._address}: {said(str(error))}") from None
        if isinstance(values, ResponseError):
            raise SourceError(said(str(values)))
        # MGET has nil for what is no string, where GET says WRONGTYPE.
        return [_outcome(value, ttl) for value, ttl in zip(values, ttls, strict=True)]

    async def page(self, glob: bytes, cursor: int) -> tuple[int, Sequence[bytes]]:
        try:
            following, page = await self._client.scan(cursor, match=glob, count=PAGE)  # pyright: ignore[reportUnknownMemberType]
        except (RedisError, OSError) as error:
            raise SourceError(f"{self._address}: {said(str(error))}") from None
        # Nothing is decoded: see _KEPT.
        return following, cast("list[bytes]", page)

    async def close(self) -> None:
        await self._client.connection_pool.disconnect()


def _outcome(value: object, ttl_ms: object) -> Loaded | SourceError:
    try:
        return _loaded(value, ttl_ms)
    except SourceError as error:
        return error


def _loaded(value: object, ttl_ms: object) -> Loaded:
    """The two replies as one answer."""
    for reply in (value, ttl_ms):
        if isinstance(reply, ResponseError):
            raise SourceError(said(str(reply)))
    assert isinstance(value, bytes | None), value
    assert isinstance(ttl_ms, int), ttl_ms
    # It may have expired between the two.
    if value is None or ttl_ms == NO_KEY:
        return NO_SUCH_THING
    return Loaded(value, None if ttl_ms == NO_EXPIRY else ttl_ms, exact=True)


def _check_tls(upstream: Upstream) -> None:
    """SourceError now, rather than at each load: a file of the URL cannot be used."""
    try:
        context_of(upstream)
    except StartError as error:
        raise SourceError(str(error)) from None


def _pool(url: str, most: int) -> ConnectionPool:
    """Of the URL only what says where and as whom: ``decode_responses`` and the like are for
    other programs."""
    options: dict[str, Any] = {
        name: value
        for name, value in parse_url(url).items()
        if name in _KEPT or name.startswith("ssl_")
    }
    if "ssl_cert_reqs" in options:
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].lower()  # redis-py knows no other
    # One attempt more, at once: a connection that was idle may be dead. Protocol 2: Redis 5 has
    # no other.
    retry = Retry(NoBackoff(), 1)
    return ConnectionPool(max_connections=most, protocol=2, retry=retry, **options)
