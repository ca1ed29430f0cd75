"""The errors that Nearhit words itself, and how its processes end.

    ProxyError   what a client is told: an exception inside, its ``line`` at the border
    StartError   what the operator is told, with the ExitCode that the process ends with

Owns the classes and the fixed lines; who meets an error raises one of these and words only its
reason. Never reads an error back out of its text: who needs to know what happened asks the class,
or ``outcome_unknown``. Every room uses this module."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, unique
from typing import Final


class ProxyError(Exception):
    """An error that a client is told; ``line`` is the RESP error, with its CRLF.

    ``outcome_unknown``: the request was sent, and nobody knows whether the server executed it. Any
    other error means that it did not. This is the one place where "was it sent?" is answered."""

    outcome_unknown = False

    def __init__(self, line: bytes) -> None:
        super().__init__(line.decode("utf-8", "replace").removeprefix("-"))
        self.line = line + b"\r\n"


class ProtocolError(ProxyError):
    """Bytes that Redis answers with ``-ERR Protocol error: ...`` and a closed connection."""

    def __init__(self, what: str) -> None:
        super().__init__(b"-ERR Protocol error: " + what.encode("latin-1"))


class TlsAtPlain(ProtocolError):
    """A TLS handshake at an address without TLS."""

    def __init__(self) -> None:
        super().__init__("this address is without TLS: use that of tls_listen, or redis://")


class UpstreamDown(ProxyError):
    """No connection to the server could be opened, and the request was not sent. While the retry
    rule is exhausted commands fail at once with this, until a connection stands again."""

    def __init__(self, why: str) -> None:
        super().__init__(f"-UPSTREAM no connection to the server: {one_line(why)}".encode())


class UpstreamLost(ProxyError):
    """A lane died when this command was sent and not answered. The proxy does not send it twice."""

    outcome_unknown = True

    def __init__(self, why: str) -> None:
        super().__init__(
            f"-UPSTREAM connection to the server lost ({one_line(why)}); "
            "the command may or may not have been executed".encode()
        )


class NotServed(ProxyError):
    """No node of the cluster answers for a slot, and who asked can do without. The line is the last
    that was heard of it: CLUSTERDOWN, or what a node says that cannot answer now."""

    def __init__(self, line: bytes) -> None:
        super().__init__(line.rstrip(b"\r\n"))


_AWAY: Final = (
    b"-UPSTREAM no connection to the server: ",
    b"-UPSTREAM connection to the server lost ",
    b"-CLUSTERDOWN ",
)


def is_away(why: ProxyError) -> bool:
    """Whether it says that there is no server to answer, not what one has answered. A reply that is
    made of several nodes' tells it in the line alone; of a cluster any node may say that nobody
    answers."""
    return isinstance(why, (UpstreamDown, UpstreamLost, NotServed)) or why.line.startswith(_AWAY)


class UpstreamNotReady(ProxyError):
    """The server says that it cannot serve yet (LOADING, MASTERDOWN, too many clients). The client
    gets the server's own line, unless that would be taken for the proxy's; the lane tries again."""

    def __init__(self, line: bytes) -> None:
        super().__init__(SERVER_FULL if line == MAX_CLIENTS else line.rstrip(b"\r\n"))


class NoPlace(ProxyError):
    """A command that needs a connection of its own got none in time; it was not sent."""

    def __init__(self, pinned: int, wait_s: float) -> None:
        super().__init__(
            f"-ERR no connection to the server got free in {wait_s:g} s: {pinned} are in use by "
            "clients that block, watch, subscribe or are in MULTI (max_pinned)".encode()
        )


# To who has asked what was taken for one server; it was not sent.
NODE_OF_CLUSTER: Final = (
    b"-UPSTREAM the server is a node of a cluster, and is served as one from now on: connect again"
)


class UpstreamRefused(ProxyError):
    """The server answered a lane's handshake with an error. The client gets the server's own line.

    ``login``: it was the user or the password that the server refused."""

    def __init__(self, line: bytes, login: bool) -> None:
        super().__init__(line.rstrip(b"\r\n"))
        self.login = login


def is_mode_switch(error: object) -> bool:
    """Whether it only says that the server turned out to be a node of a cluster."""
    return isinstance(error, ProxyError) and error.line.startswith(NODE_OF_CLUSTER)


class ServerError(ProxyError):
    """The server answered a request of the proxy itself with an error. The client gets the server's
    own line."""

    def __init__(self, line: bytes) -> None:
        super().__init__(line.rstrip(b"\r\n"))


class OddReply(ProxyError):
    """The server answered a question of the proxy itself with something that cannot be its answer:
    it is no Redis, or another proxy stands between."""

    outcome_unknown = True

    def __init__(self, what: str) -> None:
        super().__init__(
            f"-UPSTREAM the server's answer to {what} makes no sense; "
            "the command may or may not have been executed".encode()
        )


class BadInput(ProxyError):
    """A request that a command of the proxy refuses before it has changed anything."""

    def __init__(self, what: str) -> None:
        super().__init__(f"-ERR {one_line(what)}".encode())


class Invalidated(ProxyError):
    """A value that came before an invalidation of its key or a tag: it was not stored."""

    def __init__(self) -> None:
        super().__init__(
            b"-ERR not stored: the key or a tag was invalidated meanwhile, or it took too long"
        )


class BadFilter(ProxyError):
    """A filter of CLIENT KILL or CLIENT LIST that Redis refuses, in Redis's words."""

    def __init__(self, what: str) -> None:
        # As addReplyErrorFormat does with the ends of lines in it.
        super().__init__(f"-ERR {what}".translate({13: " ", 10: " "}).encode())


