"""INVALIDATE: its words, and the order in which it does things."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from nearhit.commands import invalidate
from nearhit.commands.invalidate import BATCH, SOFT_AT_ONCE, Keys, Pace, Patterns, Tags
from nearhit.proxy.errors import OddReply, ProxyError, ServerError, UpstreamLost
from nearhit.proxy.keys.glob import compile_glob
from nearhit.proxy.keys.ours import OurKeys
from nearhit.proxy.resp.replies import Value

from tests.shelf import Desk

ARITY = "ERR wrong number of arguments for '{}' command"


# --- Words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (b"INVALIDATE a", Keys([b"a"])),
        (b"invalidate a b a", Keys([b"a", b"b", b"a"])),
        (b"INVALIDATE a KEYS b", Keys([b"a", b"KEYS", b"b"])),
        (b"INVALIDATE a PATTERN", Keys([b"a", b"PATTERN"])),
        (b"INVALIDATE keys a", Keys([b"a"])),
        (b"INVALIDATE KEYS KEYS", Keys([b"KEYS"])),
        (b"INVALIDATE KEYS PATTERN *", Keys([b"PATTERN", b"*"])),
        (b"INVALIDATE Pattern a* b*", Patterns([b"a*", b"b*"])),
        (b"INVALIDATE PATTERN PATTERN", Patterns([b"PATTERN"])),
        (b"INVALIDATE tag a b", Tags([b"a", b"b"])),
        (b"INVALIDATE TAG TAG SOFT", Tags([b"TAG", b"SOFT"])),
        (b"INVALIDATE soft keys a KEYS", Keys([b"a", b"KEYS"], soft=True)),
        (b"INVALIDATE SOFT PATTERN a* b*", Patterns([b"a*", b"b*"], soft=True)),
        (b"INVALIDATE SOFT TAG SOFT", Tags([b"SOFT"], soft=True)),
        (b"INVALIDATE a SOFT", Keys([b"a", b"SOFT"])),
        (b"INVALIDATE KEYS SOFT", Keys([b"SOFT"])),
    ],
)
def test_only_the_first_word_is_a_keyword(words: bytes, request_: Keys | Patterns | Tags) -> None:
    assert invalidate.parse(words.split()) == request_


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (b"INVALIDATE", "invalidate"),
        (b"INVALIDATE KEYS", "invalidate|keys"),
        (b"INVALIDATE pattern", "invalidate|pattern"),
        (b"INVALIDATE TAG", "invalidate|tag"),
        (b"INVALIDATE SOFT", "invalidate|soft"),
        (b"INVALIDATE SOFT keys", "invalidate|keys"),
        (b"INVALIDATE SOFT TAG", "invalidate|tag"),
    ],
)
def test_words_that_are_missing_are_named(words: bytes, name: str) -> None:
    with pytest.raises(ProxyError) as refused:
        invalidate.parse(words.split())

    assert str(refused.value) == ARITY.format(name)


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (b"INVALIDATE a b", [b"a", b"b"]),
        (b"INVALIDATE KEYS a", [b"a"]),
        (b"INVALIDATE PATTERN a*", []),
        (b"INVALIDATE SOFT KEYS a b", [b"a", b"b"]),
        (b"INVALIDATE SOFT TAG a", []),
        (b"INVALIDATE TAG a", []),
        (b"INVALIDATE TAG }", []),
        (b"INVALIDATE SOFT a", []),
        (b"INVALIDATE KEYS", []),
    ],
)
def test_command_getkeys_learns_the_keys(words: bytes, keys: list[bytes]) -> None:
    assert list(invalidate.key_names(words.split())) == keys


# --- Keys -------------------------------------------------------------------------------------


async def test_loads_are_voided_then_leases_go_then_keys_then_loads_again() -> None:
    desk = Desk(b"a", b"lease:{a}")

    removed = await desk.run(invalidate, b"INVALIDATE", b"a", b"b")

    assert removed == 1
    assert desk.journal == [
        ("void", b"a", b"b"),
        (b"DEL", b"lease:{a}", b"lease:{b}"),
        (b"UNLINK", b"a", b"b"),
        ("void", b"a", b"b", b"lease:{a}", b"lease:{b}"),
    ]
    assert len(desk.shelf.pieces) == 1
    assert desk.stats.counts == {"invalidated": 1}


async def test_many_keys_go_in_pieces_of_a_bounded_size() -> None:
    keys = [b"%04d" % number for number in range(2 * BATCH + 1)]
    desk = Desk(*keys)

    removed = await desk.run(invalidate, b"INVALIDATE", b"KEYS", *keys)

    assert removed == len(keys)
    assert [len(piece[1]) - 1 for piece in desk.shelf.pieces] == [BATCH, BATCH, 1]
    assert not desk.shelf.held


async def test_loads_are_voided_again_when_the_connection_is_lost() -> None:
    desk = Desk(b"a")
    desk.shelf.lost = lambda piece: UpstreamLost("cut")

    with pytest.raises(UpstreamLost):
        await desk.run(invalidate, b"INVALIDATE", b"a")

    assert desk.journal == [("void", b"a"), ("void", b"a", b"lease:{a}")]


async def test_what_the_server_refuses_is_the_answer() -> None:
    desk = Desk(b"a")
    no = ServerError(b"-NOPERM no permissions")
    desk.shelf.refuse = lambda words: no if words[0] == b"UNLINK" else None

    with pytest.raises(ServerError, match="NOPERM"):
        await desk.run(invalidate, b"INVALIDATE", b"a")


@pytest.mark.parametrize("odd", [b"1", "OK", [1]])
async def test_an_odd_reply_to_a_removal_is_told(odd: Value) -> None:
    desk = Desk(b"a")
    desk.shelf.refuse = lambda words: odd if words[0] == b"UNLINK" else None

    with pytest.raises(OddReply, match="DEL or UNLINK"):
        await desk.run(invalidate, b"INVALIDATE", b"a")

    assert desk.journal[-1] == ("void", b"a", b"lease:{a}")


@pytest.mark.parametrize("odd", [5, [b"0"], [0, []], [b"0", b"k"], [b"0", [], []]])
async def test_an_odd_page_of_a_scan_is_told(odd: Value) -> None:
    desk = Desk(b"a")
    desk.shelf.refuse = lambda words: odd if words[0] == b"SCAN" else None

    with pytest.raises(OddReply, match="SCAN"):
        await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"a*")


async def test_what_has_a_grace_becomes_stale_and_the_rest_goes() -> None:
    desk = Desk(b"a", b"b", b"lease:{a}")
    desk.loads.graces = {b"b": 500, b"c": 700}
    asked: list[Sequence[bytes]] = []
    desk.shelf.scripts["soften"] = lambda keys, args: asked.append(args) or int(keys[0] == b"b")

    assert await desk.run(invalidate, *b"INVALIDATE SOFT KEYS a b c".split()) == 2

    assert desk.journal == [
        ("void", b"a"),
        (b"DEL", b"lease:{a}"),
        (b"UNLINK", b"a"),
        ("void", b"a", b"lease:{a}"),
        ("void", b"b", b"c"),
        ("soften", b"b", b"lease:{b}"),
        ("soften", b"c", b"lease:{c}"),
        ("void", b"b", b"c", b"lease:{b}", b"lease:{c}"),
    ]
    assert asked == [(b"500",), (b"700",)]
    assert desk.stats.counts == {"invalidated": 2}


async def test_loads_of_what_becomes_stale_are_voided_when_the_connection_is_lost() -> None:
    desk = Desk()
    desk.loads.graces = {b"a": 500}
    desk.shelf.scripts["soften"] = lambda keys, args: UpstreamLost("s")

    with pytest.raises(UpstreamLost):
        await desk.run(invalidate, *b"INVALIDATE SOFT KEYS a".split())

    assert desk.did("void")[-1] == ("void", b"a", b"lease:{a}")


async def test_keys_become_stale_a_bounded_number_at_once() -> None:
    keys = [b"%04d" % number for number in range(2 * SOFT_AT_ONCE + 1)]
    desk = Desk()
    desk.loads.graces = dict.fromkeys(keys, 500)
    desk.shelf.scripts["soften"] = lambda keys, args: 1

    assert await desk.run(invalidate, b"INVALIDATE", b"SOFT", b"KEYS", *keys) == len(keys)


# --- Tags -------------------------------------------------------------------------------------


async def test_a_tags_epoch_changes_then_loads_are_voided_then_its_keys_go() -> None:
    desk = Desk(b"a", b"lease:{a}")
    desk.shelf.scripts["tag_close"] = lambda keys, args: [keys[3]]
    desk.shelf.told = {b"ZRANGE": [[b"a", b"b"], []], b"ZREM": [2], b"SREM": [1]}

    assert await desk.run(invalidate, *b"INVALIDATE TAG t".split()) == 1

    assert [entry[0] for entry in desk.journal] == [
        *("tag_close", "void tags", b"ZRANGE", "void", b"DEL", b"UNLINK", "void"),
        *(b"ZREM", b"ZRANGE", b"SREM"),
    ]
    assert desk.did("void tags") == [("void tags", b"t")]
    assert desk.stats.counts == {"invalidated": 1}


async def test_a_tags_keys_become_stale_and_stay_under_it() -> None:
    desk = Desk(b"a", b"b")
    desk.loads.graces = {b"a": 500}
    desk.shelf.scripts["tag_soft"] = lambda keys, args: b"7"
    desk.shelf.scripts["soften"] = lambda keys, args: 1
    page: list[Value] = [b"0", [b"a", b"1", b"b", b"1"]]
    desk.shelf.told = {b"ZSCAN": [page], b"SMEMBERS": [[]]}

    assert await desk.run(invalidate, *b"INVALIDATE SOFT TAG t".split()) == 2

    names = [entry[0] for entry in desk.journal if entry[0] != "void"]
    assert names == [
        *("tag_soft", "void tags", b"ZSCAN", b"DEL", b"UNLINK", "soften", b"SMEMBERS"),
    ]
    assert desk.shelf.held == {b"a": b"old"}


@pytest.mark.parametrize("words", [b"TAG t", b"SOFT TAG t"])
async def test_loads_are_voided_also_where_nobody_knows_whether_the_epoch_changed(
    words: bytes,
) -> None:
    desk = Desk()
    for name in ("tag_close", "tag_soft"):
        desk.shelf.scripts[name] = lambda keys, args: UpstreamLost("s")

    with pytest.raises(UpstreamLost):
        await desk.run(invalidate, b"INVALIDATE", *words.split())

    assert desk.did("void tags") == [("void tags", b"t")]


# --- Patterns ---------------------------------------------------------------------------------

USERS = [b"user:%d" % number for number in range(10)]


async def test_all_leases_go_before_the_first_key_does() -> None:
    leases = [b"lease:{user:%d}" % number for number in (3, 77)]
    desk = Desk(*USERS, *leases, b"lease:{order:1}", b"order:1")

    removed = await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"user:*")

    assert removed == len(USERS)
    assert set(desk.shelf.held) == {b"order:1", b"lease:{order:1}"}
    names = [entry[0] for entry in desk.did("void matching", b"DEL", b"UNLINK")]
    first_unlink = names.index(b"UNLINK")
    assert names[0] == names[-1] == "void matching"
    assert b"DEL" in names[:first_unlink]
    assert b"DEL" not in names[first_unlink:]
    assert desk.did("void matching")[0][1] == compile_glob(b"user:*")
    assert desk.stats.counts == {"invalidated": len(USERS)}


async def test_a_scan_ends_at_cursor_0_and_not_at_an_empty_page() -> None:
    desk = Desk(*(b"%03d" % number for number in range(50)), b"zzz")

    assert await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"z*") == 1
    assert b"zzz" not in desk.shelf.held


async def test_the_next_page_is_asked_for_before_the_last_one_is_removed() -> None:
    desk = Desk(*USERS)
    desk.shelf.page = 4

    await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"user:*")

    names = [[words[0] for words in piece] for piece in desk.shelf.pieces]
    assert names == [
        *([[b"SCAN"]] * 3),
        [b"SCAN"],
        *([[b"SCAN"], [b"UNLINK"]] * 2),
        [b"UNLINK"],
    ]


async def test_the_server_has_the_next_scan_before_the_removal_is_sent() -> None:
    desk = Desk(*USERS)
    desk.shelf.page = 4

    await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"user:*")

    # A turn of the loop, in which the lane sends it: in one piece, both would be done in one go.
    assert (
        desk.slept == [0] * 4
    )  # three pages each, of leases and of keys, the last of which end it


async def test_what_is_removed_behind_the_last_page_is_waited_for() -> None:
    desk = Desk(*USERS)
    no = ServerError(b"-NOPERM no permissions")
    desk.shelf.page = len(USERS)
    desk.shelf.refuse = lambda words: no if words[0] == b"UNLINK" else None

    with pytest.raises(ServerError, match="NOPERM"):
        await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"user:*")


async def test_nodes_are_swept_side_by_side_each_up_to_the_next() -> None:
    desk = Desk(*USERS, *(b"lease:{%b}" % user for user in USERS))
    desk.walks = [b"0", b"9", b"18"]

    assert await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"user:*") == len(USERS)

    cursors = [entry[1] for entry in desk.did(b"SCAN")]
    around = [b"0", b"3", b"9", b"12", b"18", b"6", b"15"]
    assert cursors == around * 2, "of leases on all nodes, then of keys"
    assert not desk.shelf.held
    assert desk.stats.counts == {"invalidated": len(USERS)}


async def test_an_error_of_one_node_ends_the_sweep_of_all() -> None:
    desk = Desk(*USERS)
    desk.walks = [b"0", b"3", b"6"]
    no = ServerError(b"-CLUSTERDOWN no\r\n")
    desk.shelf.refuse = lambda words: no if words[:2] == [b"SCAN", b"6"] else None

    with pytest.raises(ServerError, match="CLUSTERDOWN"):
        await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"user:*")

    assert desk.journal[-1][0] == "void matching"


async def test_a_large_page_is_removed_in_batches() -> None:
    desk = Desk(*(b"%04d" % number for number in range(BATCH + 1)))
    desk.shelf.page = 10_000

    await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"*")

    assert [len(entry) - 1 for entry in desk.did(b"UNLINK")] == [BATCH, 1]


OWN = [b"lock:{a}", b"fence:{a}", b"lease:{a}", b"nearhit:stats"]


@pytest.mark.parametrize(
    ("glob", "left"),
    [
        (b"*", [b"lock:{a}", b"fence:{a}", b"nearhit:stats"]),  # leases of matching keys go
        (b"l*", OWN),
        (b"lo*", OWN),
        (b"", OWN),
        (b"lock:*", OWN),
        (b"lock:{*", [b"fence:{a}", b"lease:{a}", b"nearhit:stats"]),
        (b"fence:{a}", [b"lock:{a}", b"lease:{a}", b"nearhit:stats"]),
        (b"nearhit:*", [b"lock:{a}", b"fence:{a}", b"lease:{a}"]),
        (b"[l]ock:{a}", OWN),
    ],
)
async def test_what_the_proxy_keeps_stays_unless_it_is_meant(
    glob: bytes, left: list[bytes]
) -> None:
    desk = Desk(*OWN)

    await desk.run(invalidate, b"INVALIDATE", b"PATTERN", glob)

    assert set(desk.shelf.held) == set(left)


@pytest.mark.parametrize(
    ("glob", "left"),
    [
        (b"*", [b"my:stats", b"lock:{a}"]),
        (b"my:*", [b"my:stats", b"lock:{a}", b"nearhit:stats", b"k"]),
        (b"my:stats", [b"lock:{a}", b"nearhit:stats", b"k"]),
        (b"nearhit:*", [b"my:stats", b"lock:{a}", b"k"]),
    ],
)
async def test_the_key_of_the_statistics_is_the_one_that_is_set(
    glob: bytes, left: list[bytes]
) -> None:
    desk = Desk(b"my:stats", b"lock:{a}", b"nearhit:stats", b"k")
    desk.ours = OurKeys(b"my:stats")

    await desk.run(invalidate, b"INVALIDATE", b"PATTERN", glob)

    assert set(desk.shelf.held) == set(left)


async def test_a_key_that_only_looks_like_the_proxys_goes() -> None:
    desk = Desk(b"lock:plain", b"lease:{open", b"fences")

    assert await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"*") == 3


async def test_an_open_class_does_not_swallow_the_leases_bracket() -> None:
    desk = Desk(b"ab", b"lease:{ab}")

    assert await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"a[bc") == 1
    assert not desk.shelf.held


async def test_several_globs_are_counted_together() -> None:
    desk = Desk(b"a1", b"a2", b"b1", b"c1")

    assert await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"a*", b"?1") == 4


async def test_all_leases_of_a_pattern_go_before_the_first_value_becomes_stale() -> None:
    desk = Desk(b"a1", b"a2", b"lease:{a3}")
    desk.loads.graces = {b"a2": 500}
    desk.shelf.scripts["soften"] = lambda keys, args: 1

    assert await desk.run(invalidate, *b"INVALIDATE SOFT PATTERN a*".split()) == 2

    assert desk.shelf.held == {b"a2": b"old"}
    names = [entry[0] for entry in desk.journal]
    assert names.index(b"DEL") < names.index(b"UNLINK") < names.index("soften")


async def test_keys_that_come_meanwhile_are_no_reason_to_go_on_for_ever() -> None:
    desk = Desk(b"a0")
    desk.shelf.refuse = lambda words: desk.shelf.held.update({b"a0": b"again"})

    await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"a*")

    assert len(desk.did(b"SCAN")) == 2


async def test_loads_are_voided_at_the_end_of_a_scan_that_failed() -> None:
    desk = Desk(*USERS)
    desk.shelf.lost = lambda piece: UpstreamLost("cut") if piece[0][0] == b"UNLINK" else None

    with pytest.raises(UpstreamLost):
        await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"user:*")

    assert desk.journal[-1][0] == "void matching"


# --- Pace -------------------------------------------------------------------------------------

WAY = 0.0001
KEY = 0.000001  # seconds for each in a page


def looked(way: float = WAY, pace: Pace | None = None) -> Pace:
    """After the first pages, which tell the way."""
    pace = pace or Pace()
    for _ in range(Pace.LOOKS):
        pace.felt(way, behind=False)
    return pace


def grown(pace: Pace, key: float = KEY, way: float = WAY, looks: int = 50) -> int:
    """COUNT, after so many looks at pages of the pace's size."""
    for _ in range(looks * Pace.LOOKS):
        pace.felt(way + pace.count * key, behind=False)
    return pace.count


