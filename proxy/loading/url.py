"""Values from an HTTP server: one GET for each.

200 has the value in its body, 404 says that there is none, anything else is an error. Errors name
the host, never the URL: its query and its user info may be secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, cast

from ..keys.captures import UrlTemplate
from .call import encoded
from .http import Http, Response
from .http_errors import HttpError, TooLarge
from .redirects import Answer, Question, answer_to
from .source import NO_SUCH_THING, Loaded, SourceError
from .validators import Validator, Validators, digest_of

BODY_MAX: Final = 64 * 1024 * 1024

# Not to be stored, or not to be used again without asking: to us the same.
_NOT_KEPT: Final = {"no-store", "no-cache"}
_AGE: Final = re.compile(r"(s-maxage|max-age)=\"?(\d{1,10})\"?")


class UrlSource:
    """``headers`` are the loader's. ``conditional``: a refresh asks whether the value that stands
    has changed, where its answer had a validator (validators.py)."""

    def __init__(
        self,
        url: UrlTemplate,
        http: Http,
        *,
        ttl_ms: int,
        honour_cache_control: bool,
        batch_url: UrlTemplate | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        conditional: bool = True,
    ) -> None:
        self._url = url
        self._batch_url = batch_url
        self._http = http
        self._ttl_ms = ttl_ms
        self._honour = honour_cache_control
        self._headers = headers
        self._names = {name.lower() for name in headers}
        self._validators = Validators() if conditional else None

    def __repr__(self) -> str:
        return f"<UrlSource {self._url.host}>"

    async def load(self, key: bytes, captures: Mapping[str, bytes] | None) -> Loaded:
        return await self._load(key, captures, None)

    def confirms(self, key: bytes, digest: bytes) -> bool:
        return self._validators is not None and self._validators.of(key, digest) is not None

    async def refresh(
        self, key: bytes, captures: Mapping[str, bytes] | None, known: bytes
    ) -> Loaded:
        return await self._load(key, captures, known)

    async def _load(
        self, key: bytes, captures: Mapping[str, bytes] | None, known: bytes | None
    ) -> Loaded:
        if captures is None:
            raise SourceError("its match does not fit the key, so there is no URL for it")
        try:
            url = self._url.fill(captures)
        except ValueError as error:
            raise SourceError(str(error)) from None
        try:
            if known is not None and (validator := self._validator(key, known)) is not None:
                confirmed = await self._ask_again(key, url, known, validator)
                if confirmed is not None:
                    return confirmed
            return await self._get(key, url)
        except (HttpError, OSError, ValueError) as error:
            # Their own words may quote the URL.
            raise SourceError(f"{_reason(error)} ({self._url.host})") from None

    async def load_many(
        self, keys: Sequence[bytes], captures: Sequence[Mapping[str, bytes] | None]
    ) -> list[Loaded | SourceError]:
        """One POST of the keys as a JSON list; the answer is a JSON object of their values."""
        assert self._batch_url is not None
        host = self._batch_url.host
        names = [_text(key) for key in keys]
        body = json.dumps([name for name in names if name is not None]).encode()
        try:
            found = await self._post(self._batch_url, body)
        except (HttpError, OSError) as error:
            raise SourceError(f"{_reason(error)} ({host})") from None
        except (ValueError, RecursionError):
            raise SourceError(f"the answer from {host} is no JSON") from None
        if not isinstance(found, dict):
            raise SourceError(f"the answer from {host} is no JSON object")
        values = cast("dict[str, object]", found)
        return [_outcome(name, values) for name in names]

    async def close(self) -> None:
        """The connections are everybody's: Loaders closes them."""

    async def _post(self, url: UrlTemplate, body: bytes) -> object:
        question = Question(url.fill({}), url.host, self._own(), {}, body)
        async with answer_to(self._http, question) as answer:
            if answer.response.status != 200:
                raise SourceError(f"HTTP {answer.response.status} from {url.host}")
            return json.loads(await self._body(answer.response))

    async def _get(self, key: bytes, url: str) -> Loaded:
        question = Question(url, self._url.host, self._own(), {})
        async with answer_to(self._http, question) as answer:
            return await self._value_in(key, answer)

    def _own(self) -> Mapping[str, str]:
        """The loader's headers, and those of the trace, which are for the URL's origin as well:
        whoever else it redirects to is none of the trace's. The loader's own win, in any case."""
        traced = self._http.traced().items()
        return {**{name: text for name, text in traced if name not in self._names}, **self._headers}

    def _validator(self, key: bytes, known: bytes) -> Validator | None:
        """What to ask with whether the value still holds; None: it did not come from here, or
        without."""
        return None if self._validators is None else self._validators.of(key, digest_of(known))

    async def _ask_again(
        self, key: bytes, url: str, known: bytes, validator: Validator
    ) -> Loaded | None:
        """The known value where a 304 says that it still holds, or a newer one. None: what the 304
        is about is not known, so the value has to be asked for whole."""
        question = Question(url, self._url.host, self._own(), validator.headers)
        async with answer_to(self._http, question) as answer:
            response = answer.response
            if response.status != 304 or answer.moved:
                return await self._value_in(key, answer)
            if validator.confirmed_by(response.headers):
                return self._timed(known, response, validator)
        return None

    async def _value_in(self, key: bytes, answer: Answer) -> Loaded:
        """What a whole answer brings, and its validator kept."""
        response, validators = answer.response, self._validators
        if response.status == 404:
            if validators is not None:
                validators.drop(key)
            return NO_SUCH_THING
        if response.status != 200:
            raise SourceError(f"HTTP {response.status} from {self._url.host}")
        value = await self._body(response)
        if validators is not None:
            # Of what was redirected only the last URL knows whether it has changed.
            if answer.moved:
                validators.drop(key)
            else:
                validators.keep(key, value, response.headers)
        return self._timed(value, response)

    def _timed(
        self, value: bytes, response: Response, confirmed: Validator | None = None
    ) -> Loaded:
        """The value for as long as the answer allows; a 304 that does not say allows what the
        answer did that it confirms."""
        limit = None
        if self._honour:
            control = ",".join(response.headers.all("Cache-Control"))
            if confirmed is not None:
                control = control or confirmed.cache_control
            limit = kept_ms(control, response.headers.get("Age", ""))
        exact = limit is not None and limit < self._ttl_ms
        return Loaded(
            value, limit if exact else None, exact=exact, not_modified=confirmed is not None
        )

    async def _body(self, response: Response) -> bytes:
        try:
            return await response.read(BODY_MAX)
        except TooLarge:
            raise SourceError(
                f"the body from {self._url.host} is larger than {BODY_MAX >> 20} MiB"
            ) from None


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
    if isinstance(error, HttpError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
