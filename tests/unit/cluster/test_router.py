"""Requests for three nodes: who gets which, and what becomes of redirections and lost replies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha1

import pytest
from nearhit.proxy.cluster.gated import HOPS_MAX, LOADS_MAX
from nearhit.proxy.cluster.plans import Anywhere, Everywhere, One, Said, Spread, Unplaced
from nearhit.proxy.cluster.router import TRYAGAIN, WHOLE_MAX
from nearhit.proxy.errors import NotServed, UpstreamDown, UpstreamLost
from nearhit.proxy.forgoing import forgoing
from nearhit.proxy.hot.fills import FILL, NOT_TRACKED, Fill, new_fill_slot
from nearhit.proxy.hot.own import run_of
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.resp.kernel import hash_slot
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.upstream.ask import AskSlot, Reply

from tests.clusters import key_in
from tests.fakes import Tray
from tests.unit.cluster.bench import A, B, Bench, C, Reader, get, later, set_, took
from tests.unit.hot.test_own import Asker

OK = b"+OK\r\n"
ASKING = encode([b"ASKING"])
MARK = encode([b"HELLO"])
EVAL = encode([b"EVAL", b"s", b"1", A])
EXISTS = encode([b"EXISTS", A])


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = await Bench().open()
    yield made
    await made.close()


async def test_answers_come_in_the_order_of_asking_whoever_is_first(bench: Bench) -> None:
    tray = bench.send(get(A), get(B), get(B), get(C))
    await later(0)
    assert [took(bench, at) for at in range(3)] == [get(A), get(B) * 2, get(C)]

    bench.node(2).reply(b":3\r\n")
    bench.node(1).reply(b":2\r\n:2\r\n")
    assert tray.got == b""
    bench.node(0).reply(b":1\r\n")

    assert tray.got == b":1\r\n:2\r\n:2\r\n:3\r\n"
    assert bench.router.owing == 0


async def test_a_moved_request_goes_to_its_new_owner_before_what_came_later(bench: Bench) -> None:
    first = bench.send(set_(A, b"1"))
    await later(0)
    bench.own(A, 1)
    second = bench.send(set_(A, b"2"))
    await later(0)
    assert took(bench, 1) == b"", "it waits for what is in flight at the old owner"
    assert took(bench, 0) == set_(A, b"1") + MARK

    bench.node(0).reply(bench.moved(A, 1), b"*0\r\n")
    await later()

    assert took(bench, 1) == set_(A, b"1") + set_(A, b"2")
    bench.node(1).reply(OK, OK)
    assert (first.got, second.got) == (OK, OK)
    assert not bench.router.gates


async def test_only_the_old_owner_of_a_slot_is_waited_for(bench: Bench) -> None:
    """Another node that owes replies says nothing of what was in flight for the slot."""
    bench.send(get(B))
    bench.send(set_(A, b"1"))
    await later(0)

    bench.own(A, 2)
    await later(0)

    assert MARK in took(bench, 0)
    assert MARK not in took(bench, 1)


async def test_what_waits_for_a_lost_owner_is_not_overtaken(bench: Bench) -> None:
    bench.dials[0].refuse = 100
    bench.node(0).lose()
    first = bench.send(set_(A, b"1"))
    bench.own(A, 1)
    second = bench.send(set_(A, b"2"))
    await later(0.08)

    assert took(bench, 1) == set_(A, b"1") + set_(A, b"2")
    bench.node(1).reply(OK, OK)
    assert (first.got, second.got) == (OK, OK)


async def test_ask_is_followed_with_asking_alone(bench: Bench) -> None:
    tray = bench.send(get(A))
    await later(0)
    bench.node(0).reply(bench.asks(A, 2))
    await later(0)

    assert took(bench, 2) == ASKING + get(A)
    bench.node(2).reply(OK, b"$-1\r\n")
    assert tray.got == b"$-1\r\n"
    assert bench.owners[hash_slot(A)] == 0


async def test_behind_a_request_that_is_tried_again_ask_waits_too(bench: Bench) -> None:
    bench.send(set_(A, b"1"), set_(A, b"2"))
    await later(0)
    took(bench, 0)
    bench.node(0).reply(b"-TRYAGAIN x\r\n", bench.asks(A, 2))
    await later(0)

    assert took(bench, 2) == b""
    await later(0.01)
    bench.node(0).reply(b"*0\r\n")
    await later(0.02)
    assert took(bench, 0).endswith(set_(A, b"1") + set_(A, b"2"))


async def test_two_that_name_each_other_are_given_up(bench: Bench) -> None:
    tray = bench.send(get(A))
    for hop in range(2 * HOPS_MAX):
        await later(0.001 * (1 << min(hop, 8)))
        for at in (0, 1):
            data = took(bench, at)
            if get(A) in data:
                bench.node(at).reply(bench.moved(A, 1 - at))
            if MARK in data:
                bench.node(at).reply(b"*0\r\n")
        if tray.filled:
            break

    assert tray.got == TRYAGAIN
    assert bench.router.owing == 0


async def test_a_host_that_is_not_known_is_no_target(bench: Bench) -> None:
    tray = bench.send(get(A))
    await later(0)
    bench.node(0).reply(bench.moved(A, 9))
    await later(0.07)

    assert took(bench, 0) == get(A) * 2
    bench.node(0).reply(b"$-1\r\n")
    assert tray.got == b"$-1\r\n"
    assert "MOVED to an unknown node" in bench.refreshed


async def test_a_script_that_makes_up_a_redirection_is_not_run_again(bench: Bench) -> None:
    tray = bench.send(EVAL)
    await later(0)
    assert took(bench, 0) == EVAL
    bench.node(0).reply(bench.moved(A, 1))
    await later(0)
    assert took(bench, 0) == EXISTS + MARK
    bench.node(0).reply(b":1\r\n*0\r\n")
    await later()

    assert tray.got == TRYAGAIN
    assert took(bench, 0) == took(bench, 1) == b""
    assert not bench.router.gates
    assert bench.router.owing == 0


REHASHING = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n"


@pytest.mark.parametrize("says", [b"", REHASHING])
async def test_a_script_that_was_refused_just_before_its_slot_came_is_run(
    bench: Bench, says: bytes
) -> None:
    bench.lately.add(hash_slot(A))
    tray = bench.send(EVAL)
    await later(0)
    took(bench, 0)
    bench.node(0).reply(says or bench.moved(A, 1))
    await later(0)
    assert took(bench, 0) == EXISTS + MARK
    bench.node(0).reply(b":1\r\n*0\r\n")
    await later()

    assert took(bench, 0) == EVAL
    bench.node(0).reply(b":7\r\n")
    assert tray.got == b":7\r\n"
    assert not bench.router.gates
    assert bench.router.owing == 0


@pytest.mark.parametrize("says", [b"-TRYAGAIN in a minute\r\n", b"-MOVED 7 node:1\r\n"])
async def test_what_a_script_says_in_its_own_words_is_not_run_again_though_its_slot_moves(
    bench: Bench, says: bytes
) -> None:
    bench.lately.add(hash_slot(A))
    tray = bench.send(EVAL)
    await later(0)
    took(bench, 0)
    bench.node(0).reply(says)
    await later(0)
    took(bench, 0)
    bench.node(0).reply(b":1\r\n*0\r\n")
    await later()

    assert tray.got == TRYAGAIN
    assert took(bench, 0) == took(bench, 1) == b""


async def test_a_question_that_waits_for_another_map_is_looked_up_anew(bench: Bench) -> None:
    answers = [b"", b"+all\r\n"]
    ask = encode([b"CLUSTER", b"NODES"])
    bench.plans = {b"DBSIZE": Everywhere(False, lambda _: answers.pop(0), ask)}
    tray = bench.send(encode([b"DBSIZE"]))
    for _ in range(2):
        await later(0.06)
        for at in range(3):
            assert took(bench, at) == ask
            bench.node(at).reply(b"+OK\r\n")

    assert tray.got == b"+all\r\n"
    assert bench.router.owing == 0


@pytest.mark.parametrize("closed", [False, True])
async def test_a_question_waits_for_another_map_as_long_as_anybody_waits(
    bench: Bench, closed: bool
) -> None:
    bench.patience = 0.12
    bench.plans = {b"DBSIZE": Everywhere(False, lambda _: b"")}
    tray = bench.send(encode([b"DBSIZE"]))
    for _ in range(6):
        await later(0)
        for at in range(3):
            if took(bench, at):
                bench.node(at).reply(b":1\r\n")
        if closed:
            bench.router.close(UpstreamDown("we close"))
        await later(0.06)

    assert (tray.got or tray.error).startswith(b"-UPSTREAM" if closed else b"-TRYAGAIN the nodes")
    assert bench.router.owing == 0


async def test_a_script_whose_keys_have_moved_runs_where_they_are_in_its_place(
    bench: Bench,
) -> None:
    bench.send(EVAL, set_(A, b"2"))
    await later(0)
    bench.node(0).reply(bench.moved(A, 1) * 2)
    await later(0)
    bench.node(0).reply(bench.moved(A, 1) + b"*0\r\n")
    await later()

    assert took(bench, 1) == EVAL + set_(A, b"2")


async def test_reads_are_asked_again_and_writes_are_not(bench: Bench) -> None:
    read, write = bench.send(get(A)), bench.send(set_(A, b"1"))
    await later(0)
    bench.node(0).lose()
    await later(0.08)

    assert b"may or may not have been executed" in write.error
    assert took(bench, 0) == get(A)
    bench.node(0).reply(b"$-1\r\n")
    assert read.got == b"$-1\r\n"
    assert bench.router.owing == 0


async def test_a_streamed_reply_that_breaks_off_ends_its_place_once(bench: Bench) -> None:
    tray = bench.send(get(A), get(B))
    await later(0)
    bench.node(0).reply(b"$200000\r\n" + b"x" * 100000)
    assert len(tray.got) > 100000
    bench.node(0).lose()
    assert tray.inside
    bench.node(1).reply(b"$-1\r\n")
    await later(0)

    assert tray.filled == 1
    assert bench.router.owing == 0


async def test_a_large_reply_streams_once_it_is_its_turn(bench: Bench) -> None:
    tray = bench.send(get(A), get(B))
    await later(0)
    bench.node(1).reply(b"$200000\r\n" + b"x" * 100000)
    assert tray.got == b""
    bench.node(0).reply(b"$-1\r\n")
    assert len(tray.got) > 100000
    bench.node(1).reply(b"x" * 100000 + b"\r\n")
    assert tray.filled == 1
    assert bench.router.owing == 0


async def test_a_fill_that_was_redirected_is_not_kept(bench: Bench) -> None:
    cache = NearCache(1 << 20, ttl_max=10)
    space = cache.space(0, None)
    ticket = space.reserve(A)
    assert ticket is not None
    fill = Fill(space, ticket, 0.0)
    fill.want, fill.ttl_ms = 0, -1
    slot = new_fill_slot(None, fill, True)  # type: ignore[arg-type]  # nobody is told in this test
    slot.want = 1
    bench.front.send(get(A), slot)
    await later(0)
    bench.node(0).reply(bench.asks(A, 1))

    assert fill.ttl_ms == NOT_TRACKED


@pytest.mark.parametrize("read", [[b"GET", A], [b"TYPE", A]], ids=["one-key", "planned"])
async def test_a_value_of_another_node_than_its_fill_is_not_kept(
    bench: Bench, read: list[bytes]
) -> None:
    space = NearCache(1 << 20, ttl_max=10).space(0, None)
    ticket = space.reserve(A)
    assert ticket is not None
    fill = Fill(space, ticket, 0.0)
    bench.canaries.sent[hash_slot(A)] = 1  # its node tells already when it leaves
    bench.plans[b"TYPE"] = One(hash_slot(A))
    bench.front.send(FILL + b"$%d\r\n%b\r\n" % (len(A), A), fill)
    bench.front.send(encode(read), Tray(1))
    await later(0)
    bench.node(0).reply(b"+OK\r\n:-1\r\n")
    assert fill.ttl_ms == -1
    bench.node(0).reply(bench.asks(A, 1))

    assert not fill.ticket.valid


async def test_what_waits_in_gates_is_bounded() -> None:
    bench = await Bench(held_max=100).open()
    bench.send(set_(A, b"1"))
    await later(0)
    bench.own(A, 1)
    bench.send(set_(A, b"2"))
    assert not bench.front.choked
    bench.send(set_(A, b"x" * 100))
    assert bench.front.choked
    bench.send(get(B))
    assert not bench.front.choked, "whoever asks others does not wait"

    bench.node(0).reply(OK, b"*0\r\n")
    await later()

    assert bench.room == 1
    await bench.close()


async def test_a_choked_node_stops_those_alone_who_ask_it(bench: Bench) -> None:
    bench.lanes[0].pause_writing()
    bench.send(get(A))
    assert bench.front.choked
    bench.send(get(A))
    bench.send(get(B))
    assert not bench.front.choked

    bench.lanes[0].resume_writing()

    assert bench.room == 1


async def test_pieces_and_everywhere_are_merged(bench: Bench) -> None:
    def count(replies: object) -> bytes:
        return b":%d\r\n" % len(list(replies))  # type: ignore[call-overload]

    bench.plans = {
        b"MGET": Spread([(hash_slot(A), get(A)), (hash_slot(B), get(B))], count),
        b"DBSIZE": Everywhere(False, count),
        b"PING": Said(b"+PONG\r\n"),
    }
    tray = bench.send(encode([b"MGET", A, B]), encode([b"DBSIZE"]), encode([b"PING"]))
    await later(0)
    for at, number in enumerate((2, 2, 1)):
        bench.node(at).reply(*[b":1\r\n"] * number)

    assert tray.got == b":2\r\n:3\r\n+PONG\r\n"
    assert bench.router.owing == 0


async def test_a_part_for_every_node_is_asked_again_of_the_heir_of_its_node(bench: Bench) -> None:
    bench.plans = {b"FLUSHALL": Everywhere(False, lambda replies: replies[0])}
    tray = bench.send(encode([b"FLUSHALL"]))
    await later(0)
    for at in range(3):
        took(bench, at)
    bench.node(0).reply(b"-READONLY x\r\n")
    bench.node(1).reply(OK)
    bench.node(2).reply(OK)
    await later(0)
    bench.node(0).reply(b"*0\r\n")
    await later(0.07)

    assert took(bench, 0).endswith(encode([b"FLUSHALL"]))
    assert took(bench, 1) == took(bench, 2) == b""
    bench.node(0).reply(OK)
    assert tray.got == OK


async def test_what_waits_is_failed_as_the_router_is_closed(bench: Bench) -> None:
    first = bench.send(set_(A, b"1"))
    await later(0)
    bench.own(A, 1)
    waits = bench.send(set_(A, b"2"))

    bench.router.close(UpstreamLost("stopped"))
    bench.node(0).reply(bench.moved(A, 1), b"*0\r\n")
    await later(0)

    assert b"stopped" in waits.error
    assert b"stopped" in first.error
    assert bench.router.owing == 0


async def test_an_uncovered_slot_is_waited_for_and_then_given_up() -> None:
    bench = await Bench(patience=0.1).open()
    bench.owners[hash_slot(A)] = -1
    tray = bench.send(get(A))
    await later(0.25)

    assert tray.got.startswith(b"-CLUSTERDOWN")
    assert bench.refreshed
    await bench.close()


async def test_who_can_do_without_is_told_at_once_of_a_slot_that_nobody_has(bench: Bench) -> None:
    bench.owners[hash_slot(A)] = -1
    lost: list[Reply] = []
    with forgoing(True):
        bench.send(get(A), slot=AskSlot(lost.append))
    waits = bench.send(get(A))
    await later(0)

    [why] = lost
    assert isinstance(why, NotServed)
    assert why.line == b"-CLUSTERDOWN Hash slot not served\r\n"
    assert not waits.filled


@pytest.mark.parametrize("says", [b"-CLUSTERDOWN The cluster is down\r\n", b"-LOADING soon\r\n"])
async def test_who_can_do_without_waits_no_longer_than_a_moment(
    bench: Bench, says: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhit.proxy.cluster.gated.FORGO_S", 0.2)
    lost: list[Reply] = []
    with forgoing(True):
        bench.send(get(A), slot=AskSlot(lost.append))
    waits = bench.send(get(A))
    while not lost:
        data = took(bench, 0)
        bench.node(0).reply(*[says] * data.count(get(A)), *[b"*0\r\n"] * data.count(MARK))
        await later(0.01)

    [why] = lost
    assert isinstance(why, NotServed)
    assert why.line == says
    assert bench.refusing == {hash_slot(A)}
    assert not waits.filled


async def test_who_can_do_without_does_not_wait_behind_others(bench: Bench) -> None:
    waits = bench.send(get(A))
    await later(0)
    took(bench, 0)
    bench.node(0).reply(b"-CLUSTERDOWN x\r\n")
    lost: list[Reply] = []
    with forgoing(True):
        bench.send(get(A), slot=AskSlot(lost.append))
    assert not lost
    bench.owners[hash_slot(A)] = -1
    bench.node(0).reply(b"*0\r\n")
    await later(0.1)

    [why] = lost
    assert isinstance(why, NotServed)
    assert not waits.filled


async def test_of_a_run_of_reads_those_alone_are_lost_that_nobody_answers(bench: Bench) -> None:
    bench.owners[hash_slot(A)] = -1
    bench.does_without = lambda slot, keys: True  # type: ignore[method-assign]
    reader, asker = Reader(), Asker()
    run = run_of(reader, bench.front, [A, B], False, asker)
    reader.push_slot(run.place)
    bench.front.send(get(A) + get(B), run)
    await later(0)
    bench.node(1).reply(b"$1\r\nv\r\n")
    await later(0)

    assert asker.lost_keys == [A]
    assert reader.took == b"-CLUSTERDOWN Hash slot not served\r\n$1\r\nv\r\n"


async def test_the_server_says_where_the_keys_are_that_only_it_can_tell(bench: Bench) -> None:
    request = encode([b"ODD", A])
    bench.plans[b"ODD"] = Unplaced()
    tray = bench.send(request)
    await later(0)
    at = next(at for at in range(3) if request in bench.node(at).written)
    took(bench, at)

    bench.node(at).reply(bench.moved(A, (at + 1) % 3))
    await later()
    assert took(bench, (at + 1) % 3) == request

    bench.node((at + 1) % 3).reply(OK)
    assert tray.got == OK
    assert not bench.router.gates


async def test_keys_that_stay_at_two_nodes_are_asked_for_one_by_one(bench: Bench) -> None:
    """Each where it is, and before what was sent behind them."""
    one, two = key_in(0, b"one"), key_in(0, b"two")
    whole = encode([b"DEL", one, two])
    bench.plans[b"DEL"] = One(0)
    tray = bench.send(whole)
    for _ in range(WHOLE_MAX + 1):
        await later(0.1)
        assert took(bench, 0) == whole
        bench.node(0).reply(b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n")
    behind = bench.send(set_(two, b"v"))
    await later(0.2)
    assert took(bench, 0) == encode([b"DEL", one]) + encode([b"DEL", two]) + set_(two, b"v")

    bench.node(0).reply(b":1\r\n", bench.asks(two, 1), bench.asks(two, 1))
    await later()
    asking = encode([b"ASKING"])
    assert took(bench, 1) == asking + encode([b"DEL", two]) + asking + set_(two, b"v")
    bench.node(1).reply(OK, b":1\r\n", OK, OK)

    assert (tray.got, behind.got) == (b":1\r\n,:1\r\n", OK)
    assert bench.router.owing == 0
    assert not bench.router.gates


async def test_what_cannot_be_cut_says_that_its_slot_moves(bench: Bench) -> None:
    bench.plans[b"SINTER"] = One(0)
    tray = bench.send(encode([b"SINTER", A, A]))
    for _ in range(HOPS_MAX + 1):
        await later(0.2)
        bench.node(0).reply(b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n")

    assert tray.got == TRYAGAIN
    assert bench.router.owing == 0


FLUSH = encode([b"FLUSHALL"])


async def test_what_is_of_all_nodes_waits_for_what_its_client_has_in_a_gate(bench: Bench) -> None:
    """And all that the client sends behind it waits too; others do not."""
    bench.plans = {b"FLUSHALL": Everywhere(False, lambda replies: replies[0])}
    reader, other = Reader(), Reader()
    reader.run(bench, set_(A, b"1"))
    await later(0)
    bench.own(A, 1)
    reader.run(bench, set_(A, b"2"))
    reader.run(bench, FLUSH, set_(C, b"3"))
    reader.run(bench, set_(C, b"4"))
    other.run(bench, set_(C, b"5"))
    await later(0)
    assert [took(bench, at) for at in range(3)] == [set_(A, b"1") + MARK, b"", set_(C, b"5")]

    bench.node(0).reply(bench.moved(A, 1), b"*0\r\n")
    await later()

    assert took(bench, 1) == set_(A, b"1") + set_(A, b"2") + FLUSH
    assert took(bench, 0) == FLUSH
    assert took(bench, 2) == FLUSH + set_(C, b"3") + set_(C, b"4")
    for at, count in enumerate((1, 3, 4)):
        bench.node(at).reply(*[OK] * count)
    assert (reader.took, other.took) == (OK * 5, OK)
    assert bench.router.owing == 0
    assert not bench.router.held_up


async def test_a_transaction_behind_it_waits_as_one(bench: Bench) -> None:
    bench.plans = {b"FLUSHALL": Everywhere(False, lambda replies: replies[0])}
    reader = Reader()
    reader.run(bench, set_(A, b"1"))
    await later(0)
    bench.own(A, 1)
    reader.run(bench, set_(A, b"2"))
    reader.run(bench, FLUSH)
    reader.run(bench, encode([b"MULTI"]), encode([b"PING"]), encode([b"EXEC"]))

    assert [len(parts) for parts in bench.router.held_up.values()] == [2]


async def test_what_is_held_up_is_failed_as_the_router_is_closed(bench: Bench) -> None:
    bench.plans = {b"FLUSHALL": Everywhere(False, lambda replies: replies[0])}
    reader = Reader()
    reader.run(bench, set_(A, b"1"))
    await later(0)
    bench.own(A, 1)
    reader.run(bench, set_(A, b"2"))
    reader.run(bench, FLUSH, get(B))

    bench.router.close(UpstreamLost("closed"))
    bench.node(0).reply(OK)

    assert reader.took.count(b"-UPSTREAM") == 3
    assert bench.router.owing == 0


SHA = sha1(b"return 1").hexdigest().encode()
LOAD = encode([b"SCRIPT", b"LOAD", b"return 1"])
HAS = encode([b"SCRIPT", b"EXISTS", SHA])
NOSCRIPT = b"-NOSCRIPT No matching script. Please use EVAL.\r\n"


@pytest.mark.parametrize("keys", [(), (A,)])
async def test_a_node_that_lacks_a_script_gets_it(bench: Bench, keys: tuple[bytes, ...]) -> None:
    call = encode([b"EVALSHA", SHA, b"%d" % len(keys), *keys])
    bench.plans[b"EVALSHA"] = One(hash_slot(A)) if keys else Anywhere()
    bench.scripts.saw([b"SCRIPT", b"LOAD", b"return 1"])
    tray = bench.send(call)
    await later(0)
    at = next(at for at in range(3) if bench.node(at).written == call)
    took(bench, at)

    bench.node(at).reply(NOSCRIPT)
    await later(0)
    assert took(bench, at) == HAS + MARK * len(keys)
    bench.node(at).reply(b"*1\r\n:0\r\n", *[b"*0\r\n"] * len(keys))
    await later()
    assert took(bench, at) == LOAD + call
    bench.node(at).reply(b"$40\r\n%b\r\n" % SHA, b":1\r\n")

    assert tray.got == b":1\r\n"
    assert bench.router.owing == 0
    assert not bench.router.gates


@pytest.mark.parametrize("keys", [(), (A,)])
async def test_a_script_that_says_so_itself_has_run_and_is_not_run_again(
    bench: Bench, keys: tuple[bytes, ...]
) -> None:
    call = encode([b"EVALSHA", SHA, b"%d" % len(keys), *keys])
    bench.plans[b"EVALSHA"] = One(hash_slot(A)) if keys else Anywhere()
    bench.scripts.saw([b"SCRIPT", b"LOAD", b"return 1"])
    tray = bench.send(call)
    await later(0)
    at = next(at for at in range(3) if bench.node(at).written == call)

    bench.node(at).reply(b"-NOSCRIPT x\r\n")
    await later(0)
    bench.node(at).reply(b"*1\r\n:1\r\n", *[b"*0\r\n"] * len(keys))
    await later()

    assert tray.got == b"-NOSCRIPT x\r\n"
    assert bench.node(at).written.count(call) == 1
    assert bench.router.owing == 0
    assert not bench.router.gates


async def test_a_script_whose_node_is_lost_meanwhile_may_have_run(bench: Bench) -> None:
    bench.plans[b"EVALSHA"] = One(hash_slot(A))
    bench.scripts.saw([b"SCRIPT", b"LOAD", b"return 1"])
    tray = bench.send(encode([b"EVALSHA", SHA, b"1", A]))
    await later(0)
    bench.node(0).reply(NOSCRIPT)
    await later(0)

    bench.node(0).lose()
    await later()

    assert tray.error.startswith(b"-UPSTREAM connection to the server lost")
    assert bench.router.owing == 0


async def test_a_script_that_cannot_be_loaded_is_the_clients_to_send(bench: Bench) -> None:
    bench.plans[b"EVALSHA"] = One(hash_slot(A))
    calls = encode([b"EVALSHA", SHA, b"1", A])
    unknown = bench.send(calls)
    await later(0)
    bench.node(0).reply(NOSCRIPT)
    assert unknown.got == NOSCRIPT

    bench.scripts.saw([b"SCRIPT", b"LOAD", b"return 1"])
    forbidden = bench.send(calls)
    await later(0)
    for _ in range(LOADS_MAX):
        bench.node(0).reply(NOSCRIPT)
        await later(0)
        bench.node(0).reply(b"*1\r\n:0\r\n", b"*0\r\n")
        await later()
        bench.node(0).reply(b"-NOPERM no\r\n")
    bench.node(0).reply(NOSCRIPT)

    assert forbidden.got == NOSCRIPT


async def test_only_a_lane_of_tracked_reads_grants_caching(bench: Bench) -> None:
    caching = encode([b"CLIENT", b"CACHING", b"YES"])
    bench.plans[b"CLIENT"] = One(0)
    bench.tracked = False

    tray = bench.send(caching)
    await later(0)

    bench.node(0).expect(b"CLIENT", b"CACHING", b"YES")
    bench.node(0).reply(b"-ERR not in tracking mode\r\n")
    assert tray.got == b"-ERR not in tracking mode\r\n"
