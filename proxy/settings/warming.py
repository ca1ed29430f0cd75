"""What a loader's ``warm`` names: the keys that are filled as the proxy starts.

    user:{1..100000}     these, as bash writes them out
    user:*               what the loader's server has by such names, where it is a Redis
    ./keys.txt           a file, with a key on each line: begins with /, ./ or ../

Pure: opens no file and asks no server (process/warming.py does)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..keys.braces import expand
from .rows import Kind

_FILES: Final = ("/", "./", "../")
_WILD: Final = "*?["


@dataclass(frozen=True, slots=True)
class WarmKeys:
    text: str

    @classmethod
    def parse(cls, text: str) -> WarmKeys:
        if not text:
            raise ValueError
        return cls(text)

    @property
    def is_file(self) -> bool:
        return self.text.startswith(_FILES)

    @property
    def is_wild(self) -> bool:
        """Whether only the server that has the keys can say which these are."""
        return not self.is_file and any(sign in self.text for sign in _WILD)

    @property
    def count(self) -> int | None:
        """How many there are; None: only the end will tell."""
        return None if self.is_file or self.is_wild else expand(self.text).count

    def expanded(self) -> Iterator[bytes]:
        """Keys, or globs where it ``is_wild``."""
        return (key.encode() for key in expand(self.text))


WARM: Final = Kind(WarmKeys.parse, "a pattern of keys, or the path of a file: ./FILE", "KEYS")
