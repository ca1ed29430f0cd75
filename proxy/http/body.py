"""The JSON bodies of HTTP requests: read within bounds, and taken apart field by field.

What is wrong is a Refusal that names the field. Absent is not null: null is a wrong type."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from typing import Final, cast

from ..errors import shown
from .messages import BodyTooLarge, Request

BODY_MAX: Final = 16 * 1024 * 1024
BODIES_MAX: Final = 4 * BODY_MAX  # of all requests that are being read
READ_S: Final = 30
MS_MAX: Final = 2**63 - 1  # Redis's integers


class Refusal(Exception):
    """A request that is not carried out."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Body:
    """A JSON object, each of whose fields is asked for by its type."""

    def __init__(self, data: bytes, known: tuple[str, ...]) -> None:
        try:
            value = json.loads(data, parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise Refusal(400, "the body is not JSON") from None
        if not isinstance(value, dict):
            raise Refusal(400, "the body must be a JSON object")
        self._fields = cast("dict[str, object]", value)
        for name in self._fields:
            if name not in known:
                unknown = shown(name.encode("utf-8", "replace"))
                raise Refusal(400, f"unknown field {unknown}; there are {', '.join(known)}")

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def text(self, name: str) -> bytes:
        if name not in self._fields:
            raise Refusal(400, f"{name} is missing")
        return _text(name, self._fields[name])

    def texts(self, name: str) -> list[bytes]:
        if name not in self._fields:
            raise Refusal(400, f"{name} is missing")
        items = self._list(name)
        return [_text(f"{name}[{at}]", item) for at, item in enumerate(items)]

    def word(self, name: str) -> bytes:
        """A text, or any bytes in ``<name>_base64``."""
        encoded = f"{name}_base64"
        if encoded not in self._fields:
            return self.text(name)
        if name in self._fields:
            raise Refusal(400, f"give {name} or {encoded}, and not both")
        return _bytes(encoded, self._fields[encoded])

    def words(self, name: str) -> list[bytes]:
        """Texts, then any bytes in ``<name>_base64``: one word at least."""
        encoded = f"{name}_base64"
        if encoded not in self._fields:
            return self.texts(name)
        texts = self.texts(name) if name in self._fields else []
        items = enumerate(self._list(encoded))
        return [*texts, *(_bytes(f"{encoded}[{at}]", item) for at, item in items)]

    def switch(self, name: str) -> bool:
        value = self._fields.get(name, False)
        if not isinstance(value, bool):
            raise Refusal(400, f"{name} must be true or false")
        return value

    def _list(self, name: str) -> list[object]:
        items = self._fields[name]
        if not isinstance(items, list) or not items:
            raise Refusal(400, f"{name} must be a list of one string or more")
        return cast("list[object]", items)

    def seconds(self, name: str) -> list[bytes]:
        """PX and milliseconds; nothing where the field is not there."""
        if name not in self._fields:
            return []
        number = self._fields[name]
        if isinstance(number, bool) or not isinstance(number, int | float) or not number > 0:
            raise Refusal(400, f"{name} must be a number of seconds above 0")
        return _px(name, number * 1000)

    def milliseconds(self, name: str) -> list[bytes]:
        if name not in self._fields:
            return []
        number = self._fields[name]
        if isinstance(number, bool) or not isinstance(number, int) or number <= 0:
            raise Refusal(400, f"{name} must be a whole number of milliseconds above 0")
        return _px(name, number)


def _px(name: str, ms: float) -> list[bytes]:
    if ms > MS_MAX:  # the command would say that it is no integer
        raise Refusal(400, f"{name} is too large")
    return [b"PX", b"%d" % max(1, round(ms))]


def _text(name: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise Refusal(400, f"{name} must be a string")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise Refusal(400, f"{name} has half of a surrogate pair, which is no text") from None


def _bytes(name: str, value: object) -> bytes:
    try:
        return base64.b64decode(_text(name, value), validate=True)
    except binascii.Error:
        raise Refusal(400, f"{name} is not base64") from None


def _no_number(name: str) -> object:
    raise ValueError(name)


class Reading:
    """Reads bodies, so many bytes at a time: a thousand large ones must not fill the memory."""

    def __init__(self) -> None:
        self._held = 0

    async def body(self, request: Request, *known: str) -> Body:
        # A page of another site may have a browser send a form or plain text here unasked, but not
        # JSON that says so.
        if "Origin" in request.headers and request.content_type != "application/json":
            raise Refusal(400, "from a browser, Content-Type must be application/json")
        length = request.content_length
        size = BODY_MAX if length is None else length
        if size > BODY_MAX:
            raise Refusal(413, f"the body is larger than {BODY_MAX} bytes")
        if self._held + size > BODIES_MAX:
            raise Refusal(503, "too many large requests at once")
        self._held += size
        try:
            return Body(await self._read(request), known)
        finally:
            self._held -= size

    async def _read(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(READ_S):
                return await request.read(BODY_MAX)
        except BodyTooLarge:
            raise Refusal(413, f"the body is larger than {BODY_MAX} bytes") from None
        except TimeoutError:
            raise Refusal(408, f"the body did not come within {READ_S} s") from None
        except ConnectionError:
            raise Refusal(400, "the body did not come whole") from None
