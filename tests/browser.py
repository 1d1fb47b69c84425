"""A headless Chromium, spoken to over two pipes in the DevTools protocol; nothing else is needed.

with browser(path) as page:
    page.click("[data-name=g3]")
    assert page.ask("document.title") == "..."
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def found() -> str:
    """Returns where the browser is; skips the test if there is none."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no browser is installed: {', '.join(NAMES)}")


#: How addresses begin that lead to nowhere else.
INSIDE = ("file:", "data:", "blob:", "about:")


class Seen(NamedTuple):
    """What became of a page.

    Attributes:
      content: its elements after its scripts have run, as HTML.
      requests: addresses it asked for, but for those within the page.
      errors: what its scripts raised, and what was said on the console as an error.
    """

    content: str
    requests: list[str]
    errors: list[str]


class Page:
    """A page that is shown.

    Attributes:
      requests: addresses that the page asked for, its own first.
      errors: what its scripts raised, or wrote as an error.
    """

    def __init__(self, send: int, receive: int) -> None:
        self.send, self.receive = send, receive
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.number, self.session, self.rest, self.loaded = 0, "", b"", False

    def call(self, method: str, **params: Any) -> dict:
        """Runs a command of the protocol; notes what happens meanwhile."""
        self.number += 1
        told = {"id": self.number, "method": method, "params": params}
        told |= {"sessionId": self.session} if self.session else {}
        os.write(self.send, json.dumps(told).encode() + b"\0")
        while (message := self.next()).get("id") != self.number:
            self.note(message)
        assert "error" not in message, message["error"]
        return message["result"]

    def next(self) -> dict:
        """Returns the next message."""
        while b"\0" not in self.rest:
            part = os.read(self.receive, 1 << 16)
            assert part, "the browser is gone"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def note(self, message: dict) -> None:
        """Notes requests and errors."""
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(params["exceptionDetails"]["exception"]["description"])
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.errors.append(params["entry"]["text"])
            case "Page.javascriptDialogOpening":
                self.errors.append(f"a dialog: {params['message']}")
            case "Page.loadEventFired":
                self.loaded = True

    def show(self, path: Path, width: int, height: int) -> None:
        """Shows a file, and waits until it is there."""
        self.attach(self.call("Target.createTarget", url="about:blank")["targetId"])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self.loaded:
            self.note(self.next())

    def attach(self, target: str) -> None:
        """Has what follows be said to a window, or to a frame, and notes what happens there."""
        given = {"targetId": target, "flatten": True}
        self.session = self.call("Target.attachToTarget", **given)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def enter(self) -> None:
        """Goes into the first frame of the page; a sandboxed one is a process of its own."""
        self.session = ""
        every = self.call("Target.getTargets")["targetInfos"]
        self.attach(next(one["targetId"] for one in every if one["type"] == "iframe"))

    def ask(self, script: str) -> Any:
        """Returns what a script comes to."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """Clicks into the middle of an element, as a mouse does."""
        box = f"document.querySelector({json.dumps(selector)})"
        self.ask(f"{box}.scrollIntoView({{block: 'center'}})")
        x, y = self.ask(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"({box}.getBoundingClientRect())"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", **event)

    def key(self, name: str) -> None:
        """Presses a key."""
        text = {"text": "\r"} if name == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, code=name, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name, code=name)


@contextlib.contextmanager
def browser(path: Path, width: int = 1280, height: int = 900) -> Iterator[Page]:
    """Yields a page of HTML, shown in a window of this size; skips without a browser."""
    program = found()
    read, send = os.pipe()
    receive, write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # It wants to read at 3 and write at 4; the folder keeps it apart from a user's own.
        command = f'exec 3<&{read} 4>&{write}; exec "$@"'
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        options += [f"--user-data-dir={profile}", "--no-first-run", "--disable-extensions"]
        process = subprocess.Popen(
            ["bash", "-c", command, "browser", program, *options],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        try:
            page = Page(send, receive)
            page.show(path, width, height)
            yield page
        finally:
            os.close(send)
            os.close(receive)
            process.terminate()
            process.wait(timeout=20)


def opened(path: Path, *, width: int = 1280, height: int = 900) -> Seen:
    """Returns what becomes of a page in the browser."""
    with browser(path, width, height) as page:
        content = page.ask("document.documentElement.outerHTML")
        requests = [url for url in page.requests if not url.startswith(INSIDE)]
        return Seen(content, sorted(requests), page.errors)
