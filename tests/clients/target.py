"""What a client under test connects to: Nearhit, or the bare server while developing.

Owns the address and nothing else; conftest.py starts the processes behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tests.servers import HOST, Kind


@dataclass(frozen=True, slots=True)
class Target:
    """An address to hand to an unmodified client, and the kind of server behind it."""

    kind: Kind
    port: int
    host: str = HOST

    def url(self, db: int = 0) -> str:
        return f"redis://{self.host}:{self.port}/{db}"

    def client(self, **options: Any) -> Redis:
        return Redis(host=self.host, port=self.port, **options)

    def async_client(self, **options: Any) -> AsyncRedis:
        return AsyncRedis(host=self.host, port=self.port, **options)
