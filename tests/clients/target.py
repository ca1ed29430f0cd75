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
    """An address to hand to an unmodified client, and the server behind it."""

    kind: Kind
    port: int
    server_port: int
    host: str = HOST

    def url(self, db: int = 0) -> str:
        return f"redis://{self.host}:{self.port}/{db}"

    def server(self, **options: Any) -> Redis:
        """A client of the server itself, to clear up what the proxy should have let through."""
        return Redis(host=self.host, port=self.server_port, **options)

    def client(self, **options: Any) -> Redis:
        return Redis(host=self.host, port=self.port, **options)

    def async_client(self, **options: Any) -> AsyncRedis:
        return AsyncRedis(host=self.host, port=self.port, **options)
