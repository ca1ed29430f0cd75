"""A headless Chromium, by its DevTools protocol: what tests of the status page look through."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-port=0",
    "--hide-scrollbars",
)
WAIT_S = 15.0


class Tab:
    def __init__(self, link: ClientWebSocketResponse) -> None:
        self._link = link
        self._ids = itertools.count(1)
        self.complaints: list[str] = []  # errors of scripts, and of the console

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        id = next(self._ids)
        await self._link.send_json({"id": id, "method": method, "params": params})
        while True:
            message = await self._link.receive_json(timeout=WAIT_S)
            if message.get("id") == id:
                assert "error" not in message, message
                return dict(message["result"])
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(str(message["params"]))

    async def open(self, url: str, *, width: int = 1280, dark: bool = False) -> None:
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=scheme)
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        await self.call("Runtime.enable")
        await self.call("Log.enable")
        await self.call("Page.navigate", url=url)

    async def value(self, script: str) -> Any:
        found = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def become(self, script: str) -> Any:
        """Wait until a script's value is true, and return it."""
        async with asyncio.timeout(WAIT_S):
            while not (found := await self.value(script)):
                await asyncio.sleep(0.05)
        return found

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            code = {"Enter": 13, "Tab": 9, "ArrowLeft": 37, "Home": 36}[key]
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text
            )

    async def write(self, text: str) -> None:
        await self.call("Input.insertText", text=text)

    async def picture(self, path: Path) -> None:
        found = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


@contextlib.asynccontextmanager
async def tab(folder: Path) -> AsyncIterator[Tab]:
    """A tab of a Chromium of its own, whose profile is in the folder."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    )
    try:
        port = folder / "DevToolsActivePort"
        async with asyncio.timeout(WAIT_S):
            while not (port.exists() and "\n" in port.read_text()):
                await asyncio.sleep(0.05)
        here = f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
        async with ClientSession() as session:
            async with session.get(f"{here}/json/list") as answer:
                tabs = await answer.json()
            url = next(one["webSocketDebuggerUrl"] for one in tabs if one["type"] == "page")
            async with session.ws_connect(url, max_msg_size=0) as link:
                yield Tab(link)
    finally:
        process.terminate()
        await process.wait()
