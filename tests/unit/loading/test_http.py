"""The HTTP client of the ``url`` loaders, and what is imported before one is needed."""

from __future__ import annotations

import subprocess
import sys

from nearhit.proxy.loading.http import Http

IMPORTED = """
import sys
import nearhit.proxy.process.server
print(*[name for name in ("aiohttp", "redis") if name in sys.modules])
"""


async def test_one_session_is_opened_by_the_first_load_and_closed_once() -> None:
    http = Http()
    assert "closed" in repr(http)

    session = http.session

    assert http.session is session
    assert "open" in repr(http)
    await http.close()
    await http.close()
    assert session.closed


def test_a_start_without_such_loaders_imports_no_client_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True, timeout=30
    )

    assert done.stdout == "\n"
