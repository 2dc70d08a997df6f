"""A real Chromium without a screen, driven over its DevTools protocol.

That takes a websocket, which aiohttp has: Playwright's package would bring 45 MB with a Node of its own for the same.
"""

import asyncio
import base64
import itertools
import json
import os
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.support.processes import PATIENCE, Process, program

PICTURES = os.environ.get("HEALER_PICTURES", "")
"""The folder in which screenshots are kept; "" for none."""
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"),
    "--disable-ipc-flooding-protection",  # else it ignores the 201st step to another part of a page within ten seconds
)
_ADDRESS = "DevTools listening on "


class PageError(AssertionError):
    """What a page was asked for has failed there."""


class _Chromium(Process):
    """It complains of desktops that are not there: those lines say nothing."""

    def heard(self, line: str) -> None:
        if "/dbus/" not in line:
            super().heard(line)


class Browser:
    """One Chromium with one tab, an async context manager. Skips the test where it is not installed."""

    def __init__(self) -> None:
        path = program("chromium", "chromium", "google-chrome")
        self._folder = tempfile.mkdtemp(prefix="chromium-")
        command = [path, *_FLAGS, f"--user-data-dir={self._folder}", "--remote-debugging-port=0", "about:blank"]
        self._process = _Chromium("chromium", command, {"PATH": os.environ.get("PATH", ""), "HOME": self._folder})
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._tab = ""
        self.trouble: list[str] = []
        """What the page has complained of: exceptions, and what its policy has blocked."""

    async def __aenter__(self) -> Self:
        await self._process.__aenter__()
        await self._process.until(lambda: any(_ADDRESS in line for line in self._process.lines), "an address", PATIENCE)
        address = next(line.partition(_ADDRESS)[2] for line in self._process.lines if _ADDRESS in line).strip()
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(address, max_msg_size=0)
        self._hearing = asyncio.create_task(self._hear())
        tab = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=tab["targetId"], flatten=True)
        self._tab = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._socket.close()
        self._hearing.cancel()
        await asyncio.wait((self._hearing,))
        await self._session.close()
        await self._process.__aexit__(kind, error, trace)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _hear(self) -> None:
        async for message in self._socket:
            heard = json.loads(message.data)
            if (answer := self._answers.pop(heard.get("id", 0), None)) is not None and not answer.done():
                answer.set_result(heard)
            elif heard.get("method") == "Runtime.exceptionThrown":
                details = heard["params"]["exceptionDetails"]
                self.trouble.append(details.get("exception", {}).get("description", details["text"]))
            elif heard.get("method") == "Log.entryAdded" and heard["params"]["entry"]["source"] in ("security", "violation"):
                self.trouble.append(heard["params"]["entry"]["text"])

    async def call(self, method: str, **params: object) -> Any:
        """A command of the protocol. Raises PageError for its errors."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json(
            {"id": number, "method": method, "params": params} | ({"sessionId": self._tab} if self._tab else {})
        )
        async with asyncio.timeout(PATIENCE):
            heard = await answer
        if "error" in heard:
            raise PageError(f"{method}: {heard['error']}")
        return heard["result"]

    # what a person does

    async def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def look(self, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """The size of the window, and whether the person likes it dark."""
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is awaited. Raises PageError when it throws."""
        found = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description", details["text"]))
        return found["result"].get("value")

    async def until(self, script: str, *, within: float = PATIENCE) -> Any:
        """The first value of an expression that counts as true: looked at after each frame that the page draws."""
        body = f"""new Promise((done, failed) => {{
            const end = performance.now() + {1000 * within};
            const look = () => {{
                let found = false;
                try {{ found = ({script}); }} catch (error) {{ found = false; }}
                if (found) done(found === true ? true : found);
                else if (performance.now() > end) failed(new Error("it never came: " + document.body.innerText.slice(0, 2000)));
                else setTimeout(look, 30);
            }};
            look();
        }})"""
        return await self.run(body)

    async def press(self, key: str, code: int = 0) -> None:
        """A key of the keyboard."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    async def write(self, text: str) -> None:
        """Type into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def picture(self, name: str, *, whole: bool = False) -> None:
        """Keep a screenshot, where the environment names a folder for them."""
        if PICTURES:
            found = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
            _keep(name, base64.b64decode(found["data"]))

    async def flaws(self) -> list[str]:
        """What axe-core finds against WCAG 2.1 AA on the page as it is now."""
        await self.run((files("axe_core_python") / "axe.min.js").read_text("utf-8") + "; true")
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
        found = await self.run(f"axe.run(document, {{runOnly: {json.dumps(tags)}}}).then((found) => found.violations)")
        return [f"{each['id']}: {node['html'][:200]} {node['failureSummary']}" for each in found for node in each["nodes"]]


def _keep(name: str, picture: bytes) -> None:
    folder = Path(PICTURES)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(picture)
