"""The contract of the commands that look after loads, line by line, in front of a cluster, in both
protocols: as tests/commands, tests/locks and tests/stampede have it in front of one server.

One proxy for each engine, with loaders and HTTP; keys are of all nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from redis import Redis, ResponseError

from tests.clusters import Cluster
from tests.refusals import WORDS, refusing
from tests.servers import HOST, free_port, nearhit, wait_for

from ..commands.behind import SLOW, client_of, ended, status
from ..commands.origin import Origin, origin
from ..commands.people import settings, web

MORE = """
[loaders.moody]
match = "moody:{{id}}"
url = "http://127.0.0.1:{port}/{{id}}"
ttl = "100s"
grace = "50s"
backoff = "1ms"

[loaders.page]
match = "page:{{id}}"
url = "http://127.0.0.1:{port}/{{id}}"
headers = {{ Authorization = "Bearer ${{PAGE_TOKEN}}" }}

[loaders.patient]
match = "patient:{{id}}"
url = "http://127.0.0.1:{port}/{{id}}"
ttl = "100s"
grace = "50s"
soft_timeout = "10s"

[loaders.stuck]
match = "stuck:{{id}}"
call = "people:load"
timeout = "200ms"
grace = "50s"
backoff = "1ms"

[loaders.made]
match = "made:{{id}}"
demo = true

