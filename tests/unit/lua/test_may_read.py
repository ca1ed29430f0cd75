"""may_read.lua: which keys a user may read is told without a refusal in ACL LOG."""

from __future__ import annotations

from nearhit.lua import script
from redis import Redis

from tests.servers import HOST

TEXT = script("may_read").text


def test_each_key_is_judged_by_the_rights_of_who_asks(redis: Redis) -> None:
    redis.acl_setuser(
        "narrow", enabled=True, passwords=["+p"], keys=["a:*"], commands=["+@all"], reset=True
    )
    try:
        redis.acl_log_reset()
        port = redis.connection_pool.connection_kwargs["port"]
        with Redis(host=HOST, port=port, username="narrow", password="p") as narrow:
            assert narrow.eval(TEXT, 0, b"a:1", b"b:1", b"a:\xff") == [1, 0, 1]
        assert redis.eval(TEXT, 0, b"a:1", b"b:1") == [1, 1]
        assert redis.acl_log() == []
    finally:
        redis.acl_deluser("narrow")


def test_of_no_keys_nothing_is_said(redis: Redis) -> None:
    assert redis.eval(TEXT, 0) == []
