"""Values from an HTTP server: one GET for each.

200 has the value in its body, 404 says that there is none, anything else is an error. Errors name
the host, never the URL: its query and its user info may be secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

import aiohttp
from yarl import URL

from ..keys.captures import UrlTemplate
from .call import encoded
from .http import Http
from .source import NO_SUCH_THING, Loaded, SourceError

BODY_MAX: Final = 64 * 1024 * 1024
REDIRECTS_MAX: Final = 5

# Not to be stored, or not to be used again without asking: to us the same.
_NOT_KEPT: Final = {"no-store", "no-cache"}
_AGE: Final = re.compile(r"(s-maxage|max-age)=\"?(\d{1,10})\"?")


class UrlSource:
    def __init__(
        self,
        url: UrlTemplate,
        http: Http,
        *,
        ttl_ms: int,
        honour_cache_control: bool,
        batch_url: UrlTemplate | None = None,
    ) -> None:
        self._url = url
        self._batch_url = batch_url
        self._http = http
        self._ttl_ms = ttl_ms
        self._honour = honour_cache_control

    def __repr__(self) -> str:
        return f"<UrlSource {self._url.host}>"

    async def load(self, key: bytes, captures: Mapping[str, bytes] | None) -> Loaded:
        if captures is None:
            raise SourceError("its match does not fit the key, so there is no URL for it")
        try:
            url = self._url.fill(captures)
        except ValueError as error:
            raise SourceError(str(error)) from None
        host = self._url.host
        try:
            return await self._get(url)
        except aiohttp.TooManyRedirects:
            raise SourceError(f"more than {REDIRECTS_MAX} redirects from {host}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Their own words may quote the URL.
            raise SourceError(f"{_reason(error)} ({host})") from None

    async def load_many(
        self, keys: Sequence[bytes], captures: Sequence[Mapping[str, bytes] | None]
    ) -> list[Loaded | SourceError]:
        """One POST of the keys as a JSON list; the answer is a JSON object of their values."""
        assert self._batch_url is not None
        host = self._batch_url.host
        names = [_text(key) for key in keys]
        body = json.dumps([name for name in names if name is not None]).encode()
        try:
            found = await self._post(self._batch_url.fill({}), body)
        except aiohttp.TooManyRedirects:
            raise SourceError(f"more than {REDIRECTS_MAX} redirects from {host}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise SourceError(f"{_reason(error)} ({host})") from None
        except (ValueError, RecursionError):
            raise SourceError(f"the answer from {host} is no JSON") from None
        if not isinstance(found, dict):
            raise SourceError(f"the answer from {host} is no JSON object")
        values = cast("dict[str, object]", found)
        return [_outcome(name, values) for name in names]

    async def _post(self, url: str, body: bytes) -> object:
        async with self._http.session.post(
            URL(url, encoded=True),
            data=body,
            headers={"Content-Type": "application/json"},
            max_redirects=REDIRECTS_MAX,
        ) as answer:
            if answer.status != 200:
                raise SourceError(f"HTTP {answer.status} from {answer.url.host}")
            return json.loads(await self._body(answer))

    async def close(self) -> None:
        """The session is everybody's: Loaders closes it."""

    async def _get(self, url: str) -> Loaded:
        # encoded: %2F of a capture must stay what it is.
        async with self._http.session.get(
            URL(url, encoded=True), max_redirects=REDIRECTS_MAX
        ) as answer:
            if answer.status == 404:
                return NO_SUCH_THING
            if answer.status != 200:
                raise SourceError(f"HTTP {answer.status} from {self._url.host}")
            value = await self._body(answer)
            if not self._honour:
                return Loaded(value)
            headers = ",".join(answer.headers.getall("Cache-Control", ()))
            limit = kept_ms(headers, answer.headers.get("Age", ""))
        if limit is None or limit >= self._ttl_ms:
            return Loaded(value)
        return Loaded(value, limit, exact=True)

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > BODY_MAX:
                answer.close()
                raise SourceError(
                    f"the body from {self._url.host} is larger than {BODY_MAX >> 20} MiB"
                )
        return bytes(body)


def _text(key: bytes) -> str | None:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None


def _outcome(name: str | None, values: Mapping[str, object]) -> Loaded | SourceError:
    """Of one key: absent or null says that there is none, a text is the value, and anything else
    is the value as JSON."""
    if name is None:
        return SourceError("the key is not UTF-8, and a JSON list has only text")
    try:
        return encoded(values.get(name))
    except SourceError as error:
        return error


def kept_ms(cache_control: str, age: str) -> int | None:
    """How long a cache for everybody may keep an answer; None: the header does not say."""
    directives = [word.strip().lower() for word in cache_control.split(",")]
    if not _NOT_KEPT.isdisjoint(directives):
        return 0
    limits = {found[1]: found[2] for word in directives if (found := _AGE.fullmatch(word))}
    limit = limits.get("s-maxage") or limits.get("max-age")
    if limit is None:
        return None
    spent = int(age) if re.fullmatch(r"[0-9]{1,10}", age) else 0
    return max(0, int(limit) - spent) * 1000


def _reason(error: Exception) -> str:
    """What went wrong, from the type and the system's own words alone."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