def test_the_first_pages_are_nearly_nothing_for_they_tell_the_way() -> None:
    assert Pace().count == Pace.FIRST
    assert looked().count == Pace.LEAST


def test_pages_grow_to_what_the_server_does_in_a_slice() -> None:
    assert grown(looked()) == pytest.approx(Pace.SLICE / KEY, rel=0.02)


def test_a_page_that_came_behind_a_removal_was_half_of_what_the_server_did() -> None:
    pace = looked()

    for _ in range(50 * Pace.LOOKS):
        pace.felt(2 * pace.count * KEY, behind=True)

    assert pace.count == pytest.approx(Pace.SLICE / KEY, rel=0.02)


def test_a_page_grows_by_a_quarter_at_most() -> None:
    assert grown(looked(), key=0.0, looks=1) == Pace.LEAST * 5 // 4


def test_pages_are_of_a_bounded_size_however_quick_the_server_is() -> None:
    assert grown(looked(), key=0.0) == Pace.MOST


def test_pages_are_of_a_least_size_however_slow_the_server_is() -> None:
    assert grown(looked(), key=0.1) == Pace.LEAST


@pytest.mark.parametrize("behind", [False, True])
def test_pages_are_halved_when_the_server_becomes_slow(behind: bool) -> None:
    pace = looked()
    count = grown(pace, KEY / 2)
    assert count > 2 * Pace.LEAST

    for _ in range(Pace.LOOKS):
        pace.felt(0.01, behind=behind)

    assert pace.count == count // 2


