"""What Linux says of a process: CPU time, memory, children, who listens on a port.

Reads /proc only, needs no package and no privilege for one's own processes. The parsers take
text, so that they are tested without a process; the functions below them do the reading."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

PROC = Path("/proc")
TICK = 1 / os.sysconf("SC_CLK_TCK")
LISTEN = "0A"  # the state column of /proc/net/tcp

Pids = frozenset[int]


def parse_stat(text: str) -> tuple[int, float]:
    """(parent pid, user + system seconds) of one /proc/<pid>/stat line.

    The name in parentheses may hold blanks and parentheses itself: count from the last one."""
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) * TICK


def parse_listening(text: str, port: int) -> set[str]:
    """Inodes of the sockets that listen on the port, from /proc/net/tcp or tcp6."""
    rows = (line.split() for line in text.splitlines()[1:])
    return {
        row[9] for row in rows if row[3] == LISTEN and int(row[1].rpartition(":")[2], 16) == port
    }


def parse_status(text: str, name: str) -> int:
    """Bytes of one ``Vm...:  123 kB`` row of /proc/<pid>/status."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no {name} in status")


def tree(roots: Iterable[int]) -> Pids:
    """The processes and all their descendants: a proxy with workers counts as one."""
    parents = {pid: parent for pid, (parent, _) in _stats()}
    found = set(roots)
    fresh = set(found)
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return frozenset(found)


def listeners(port: int) -> Pids:
    """The processes that hold a listening TCP socket on the port (only those we may look into)."""
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        path = PROC / "net" / table
        if path.exists():
            inodes |= parse_listening(path.read_text(), port)
    links = {f"socket:[{inode}]" for inode in inodes}
    return frozenset(pid for pid in _pids() if links & set(_open_files(pid)))


def cpu_seconds(pids: Pids) -> float:
    return sum(parse_stat((PROC / str(pid) / "stat").read_text())[1] for pid in pids)


def memory(pids: Pids, name: str = "VmRSS") -> int:
    """Bytes that the processes hold now (VmRSS) or held at their peak (VmHWM)."""
    return sum(parse_status((PROC / str(pid) / "status").read_text(), name) for pid in pids)


def forget_peak(pids: Pids) -> None:
    """Set VmHWM back to what is resident now."""
    for pid in pids:
        (PROC / str(pid) / "clear_refs").write_text("5")


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _stats() -> Iterator[tuple[int, tuple[int, float]]]:
    for pid in _pids():
        try:
            yield pid, parse_stat((PROC / str(pid) / "stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked


def _open_files(pid: int) -> Iterator[str]:
    try:
        for entry in (PROC / str(pid) / "fd").iterdir():
            yield os.readlink(entry)
    except OSError:
        return  # it ended, or is another user's
