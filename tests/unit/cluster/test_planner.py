"""Where requests go by the command table."""

from nearhit.proxy.cluster.planner import Planner, one_key
from nearhit.proxy.cluster.plans import Anywhere, One
from nearhit.proxy.resp.kernel import hash_slot

from tests.fakes import TABLE


def test_requests_go_where_their_first_key_is() -> None:
    planner = Planner(lambda: TABLE.commands)
    assert planner.plan([b"mget", b"a", b"b"]) == One(hash_slot(b"a"))
    assert planner.plan([b"EVAL", b"s", b"1", b"k"]) == One(hash_slot(b"k"))
    assert planner.plan([b"PUBLISH", b"c", b"m"]) == Anywhere()


def test_commands_of_one_key_are_found() -> None:
    names = one_key(TABLE.commands)
    assert {b"GET", b"SET", b"RPUSH"} <= names
    assert not {b"MGET", b"EVAL", b"PING", b"BLPOP"} & names