[loaders.early]
match = "early:{{id}}"
call = "people:load"
ttl = "1s"
early = true
"""
DAWN = """
[loaders.dawn]
match = "dawn:{id}"
demo = true
warm = "dawn:{1..40}"
"""


@dataclass
class Front:
    cluster: Cluster
    loads: Path  # a line for each call of people.py's loaders
    origin: Origin
    port: int
    http: int

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        with closing(HTTPConnection(HOST, self.http, timeout=10)) as link:
            link.request(method, f"/api/cache/{path}", None if body is None else json.dumps(body))
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())

    def stored(self, glob: str) -> set[bytes]:
        return {key for node in self.cluster.nodes[:3] for key in node.ask("KEYS", glob)}  # type: ignore[union-attr,misc]

    @contextmanager
    def refusing(self, why: str) -> Iterator[None]:
        """All primaries do."""
        with ExitStack() as stack:
            for node in self.cluster.nodes:
                if node.is_primary:
                    stack.enter_context(refusing(why, partial(node.ask, seconds=15)))
            yield


@pytest.fixture(scope="module")
def kept(engine: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder: Path = tmp_path_factory.mktemp("contract")
    with ExitStack() as stack:
        flags, env = settings(folder, stack.enter_context(web(folder)))
        pages, http = stack.enter_context(origin()), free_port()
        with (folder / "nearhit.toml").open("a") as file:
            file.write(MORE.format(port=pages.port))
        flags += ["--http", f"{HOST}:{http}"]
        proxy = nearhit(engine.url, *flags, env={**env, "PAGE_TOKEN": "t0ken"})
        yield Front(engine, folder / "loads", pages, stack.enter_context(proxy).port, http)
    engine.reset()


@pytest.fixture
def front(kept: Front) -> Front:
    with client_of(kept.port) as client:
        client.flushall()
    kept.origin.texts = {"/1": "one", "/2": "two"}
    kept.origin.asked.clear()
    return kept


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(front: Front, request: pytest.FixtureRequest) -> Iterator[Redis]:
    with client_of(front.port, request.param) as client:
        yield client


def protocol(client: Redis) -> int:
    return int(client.connection_pool.connection_kwargs["protocol"])


def counted(front: Front, name: str) -> int:
    return int(front.ask("GET", "stats")[1][name])


def test_mgetorset_fails_as_one_or_in_part(front: Front, client: Redis) -> None:
    client.set("many:1", "there")
    keys = ("user:1", "many:1", "user:broken", "absent", "user:nobody")
    before = counted(front, "partial_failures")

    with pytest.raises(Exception, match=r"loader 'users': .*\(key 'user:broken'; 1 failed\)"):
        client.execute_command("MGETORSET", 5, *keys)

    found = client.execute_command("MGETORSET", 5, *keys, "PARTIAL")
    assert found == [b"user 1", b"there", None, None, None]
    assert counted(front, "partial_failures") == before + 1


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("", "wrong number of arguments for 'mgetorset' command"),
        ("1", "wrong number of arguments for 'mgetorset' command"),
        ("x k", "value is not an integer or out of range"),
        ("0 k", "numkeys should be greater than 0"),
        ("2 k", "syntax error"),
        ("1 k more", "syntax error"),
        ("1 k PARTIAL PARTIAL", "syntax error"),
    ],
)
def test_a_wrong_mgetorset_is_refused(client: Redis, words: str, error: str) -> None:
    with pytest.raises(ResponseError) as refused:
        client.execute_command("MGETORSET", *words.split())

    assert str(refused.value) == error


def test_a_key_of_mgetorset_may_be_called_as_the_option(client: Redis) -> None:
    client.set("PARTIAL", "v")

    assert client.execute_command("MGETORSET", 1, "PARTIAL") == [b"v"]
    assert client.execute_command("MGETORSET", 2, "PARTIAL", "x", "PARTIAL") == [b"v", None]


def test_keys_of_all_nodes_are_read_and_loaded_at_once(front: Front, client: Redis) -> None:
    front.loads.write_text("")
    keys = [f"many:{number}" for number in range(60)]
    client.set(keys[7], "there")

    found = client.execute_command("MGETORSET", 61, *keys, "many:nobody")

    wanted = [f"user {number}".encode() for number in range(60)]
    assert found == [*wanted[:7], b"there", *wanted[8:], None]
    assert {*keys} == {key.decode() for key in front.stored("many:*")}
    calls = front.loads.read_text().splitlines()
    assert sum(int(line.removeprefix("many ")) for line in calls) == 60


def test_a_load_that_fails_leaves_what_is_stale(front: Front, client: Redis) -> None:
    keys = ("moody:1", "moody:2")
    assert client.execute_command("MGETORSET", 2, *keys) == [b"one", b"two"]
    front.origin.texts = {"/1": "denied", "/2": "denied"}
    assert client.execute_command("INVALIDATE", "SOFT", "KEYS", *keys, "moody:3") == 2
    before, stale = counted(front, "refresh_failures"), counted(front, "stale_served")

    assert [client.execute_command("GETORSET", key) for key in keys] == [b"one", b"two"]
    wait_for(lambda: counted(front, "refresh_failures") >= before + 2, 10, "failures")

    assert client.execute_command("MGETORSET", 2, *keys) == [b"one", b"two"]
    assert counted(front, "stale_served") >= stale + 4


def test_a_load_that_hangs_leaves_what_is_stale(front: Front, client: Redis) -> None:
    client.set("stuck:hang", "old", px=30_000)
    before = counted(front, "refresh_failures")

    for read in (("GETORSET", "stuck:hang"), ("MGETORSET", 1, "stuck:hang")):
        assert client.execute_command(*read) in (b"old", [b"old"])
    wait_for(lambda: counted(front, "refresh_failures") > before, 10, "its end")

    assert client.execute_command("GETORSET", "stuck:hang") == b"old"
    client.delete("stuck:hang")
    with pytest.raises(Exception, match="no answer in 200 ms"):
        client.execute_command("GETORSET", "stuck:hang")


def test_keys_of_all_nodes_are_posted_in_lists(front: Front, client: Redis) -> None:
    front.loads.write_text("")
    keys = [f"posted:{number}" for number in range(60)]
    client.set(keys[7], "there")

    found = client.execute_command("MGETORSET", 61, *keys, "posted:nobody")

    assert found[7] == b"there"
    assert found.pop() is None
    for key, value in zip(keys, found, strict=True):  # one that is alone is got as a page
        assert value in (f'{{"key":"{key}"}}'.encode(), b"page/" + key[7:].encode(), b"there")
    assert client.mget(keys) == found
    sizes = [int(one[7:]) for one in front.loads.read_text().splitlines() if one[:6] == "posted"]
    assert max(sizes) > 1


def test_what_a_loader_warms_is_filled_at_the_start(
    front: Front, client: Redis, tmp_path: Path
) -> None:
    file, keys = tmp_path / "nearhit.toml", [f"dawn:{number}" for number in range(1, 41)]
    file.write_text(DAWN)
    with (
        nearhit(front.cluster.url, "--config", str(file)) as proxy,
        client_of(proxy.port, protocol(client)) as other,
    ):
        wait_for(lambda: other.execute_command("WARM", "JOBS"), 10, "its job")
        (id,) = other.execute_command("WARM", "JOBS")
        found = ended(other, "WARM", id)
        assert [found[name] for name in (b"state", b"loaded")] == [b"done", 40]

    assert client.mget(keys) == [f"demo value of {key}".encode() for key in keys]


def test_softly_the_fresh_value_is_waited_for(front: Front, client: Redis) -> None:
    keys = ("patient:1", "patient:2")
    assert client.execute_command("MGETORSET", 2, *keys) == [b"one", b"two"]
    front.origin.texts = {"/1": "new", "/2": "newer"}
    assert client.execute_command("INVALIDATE", "SOFT", "KEYS", *keys) == 2

    assert [client.execute_command("GETORSET", key) for key in keys] == [b"new", b"newer"]


def test_what_is_asked_of_a_key_may_be_asked_of_one_with_a_hash_tag(
    front: Front, client: Redis
) -> None:
    ask = client.execute_command
    assert [ask("GETORSET", "cart:{7}", each, "EX", 60) for each in "vw"] == [b"v", b"v"]
    _, token = ask("LEASE", "GET", "cart:{8}")
    assert ask("LEASE", "SET", "cart:{8}", token, "8", "EX", 60) == 1
    _, token = ask("LEASE", "GET", "cart:{9}")
    loaded = ask("MGETORSET", 3, "user:{1}", "user:1", "user:{2}:x")
    assert loaded == [b"user {1}", b"user 1", b"user {2}:x"]
    assert client.get("read:{3}") == b"user {3}"
    ask("WARM", "KEYS", "user:{1}", "user:{4}")
    ask("WARM", "VALUES", "cart:{10}", "10", "cart:11", "11")
    assert client.mget("user:{4}", "cart:{10}", "cart:11") == [b"user {4}", b"10", b"11"]

    assert ask("INVALIDATE", "PATTERN", "cart:*") == 4
    assert ask("INVALIDATE", "user:{1}", "user:1", "user:{2}:x", "user:{4}") == 4

    assert ask("LEASE", "SET", "cart:{9}", token, "9") == 0, "it began before"


def test_what_is_read_often_is_refreshed_early(front: Front, client: Redis) -> None:
    before = counted(front, "early_refreshes")

    def refreshed() -> bool:
        assert client.execute_command("GETORSET", "early:slow1") == b"user slow1"
        return counted(front, "early_refreshes") > before

    wait_for(refreshed, 20, "a refresh before the end")


def test_tags_of_all_that_may_have_some(front: Front, client: Redis) -> None:
    client.execute_command("GETORSET", "a", "1", "TAG", "team", "TAG", "red")
    _, token = client.execute_command("LEASE", "GET", "b")
    words = ("LEASE", "SET", "b", token, "2", "EX", 60, "TAG", "team")
    assert client.execute_command(*words) == 1
    client.execute_command("WARM", "TAG", "team", "KEYS", "user:1")
    client.execute_command("WARM", "TAG", "team", "VALUES", "c", "3")
    client.execute_command("GETORSET", "tagged:1")
    _, token = client.execute_command("LEASE", "GET", "d")

    assert client.execute_command("INVALIDATE", "TAG", "team", "all") == 5

    words = ("LEASE", "SET", "d", token, "4", "TAG", "team")
    assert client.execute_command(*words) == 0, "it began before"
    assert client.mget("a", "b", "c", "d", "user:1", "tagged:1") == [None] * 6
    too_many = [word for n in range(17) for word in ("TAG", n)]
    with pytest.raises(Exception, match="16"):
        client.execute_command("GETORSET", "a", "1", *too_many)


@pytest.mark.parametrize("words", ["KEYS soft:1 user:1 soft:9", "PATTERN *:1", "TAG soft mine"])
def test_soft_keeps_what_has_a_grace(client: Redis, words: str) -> None:
    client.execute_command("WARM", "TAG", "mine", "KEYS", "soft:1", "user:1")

    assert client.execute_command("INVALIDATE", "SOFT", *words.split()) == 2

    assert 40_000 < client.pttl("soft:1") <= 50_000
    assert client.mget("soft:1", "user:1") == [b"user 1", None]


def test_warm_fills_what_is_missing_and_tells_how_it_went(front: Front, client: Redis) -> None:
    def warm(*words: str | int) -> list[Any]:
        found = client.execute_command("WARM", *words)
        told = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
        names = (b"requested", b"loaded", b"skipped", b"not_found", b"failed", b"errors")
        return [told[name] for name in names]

    client.set("user:2", "there")
    broken = [[b"absent", b"NOLOADER no loader matches 'absent'"]]
    assert warm("user:1", "user:2", "user:nobody", "absent") == [4, 1, 1, 1, 1, broken]
    assert client.mget("user:1", "user:2") == [b"user 1", b"there"]
    keys = [f"user:{number}" for number in range(2, 12)]
    words = ("PX", 50_000, "LOADER", "made", "CONCURRENCY", 4, "REFRESH", "KEYS", *keys)
    assert warm(*words) == [10, 10, 0, 0, 0, []]
    assert client.mget(keys) == [f"demo value of {key}".encode() for key in keys]
    assert 44_000 < client.pttl("user:2") <= 55_000
    assert warm("EX", 50, "VALUES", "user:1", "no", "a", "1", "KEYS", "2") == [3, 2, 1, 0, 0, []]
    assert client.mget("user:1", "a", "KEYS") == [b"user 1", b"1", b"2"]


def test_jobs_are_told_and_ended(front: Front, client: Redis) -> None:
    words = ("WARM", "ASYNC", "CONCURRENCY", "1", "KEYS", *SLOW)
    id: Any = client.execute_command(*words)
    path = f"jobs/{id.decode()}"
    wait_for(lambda: status(client, "WARM", id)[b"loaded"] >= 1)
    assert front.ask("GET", path)[1]["state"] == "running"
    assert id in client.execute_command("WARM", "JOBS")

    assert client.execute_command("WARM", "CANCEL", id) == 1
    assert ended(client, "WARM", id)[b"state"] == b"cancelled"
    assert client.execute_command("WARM", "CANCEL", id) == 0
    assert front.ask("DELETE", path) == (200, {"cancelled": False})

    id = client.execute_command("INVALIDATE", "ASYNC", "PATTERN", "user:*")
    assert ended(client, "INVALIDATE", id)[b"state"] == b"done"
    assert client.keys("user:slow*") == []
    listed = front.ask("GET", "jobs")[1]["jobs"]
    assert {"WARM", "INVALIDATE"} <= {job["command"] for job in listed}


def test_keys_of_all_nodes_are_filled_and_removed_behind(front: Front, client: Redis) -> None:
    pairs = {f"page:{number}": "v" for number in range(300)}
    words = [word for pair in pairs.items() for word in pair]

    id: Any = client.execute_command("WARM", "ASYNC", "VALUES", *words)
    assert ended(client, "WARM", id)[b"loaded"] == 300
    assert client.mget(*pairs) == [b"v"] * 300
    for number in range(3):
        client.execute_command("GETORSET", f"team:{number}", "v", "TAG", "team")

    for words, removed in ((["PATTERN", "page:*"], 300), (["TAG", "team"], 3)):
        id = client.execute_command("INVALIDATE", "ASYNC", *words)
        assert ended(client, "INVALIDATE", id)[b"removed"] == removed
    assert client.mget(*pairs) == [None] * 300
    assert front.stored("*") == {b"tagepoch:{team}"}


def test_locks_are_listed_and_end_at_maxhold(front: Front, client: Redis) -> None:
    for name in ("mail:1", "mail:2"):
        client.execute_command("LOCK", "ACQUIRE", name, "PX", 60_000)

    found = client.execute_command("LOCK", "LIST", "mail*")
    listed = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
    assert {*listed} == {b"mail:1", b"mail:2"}
    assert all(50_000 < ttl <= 60_000 for ttl in listed.values())

    words = ("LOCK", "ACQUIRE", "held", "PX", 300, "RENEW", "MAXHOLD", 600)
    before = counted(front, "locks_lost")
    assert client.execute_command(*words)
    wait_for(lambda: counted(front, "locks_lost") > before, 10, "its end")
    wait_for(lambda: not client.exists("lock:{held}"), 5, "its end")


@pytest.mark.parametrize("why", WORDS)
def test_where_nothing_can_be_written_loaders_answer(front: Front, client: Redis, why: str) -> None:
    before = counted(front, "unstored")
    with front.refusing(why):
        assert client.execute_command("GETORSET", "user:1") == b"user 1"
        assert client.get("read:2") == b"user 2"
        found = client.execute_command("MGETORSET", 3, "user:3", "many:4", "tagged:5")
        assert found == [b"user 3", b"user 4", b"user 5"]
        assert front.ask("GET", "user:6")[0] == 200
        for words in (("GETORSET", "strict:1"), ("SET", "k", "v")):
            with pytest.raises(Exception, match=WORDS[why].partition(" ")[2] or why):
                client.execute_command(*words)

    assert counted(front, "unstored") == before + 6
    keys = ("user:1", "read:2", "user:3", "many:4", "tagged:5", "user:6", "strict:1", "k")
    assert client.exists(*keys) == 0


def test_http_reads_many_and_takes_tags_along(front: Front, client: Redis) -> None:
    client.execute_command("GETORSET", "a", "1", "TAG", "team")

    assert front.ask("POST", "mget", {"keys": ["user:1", "a", "absent"]}) == (
        200,
        {
            "values": [
                {"key": "user:1", "value": "user 1"},
                {"key": "a", "value": "1"},
                {"key": "absent", "value": None},
            ]
        },
    )
    assert front.ask("POST", "invalidate", {"tag": "team"}) == (200, {"removed": 1})
    assert client.get("a") is None


def test_a_page_that_still_holds_is_confirmed(front: Front, client: Redis) -> None:
    assert client.execute_command("GETORSET", "page:1") == b"one"
    assert front.origin.asked[0].headers["Authorization"] == "Bearer t0ken"
    client.pexpire("page:1", 1000)
    front.origin.statuses()

    client.execute_command("WARM", "REFRESH", "KEYS", "page:1")

    assert front.origin.statuses() == [304]
    assert client.pttl("page:1") > 1000
    assert client.get("page:1") == b"one"
