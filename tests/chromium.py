"""Chromium: opens a page in a real browser, over the DevTools protocol and tornado's web socket client.

No library is needed for the few commands that a test gives.
"""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.waiting import PATIENCE_S, until

MISSING = "chromium not found: install Debian's package chromium; skipping tests that need it"
AXE_MISSING = "axe-core not found: run scripts/install-axe; skipping tests that need it"
_AXE = Path(__file__).parents[1] / ".axe" / "node_modules" / "axe-core" / "axe.min.js"
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27}
_PORT_FILE = "DevToolsActivePort"


def chromium() -> str | None:
    """Return the path of Debian's Chromium; None if it is not installed."""
    return shutil.which("chromium")


def axe() -> str | None:
    """Return the source of axe-core; None if it is not installed."""
    return _AXE.read_text(encoding="utf-8") if _AXE.exists() else None


class Tab:
    """One page of a browser.

    Attributes:
        problems: What the browser reported: errors of scripts, and what the page's policy refused.
    """

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())
        self.session = ""
        self.problems: list[str] = []
        self._prepared: list[str] = []

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give a command, and return its result."""
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        command = {"id": number, "method": method, "params": parameters}
        if self.session:
            command["sessionId"] = self.session
        await self._socket.write_message(json.dumps(command))
        async with asyncio.timeout(PATIENCE_S):
            return await answer

    async def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page; it may be a promise."""
        found = await self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def text(self, selector: str) -> str:
        """Return the visible text of the first element; empty if there is none."""
        found = await self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return str(found)

    def prepare(self, script: str) -> None:
        """Run a script before those of the pages that are opened later."""
        self._prepared.append(script)

    async def open(self, url: str, *, width: int = 1440) -> None:
        """Open an address in a window of a width, in pixels."""
        target = await self.send("Target.createTarget", url="about:blank")
        found = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")
        for script in self._prepared:
            await self.send("Page.addScriptToEvaluateOnNewDocument", source=script)
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        await self.send("Page.navigate", url=url)

    async def resize(self, width: int, *, scheme: str = "light") -> None:
        """Change the width of the window, in pixels, and the colours: ``light`` or ``dark``."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def frame(self) -> str:
        """Return the id of the page's frame."""
        tree = await self.send("Page.getFrameTree")
        return str(tree["frameTree"]["frame"]["id"])

    async def press(self, key: str) -> None:
        """Press and release Tab, Enter or Escape."""
        text = {"text": "\r"} if key == "Enter" else {}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        await self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common, **text)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    async def violations(self, source: str) -> list[str]:
        """Return what axe-core finds wrong in the page, a line for each element.

        Args:
            source: The source of axe-core.
        """
        await self.evaluate(f"{source}; 0")
        found = await self.evaluate("axe.run().then((found) => found.violations)")
        return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]

    async def close(self) -> None:
        """Stop reading, and disconnect."""
        self._reader.cancel()
        self._socket.close()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def _read(self) -> None:
        while (line := await self._socket.read_message()) is not None:
            found = json.loads(line)
            if (answer := self._answers.pop(found.get("id", 0), None)) is not None:
                answer.set_result(found.get("result") or {"error": found.get("error")})
            elif found.get("method") == "Runtime.exceptionThrown":
                self.problems.append(str(found["params"]))
            elif found.get("method") == "Log.entryAdded" and found["params"]["entry"]["level"] == "error":
                self.problems.append(found["params"]["entry"]["text"])


@asynccontextmanager
async def browser(program: str, folder: Path) -> AsyncIterator[Tab]:
    """Run Chromium without a window, and end it.

    Args:
        program: Path of Chromium.
        folder: An empty folder for its profile.
    """
    options = ["--headless=new", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium refuses to start as root with it
    process = await asyncio.create_subprocess_exec(
        program,
        *options,
        f"--user-data-dir={folder}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port, path = (await until(lambda: _port(folder))).split()
        tab = Tab(await websocket_connect(f"ws://127.0.0.1:{port}{path}", max_message_size=1 << 26))
        try:
            yield tab
            tab.session = ""
            await tab.send("Browser.close")
        finally:
            await tab.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _port(folder: Path) -> str:
    file = folder / _PORT_FILE
    found = file.read_text() if file.exists() else ""
    return found if found.count("\n") else ""
