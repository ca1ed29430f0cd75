"""What is asked on a new connection, and what the answers make of it. No connection is needed."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import NO_AUTH_COMMAND, UpstreamDown, UpstreamNotReady, UpstreamRefused
from nearhit.proxy.settings.address import Upstream
from nearhit.proxy.upstream.handshake import Purpose, Standing, Step, again, judge, steps
from nearhit.proxy.upstream.lane_key import LaneKey, Use, User

ALICE = User(b"alice", b"sesame")
OK = b"+OK\r\n"
HELLO = b"%2\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:7\r\n"
HELLO2 = b"*4\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:7\r\n"
PONG = b"+PONG\r\n"
NO = b"-ERR no\r\n"


# --- Asking


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        (LaneKey(), ["HELLO 2", "PING"]),
        (LaneKey(use=Use.SCRIPTS), ["HELLO 2", "PING"]),
        (LaneKey(db=3), ["HELLO 2", "SELECT 3", "PING"]),
        (LaneKey(resp=3), ["HELLO 3", "PING"]),
        (LaneKey(user=ALICE), ["AUTH alice sesame", "HELLO 2"]),
        (LaneKey(1, 3, ALICE), ["SELECT 1", "AUTH alice sesame", "HELLO 3"]),
        (LaneKey(use=Use.TRACKED), ["HELLO 3", "CLIENT TRACKING ON OPTIN", "PING"]),
        (LaneKey(use=Use.REPLICA), ["HELLO 2", "READONLY", "PING"]),
        (
            LaneKey(2, 2, ALICE, Use.TRACKED),
            ["SELECT 2", "AUTH alice sesame", "HELLO 3", "CLIENT TRACKING ON OPTIN"],
        ),
    ],
)
def test_the_steps_are_those_that_the_key_needs(key: LaneKey, asked: list[str]) -> None:
    found = [b" ".join(step.words).decode() for step in steps(key, Upstream())]

    assert found == asked


MASTER = Upstream.parse("redis-sentinel://:pw@s1/m")
ROLE = b"*3\r\n$%d\r\n%b\r\n:0\r\n*0\r\n"


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        (LaneKey(), ["AUTH pw", "HELLO 2", "PING", "ROLE"]),
        (LaneKey(1, 3, ALICE), ["AUTH pw", "ROLE", "SELECT 1", "AUTH alice sesame", "HELLO 3"]),
    ],
)
def test_who_is_named_by_sentinels_is_asked_its_role_as_ourselves(
    key: LaneKey, asked: list[str]
) -> None:
    found = [b" ".join(step.words).decode() for step in steps(key, MASTER)]

    assert found == asked


def test_a_lane_without_login_asks_no_role() -> None:
    assert [step.words[0] for step in steps(LaneKey(), MASTER, bare=True)] == [b"HELLO"]


@pytest.mark.parametrize("role", [b"slave", b"sentinel"])
def test_who_is_no_master_is_not_ready(role: bytes) -> None:
    asked = steps(LaneKey(), MASTER)

    with pytest.raises(UpstreamDown, match=f"no master but a {role.decode()}"):
        judge(asked, [OK, HELLO2, PONG, ROLE % (len(role), role)])


@pytest.mark.parametrize("reply", [ROLE % (6, b"master"), b"-NOPERM no\r\n", b"+odd\r\n"])
def test_a_master_and_one_who_does_not_tell_are_taken(reply: bytes) -> None:
    assert judge(steps(LaneKey(), MASTER), [OK, HELLO2, PONG, reply]).client_id == 7


def test_where_our_own_login_fails_a_users_lane_stands_all_the_same() -> None:
    asked = steps(LaneKey(user=ALICE), MASTER)

    assert judge(asked, [b"-WRONGPASS no\r\n", b"-NOAUTH no\r\n", OK, HELLO2]).client_id == 7


def test_a_user_who_may_not_track_is_not_asked_to() -> None:
    key = LaneKey(0, 2, ALICE, Use.TRACKED)

    found = [b" ".join(step.words).decode() for step in steps(key, Upstream(), tracks=False)]

    assert found == ["AUTH alice sesame", "HELLO 2"]


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("redis://h", []),
        ("redis://:pw@h", [(b"AUTH", b"pw")]),
        ("redis://u:pw@h", [(b"AUTH", b"u", b"pw")]),
    ],
)
def test_without_a_user_the_login_is_that_of_the_url(
    url: str, login: list[tuple[bytes, ...]]
) -> None:
    found = [step.words for step in steps(LaneKey(), Upstream.parse(url))]

    assert found[:-2] == login


def test_an_empty_user_name_is_the_default_user() -> None:
    upstream = Upstream(username="", password="pw")

    assert steps(LaneKey(), upstream)[0].words == (b"AUTH", b"default", b"pw")


def test_a_users_login_goes_before_that_of_the_url() -> None:
    upstream = Upstream(username="u", password="pw")

    found = [step.words for step in steps(LaneKey(user=ALICE), upstream)]

    assert found == [(b"AUTH", b"alice", b"sesame"), (b"HELLO", b"2")]


def test_a_bare_connection_logs_in_as_nobody() -> None:
    upstream = Upstream(username="u", password="pw")

    found = [step.words for step in steps(LaneKey(user=ALICE), upstream, bare=True)]

    assert found == [(b"HELLO", b"2")]


# --- Judging

PLAIN = LaneKey()
FULL = LaneKey(1, 3, ALICE)
TRACKED = LaneKey(use=Use.TRACKED)
NOAUTH = b"-NOAUTH Authentication required.\r\n"


@pytest.mark.parametrize(
    ("key", "replies", "standing"),
    [
        (PLAIN, [HELLO2, PONG], Standing(client_id=7)),
        (PLAIN, [NO, PONG], Standing()),
        (PLAIN, [b"*0\r\n", PONG], Standing()),
        (PLAIN, [NOAUTH, NOAUTH], Standing(locked=True)),
        (PLAIN, [NO, NOAUTH], Standing(locked=True)),
        (PLAIN, [HELLO2, NO], Standing(client_id=7)),
        (FULL, [OK, OK, HELLO], Standing(client_id=7)),
        (FULL, [NO, OK, HELLO], Standing(client_id=7)),
        (TRACKED, [HELLO, OK, PONG], Standing(client_id=7, tracking=True)),
        (TRACKED, [NO, OK, PONG], Standing()),
        (TRACKED, [HELLO, NO, PONG], Standing(client_id=7)),
    ],
)
def test_replies_say_what_the_connection_is(
    key: LaneKey, replies: list[bytes], standing: Standing
) -> None:
    assert judge(steps(key, Upstream()), replies) == standing


@pytest.mark.parametrize(
    ("early", "more"), [(OK, []), (NO, [(b"SELECT", b"1")]), (NOAUTH, [(b"SELECT", b"1")])]
)
def test_what_could_not_be_done_before_the_login_is_asked_behind_it(
    early: bytes, more: list[tuple[bytes, ...]]
) -> None:
    asked = steps(FULL, Upstream())

    found = again(asked, [early, OK, HELLO])

    assert [step.words for step in found] == more
    for step in found:
        with pytest.raises(UpstreamRefused):
            judge([*asked, step], [early, OK, HELLO, b"-NOPERM no\r\n"])


@pytest.mark.parametrize("line", [b"-LOADING wait\r\n", b"-MASTERDOWN Link down\r\n"])
@pytest.mark.parametrize("at", range(3))
def test_a_server_that_is_not_ready_says_so_in_any_reply(line: bytes, at: int) -> None:
    replies = [OK, OK, HELLO]
    replies[at] = line

    with pytest.raises(UpstreamNotReady) as caught:
        judge(steps(FULL, Upstream()), replies)

    assert caught.value.line == line


def test_not_ready_goes_before_refused() -> None:
    with pytest.raises(UpstreamNotReady):
        judge(steps(FULL, Upstream()), [OK, NO, b"-LOADING wait\r\n"])


@pytest.mark.parametrize(
    ("at", "reply", "line", "login"),
    [
        (1, b"-WRONGPASS no\r\n", b"-WRONGPASS no\r\n", True),
        (1, b"-ERR unknown command 'AUTH', with args: 'sesame'\r\n", NO_AUTH_COMMAND, True),
        (2, b"-ERR unknown command 'HELLO'\r\n", b"-ERR unknown command 'HELLO'\r\n", False),
    ],
)
def test_a_step_that_must_succeed_and_did_not_is_a_refusal(
    at: int, reply: bytes, line: bytes, login: bool
) -> None:
    replies = [OK, OK, HELLO]
    replies[at] = reply

    with pytest.raises(UpstreamRefused) as caught:
        judge(steps(FULL, Upstream()), replies)

    assert (caught.value.line, caught.value.login) == (line, login)


def test_the_first_of_several_refusals_is_told() -> None:
    with pytest.raises(UpstreamRefused) as caught:
        judge(steps(FULL, Upstream()), [NO, b"-WRONGPASS no\r\n", NO])

    assert caught.value.line == b"-WRONGPASS no\r\n"


def test_a_missing_reply_is_a_defect() -> None:
    with pytest.raises(ValueError, match="shorter"):
        judge(steps(PLAIN, Upstream()), [b":7\r\n"])


def test_a_replica_that_refuses_readonly_is_not_read() -> None:
    asked = steps(LaneKey(use=Use.REPLICA), Upstream())

    with pytest.raises(UpstreamDown, match="READONLY: -ERR no"):
        judge(asked, [HELLO2, NO, PONG])
    assert judge(asked, [HELLO2, OK, PONG]) == Standing(7)


@pytest.mark.parametrize(("mode", "cluster"), [(b"cluster", True), (b"standalone", False)])
def test_hello_tells_a_node_of_a_cluster(mode: bytes, cluster: bool) -> None:
    reply = b"%%1\r\n$4\r\nmode\r\n$%d\r\n%s\r\n" % (len(mode), mode)

    standing = judge([Step((b"HELLO", b"2"), Purpose.IDENTITY)], [reply])

    assert standing.cluster is cluster
