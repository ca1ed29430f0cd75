"""How the keys that Nearhit keeps in the server are called, and told from the clients'."""

from __future__ import annotations

import pytest
from nearhit.proxy.keys.glob import compile_glob
from nearhit.proxy.keys.ours import (
    OurKeys,
    fence_key,
    grant_key,
    lease_glob,
    lease_key,
    lease_keys,
    leased_key,
    leases_of,
    lock_key,
    resource_of,
    tag_closed_key,
    tag_epoch_key,
    tag_key,
)
from nearhit.proxy.resp.kernel import hash_slot

OURS = [b"lease:{k}", b"lock:{k}", b"fence:{k}", b"fence:{k}:grant"]
OF_TAGS = [b"tag:{t}", b"tagepoch:{t}", b"tagclosed:{t}", b"tagclosed:{t}:1f"]


def test_names_put_what_they_are_about_in_braces() -> None:
    assert [lease_key(b"k"), lock_key(b"k"), fence_key(b"k"), grant_key(b"k")] == OURS
    assert lease_keys([b"a", b"b"]) == [lease_key(b"a"), lease_key(b"b")]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (b"", b"lease:{}"),
        (b"user:1", b"lease:{user:1}"),
        (b"cart:{7}", b"lease:{7}:{cart:{7}}"),
        (b"{7}", b"lease:{7}:{{7}}"),
        (b"{7}:{8}", b"lease:{7}:{{7}:{8}}"),
        (b"a{{b}c", b"lease:{{b}:{a{{b}c}"),
        (b"two\nlines{7}", b"lease:{7}:{two\nlines{7}}"),
        # No hash tags: nothing in the braces, nothing that closes them.
        (b"a{}{7}", b"lease:{a{}{7}}"),
        (b"a{7", b"lease:{a{7}"),
    ],
)
def test_a_lease_is_in_its_key_s_slot(key: bytes, name: bytes) -> None:
    assert lease_key(key) == name
    assert leased_key(name) == key
    if key and b"{}" not in key:  # of others a name with braces cannot be
        assert hash_slot(name) == hash_slot(key)
    head, end = leases_of([key, b"b"])[1:]
    names = [head + each + end for each in leases_of([key, b"b"])[0]]
    assert names == lease_keys([key, b"b"]) == [name, b"lease:{b}"]


@pytest.mark.parametrize("name", [b"", b"lease:{", b"lease:x{y}", b"lease:{x", b"lock:{x}"])
def test_what_no_lease_is_called_names_no_key(name: bytes) -> None:
    assert leased_key(name) is None


def test_the_glob_of_leases_matches_those_of_all_keys_that_match() -> None:
    pattern = compile_glob(lease_glob(b"cart:*"))

    assert all(map(pattern.match, lease_keys([b"cart:", b"cart:1", b"cart:{7}", b"cart:{7}:x"])))
    assert not any(map(pattern.match, lease_keys([b"cart", b"scarf:{7}"])))


def test_all_of_a_tag_is_in_one_slot() -> None:
    names = [tag_key(b"t"), tag_epoch_key(b"t"), tag_closed_key(b"t"), tag_closed_key(b"t", b"1f")]

    assert names == OF_TAGS
    assert tag_closed_key(b"t}:1f") != tag_closed_key(b"t", b"1f")


@pytest.mark.parametrize("resource", [b"r", b"", b"a{b}", b"}"])
def test_a_resource_is_read_back_out_of_the_key_of_its_lock(resource: bytes) -> None:
    assert resource_of(lock_key(resource)) == resource


@pytest.mark.parametrize("key", [b"lock:r", b"lock:{r", b"fence:{r}", b""])
def test_other_keys_hold_no_lock(key: bytes) -> None:
    assert resource_of(key) is None


@pytest.mark.parametrize(
    ("stats_key", "ours", "not_ours"),
    [
        (b"nearhit:stats", b"nearhit:stats", b"my:stats"),
        (b"my:stats", b"my:stats", b"nearhit:stats"),
        (b"", b"lock:{k}", b"nearhit:stats"),
    ],
)
def test_the_statistics_are_where_the_setting_says(
    stats_key: bytes, ours: bytes, not_ours: bytes
) -> None:
    keys = OurKeys(stats_key)

    assert keys.holds(ours)
    assert not keys.holds(not_ours)
    assert not keys.holds(b"")


def test_clients_keys_are_what_is_left_without_ours() -> None:
    keys = OurKeys(b"my:stats")
    clients = [b"k", b"lock:k", b"lease:{k", b"a lock:{b}", b"tag:t", b"tagclosed:news"]

    assert keys.without(clients) == clients
    assert keys.without([*OURS, *OF_TAGS, b"my:stats", *clients]) == clients


@pytest.mark.parametrize(
    ("stats_key", "head"), [(b"nearhit:stats", b"nearhit:"), (b"my:stats", b"my:stats")]
)
def test_a_glob_may_be_about_nothing_but_ours(stats_key: bytes, head: bytes) -> None:
    assert OurKeys(stats_key).heads == (
        b"lease:{",
        b"lock:{",
        b"fence:{",
        b"tag:{",
        b"tagepoch:{",
        b"tagclosed:{",
        head,
    )


def test_ours_say_which_key_the_statistics_have() -> None:
    assert repr(OurKeys(b"my:stats")) == "<OurKeys b'my:stats'>"


@pytest.mark.parametrize(
    ("glob", "left"),
    [
        (b"*", [b"a"]),
        (b"lock:*", [b"a"]),
        (b"lock:{*", [b"a", *OURS]),
        (b"nearhit:*", [b"a", *OURS]),
        (b"user:*", [b"a", *OURS]),
    ],
)
def test_an_invalidated_glob_leaves_ours_unless_it_is_about_nothing_else(
    glob: bytes, left: list[bytes]
) -> None:
    assert OurKeys(b"nearhit:stats").left_by(glob)([b"a", *OURS]) == left