class WrongArity(BadInput):
    """Too few or too many words, in Redis's wording."""

    def __init__(self, command: str) -> None:
        super().__init__(f"wrong number of arguments for '{command.lower()}' command")


class NoLoader(ProxyError):
    """Nothing in nearhit.toml says where the key's value comes from."""

    def __init__(self, key: bytes) -> None:
        super().__init__(f"-NOLOADER no loader matches {shown(key)}".encode())


class LoadError(ProxyError):
    """A loader failed: the same words for all who waited for it."""

    def __init__(self, loader: str, why: str) -> None:
        super().__init__(f"-LOADERR loader '{loader}': {one_line(why)}".encode())


class LoadTimeout(ProxyError):
    """A loader, or the proxy that runs it, gave no answer in time."""

    def __init__(self, loader: str, ms: int) -> None:
        super().__init__(f"-LOADTIMEOUT loader '{loader}': no answer in {ms} ms".encode())


class CacheBusy(ProxyError):
    """A bound on waiting was reached; nothing was done."""

    def __init__(self, what: str) -> None:
        super().__init__(f"-CACHEBUSY {what}; try again later".encode())


class LockBusy(ProxyError):
    """A bound on waiting for locks was reached; nothing was done."""

    def __init__(self, what: str) -> None:
        super().__init__(f"-LOCKBUSY {what}; try again later".encode())


class LockLost(ProxyError):
    """Locks that were renewed for a client are not its own any more; its command was not done."""

    def __init__(self, resources: Sequence[bytes]) -> None:
        more = f" and {len(resources) - 1} more" if len(resources) > 1 else ""
        super().__init__(
            f"-LOCKLOST the lock {shown(resources[0])}{more} is not yours any more; "
            "this command was not done".encode()
        )


class NoMajority(ProxyError):
    """Fewer lock servers agreed than have to. ``unknown``: some may have done what was asked; of
    LOCK ACQUIRE what was taken at some is given back."""

    def __init__(self, answered: int, servers: int, why: str, *, unknown: bool = False) -> None:
        super().__init__(
            f"-UPSTREAM {answered} of {servers} lock servers answered, "
            f"{servers // 2 + 1} must agree: {one_line(why)}".encode()
        )
        self.outcome_unknown = unknown


@unique
class ExitCode(IntEnum):
    """How a process of Nearhit ended. ``meaning`` is what the help of ``nearhit`` says."""

    meaning: str

    def __new__(cls, code: int, meaning: str = "") -> ExitCode:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    ALL_DONE = 0, "ended by SIGTERM or SIGINT; `warm`, `invalidate`: every key is done"
    SOME_FAILED = (
        1,
        "failed while it ran; `warm`, `invalidate`: some keys failed, or it was stopped; "
        "`health`: it is not well",
    )
    BAD_SETTINGS = 2, "the settings have mistakes"
    CANNOT_LISTEN = 3, "cannot listen: an address is in use, not permitted or not there"
    REFUSED = 4, "the upstream refused the proxy: password or ACL"
    NO_SERVER = (
        5,
        "no upstream named, and no server of its own could be started, or is wanted "
        "(`env = production`)",
    )
    UNREACHABLE = (
        6,
        "`warm`, `invalidate`, `top --once`, `check --upstream`, `check --connect`: the proxy, its "
        "upstream or a server of the settings could not be reached, or was lost",
    )


class StartError(Exception):
    """Start-up cannot go on: one clear line for the operator, and the exit code that says what
    happened. ValueError for a number that is no ExitCode."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        # A worker reports the number of its code to the process that started it.
        self.exit_code = ExitCode(exit_code)


def one_line(text: str) -> str:
    """A foreign message made fit to stand inside one RESP line."""
    return " ".join(text.split()) or "no reason given"


def printable(word: bytes) -> str:
    """A word of others as text that moves no cursor: what is not printable is escaped."""
    text = word.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(word: bytes) -> str:
    """A client's word in an error: quoted, printable, and not too long."""
    return f"'{printable(word[:128])}{'...' if len(word) > 128 else ''}'"


DENIED: Final = (
    b"-DENIED Nearhit is running in protected mode: the server behind it lets clients in without a "
    b"login, or has not answered yet, so only this machine may connect. See protected_mode.\r\n"
)
PLAIN_AT_TLS: Final = b"-ERR Protocol error: this address wants TLS: use rediss://\r\n"
NOT_TRUSTED: Final = (
    b"-DENIED this address is for load balancers that speak the PROXY protocol: see "
    b"trusted_proxies\r\n"
)
OTHER_MASTER: Final = (
    b"-UPSTREAM another server has become master: what was written before may be lost\r\n"
)
MAX_CLIENTS: Final = b"-ERR max number of clients reached\r\n"
MAX_SUBSCRIPTIONS: Final = b"-ERR max number of subscriptions reached (max_subscriptions)\r\n"
MULTI_FULL: Final = b"-ERR too much is queued in MULTI (max_multi)\r\n"
# The same of the server: its maxclients is to be raised, not the proxy's max_clients.
SERVER_FULL: Final = (
    b"-UPSTREAM no connection to the server: max number of clients reached there (its maxclients)"
)
# What a server with a password answers to those who have not sent it.
NOAUTH: Final = b"-NOAUTH Authentication required.\r\n"
# Stands for the server's "unknown command", which repeats the password.
NO_AUTH_COMMAND: Final = b"-ERR the server knows no AUTH\r\n"
# Behind a command's name, as BadInput.
IN_MULTI: Final = "is a command of the proxy and cannot be queued in MULTI: send it on its own"
