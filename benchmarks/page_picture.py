"""Draws the README's picture of the page: asks a running server one question in Chromium and saves what it shows.

    make demo && make serve &
    python benchmarks/page_picture.py [--url http://127.0.0.1:8000] [--question "…"] [--to docs/images/page.png]

Answer, confidence and marked sentences are those of the served model. Needs Chromium.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

WIDTH, HEIGHT = 900, 880
QUESTION = "What strength of chlorine is used to clean after norovirus?"
ASK = """(question => {
  document.getElementById("question").value = question;
  document.getElementById("ask").click();
})(%s)"""
ANSWERED = """document.getElementById("status").textContent.startsWith("Done")
  && !document.getElementById("ask").disabled && document.getElementById("answer").textContent"""


class Browser:
    """Chromium without a window, driven by its DevTools protocol over two pipes."""

    def __init__(self, reading: int, writing: int) -> None:
        self._in, self._out = os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0)
        self._number, self._session = 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command and returns its result. Ignores events."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        self._out.write(
            json.dumps({"id": self._number, "method": method, "params": parameters, **session}).encode() + b"\0"
        )
        while (message := json.loads(self._message())).get("id") != self._number:
            pass
        if "error" in message:
            sys.exit(f"Chromium refused {method}: {message['error']['message']}")
        return message["result"]

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives on the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def _message(self) -> bytes:
        text = bytearray()
        while not text.endswith(b"\0"):
            if not (more := self._in.read(1)):
                sys.exit("Chromium has ended")
            text += more
        return bytes(text[:-1])


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with a temporary profile."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        sys.exit("Chromium is not installed")
    to_read, to_write = os.pipe(), os.pipe()

    def pipes() -> None:
        ours = os.dup(to_write[0]), os.dup(to_read[1])
        os.dup2(ours[0], 3)
        os.dup2(ours[1], 4)

    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars"]
        process = subprocess.Popen(
            [program, *options, f"--user-data-dir={profile}"],
            preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield Browser(to_read[0], to_write[1])
        finally:
            process.terminate()  # it ends its own processes then
            process.wait()


def main() -> None:
    """Asks, waits for the whole answer, and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--to", type=Path, default=Path("docs/images/page.png"))
    parser.add_argument("--seconds", type=float, default=120, help="how long to wait for the answer")
    given = parser.parse_args()
    with chromium() as browser:
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False
        )
        browser.call("Page.enable")
        browser.call("Page.navigate", url=given.url)
        until = time.monotonic() + given.seconds
        while browser.value("document.readyState") != "complete" or not browser.value(
            "!!document.getElementById('ask')"
        ):
            time.sleep(0.2)
            if time.monotonic() > until:
                sys.exit(f"there is no page at {given.url}; start it by: make serve")
        browser.value(ASK % json.dumps(given.question))
        while not (answer := browser.value(ANSWERED)):
            time.sleep(0.2)
            if time.monotonic() > until:
                sys.exit(f"no answer in {given.seconds:g} s: {browser.value('document.body.innerText')}")
        picture = browser.call("Page.captureScreenshot", format="png")["data"]
    given.to.write_bytes(base64.b64decode(picture))
    print(f"{given.to}: {answer}")


if __name__ == "__main__":
    main()
