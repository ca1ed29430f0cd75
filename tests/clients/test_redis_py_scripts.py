"""redis-py, sync: EVAL, EVALSHA, registered scripts after SCRIPT FLUSH, and functions."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError
from redis.retry import Retry

from tests.clients.target import Target
from tests.servers import wait_for

Connect = Callable[..., Redis]

ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
LIBRARY = """#!lua name=shop
redis.register_function('sell', function(keys, args)
  return redis.call('DECRBY', keys[1], args[1])
end)
redis.register_function{
  function_name='stock',
  callback=function(keys) return redis.call('GET', keys[1]) end,
  flags={'no-writes'}
}
"""


def test_a_registered_script_survives_script_flush(client: Redis) -> None:
    add = client.register_script(ADD)
    assert add(keys=["n"], args=[5]) == 5

    client.script_flush()

    assert add(keys=["n"], args=[2]) == 7
    assert client.script_exists(add.sha) == [True]


def test_an_unknown_sha_is_noscript(client: Redis) -> None:
    with pytest.raises(NoScriptError):
        client.evalsha("f" * 40, 0)


def test_a_registered_script_runs_in_a_pipeline(client: Redis) -> None:
    add = client.register_script(ADD)
    client.script_flush()
    pipe = client.pipeline()
    for n in range(50):
        add(keys=["n"], args=[n], client=pipe)

    assert pipe.execute() == [n * (n + 1) // 2 for n in range(50)]


def test_a_script_returns_every_kind_of_value(client: Redis) -> None:
    reply = client.eval("return {1, 'two', {3, {}}, false, redis.status_reply('OK')}", 0)

    assert reply == [1, b"two", [3, []], None, b"OK"]


def test_a_scripts_error_is_raised(client: Redis) -> None:
    with pytest.raises(ResponseError, match="mine"):
        client.eval("return redis.error_reply('MINE mine')", 0)
    with pytest.raises(ResponseError, match=r"(?i)script"):
        client.eval("return redis.call('INCR', KEYS[1], 'too many')", 1, "k")

    assert client.ping()


def test_a_scripts_write_is_seen_by_a_reader_that_knew_the_old_value(
    connect: Connect, client: Redis
) -> None:
    reader = connect()
    add = client.register_script(ADD)
    for total in range(1, 101):
        add(keys=["n"], args=[1])
        assert client.get("n") == b"%d" % total
    wait_for(lambda: reader.get("n") == b"100", 2, "the other reader saw the last write")


def test_a_read_only_script_reads_and_may_not_write(client: Redis) -> None:
    client.set("k", "v")

    assert client.eval_ro("return redis.call('GET', KEYS[1])", 1, "k") == b"v"
    with pytest.raises(ResponseError, match="Write commands are not allowed"):
        client.eval_ro("return redis.call('DEL', KEYS[1])", 1, "k")


def test_functions_are_loaded_called_and_listed(client: Redis) -> None:
    assert client.function_load(LIBRARY) in (b"shop", "shop")
    client.set("apples", 10)

    assert client.fcall("sell", 1, "apples", 3) == 7
    assert client.fcall_ro("stock", 1, "apples") == b"7"
    with pytest.raises(ResponseError, match="write flag"):
        client.fcall_ro("sell", 1, "apples", 1)
    with pytest.raises(ResponseError, match="already exists"):
        client.function_load(LIBRARY)
    assert "shop" in str(client.function_list())


def test_functions_are_dumped_and_restored(client: Redis) -> None:
    client.function_load(LIBRARY)
    client.set("apples", 10)

    dump = client.function_dump()
    client.function_flush()
    with pytest.raises(ResponseError, match="Function not found"):
        client.fcall("stock", 1, "apples")
    client.function_restore(dump)

    assert client.fcall("stock", 1, "apples") == b"10"


def test_a_script_that_runs_too_long_can_be_killed_by_anyone(
    connect: Connect, client: Redis, target: Target
) -> None:
    """Eight killers, so that some share whatever way to the server the script itself took."""
    client.config_set("busy-reply-threshold", 20)
    with target.server() as rescuer:
        for _ in range(8):
            spinner = Spinner(connect())
            killer = connect(socket_timeout=3, retry=Retry(NoBackoff(), 0))
            spinner.start()
            try:
                wait_for(lambda killer=killer: killed(killer), what="SCRIPT KILL found it")
                spinner.join(10)
            finally:  # or every test after this one finds a busy server
                wait_for(lambda s=spinner: not killed(rescuer) and not s.is_alive())
            assert "killed" in spinner.error.lower()

    assert client.config_set("busy-reply-threshold", 5000)


class Spinner(threading.Thread):
    """Runs a script without an end, and keeps what ended it."""

    def __init__(self, client: Redis) -> None:
        super().__init__()
        self.client = client
        self.error = ""

    def run(self) -> None:
        try:
            self.client.eval("while true do end", 0)
        except ResponseError as error:
            self.error = str(error)


def killed(client: Redis) -> bool:
    try:
        return bool(client.script_kill())
    except ResponseError as error:
        if "No scripts in execution" not in str(error):
            raise
        return False
