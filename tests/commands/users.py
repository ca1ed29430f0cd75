"""A loader of users for a proxy of a test's own: settings, and the module that they name."""

from __future__ import annotations

from typing import Final

LOADER: Final = """
[loaders.users]
match = "user:{id}"
call = "users:load"
"""
USERS: Final = """
async def load(id):
    if id == "broken":
        raise ValueError("no database")
    return None if id == "nobody" else "user " + id
"""