def test_pages_that_waited_do_not_count_beside_one_that_did_not() -> None:
    pace = looked()

    for _ in range(Pace.LOOKS - 1):
        pace.felt(0.5, behind=True)
    pace.felt(WAY + Pace.SLICE / 2, behind=False)

    assert pace.count > Pace.LEAST


def test_pages_are_larger_where_the_way_to_the_server_is_long() -> None:
    near, far, farther = [grown(looked(way), KEY, way) for way in (0.0, 0.0008, 0.1)]

    assert near < far < farther
    assert farther == pytest.approx(Pace.SLICE_MOST / KEY, rel=0.02)


def test_a_pace_says_what_it_is() -> None:
    assert repr(Pace()) == "<Pace count=16 way=?ms>"
    assert repr(looked()) == "<Pace count=200 way=0.10ms>"


async def test_of_what_is_called_like_leases_those_of_keys_that_match_go() -> None:
    gone = [b"ab", b"lease:{ab}", b"a{b}", b"lease:{b}:{a{b}}"]
    # One that is a client's own, and the lease of a key that does not match.
    others = [b"lease:xab{ab}", b"lease:{ab}:{x{ab}}", b"x{ab}"]
    desk = Desk(*gone, *others)

    assert await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"a*") == 2

    assert set(desk.shelf.held) == set(others)


