"""Plans are values."""

from nearhit.proxy.cluster.plans import Anywhere, At, Everywhere, One, Said, Spread


def test_plans_are_compared_by_what_they_say() -> None:
    assert One(1) == One(1) != One(2)
    assert Anywhere() == Anywhere()
    assert Said(b"+OK\r\n") == Said(b"+OK\r\n")
    assert Spread([(1, b"a")], b"".join) == Spread([(1, b"a")], b"".join)
    assert Everywhere(True, min) != Everywhere(False, min)
    assert At(0, b"x", min) != At(1, b"x", min)
