"""Our own load generator: ``generator.c``, built with gcc into a temporary folder for each run.

redis-benchmark is the bottleneck where pipelines are answered out of the near cache, and it knows
only one distribution of keys. This one also reads the replies: a wrong one ends the benchmark.

By hand: ``gcc -O2 -o generator tests/bench/generator.c -lm``, options as the fields of Load."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

SOURCE = Path(__file__).with_name("generator.c")
LIMIT = 600  # seconds for one run


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked, by how many, and of which keys.

    Keys are a prefix and 12 digits, as redis-benchmark's; the value of a key is its name over and
    over. Commands are words: ``{key}`` is the next key, ``{value}`` the value of the key before."""

    keys: int = 10_000  # the numbers that are drawn, evenly, from ``first`` on
    pipeline: int = 1
    connections: int = 50
    zipf: float = 0.0  # the exponent of Zipf's law instead: the first is the most popular
    scan: bool = False  # one after the other instead, and around
    move: float = 0.0  # seconds, after which all numbers shift by ``step``, modulo ``space``
    step: int = 0
    first: int = 0  # modulo ``space`` too
    space: int = 0  # 0: as many as keys
    read: str = "GET {key}"
    write: str = "SET {key} {value}"
    writes: float = 0.0  # the share of commands that are writes
    size: int = 64  # bytes of a value
    prefix: str = "key:"
    check: bool = True  # a read answers with a value or nil for each key, a write with none

    @property
    def arguments(self) -> list[str]:
        """On generator's command line."""
        words: list[str] = []
        for field in fields(self):
            value: object = getattr(self, field.name)
            if value is True:
                words.append(f"--{field.name}")
            elif value is not False and value != field.default:
                words += [f"--{field.name}", str(value)]
        return words


@dataclass(frozen=True, slots=True)
class Result:
    """What one run saw. Latencies in microseconds, from sending a pipeline to reading the reply."""

    requests: int
    seconds: float
    cpu: float  # seconds of the generator's own: nearly all of ``seconds`` where it is at its limit
    errors: int  # replies that were errors
    wrong: int  # replies of another shape than the command's, or of another key's value
    hits: int  # values among the replies
    nils: int
    p50: float
    p99: float
    p999: float
    max: float
    first_error: str
    slices: list[int]  # replies in each 100 ms

    @property
    def throughput(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


class WrongReplies(RuntimeError):
    """Some replies were errors, or not the request's own."""


@dataclass(frozen=True, slots=True)
class Generator:
    binary: Path

    def run(
        self, host: str, port: int, load: Load, *, requests: int = 0, seconds: float = 0
    ) -> Result:
        """Until so many requests were answered, or none was begun for so long.

        RuntimeError in its own words when it fails; WrongReplies where any came."""
        argv = ["--host", host, "--port", str(port), "--seed", str(time.time_ns())]
        argv += ["--requests", str(requests), "--seconds", str(seconds), *load.arguments]
        result = Result(**json.loads(self._output(argv)))
        if result.errors or result.wrong:
            raise WrongReplies(
                f"{load}: {result.errors} errors and {result.wrong} wrong replies"
                f" of {result.requests}; the first: {result.first_error}"
            )
        return result

    def draw(self, load: Load, count: int) -> list[int]:
        """So many keys of the load's distribution; its ``move`` counts the whole as one second."""
        argv = ["--seed", "7", "--draw", str(count), *load.arguments]
        return [int(line) for line in self._output(argv).splitlines()]

    def _output(self, argv: list[str]) -> str:
        done = subprocess.run(
            [self.binary, *argv], capture_output=True, text=True, timeout=LIMIT, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}\n{done.stdout}{done.stderr}")
        return done.stdout


@contextmanager
def built() -> Iterator[Generator]:
    """The generator, for as long as it is needed; RuntimeError where it cannot be built."""
    gcc = shutil.which("gcc")
    if gcc is None:
        raise RuntimeError("the load generator needs gcc on PATH (Debian: apt install gcc)")
    with tempfile.TemporaryDirectory(prefix="nearhit-bench-") as folder:
        binary = Path(folder) / "generator"
        argv = [gcc, "-O2", "-Wall", "-o", str(binary), str(SOURCE), "-lm"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{SOURCE.name} does not compile\n{done.stderr}")
        yield Generator(binary)
