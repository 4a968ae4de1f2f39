"""A page, of a file or of a server, in a real browser without a screen."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE = 30
_EVERY = """
function* every(root) {
  for (const node of root.querySelectorAll("*")) {
    yield node;
    if (node.shadowRoot) yield* every(node.shadowRoot);
  }
}
"""

# pixels of the smallest letters that stand in the page itself
_SMALLEST = """
Math.min(99, ...Array.from(document.body.querySelectorAll("*"))
  .filter(node => !node.closest("svg") && Array.from(node.childNodes)
    .some(child => child.nodeType == Node.TEXT_NODE && child.data.trim()))
  .map(node => parseFloat(getComputedStyle(node).fontSize)))
"""


class Look(NamedTuple):
    """What a browser found in a page."""

    complaints: list[str]
    width: int
    pictures: int
    broken: int
    requests: list[str]
    smallest: float


def find_browser() -> str | None:
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)


def look_at(
    page: Path | str,
    width: int,
    dark: bool,
    folder: Path,
    shot: Path | None = None,
    mobile: bool = True,
    until: str = "true",
) -> Look:
    """Opens a page, and takes a picture of all of it if asked to.

    ``until`` is what must become true in a page that is built by its scripts.
    """
    url = page if isinstance(page, str) else page.resolve().as_uri()
    with _browser(folder) as address:
        return asyncio.run(_look(address, url, width, dark, shot, mobile, until))


@contextmanager
def _browser(folder: Path) -> Iterator[str]:
    path = find_browser()
    assert path is not None
    words = [path, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    process = subprocess.Popen(
        [*words, f"--user-data-dir={folder / 'browser'}", "about:blank"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"DevTools listening on ws://([\w.:]+)/", line):
                yield found[1]
                return
        raise RuntimeError("the browser did not start")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


async def _look(
    address: str, url: str, width: int, dark: bool, shot: Path | None, mobile: bool, until: str
) -> Look:
    async with aiohttp.ClientSession() as session:
        async with session.put(f"http://{address}/json/new?about:blank") as answer:
            target = (await answer.json())["webSocketDebuggerUrl"]
        async with session.ws_connect(target, max_msg_size=0) as socket:
            tab = _Tab(socket)
            for name in ("Page", "Runtime", "Log", "Network"):
                await tab.call(f"{name}.enable")
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile}
            await tab.call("Emulation.setDeviceMetricsOverride", **size)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            await tab.call("Emulation.setEmulatedMedia", features=[scheme])
            await tab.call("Page.navigate", url=url)
            await tab.until("Page.loadEventFired")
            await tab.wait(until)
            images = "Array.from(document.images)"
            await tab.value(
                f"Promise.all({images}.map(i => (i.loading = 'eager', i.decode().catch(() => 0))))"
                ".then(() => 1)"
            )
            # a page that is still being built may have changed them meanwhile
            await tab.wait(f"{images}.every(i => i.complete)")
            found = Look(
                complaints=tab.complaints,
                width=await tab.value("document.documentElement.scrollWidth"),
                pictures=await tab.value(f"{images}.length"),
                broken=await tab.value(f"{images}.filter(i => !i.naturalWidth).length"),
                requests=tab.requests,
                smallest=await tab.value(_SMALLEST),
            )
            if shot:
                taken = await tab.call("Page.captureScreenshot", captureBeyondViewport=True)
                shot.write_bytes(base64.b64decode(taken["data"]))
            return found


class _Tab:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._seen: list[str] = []
        self.complaints: list[str] = []
        self.requests: list[str] = []

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        mine = self._number
        await self._socket.send_json({"id": mine, "method": method, "params": parameters})
        while True:
            message = await self._next()
            if message.get("id") == mine:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    async def until(self, event: str) -> None:
        while event not in self._seen:
            await self._next()

    async def value(self, expression: str) -> Any:  # noqa: ANN401  # whatever the page says
        done = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        return done["result"].get("value")

    async def wait(self, condition: str) -> None:
        """Until a condition holds that may use ``every``, which walks through shadow roots."""
        deadline = time.monotonic() + _PATIENCE
        while not await self.value(f"(() => {{ {_EVERY} return Boolean({condition}); }})()"):
            assert time.monotonic() < deadline, f"never true: {condition}"
            await asyncio.sleep(0.2)

    async def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self._socket.receive_str(timeout=_PATIENCE))
        method, content = message.get("method", ""), message.get("params", {})
        self._seen.append(method)
        if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(json.dumps(content)[:500])
        if method == "Network.requestWillBeSent":
            url = content["request"]["url"]
            if not url.startswith("data:"):
                self.requests.append(url)
        return message
