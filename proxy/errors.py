"""Every error Nearhit words itself: exceptions inside, RESP lines at the border. Made nowhere
else."""

from __future__ import annotations


class ProxyError(Exception):
    """Something a client is told about; ``line`` is the RESP error, without its CRLF."""

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


class StartError(Exception):
    """Start-up cannot go on: one clear line for the operator and the exit code that says what
    happened."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def one_line(text: str) -> str:
    """A foreign message as part of one RESP line."""
    return " ".join(text.split()) or "no reason given"


MAX_CLIENTS = b"-ERR max number of clients reached\r\n"
SYNTAX = b"-ERR syntax error\r\n"
