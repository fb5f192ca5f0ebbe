"""A real browser, Chromium, told what to do over a pipe (`--remote-debugging-pipe`): no driver, no port."""

import base64
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")  # Debian's name; CI needs none
_PATIENCE = 120  # s
_QUIET = ("--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-sync")


class Page:
    """A page in a tab: what it asked for, what it complained of, and what is in it."""

    def __init__(self, browser: "_Browser", session: str) -> None:
        self._browser, self._session = browser, session

    @property
    def requests(self) -> list[str]:
        """The addresses that it asked for, but for data URIs."""
        urls = [event["request"]["url"] for event in self._events("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith("data:")]

    @property
    def complaints(self) -> list[str]:
        """Errors, warnings and whatever else is on the console."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event) for kind in kinds for event in self._events(kind)]

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript comes to in the page."""
        done = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def dom(self) -> str:
        """The page as HTML, as it stands; works without scripts too."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        text: str = self._call("DOM.getOuterHTML", nodeId=root)["outerHTML"]
        return text

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _events(self, method: str) -> list[dict[str, Any]]:
        self.value("0")  # what came before its answer has arrived
        return [
            e["params"] for e in self._browser.events if (e["method"], e.get("sessionId")) == (method, self._session)
        ]

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)


class _Browser:
    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = os.fdopen(commands, "wb", buffering=0), os.fdopen(answers, "rb", buffering=0)
        self._number, self._waiting = 0, b""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        self._commands.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def wait(self, method: str, session: str) -> None:
        while not any((e["method"], e.get("sessionId")) == (method, session) for e in self.events):
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            assert select.select([self._answers], [], [], _PATIENCE)[0], "Chromium says nothing"
            read = self._answers.read(2**16)
            assert read, "Chromium ended"
            self._waiting += read
        message, _, self._waiting = self._waiting.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def close(self) -> None:
        self._commands.close()
        self._answers.close()


@contextmanager
def opened(
    file: Path, profile: Path, *, width: int, height: int, dark: bool = False, scripts: bool = True
) -> Iterator[Page]:
    """A file as a window of that size in px shows it, light or dark, with or without scripts; `profile` is an empty folder."""
    assert CHROMIUM is not None
    (of_browser, commands), (answers, to_us) = os.pipe(), os.pipe()
    started = subprocess.Popen(
        [
            "bash", "-c", f'exec "$0" "$@" 3<&{of_browser} 4>&{to_us}', CHROMIUM, "--headless", "--no-sandbox",
            "--disable-gpu", "--disable-dev-shm-usage", *_QUIET, f"--user-data-dir={profile}", "--remote-debugging-pipe",
        ],
        pass_fds=(of_browser, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(of_browser)
    os.close(to_us)
    browser = _Browser(commands, answers)
    try:
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser.call(f"{domain}.enable", session)
        browser.call(
            "Emulation.setDeviceMetricsOverride", session, width=width, height=height, deviceScaleFactor=1,
            mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.call("Emulation.setEmulatedMedia", session, features=[scheme])
        browser.call("Emulation.setScriptExecutionDisabled", session, value=not scripts)
        browser.call("Page.navigate", session, url=file.absolute().as_uri())
        browser.wait("Page.loadEventFired", session)
        yield Page(browser, session)
    finally:
        started.terminate()
        browser.close()
        started.wait()
