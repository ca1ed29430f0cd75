"""The scripts that run in the server: one file each, whose header says KEYS, ARGV, what it returns
and why it must be atomic."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the digest that EVALSHA knows it by."""

    name: str
    text: bytes = field(repr=False)
    sha: bytes = field(repr=False)


def script(name: str) -> Script:
    """The script in ``<name>.lua``."""
    text = files(__name__).joinpath(f"{name}.lua").read_bytes()
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())