async def test_pages_of_a_sweep_grow_while_they_come_quickly() -> None:
    desk = Desk(*(b"%04d" % number for number in range(300)))
    desk.shelf.page = 10

    await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"*")

    leases, keys = (
        [int(entry[5]) for entry in desk.did(b"SCAN") if entry[3] == glob]
        for glob in (b"lease:*{*}", b"*")
    )
    assert leases[0] == Pace.FIRST
    assert keys[0] == Pace.LEAST  # the way is known by then
    assert all(counts == sorted(counts) for counts in (leases, keys))
    assert leases[-1] > Pace.LEAST < keys[-1]


def test_pages_of_a_walk_that_removes_next_to_nothing_are_larger() -> None:
    pace = looked(pace=Pace(Pace.ALONE))

    assert grown(pace) == pytest.approx(Pace.ALONE / KEY, rel=0.02)


def test_the_walk_that_removes_begins_small_again_and_knows_the_way() -> None:
    pace = looked(pace=Pace(Pace.ALONE))
    grown(pace)

    removing = pace.removing()

    assert repr(removing) == repr(looked())
    assert grown(removing) == pytest.approx(Pace.SLICE / KEY, rel=0.02)
    assert repr(Pace(Pace.ALONE).removing()) == repr(Pace())


async def test_nobody_looks_for_the_proxys_keys_where_the_glob_matches_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(*USERS)
    monkeypatch.setattr(desk.ours, "_maybe", None)

    assert await desk.run(invalidate, b"INVALIDATE", b"PATTERN", b"user:*") == len(USERS)
