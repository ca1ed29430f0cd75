"""redis-py, sync: what belongs to one connection (name, id, user, database, kills, MONITOR)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from tests.clients.target import Target
from tests.servers import wait_for

Connect = Callable[..., Redis]


@pytest.fixture
def single(connect: Connect) -> Redis:
    """One connection of its own, so that its id and name are its own too."""
    return connect(single_connection_client=True)


def test_a_name_given_at_connect_is_seen_by_others(connect: Connect, client: Redis) -> None:
    named = connect(single_connection_client=True, client_name="worker-7")

    assert named.client_getname() in (b"worker-7", "worker-7")
    assert [row["name"] for row in client.client_list() if row["name"]] == ["worker-7"]


def test_a_name_is_changed_by_setname(single: Redis) -> None:
    assert single.client_getname() is None
    assert single.client_setname("renamed")

    assert single.client_getname() in (b"renamed", "renamed")
    assert single.client_info()["name"] == "renamed"


def test_ids_differ_and_stay(connect: Connect) -> None:
    clients = [connect(single_connection_client=True) for _ in range(5)]

    ids = [client.client_id() for client in clients]

    assert len(set(ids)) == 5
    assert [client.client_id() for client in clients] == ids
    assert [client.client_info()["id"] for client in clients] == ids


def test_the_list_holds_each_client_with_its_library(single: Redis, client: Redis) -> None:
    mine = [row for row in client.client_list() if row["id"] == str(single.client_id())]

    assert len(mine) == 1
    assert mine[0]["db"] == "0"
    if "lib-name" in mine[0]:  # since Redis 7.2
        assert mine[0]["lib-name"].startswith("redis-py")


def test_a_client_that_kills_itself_reconnects(single: Redis) -> None:
    before = single.client_id()
    single.set("k", "v")

    single.client_kill_filter(_id=str(before), skipme=False)

    assert single.get("k") == b"v"
    assert single.client_id() != before


def test_a_client_killed_by_another_retries_and_goes_on(connect: Connect, client: Redis) -> None:
    victim = connect(single_connection_client=True, retry=Retry(NoBackoff(), 3))
    victim.set("k", "v")

    for _ in range(5):
        assert client.client_kill_filter(_id=str(victim.client_id())) == 1
        assert victim.get("k") == b"v"


def test_without_retries_a_killed_client_gets_an_error_once(
    connect: Connect, client: Redis
) -> None:
    victim = connect(single_connection_client=True, retry=Retry(NoBackoff(), 0))
    assert client.client_kill_filter(_id=str(victim.client_id())) == 1

    with pytest.raises(ConnectionError):
        victim.ping()

    assert victim.ping()


def test_killing_an_unknown_id_kills_nobody(client: Redis) -> None:
    assert client.client_kill_filter(_id="999999999") == 0
    with pytest.raises(ResponseError, match="No such client"):
        client.client_kill("127.0.0.1:1")


def test_the_selected_database_survives_a_kill(connect: Connect) -> None:
    client = connect(single_connection_client=True, db=4)
    client.set("k", "in four")

    client.client_kill_filter(_id=str(client.client_id()), skipme=False)

    assert client.get("k") == b"in four"
    assert client.client_info()["db"] == 4


def test_health_checks_before_every_command_change_nothing(connect: Connect) -> None:
    client = connect(health_check_interval=0.000_001)

    client.set("n", 0)

    assert [client.incr("n") for _ in range(50)] == list(range(1, 51))
    assert client.pipeline().incr("n").incr("n").execute() == [51, 52]


def test_a_url_names_user_database_and_protocol(target: Target, protocol: int, reader: str) -> None:
    address = f"{target.host}:{target.port}"
    with Redis.from_url(f"redis://{reader}:secret@{address}/2?protocol={protocol}") as client:
        assert client.acl_whoami() in (reader, reader.encode())
        assert client.client_info()["db"] == 2


@pytest.fixture
def reader(target: Target) -> Iterator[str]:
    """A user that may read the keys that start with pub: and do little else."""
    with target.client() as admin:
        admin.acl_setuser(
            "reader",
            enabled=True,
            passwords=["+secret"],
            keys=["pub:*"],
            categories=["+@read", "+@connection"],
            commands=["+acl|whoami"],
            reset=True,
        )
        yield "reader"
        admin.acl_deluser("reader")


def test_a_user_reads_what_it_may_and_nothing_else(
    connect: Connect, client: Redis, reader: str
) -> None:
    client.mset({"pub:k": "shown", "priv:k": "hidden"})
    limited = connect(username=reader, password="secret")
    # The default user reads first: an answer kept for it must not be handed to the other.
    assert client.get("priv:k") == b"hidden"

    assert limited.get("pub:k") == b"shown"
    with pytest.raises(NoPermissionError):
        limited.get("priv:k")
    with pytest.raises(NoPermissionError):
        limited.set("pub:k", "changed")


@pytest.mark.usefixtures("reader")
def test_a_wrong_password_is_refused_and_disturbs_nobody(connect: Connect, client: Redis) -> None:
    client.set("pub:k", "v")
    wrong = connect(username="reader", password="guess", retry=Retry(NoBackoff(), 0))

    with pytest.raises(AuthenticationError):
        wrong.get("pub:k")

    assert client.get("pub:k") == b"v"


def test_a_connection_can_change_its_user(single: Redis, reader: str) -> None:
    single.set("pub:k", "v")

    assert single.execute_command("AUTH", reader, "secret") in (True, b"OK", "OK")

    assert single.get("pub:k") == b"v"
    with pytest.raises(NoPermissionError):
        single.set("pub:k", "changed")


def test_a_deleted_user_is_cut_off(connect: Connect, client: Redis, reader: str) -> None:
    client.set("pub:k", "v")
    limited = connect(
        single_connection_client=True,
        username=reader,
        password="secret",
        retry=Retry(NoBackoff(), 0),
    )
    assert limited.get("pub:k") == b"v"

    client.acl_deluser(reader)

    # The server closes the connection; the proxy says -UPSTREAM where the command had left it.
    with pytest.raises(RedisError):
        limited.get("pub:k")
    with pytest.raises(RedisError):
        limited.get("pub:k")


def test_monitor_shows_what_others_do(connect: Connect, client: Redis) -> None:
    watcher = connect()

    with watcher.monitor() as monitor:
        client.set("seen", "by monitor")
        commands = (entry["command"] for entry in monitor.listen())
        seen = next(command for command in commands if "seen" in command)

    assert seen == "SET seen by monitor"
    assert client.ping()


def test_no_evict_and_no_touch_are_accepted(single: Redis, target: Target) -> None:
    assert single.client_no_evict("ON") in (True, b"OK", "OK")
    if target.kind == "valkey":  # NO-TOUCH came with Redis 7.2
        assert single.client_no_touch("ON") in (True, b"OK", "OK")
    assert single.ping()


def test_replies_switched_off_stay_off_until_switched_on(single: Redis) -> None:
    connection = single.connection
    connection.send_command("CLIENT", "REPLY", "SKIP")
    connection.send_command("SET", "k", "unheard")
    connection.send_command("GET", "k")

    assert connection.read_response() == b"unheard"


def test_a_closed_client_leaves_the_list(connect: Connect, client: Redis) -> None:
    leaving = connect(single_connection_client=True, client_name="leaving")
    assert "leaving" in {row["name"] for row in client.client_list()}

    leaving.close()

    wait_for(
        lambda: "leaving" not in {row["name"] for row in client.client_list()},
        what="the closed client left the list",
    )
