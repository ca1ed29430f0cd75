"""Every error Nearhit words itself: exceptions inside, RESP lines at the border. Made nowhere
else."""

from __future__ import annotations

from enum import IntEnum, unique


class ProxyError(Exception):
    """Something a client is told about; ``line`` is the RESP error, with its CRLF.

    ``outcome_unknown``: the request was sent, and nobody knows whether it was executed. Of any
    other error it is known that it was not."""

    outcome_unknown = False

    def __init__(self, line: bytes) -> None:
        super().__init__(line.decode("utf-8", "replace").removeprefix("-"))
        self.line = line + b"\r\n"


class ProtocolError(ProxyError):
    """Bytes that Redis answers with ``-ERR Protocol error: ...`` and a closed connection."""

    def __init__(self, what: str) -> None:
        super().__init__(b"-ERR Protocol error: " + what.encode("latin-1"))


class UpstreamDown(ProxyError):
    """The retry rule is exhausted: commands fail at once until a connection stands again."""

    def __init__(self, why: str) -> None:
        super().__init__(f"-UPSTREAM no connection to the server: {one_line(why)}".encode())


class UpstreamLost(ProxyError):
    """A lane died with this command sent and not answered: its outcome is unknown, it is not sent
    twice."""

    outcome_unknown = True

    def __init__(self, why: str) -> None:
        super().__init__(
            f"-UPSTREAM connection to the server lost ({one_line(why)}); "
            "the command may or may not have been executed".encode()
        )


class UpstreamNotReady(ProxyError):
    """The server says that it cannot serve yet (LOADING ...); its own line is what the client
    sees."""

    def __init__(self, line: bytes) -> None:
        super().__init__(line.rstrip(b"\r\n"))


class UpstreamRefused(ProxyError):
    """The server answered a lane's handshake with an error; its own line is what the client
    sees."""

    def __init__(self, line: bytes, login: bool) -> None:
        super().__init__(line.rstrip(b"\r\n"))
        self.login = login  # it was the user or the password that it refused


class ServerError(ProxyError):
    """What the server answered to a request of the proxy itself; its own line is what the client
    sees."""

    def __init__(self, line: bytes) -> None:
        super().__init__(line.rstrip(b"\r\n"))


class BadInput(ProxyError):
    """A request that a command of the proxy refuses before it has changed anything."""

    def __init__(self, what: str) -> None:
        super().__init__(f"-ERR {one_line(what)}".encode())


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
        "failed while it ran; `warm`, `invalidate`: some keys failed, or it was stopped",
    )
    BAD_SETTINGS = 2, "the settings have mistakes"
    CANNOT_LISTEN = 3, "cannot listen: an address is in use, not permitted or not there"
    REFUSED = 4, "the upstream refused the proxy: password or ACL"
    NO_SERVER = 5, "no upstream named, and no server of its own could be started"
    UNREACHABLE = (
        6,
        "`warm`, `invalidate`: the proxy or its upstream could not be reached, or was lost",
    )


class StartError(Exception):
    """Start-up cannot go on: one clear line for the operator, and the exit code that says what
    happened. ValueError for a number that is no ExitCode."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        # A worker reports the number of its code to the process that started it.
        self.exit_code = ExitCode(exit_code)


def one_line(text: str) -> str:
    """A foreign message as part of one RESP line."""
    return " ".join(text.split()) or "no reason given"


def shown(word: bytes) -> str:
    """A client's word in an error: quoted, printable, and not too long."""
    text = word[:128].decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f"'{text}{'...' if len(word) > 128 else ''}'"


MAX_CLIENTS = b"-ERR max number of clients reached\r\n"
SYNTAX = b"-ERR syntax error\r\n"
