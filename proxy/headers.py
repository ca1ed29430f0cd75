"""Headers of HTTP: names in any case, some of them more than once. Values are text; what is no
UTF-8 in them comes back as it was (surrogateescape)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping


class Headers(Mapping[str, str]):
    """By name, in any case; the first of those with one name."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Of the wire; names are in lower case, as h11 gives them."""
        self._rows = [
            (name.decode("ascii"), value.decode("utf-8", "surrogateescape")) for name, value in rows
        ]

    def __repr__(self) -> str:
        return f"<Headers {' '.join(self)}>"  # values may be secrets

    def __getitem__(self, name: str) -> str:
        name = name.lower()
        for one, value in self._rows:
            if one == name:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._rows))

    def __len__(self) -> int:
        return len({name for name, _ in self._rows})

    def all(self, name: str) -> list[str]:
        """All of one name, as they came."""
        name = name.lower()
        return [value for one, value in self._rows if one == name]
