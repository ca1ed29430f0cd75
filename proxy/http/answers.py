"""Values as answers of HTTP: JSON, and which bytes it has no text for."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Final

from ..errors import ProxyError
from ..resp.replies import Value
from .messages import Response

JSON: Final = "application/json; charset=utf-8"


def answer(status: int, body: Mapping[str, object]) -> Response:
    headers = {"Server": "nearhit"}
    if status == 503:
        headers["Retry-After"] = "1"
    return Response(status, json.dumps(body, ensure_ascii=False).encode(), JSON, headers)


def failure(status: int, why: str) -> Response:
    return answer(status, {"error": why})


def fields_of(name: str, word: bytes | None) -> dict[str, object]:
    """A word as a field; what is no text has one of its own."""
    try:
        return {name: None if word is None else word.decode()}
    except UnicodeDecodeError:
        assert word is not None
        return {name: None, f"{name}_base64": base64.b64encode(word).decode()}


def plain(value: Value) -> object:
    """A reply as JSON has it; bytes that are no text are escaped."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, ProxyError):
        return str(value)
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value
