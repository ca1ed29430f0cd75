"""The scripts of tests/wire through Nearhit before a cluster of three primaries, compared with one
server: what comes back is the same, or it is listed in differences.py.

Keys are in one slot here (colocated.py), so that all commands have something to do; what is cut by
slots has test_apart.py and bar 3 (test_redirects.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest

from tests import clusters
from tests.servers import Kind, nearhit, upstream, wait_for
from tests.wire.link import PATIENCE, Control
from tests.wire.script import Heard, Player, Script, all_scripts
from tests.wire.test_scripts import differs, mismatches

from .colocated import colocated
from .differences import ANSWERS, FOLLOWING, LEFT_OUT, Answer

SCRIPTS = [script for script in all_scripts() if "locked" not in script.tags]
soak = pytest.mark.soak
# In CI each engine speaks one of both.
SPOKEN = [
    pytest.param("redis", 2, id="redis-resp2"),
    pytest.param("valkey", 3, id="valkey-resp3"),
    pytest.param("redis", 3, id="redis-resp3", marks=soak),
    pytest.param("valkey", 2, id="valkey-resp2", marks=soak),
]
PLAYED = [script for script in SCRIPTS if script.title not in LEFT_OUT]


class Nodes:
    """Looks at all primaries as a Control at one server."""

    def __init__(self, controls: list[Control]) -> None:
        self.controls = controls

    def reset(self) -> None:
        for control in self.controls:
            control.reset()

    def wait_blocked(self, count: int) -> None:
        wait_for(
            lambda: sum(control.blocked() for control in self.controls) == count,
            PATIENCE,
            f"{count} blocked clients",
        )


@dataclass
class Pair:
    """One server, which is the truth, and a cluster behind Nearhit."""

    kind: Kind
    direct: int
    proxied: int
    control: Control
    nodes: Nodes


class Looked:
    """What has been played, and what of the list has differed, by the kind of server."""

    def __init__(self) -> None:
        self.played = set[tuple[Kind, int, str]]()
        self.met = set[tuple[Kind, Answer]]()

    def all_played(self, kind: Kind, resp: int) -> bool:
        wanted = {(kind, resp, script.title) for script in PLAYED if script.runs_on(kind, resp)}
        return wanted <= self.played


@pytest.fixture(scope="module")
def looked() -> Looked:
    return Looked()


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with ExitStack() as stack:
        cluster = stack.enter_context(clusters.cluster(request.param, replicas=0))
        direct = stack.enter_context(upstream(request.param)).port
        proxied = stack.enter_context(nearhit(cluster.url, "--stats-key", "off")).port
        control = stack.enter_context(closing(Control(direct)))
        nodes = [stack.enter_context(closing(Control(node.port))) for node in cluster.nodes]
        yield Pair(request.param, direct, proxied, control, Nodes(nodes))


def played(pair: Pair, script: Script, resp: int) -> list[tuple[Heard, Heard]]:
    """Both sides of the steps that were answered differently."""
    pair.control.reset()
    pair.nodes.reset()
    script = colocated(script, pair.control)

    truths = Player(pair.direct, pair.control, resp).play(script)
    heards = Player(pair.proxied, pair.nodes, resp).play(script)

    return [sides for sides in zip(truths, heards, strict=False) if differs(*sides)]


def applies(only: str, pair: Pair, resp: int) -> bool:
    return not only or only in (pair.kind, f"resp{resp}")


@pytest.mark.parametrize(("pair", "resp"), SPOKEN, indirect=["pair"], scope="module")
@pytest.mark.parametrize("script", PLAYED, ids=lambda script: script.title)
def test_a_cluster_answers_as_one_server_does(
    script: Script, pair: Pair, resp: int, looked: Looked
) -> None:
    if not script.runs_on(pair.kind, resp):
        pytest.skip(f"for {', '.join(sorted(script.tags))} only")

    found = played(pair, script, resp)

    looked.played.add((pair.kind, resp, script.title))
    follows = [one for one in FOLLOWING.get(script.title, ()) if applies(one.only, pair, resp)]
    left: list[tuple[Heard, Heard]] = []
    differing = set[str]()
    for truth, heard in found:
        covers = [one for one in ANSWERS if one.covers(truth.step, b"".join(heard.frames))]
        looked.met.update((pair.kind, one) for one in covers)
        steps = {step for one in follows if (step := one.covered(truth.step.text))}
        differing |= steps
        if not covers and not steps:
            left.append((truth, heard))
    assert not left, "answered differently\n" + "\n".join(
        mismatches(*map(list, zip(*left, strict=True)))[:12]
    )
    alike = {step for one in follows if not one.maybe for step in one.steps} - differing
    assert not alike, f"listed in differences.py, and not different: {alike}"


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_whatever_is_listed_differs(kind: Kind, looked: Looked) -> None:
    """Behind all scripts; where not all have been played there is nothing to say."""
    if not any(looked.all_played(kind, resp) for resp in (2, 3)):
        pytest.skip("not all scripts have been played")

    idle = [one for one in ANSWERS if not one.maybe and one.only in ("", kind)]

    assert not [one for one in idle if (kind, one) not in looked.met]
    assert {*FOLLOWING, *LEFT_OUT} <= {script.title for script in SCRIPTS}
