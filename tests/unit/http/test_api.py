"""The HTTP API against a scripted command registry; test_http.py in commands/ runs the real one."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from nearhit.proxy.errors import (
    BadInput,
    CacheBusy,
    LoadError,
    LoadTimeout,
    LockBusy,
    NoLoader,
    ProxyError,
    ServerError,
    UpstreamDown,
    UpstreamLost,
    UpstreamNotReady,
    UpstreamRefused,
)
from nearhit.proxy.http import api as http
from nearhit.proxy.http import body as http_body
from nearhit.proxy.http import connection as http_connection
from nearhit.proxy.http.api import Http
from nearhit.proxy.resp.replies import Value
from yarl import URL

from tests.unit.http.serving import Proxy, Raw, ask, serving

JSON = {"Content-Type": "application/json"}


Client = ClientSession


@pytest.fixture
def proxy() -> Proxy:
    return Proxy()


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    async with serving(proxy) as (_, port), ClientSession(f"http://127.0.0.1:{port}") as opened:
        yield opened


async def post(client: Client, path: str, body: object) -> tuple[int, Any]:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    async with client.post(f"/api/cache/{path}", data=data, headers=JSON) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


async def get(client: Client, path: str) -> tuple[int, Any]:
    async with client.get(URL(path, encoded=True)) as answer:
        return answer.status, await answer.json()


# --- Keys -----------------------------------------------------------------------------------------


async def test_a_key_that_is_there_is_a_hit(client: Client, proxy: Proxy) -> None:
    proxy.values[b"k"] = b"v"

    assert await get(client, "/api/cache/k") == (200, {"key": "k", "value": "v", "hit": True})

    assert proxy.ran == []


async def test_a_key_that_is_not_there_is_loaded(client: Client, proxy: Proxy) -> None:
    proxy.reply = b"loaded"

    status, body = await get(client, "/api/cache/k")

    assert (status, body) == (200, {"key": "k", "value": "loaded", "hit": False})
    assert proxy.ran == [[b"GETORSET", b"k"]]


async def test_an_empty_value_is_a_hit(client: Client, proxy: Proxy) -> None:
    proxy.values[b"k"] = b""

    assert await get(client, "/api/cache/k") == (200, {"key": "k", "value": "", "hit": True})


async def test_what_its_loader_does_not_know_is_404(client: Client) -> None:
    assert await get(client, "/api/cache/k") == (404, {"error": "there is no 'k', its loader says"})


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a/b", b"a/b"),
        ("a%2Fb", b"a/b"),
        ("a%2fb", b"a/b"),
        ("a//b/", b"a//b/"),
        ("%20", b" "),
        ("a+b", b"a+b"),
        ("user:1", b"user:1"),
        ("%7Bt%7D.x", b"{t}.x"),
        ("100%25", b"100%"),
        ("%252F", b"%2F"),
        ("a%3Fb%23", b"a?b#"),
        ("%C3%A4", "ä".encode()),
        ("a%0Ab%0D%00", b"a\nb\r\0"),
        ("a/../b", b"a/../b"),
        ("stats/", b"stats/"),
        ("stats/x", b"stats/x"),
        ("healthz", b"healthz"),
    ],
)
async def test_the_key_is_all_that_stands_behind_the_prefix(
    path: str, key: bytes, proxy: Proxy
) -> None:
    proxy.values[key] = b"v"

    async with serving(proxy) as (_, port):
        status, _, body = await ask(port, f"GET /api/cache/{path} HTTP/1.1")

    assert (status, json.loads(body)["key"]) == (200, key.decode())


async def test_what_is_no_text_is_given_in_base64(client: Client, proxy: Proxy) -> None:
    proxy.values[b"\xff"] = b"\x80\x00"

    _, body = await get(client, "/api/cache/%FF")

    assert body == {
        "key": None,
        "key_base64": "/w==",
        "value": None,
        "value_base64": "gAA=",
        "hit": True,
    }


async def test_text_beyond_ascii_is_text(client: Client, proxy: Proxy) -> None:
    proxy.values["ключ".encode()] = "значение 🙂".encode()

    _, body = await get(client, "/api/cache/%D0%BA%D0%BB%D1%8E%D1%87")

    assert body == {"key": "ключ", "value": "значение 🙂", "hit": True}


async def test_a_question_mark_that_was_not_escaped_is_refused(client: Client) -> None:
    async with client.get("/api/cache/a?b") as response:
        assert response.status == 400
        assert "%3F" in (await response.json())["error"]


# --- Operations -----------------------------------------------------------------------------------

OPERATIONS: list[tuple[str, object, list[bytes], Value, object]] = [
    (
        "warm",
        {"keys": ["a", "b"]},
        [b"WARM", b"KEYS", b"a", b"b"],
        {"requested": 2, "loaded": 1, "errors": [[b"b", b"LOADERR x"]]},
        {"requested": 2, "loaded": 1, "errors": [["b", "LOADERR x"]]},
    ),
    ("warm", {"keys": ["a"], "ttl": 60}, [b"WARM", b"PX", b"60000", b"KEYS", b"a"], {}, {}),
    ("warm", {"keys": ["a"], "ttl": 0.25}, [b"WARM", b"PX", b"250", b"KEYS", b"a"], {}, {}),
    ("warm", {"keys": ["a"], "ttl": 1e-9}, [b"WARM", b"PX", b"1", b"KEYS", b"a"], {}, {}),
    ("warm", {"keys": ["EX", "ä", ""]}, [b"WARM", b"KEYS", b"EX", "ä".encode(), b""], {}, {}),
    ("invalidate", {"key": "PATTERN"}, [b"INVALIDATE", b"KEYS", b"PATTERN"], 1, {"removed": 1}),
    ("invalidate", {"pattern": "a*"}, [b"INVALIDATE", b"PATTERN", b"a*"], 7, {"removed": 7}),
    (
        "invalidate",
        {"key": "k", "soft": True},
        [b"INVALIDATE", b"SOFT", b"KEYS", b"k"],
        1,
        {"removed": 1},
    ),
    ("invalidate", {"key_base64": "/w=="}, [b"INVALIDATE", b"KEYS", b"\xff"], 1, {"removed": 1}),
    (
        "invalidate",
        {"pattern_base64": "/yo="},
        [b"INVALIDATE", b"PATTERN", b"\xff*"],
        1,
        {"removed": 1},
    ),
    ("warm", {"keys": ["a"], "keys_base64": ["/w=="]}, [b"WARM", b"KEYS", b"a", b"\xff"], {}, {}),
    ("warm", {"keys_base64": ["", "/w=="]}, [b"WARM", b"KEYS", b"", b"\xff"], {}, {}),
    (
        "lock/acquire",
        {"resource_base64": "/w=="},
        [b"LOCK", b"ACQUIRE", b"\xff", b"FENCE"],
        [b"t", 5, 29000],
        {"key": None, "key_base64": "bG9jazp7/30=", "token": "t", "fence": 5},
    ),
    (
        "lock/release",
        {"key_base64": "bG9jazp7/30=", "token": "t"},
        [b"LOCK", b"RELEASE", b"\xff", b"t"],
        1,
        {"released": True},
    ),
    (
        "lock/acquire",
        {"resource": "r"},
        [b"LOCK", b"ACQUIRE", b"r", b"FENCE"],
        [b"t", 5, 29000],
        {"key": "lock:{r}", "token": "t", "fence": 5},
    ),
    (
        "lock/acquire",
        {"resource": "FENCE", "ttl": 1500},
        [b"LOCK", b"ACQUIRE", b"FENCE", b"PX", b"1500", b"FENCE"],
        [b"t", 5, 1400],
        {"key": "lock:{FENCE}", "token": "t", "fence": 5},
    ),
    (
        "lock/release",
        {"key": "lock:{r}", "token": "t"},
        [b"LOCK", b"RELEASE", b"r", b"t"],
        1,
        {"released": True},
    ),
    (
        "lock/release",
        {"key": "lock:{a{b}}", "token": "t"},
        [b"LOCK", b"RELEASE", b"a{b}", b"t"],
        0,
        {"released": False},
    ),
]


@pytest.mark.parametrize(("path", "sent", "words", "reply", "got"), OPERATIONS)
async def test_an_operation_is_a_command(
    path: str,
    sent: object,
    words: list[bytes],
    reply: Value,
    got: object,
    client: Client,
    proxy: Proxy,
) -> None:
    proxy.reply = reply

    assert await post(client, path, sent) == (200, got)

    assert proxy.ran == [words]


async def test_a_lock_that_another_holds_is_409(client: Client) -> None:
    status, body = await post(client, "lock/acquire", {"resource": "r"})

    assert (status, body) == (409, {"error": "the lock of 'r' is held by another"})


async def test_statistics_are_the_map_of_stats(client: Client, proxy: Proxy) -> None:
    proxy.reply = {"hits": 1, "misses": 0, "hit_ratio": None, "tracking": "on"}

    assert await get(client, "/api/cache/stats") == (200, proxy.reply)

    assert proxy.ran == [[b"STATS"]]


# --- What is wrong --------------------------------------------------------------------------------

WRONG: list[tuple[str, object, str]] = [
    ("warm", "", "the body is not JSON"),
    ("warm", "{", "the body is not JSON"),
    ("warm", b"\xff", "the body is not JSON"),
    ("warm", '{"keys": ["a"], "ttl": NaN}', "the body is not JSON"),
    ("warm", '{"keys": ["a"], "ttl": Infinity}', "the body is not JSON"),
    ("warm", "[" * 100_000, "the body is not JSON"),
    ("warm", '{"keys": ["a"], "ttl": ' + "9" * 5000 + "}", "the body is not JSON"),
    ("warm", "[]", "the body must be a JSON object"),
    ("warm", '"keys"', "the body must be a JSON object"),
    ("warm", {}, "keys is missing"),
    ("warm", {"keys": []}, "keys must be a list of one string or more"),
    ("warm", {"keys": "a"}, "keys must be a list of one string or more"),
    ("warm", {"keys": None}, "keys must be a list of one string or more"),
    ("warm", {"keys": ["a", 1]}, "keys[1] must be a string"),
    ("warm", {"keys": [["a"]]}, "keys[0] must be a string"),
    (
        "warm",
        '{"keys": ["\\ud800"]}',
        "keys[0] has half of a surrogate pair, which is no text",
    ),
    ("warm", {"keys": ["a"], "ttl": 0}, "ttl must be a number of seconds above 0"),
    ("warm", {"keys": ["a"], "ttl": -1}, "ttl must be a number of seconds above 0"),
    ("warm", {"keys": ["a"], "ttl": "60"}, "ttl must be a number of seconds above 0"),
    ("warm", {"keys": ["a"], "ttl": True}, "ttl must be a number of seconds above 0"),
    ("warm", {"keys": ["a"], "ttl": None}, "ttl must be a number of seconds above 0"),
    ("warm", '{"keys": ["a"], "ttl": 1e308}', "ttl is too large"),
    ("warm", '{"keys": ["a"], "ttl": 1e999}', "ttl is too large"),
    ("warm", {"keys": ["a"], "ttl": 10**400}, "ttl is too large"),
    ("lock/acquire", {"resource": "r", "ttl": 2**63}, "ttl is too large"),
    (
        "warm",
        {"keys": ["a"], "tll": 1},
        "unknown field 'tll'; there are keys, keys_base64, ttl, async",
    ),
    (
        "warm",
        '{"keys": ["a"], "\\ud800": 1}',
        "unknown field '?'; there are keys, keys_base64, ttl, async",
    ),
    ("invalidate", {}, "give one of key, pattern and tag"),
    ("invalidate", {"key": "a", "pattern": "b"}, "give one of key, pattern and tag"),
    ("invalidate", {"key": "a", "key_base64": "YQ=="}, "give key or key_base64, and not both"),
    ("invalidate", {"key_base64": "a"}, "key_base64 is not base64"),
    ("invalidate", {"key_base64": 1}, "key_base64 must be a string"),
    ("warm", {"keys_base64": []}, "keys_base64 must be a list of one string or more"),
    ("warm", {"keys_base64": ["a"]}, "keys_base64[0] is not base64"),
    ("warm", {"keys": [], "keys_base64": ["YQ=="]}, "keys must be a list of one string or more"),
    ("invalidate", {"key": ["a"]}, "key must be a string"),
    ("invalidate", {"pattern": 1}, "pattern must be a string"),
    ("invalidate", {"key": "k", "async": True}, "async is for a pattern or a tag, not for a key"),
    ("invalidate", {"tag": "t", "async": 1}, "async must be true or false"),
    ("invalidate", {"tag": "t", "soft": 1}, "soft must be true or false"),
    (
        "invalidate",
        {"keys": ["a"]},
        "unknown field 'keys'; there are key, key_base64, pattern, pattern_base64, tag, "
        "tag_base64, async, soft",
    ),
    ("lock/acquire", {}, "resource is missing"),
    ("lock/acquire", {"resource": 1}, "resource must be a string"),
    (
        "lock/acquire",
        {"resource": "r", "ttl": 1.5},
        "ttl must be a whole number of milliseconds above 0",
    ),
    (
        "lock/acquire",
        {"resource": "r", "ttl": 0},
        "ttl must be a whole number of milliseconds above 0",
    ),
    (
        "lock/acquire",
        {"resource": "r", "ttl": False},
        "ttl must be a whole number of milliseconds above 0",
    ),
    (
        "lock/acquire",
        {"resource": "r", "x": 1},
        "unknown field 'x'; there are resource, resource_base64, ttl",
    ),
    ("lock/release", {"key": "lock:{r}"}, "token is missing"),
    ("lock/release", {"token": "t"}, "key is missing"),
    (
        "lock/release",
        {"key": "r", "token": "t"},
        "key must be what acquire gave: lock:{resource}",
    ),
    (
        "lock/release",
        {"key": "lock:r", "token": "t"},
        "key must be what acquire gave: lock:{resource}",
    ),
    (
        "lock/release",
        {"key": "lock:{r", "token": "t"},
        "key must be what acquire gave: lock:{resource}",
    ),
]


@pytest.mark.parametrize(("path", "sent", "why"), WRONG)
async def test_wrong_input_is_refused_and_nothing_runs(
    path: str, sent: object, why: str, client: Client, proxy: Proxy
) -> None:
    assert await post(client, path, sent) == (400, {"error": why})

    assert proxy.ran == []


FAILURES: list[tuple[ProxyError, int]] = [
    (BadInput("invalid expire time in 'warm' command"), 400),
    (ServerError(b"-WRONGTYPE Operation against a key holding the wrong kind of value"), 400),
    (NoLoader(b"k"), 404),
    (LoadError("l", "it broke"), 502),
    (LoadTimeout("l", 5), 504),
    (CacheBusy("too many wait"), 503),
    (LockBusy("too many wait"), 503),
    (UpstreamDown("refused"), 503),
    (UpstreamLost("reset"), 503),
    (ServerError(b"-LOADING Redis is loading the dataset in memory"), 503),
    (ServerError(b"-MASTERDOWN Link with MASTER is down"), 503),
    (ServerError(b"-NOPERM this user has no permissions"), 403),
    (ServerError(b"-NOAUTH Authentication required."), 403),
    (UpstreamRefused(b"-WRONGPASS invalid username-password pair", login=True), 403),
    (UpstreamRefused(b"-ERR DB index is out of range", login=False), 503),
    (UpstreamNotReady(b"-ERR max number of clients reached"), 503),
    (ServerError(b"-OOM command not allowed when used memory > 'maxmemory'"), 503),
    (ServerError(b"-READONLY You can't write against a read only replica."), 503),
    (ServerError(b"-MISCONF Errors writing to the AOF file"), 503),
    (ServerError(b"-NOREPLICAS Not enough good replicas to write."), 503),
    (ServerError(b"-BUSY Redis is busy running a script."), 503),
    (ServerError(b"-CLUSTERDOWN The cluster is down"), 503),
    (ServerError(b"-TRYAGAIN Multiple keys request during rehashing of slot"), 503),
    (ServerError(b"-"), 500),
]


@pytest.mark.parametrize(("error", "status"), FAILURES)
async def test_an_error_of_a_command_has_its_status_and_its_words(
    error: ProxyError, status: int, client: Client, proxy: Proxy
) -> None:
    proxy.reply = error

    for answer in (
        client.get("/api/cache/k"),
        client.get("/api/cache/stats"),
        client.post("/api/cache/invalidate", data='{"key": "k"}', headers=JSON),
    ):
        async with answer as response:
            assert (response.status, await response.json()) == (status, {"error": str(error)})
            assert response.headers.get("Retry-After") == ("1" if status == 503 else None)


async def test_a_defect_is_500_without_its_words_and_logged(
    client: Client, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.reply = RuntimeError("inner matters")

    assert await get(client, "/api/cache/stats") == (500, {"error": "a defect in the proxy"})

    assert [record.message for record in caplog.records] == ["an HTTP request failed"]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("warm", {"keys": ["a"]}, [b"WARM", b"ASYNC", b"KEYS", b"a"]),
        ("warm", {"keys": ["a"], "ttl": 1}, [b"WARM", b"ASYNC", b"PX", b"1000", b"KEYS", b"a"]),
        ("invalidate", {"tag": "t"}, [b"INVALIDATE", b"ASYNC", b"TAG", b"t"]),
        (
            "invalidate",
            {"tag": "t", "soft": True},
            [b"INVALIDATE", b"ASYNC", b"SOFT", b"TAG", b"t"],
        ),
        ("invalidate", {"pattern": "*"}, [b"INVALIDATE", b"ASYNC", b"PATTERN", b"*"]),
    ],
)
async def test_what_is_to_run_behind_is_202_with_an_id(
    path: str, body: dict[str, object], words: list[bytes], client: Client, proxy: Proxy
) -> None:
    proxy.reply = b"5c06"

    assert await post(client, path, {**body, "async": True}) == (202, {"id": "5c06"})
    assert proxy.ran == [words]


async def test_a_job_is_shown_and_ended(client: Client, proxy: Proxy) -> None:
    proxy.reply = {"state": b"running", "total": None, "errors": [[b"k", b"ERR no"]], "error": None}

    shown = {"id": "5c06", "command": "WARM", "state": "running", "total": None, "error": None}
    assert await get(client, "/api/cache/jobs/5c06") == (
        200,
        {**shown, "errors": [["k", "ERR no"]]},
    )
    proxy.reply = 1
    async with client.delete("/api/cache/jobs/5c06") as answer:
        assert (answer.status, await answer.json()) == (200, {"cancelled": True})
    assert proxy.ran[1:] == [[b"WARM", b"CANCEL", b"5c06"], [b"INVALIDATE", b"CANCEL", b"5c06"]]


async def test_a_job_that_is_not_there_is_404(client: Client) -> None:
    assert await get(client, "/api/cache/jobs/5c06") == (
        404,
        {"error": "there is no job '5c06', or not any more"},
    )


async def test_all_jobs_are_listed(client: Client, proxy: Proxy) -> None:
    proxy.reply = []

    assert await get(client, "/api/cache/jobs") == (200, {"jobs": []})


@pytest.mark.parametrize("path", ["/", "/api", "/api/cache", "/api/cache/", "/healthz/x", "/%zz"])
async def test_an_unknown_path_is_404_in_json(path: str, client: Client) -> None:
    assert await get(client, path) == (404, {"error": "no such path"})


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/cache/k", "GET,HEAD"),
        ("POST", "/api/cache/k", "GET,HEAD"),
        ("POST", "/api/cache/stats", "GET,HEAD"),
        ("PUT", "/api/cache/warm", "GET,HEAD,POST"),
        ("POST", "/api/cache/jobs/x", "DELETE,GET,HEAD"),
        ("POST", "/metrics", "GET,HEAD"),
    ],
)
async def test_a_wrong_method_is_405_in_json(
    method: str, path: str, allowed: str, client: Client
) -> None:
    async with client.request(method, path) as response:
        assert response.status == 405
        assert response.headers["Allow"] == allowed
        assert await response.json() == {"error": f"{method} is not for this path"}


@pytest.mark.parametrize("path", ["warm", "invalidate", "lock/acquire", "lock/release"])
async def test_a_key_that_is_called_like_an_operation_can_be_read(
    path: str, client: Client, proxy: Proxy
) -> None:
    proxy.values[path.encode()] = b"v"

    status, body = await get(client, f"/api/cache/{path}")

    assert (status, body["key"]) == (200, path)


async def test_a_body_beyond_the_bound_is_413(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_body, "BODY_MAX", 10)

    assert await post(client, "warm", {"keys": ["a"]}) == (
        413,
        {"error": "the body is larger than 10 bytes"},
    )


async def test_a_body_without_a_length_beyond_the_bound_is_413(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_body, "BODY_MAX", 10)

    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"keys": '
        yield b'["a"]}'

    async with (
        serving(proxy) as (_, port),
        ClientSession(f"http://127.0.0.1:{port}") as client,
        client.post("/api/cache/warm", data=chunks(), headers=JSON) as response,
    ):
        assert response.status == 413


async def test_large_bodies_do_not_add_up_without_bound(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_body, "BODIES_MAX", 100)
    body = json.dumps({"keys": ["a" * 50]})
    proxy.reply = {}

    async with serving(proxy) as (_, port):
        first, second = await Raw.to(port), await Raw.to(port)
        await first.begin("/api/cache/warm", len(body))
        await second.begin("/api/cache/warm", len(body))
        assert (await second.answer())[0] == 503
        first.send(body)
        assert (await first.answer())[0] == 200
        third = await Raw.to(port)
        await third.begin("/api/cache/warm", len(body))
        third.send(body)
        assert (await third.answer())[0] == 200
        for one in (first, second, third):
            await one.close()


async def test_a_body_that_does_not_come_is_408(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_body, "READ_S", 0.01)

    async with serving(proxy) as (_, port):
        status, _, body = await ask(port, "POST /api/cache/warm HTTP/1.1\r\nContent-Length: 5")

    assert (status, json.loads(body)["error"]) == (408, "the body did not come within 0.01 s")


async def test_another_site_cannot_have_a_browser_post(client: Client, proxy: Proxy) -> None:
    """A form or plain text is sent without asking first; JSON that says so is not."""
    headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}

    async with client.post("/api/cache/invalidate", data='{"key": "k"}', headers=headers) as got:
        assert got.status == 400
        assert "Content-Type" in (await got.json())["error"]

    assert proxy.ran == []


async def test_without_a_browser_no_content_type_is_asked_for(client: Client, proxy: Proxy) -> None:
    proxy.reply = 1
    headers = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl -d says

    async with client.post("/api/cache/invalidate", data='{"key": "k"}', headers=headers) as got:
        assert got.status == 200


# --- Health and metrics ---------------------------------------------------------------------------


async def test_health_is_that_of_the_process(client: Client, proxy: Proxy) -> None:
    proxy.pong = refuse

    assert await get(client, "/healthz") == (200, {"status": "ok"})


async def test_readiness_is_that_of_the_upstream(client: Client, proxy: Proxy) -> None:
    assert await get(client, "/readyz") == (200, {"status": "ok"})

    proxy.pong = refuse

    assert await get(client, "/readyz") == (
        503,
        {
            "status": "unavailable",
            "error": "UPSTREAM no connection to the server: refused",
        },
    )


async def refuse() -> object:
    raise UpstreamDown("refused")


async def test_readiness_does_not_wait_for_ever(
    client: Client, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert http.READY_S < 1  # when probes give up
    monkeypatch.setattr(http, "READY_S", 0.01)
    proxy.pong = asyncio.Event().wait

    async with asyncio.timeout(5):
        status, body = await get(client, "/readyz")

    assert (status, body["error"]) == (503, "no answer in 0.01 s")


async def test_metrics_are_text(client: Client) -> None:
    async with client.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain"
        assert await response.text() == "nearhit_hits_total 1.0\n"


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/api/cache/k", "/nothing"])
async def test_no_answer_tells_a_version(path: str, client: Client) -> None:
    async with client.get(path) as response:
        assert response.headers["Server"] == "nearhit"


# --- Serving --------------------------------------------------------------------------------------


async def test_a_connection_serves_one_request_after_the_other(proxy: Proxy) -> None:
    async with serving(proxy) as (served, port):
        one = await Raw.to(port)
        for _ in range(3):
            one.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await one.answer())[0] == 200
        assert repr(served) == "<Http listeners=1 connections=1>"
        await one.close()


async def test_what_is_no_http_gets_400_and_leaves_no_traceback(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(proxy) as (_, port):
        one = await Raw.to(port)
        one.send("*1\r\n$4\r\nPING\r\n\r\n")

        status, head, body = await one.answer()

        assert status == 400
        assert json.loads(body) == {"error": "not a request that HTTP allows"}
        assert "Server: nearhit\r\n" in head
        assert await one.closed()
        await one.close()
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


@pytest.mark.parametrize(
    ("head", "status", "why"),
    [
        ("GET /api/cache/" + "k" * 17000 + " HTTP/1.1", 414, "the path is longer than 16380 bytes"),
        ("GET /healthz HTTP/1.1\r\nX: " + "k" * 9000, 431, "the header is longer than 8190 bytes"),
    ],
)
async def test_a_head_that_is_too_long_says_what_of_it_is(
    proxy: Proxy, head: str, status: int, why: str
) -> None:
    async with serving(proxy) as (_, port):
        got, _, body = await ask(port, head)

    assert (got, json.loads(body)) == (status, {"error": why})


async def test_a_key_of_more_than_8_kb_is_read(proxy: Proxy) -> None:
    proxy.values[b"k" * 16000] = b"v"
    async with serving(proxy) as (_, port):
        assert (await ask(port, f"GET /api/cache/{'k' * 16000} HTTP/1.1"))[0] == 200


@pytest.mark.parametrize("path", ["/api/cache/k", "/metrics", "/healthz"])
async def test_a_page_whose_name_leads_here_reads_nothing(proxy: Proxy, path: str) -> None:
    proxy.values[b"k"] = b"secret"
    async with serving(proxy) as (_, port):
        one = await Raw.to(port)
        one.send(f"GET {path} HTTP/1.1\r\nHost: evil.example:3000\r\n\r\n")
        status, _, body = await one.answer()
        await one.close()

    assert status == 403
    assert json.loads(body) == {"error": "the host 'evil.example:3000' is none of http_hosts"}


async def test_a_host_that_is_no_text_is_none_of_ours(proxy: Proxy) -> None:
    async with serving(proxy) as (_, port):
        one = await Raw.to(port)
        one.send("GET /healthz HTTP/1.1\r\nHost: \xff\r\n\r\n")
        assert (await one.answer())[0] == 403
        await one.close()


async def test_through_a_unix_socket_any_host_may_be_named(proxy: Proxy, tmp_path: Path) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "s"))
    served = Http(proxy.api)
    await served.start([sock])
    one = Raw(*await asyncio.open_unix_connection(str(tmp_path / "s")))

    one.send("GET /healthz HTTP/1.1\r\nHost: docker\r\n\r\n")

    assert (await one.answer())[0] == 200
    await one.close()
    await served.stop(1)


async def test_beyond_the_bound_connections_are_refused(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "CONNECTIONS_MAX", 1)
    async with serving(proxy) as (_, port):
        first = await Raw.to(port)
        first.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await first.answer()
        second = await Raw.to(port)

        try:
            async with asyncio.timeout(5):
                status, _, body = await second.answer()
                closed = await second.closed()
        finally:  # or the server would wait for them
            await first.close()
            await second.close()

        assert (status, json.loads(body)) == (503, {"error": "too many connections"})
        assert closed


@pytest.mark.parametrize(
    "begun", ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"]
)
async def test_a_connection_that_sends_no_whole_request_is_closed(
    begun: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "FIRST_S", 0.02)
    async with serving(proxy) as (_, port):
        one = await Raw.to(port)
        one.send(begun)

        assert await one.closed()

        await one.close()


async def test_a_request_that_takes_long_is_not_taken_for_one_that_does_not_come(
    proxy: Proxy,
) -> None:
    proxy.gate = asyncio.Event()
    proxy.reply = {}
    async with serving(proxy) as (served, port):
        one = await Raw.to(port)
        one.send("GET /api/cache/stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await proxy.began.wait()

        (connection,) = served._connections
        assert connection._timer.cancelled()

        proxy.gate.set()
        assert (await one.answer())[0] == 200
        await one.close()


async def test_stop_answers_what_runs_and_accepts_no_more(proxy: Proxy) -> None:
    proxy.gate = asyncio.Event()
    proxy.reply = {"hits": 1}
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    served = Http(proxy.api)
    await served.start([sock])
    idle, busy = await Raw.to(port), await Raw.to(port)
    busy.send("GET /api/cache/stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await proxy.began.wait()

    stopping = asyncio.ensure_future(served.stop(10))
    assert await idle.closed()
    with pytest.raises(ConnectionError):
        await Raw.to(port)
    proxy.gate.set()

    assert (await busy.answer())[0] == 200
    assert await busy.closed()
    await stopping
    await idle.close()
    await busy.close()


@pytest.mark.parametrize("seconds", [0, 0.02])
async def test_stop_does_not_wait_longer_than_told(seconds: float, proxy: Proxy) -> None:
    proxy.gate = asyncio.Event()
    sock = socket.create_server(("127.0.0.1", 0))
    served = Http(proxy.api)
    await served.start([sock])
    one = await Raw.to(sock.getsockname()[1])
    one.send("GET /api/cache/stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await proxy.began.wait()

    async with asyncio.timeout(5):
        await served.stop(seconds)

    assert await one.closed()
    await one.close()


async def test_a_client_that_leaves_within_its_body_is_no_defect(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(proxy) as (_, port):
        one = await Raw.to(port)
        await one.begin("/api/cache/warm", 50)
        await one.close()
        assert (await ask(port, "GET /healthz HTTP/1.1"))[0] == 200

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_in_development_what_no_loader_is_for_is_made_up_and_stored(proxy: Proxy) -> None:
    async def demo(key: bytes) -> tuple[bytes, int]:
        return b"made up", 60_000

    async def run(words: Sequence[bytes]) -> Value:
        proxy.ran.append(list(words))
        if len(words) == 2:
            raise NoLoader(words[1])
        return words[2]

    api = replace(proxy.api, run=run, demo=demo)
    async with serving(api) as (_, port), ClientSession(f"http://127.0.0.1:{port}") as client:
        got = await get(client, "/api/cache/k")

    assert got == (200, {"key": "k", "value": "made up", "hit": False})
    assert proxy.ran == [[b"GETORSET", b"k"], [b"GETORSET", b"k", b"made up", b"PX", b"60000"]]
