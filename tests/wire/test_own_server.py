"""What a server says of itself where the proxy is allowed, or bound, to say more.

INFO gains a section, COMMAND gains our commands (and lists subcommands in hash order), MONITOR
shows clocks and addresses, a bare UNSUBSCRIBE goes in hash order: a small promise for each."""

from __future__ import annotations

import re
from contextlib import ExitStack, closing

from .conftest import Side, Twins
from .frames import children, payload
from .link import Link, command
from .masks import pairs, sort_inside


def ask(side: Side, *words: str, resp: int = 2) -> bytes:
    with closing(Link(side.port)) as link:
        link.ask("HELLO", resp)
        return link.ask(*words)


def sections(frame: bytes) -> list[str]:
    text = payload(frame).removeprefix(b"txt:").decode()
    return re.findall(r"^# (.*?)\r?$", text, re.M)


def test_info_has_the_servers_sections_and_ends_with_ours(twins: Twins, resp: int) -> None:
    direct, proxied = (sections(ask(side, "INFO", resp=resp)) for side in twins.sides)

    assert [name for name in proxied if name != "Nearhit"] == direct


def test_info_of_one_section_is_the_servers(twins: Twins, resp: int) -> None:
    for words in (["keyspace"], ["server"], ["clients", "memory"], ["nosuch"], ["everything"]):
        direct, proxied = (sections(ask(side, "INFO", *words, resp=resp)) for side in twins.sides)

        assert [name for name in proxied if name != "Nearhit"] == direct, words


def test_info_comes_in_the_same_kind_of_frame(twins: Twins, resp: int) -> None:
    direct, proxied = (ask(side, "INFO", "server", resp=resp)[:1] for side in twins.sides)

    assert proxied == direct == (b"=" if resp == 3 else b"$")


def test_command_names_all_of_the_servers_commands(twins: Twins, resp: int) -> None:
    direct, proxied = (
        set(children(ask(side, "COMMAND", "LIST", resp=resp))[1]) for side in twins.sides
    )

    assert direct <= proxied
    assert all(not name.startswith(b"$0") for name in proxied)


def test_command_describes_the_servers_commands_as_the_server_does(twins: Twins, resp: int) -> None:
    direct, proxied = (
        {
            children(one)[1][0]: sort_inside(one)
            for one in children(ask(side, "COMMAND", resp=resp))[1]
        }
        for side in twins.sides
    )

    assert {name: proxied.get(name) for name in direct} == direct


def test_command_count_counts_the_list(twins: Twins) -> None:
    direct, proxied = (int(ask(side, "COMMAND", "COUNT")[1:-2]) for side in twins.sides)
    whole = len(children(ask(twins.proxied, "COMMAND"))[1])

    assert proxied >= direct
    assert proxied == whole


def test_command_docs_of_everything_holds_the_servers_docs(twins: Twins, resp: int) -> None:
    def docs(side: Side) -> dict[bytes, bytes]:
        _, flat = children(ask(side, "COMMAND", "DOCS", resp=resp))
        return {name: sort_inside(entry) for name, entry in pairs(flat)}

    direct, proxied = (docs(side) for side in twins.sides)

    assert {name: proxied.get(name) for name in direct} == direct


def test_a_bare_unsubscribe_leaves_every_channel(twins: Twins, resp: int) -> None:
    for words in (["SUBSCRIBE"], ["PSUBSCRIBE"], ["SSUBSCRIBE"]):
        heards: list[tuple[set[bytes], list[bytes]]] = []
        for side in twins.sides:
            with closing(Link(side.port)) as link:
                link.ask("HELLO", resp)
                link.send(command(*words, "u1", "u2", "u3"))
                link.read(3)
                link.send(command(words[0].replace("SUB", "UNSUB")))
                parts = [children(frame)[1] for frame in link.read(3)]
                after = link.ask("PING")
            heards.append(({part[1] for part in parts}, [part[2] for part in parts] + [after]))

        assert heards[0] == heards[1]
        assert heards[0][1] == [b":2\r\n", b":1\r\n", b":0\r\n", b"+PONG\r\n"]


def test_monitor_shows_what_other_clients_send(twins: Twins, resp: int) -> None:
    twins.reset()
    for side in twins.sides:
        with ExitStack() as stack:
            monitor, other = (stack.enter_context(closing(Link(side.port))) for _ in range(2))
            monitor.ask("HELLO", resp)
            assert monitor.ask("MONITOR") == b"+OK\r\n"
            other.ask("SET", "watched", "a b\n")

            seen = b""
            while b"watched" not in seen:
                frames = monitor.read(1)
                assert frames, f"{side.name}: MONITOR showed nothing of it"
                seen = frames[0]

            shape = rb'\+\d+\.\d{6} \[0 127\.0\.0\.1:\d+\] "SET" "watched" "a b\\n"\r\n'
            assert re.fullmatch(shape, seen), (side.name, seen)
            monitor.send(command("RESET"))
            frame = b""
            while b"RESET" not in frame or b'"' in frame:
                frames = monitor.read(1)
                assert frames, f"{side.name}: RESET did not end MONITOR"
                frame = frames[0]
            assert monitor.ask("PING") == b"+PONG\r\n"


def test_monitor_shows_hello_as_it_was_written(twins: Twins) -> None:
    for side in twins.sides:
        with ExitStack() as stack:
            monitor, other = (stack.enter_context(closing(Link(side.port))) for _ in range(2))
            assert monitor.ask("MONITOR") == b"+OK\r\n"
            other.ask("heLLo", 2, "AUTH", "default", "secret")

            seen = b""
            while b"heLLo" not in seen:
                frames = monitor.read(1)
                assert frames, f"{side.name}: MONITOR showed nothing of it"
                seen = frames[0]

            shape = rb'.* "heLLo" "2" "AUTH" "\(redacted\)" "\(redacted\)"\r\n'
            assert re.fullmatch(shape, seen), (side.name, seen)
