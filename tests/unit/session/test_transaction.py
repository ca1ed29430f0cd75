"""What stands between MULTI and EXEC."""

from __future__ import annotations

from nearhit.proxy.session.transaction import Transaction


def test_keys_and_leases_of_its_writes_are_gathered() -> None:
    transaction = Transaction()

    transaction.writes([b"a"], [b"lease a"])
    transaction.writes([b"b", b"c"], [b"lease b", b"lease c"])
    transaction.writes([b"d"], [])

    assert transaction.keys == [b"a", b"b", b"c", b"d"]
    assert transaction.leases == [b"lease a", b"lease b", b"lease c"]


def test_a_write_of_any_key_is_not_narrowed_by_those_around_it() -> None:
    transaction = Transaction()

    transaction.writes([b"a"], [])
    transaction.writes(None, [])
    transaction.writes([b"b"], [b"lease b"])

    assert transaction.keys is None
    assert transaction.leases == [b"lease b"]


def test_nothing_is_left_for_the_next_one() -> None:
    transaction = Transaction()
    transaction.patches.append((0, bytes.upper))
    transaction.writes(None, [b"lease"])

    transaction.clear()

    assert transaction == Transaction()


def test_two_transactions_share_nothing() -> None:
    one, other = Transaction(), Transaction()

    one.writes([b"a"], [b"lease"])

    assert (other.keys, other.leases) == ([], [])


def test_a_key_more_copies_none_of_those_before_it() -> None:
    transaction = Transaction()
    keys, leases = transaction.keys, transaction.leases

    for number in range(3):
        transaction.writes([b"%d" % number], [b"lease"])

    assert transaction.keys is keys
    assert transaction.leases is leases
