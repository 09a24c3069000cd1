"""A headless Chromium, spoken to through a pipe: pages are opened and clicked as a person would."""

import base64
import json
import os
import shutil
import subprocess

import pytest


class Browser:
    """One page in a browser of its own; a context manager."""

    def __init__(self, folder):
        """Starts it; skips the test where there is none."""
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("no Chromium on this machine: the report is not opened in a browser")
        read_here, self._writes = os.pipe()
        self._reads, write_here = os.pipe()

        # Chromium reads from 3 and writes to 4.
        start = f'exec "$0" "$@" 3<&{read_here} 4>&{write_here}'
        self._process = subprocess.Popen(
            ["bash", "-c", start, program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder}",
             "--remote-debugging-pipe"],
            pass_fds=(read_here, write_here), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read_here)
        os.close(write_here)
        self._number, self._buffer, self.events = 0, b"", []

    def __enter__(self):
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *error):
        self._process.kill()
        self._process.wait()
        os.close(self._writes)
        os.close(self._reads)

    def call(self, method, **parameters):
        """A command to the page."""
        return self._call(method, session=self._session, **parameters)

    def _call(self, method, session=None, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _read(self):
        while b"\0" not in self._buffer:
            part = os.read(self._reads, 1 << 20)
            assert part, "the browser ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path, width=1280, height=900):
        """Opens a file and waits until it is shown."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def run(self, expression):
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, x, y):
        """A click of the left button, in pixels of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            buttons = 1 if kind == "mousePressed" else 0
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def screenshot(self, path):
        """The whole page as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def requests(self):
        """Addresses that the page asked for, but those of files and inlined data."""
        asked = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("file:", "data:", "about:"))]

    def problems(self):
        """Exceptions that scripts of the page raised."""
        return [e["params"] for e in self.events if e.get("method") == "Runtime.exceptionThrown"]
