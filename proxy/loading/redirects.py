"""One request of a url loader, and the redirects that answer it.

    ask ─▶ answer 301 302 303 307 308 ─▶ the same request there ─▶ ... ─▶ the answer

A loader's headers, and the user of its URL, go to the URL's own origin (scheme, host and port)
alone: what redirects elsewhere could have been written by anybody, and they may be secrets. A POST
is sent on by 307 and 308 alone: the others would make a GET of it, whose answer is about none of
its keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from .http import Http, Response
from .source import SourceError
from .urls import Url

REDIRECTS_MAX: Final = 5
_GET: Final = {301, 302, 303, 307, 308}
_POST: Final = {307, 308}


@dataclass(frozen=True, slots=True, repr=False)
class Question:
    """``own`` are the loader's headers; ``first`` are for the URL itself, and for none that it
    redirects to. ``host`` is what errors may say of the URL."""

    url: str
    host: str
    own: Mapping[str, str]
    first: Mapping[str, str]
    body: bytes | None = None  # of a POST, JSON

    def __repr__(self) -> str:
        return f"<Question {self.method} {self.host}>"

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"


@dataclass(frozen=True, slots=True)
class Answer:
    """``moved``: it is that of another URL than the one that was asked."""

    response: Response
    moved: bool


@asynccontextmanager
async def answer_to(http: Http, question: Question) -> AsyncGenerator[Answer, None]:
    """The answer, its body unread. SourceError, and what ``Http.request`` raises."""
    url, own = Url.parse(question.url), question.own
    kind = {} if question.body is None else {"Content-Type": "application/json"}
    headers = {**own, **kind, **question.first}
    for hop in range(REDIRECTS_MAX + 1):
        async with http.request(question.method, url, headers, question.body) as response:
            location = _location(response)
            if location is None:
                yield Answer(response, hop > 0)
                return
        there = url.join(location)
        if there is None:
            raise SourceError(f"a redirect to what is no http URL ({question.host})")
        if there.origin != url.origin:
            own = {}
        url, headers = there, {**own, **kind}
    raise SourceError(f"more than {REDIRECTS_MAX} redirects from {question.host}")


def _location(response: Response) -> str | None:
    """Where the answer sends its request. None: it is the answer."""
    follows = _GET if response.method == "GET" else _POST
    return response.headers.get("Location") if response.status in follows else None
