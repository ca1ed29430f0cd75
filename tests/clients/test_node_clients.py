"""node-redis and ioredis, unmodified: the scripts in js/ run, each check of theirs is a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients.target import Target
from tests.clients.worker import outcome

COMMON: dict[str, Any] = {
    "strings": ["ü", None, 1],
    "binary": True,
    "hashes": {"a": "1", "b": "2"},
    "concurrent": True,
    "multi": ["OK", 2, "2"],
    "watch": "60",
    "pubsub": [[2, 1, 1], ["news 1", "ne* 1", "shard 2", "ne* 3"]],
    "streams": [True, 1],
    "locks": ["OK", None, 0, 1, "OK"],
    "errors": ["WRONGTYPE Operation", "ERR unknown", "PONG"],
    "databases": ["three", None],
    "scan": 500,
    "killed": "victim",
}
EXPECTED: dict[str, dict[str, Any]] = {
    "node_redis": {
        **COMMON,
        "sorted_sets": [{"value": "low", "score": 1.5}, {"value": "high", "score": 9}],
        "pool": "200",
        "multi_with_an_error": "1 commands",
        "pipeline": ["OK", 2, "2"],
        "scripts": [5, 7, "NOSCRIPT No"],
        "blocking": [{"key": "jobs", "element": "one"}, None],
        "client_side_cache": ["old", "old"],
    },
    "ioredis": {
        **COMMON,
        "auto_pipelining": ["WRONGTYPE Operation"],
        "pipeline": ["OK", 2, "WRONGTYPE", "2"],
        "multi_without_pipeline": [["OK", "QUEUED", "QUEUED"], ["OK", 2]],
        "scripts": [5, 7, [8, 9], "NOSCRIPT No"],
        "blocking": [["jobs", "one"], None],
        "subscriber_killed": "again",
        "monitor": ["set", "seen", "by monitor"],
        "quit": "OK",
    },
}
CASES = [
    pytest.param(script, protocol, check, id=f"{script}-resp{protocol}-{check}")
    for script, checks in EXPECTED.items()
    for protocol in (2, 3)
    for check in checks
    if (protocol, check) != (2, "client_side_cache")  # tracking pushes need RESP3
]
Outcomes = dict[tuple[str, int, str], dict[str, Any]]


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    """What each script printed, by script, protocol and kind of server."""
    return {}


@pytest.mark.parametrize(("script", "protocol", "check"), CASES)
def test_a_node_client_works(
    target: Target, javascript: Path, outcomes: Outcomes, script: str, protocol: int, check: str
) -> None:
    run = (script, protocol, target.kind)
    if run not in outcomes:
        argv = ["node", f"{script}.mjs", target.url(), str(protocol)]
        outcomes[run] = outcome(argv, javascript, seconds=100)

    assert outcomes[run][check] == EXPECTED[script][check]
