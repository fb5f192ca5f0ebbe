"""Chromium, driven over a pipe (`--remote-debugging-pipe`): no driver, no port."""

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
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--no-first-run", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip


class Page:
    """A page in a tab: its requests, its complaints, and its content."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = os.fdopen(commands, "wb", buffering=0), os.fdopen(answers, "rb", buffering=0)
        self._number, self._unread, self.session = 0, b"", ""
        self._events: list[dict[str, Any]] = []

    @property
    def requests(self) -> list[str]:
        """The addresses that it asked for, without data URIs."""
        urls = [event["request"]["url"] for event in self._all("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith("data:")]

    @property
    def complaints(self) -> list[str]:
        """Errors, warnings and whatever else is on the console."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event) for kind in kinds for event in self._all(kind)]

    def value(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def dom(self) -> str:
        """The page as HTML, as it stands; works without scripts too."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        text: str = self.call("DOM.getOuterHTML", nodeId=root)["outerHTML"]
        return text

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command of Chromium's protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        self._commands.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def wait(self, method: str) -> None:
        """Wait for an event."""
        while not any(event["method"] == method for event in self._events):
            self._events.append(self._next())

    def close(self) -> None:
        self._commands.close()
        self._answers.close()

    def _all(self, method: str) -> list[dict[str, Any]]:
        self.value("0")  # what came before its answer has arrived
        return [event["params"] for event in self._events if event["method"] == method]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            assert select.select([self._answers], [], [], _PATIENCE)[0], "Chromium does not answer"
            read = self._answers.read(2**16)
            assert read, "Chromium ended"
            self._unread += read
        message, _, self._unread = self._unread.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextmanager
def opened(
    file: Path, profile: Path, *, width: int, height: int, dark: bool = False, scripts: bool = True
) -> Iterator[Page]:
    """A file in a window of that size in px, light or dark, with or without scripts; `profile` is an empty folder."""
    assert CHROMIUM is not None
    (of_browser, commands), (answers, to_us) = os.pipe(), os.pipe()
    pipes = f'exec "$0" "$@" 3<&{of_browser} 4>&{to_us}'
    started = subprocess.Popen(
        ["bash", "-c", pipes, CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(of_browser, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(of_browser)
    os.close(to_us)
    page = Page(commands, answers)
    try:
        target = page.call("Target.createTarget", url="about:blank")["targetId"]
        page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        page.call("Page.navigate", url=file.absolute().as_uri())
        page.wait("Page.loadEventFired")
        yield page
    finally:
        started.terminate()
        page.close()
        started.wait()
