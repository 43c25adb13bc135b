"""A real browser without a window, driven through its DevTools protocol over a pipe."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-pipe"
).split()
SHELL = 'exec "$0" "$@" 3<&"$IN" 4>&"$OUT"'  # the protocol's pipes are 3 and 4


class Browser:
    """One page in one browser. `events` are all its events, in order."""

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM
        read, self._to = os.pipe()
        back, write = os.pipe()
        command = ["bash", "-c", SHELL, CHROMIUM, *QUIET, f"--user-data-dir={folder}", "about:blank"]
        pipes = {**os.environ, "IN": str(read), "OUT": str(write), "HOME": str(folder)}
        self._process = subprocess.Popen(
            command, env=pipes, pass_fds=(read, write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(read), os.close(write)
        self._from = os.fdopen(back, "rb")
        self._count, self._session, self.events = 0, "", list[dict[str, Any]]()
        (page,) = [one for one in self.ask("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self._session = self.ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        self._from.close()

    def ask(self, method: str, **parameters: Any) -> Any:
        """What the browser answers; what it tells meanwhile goes to `events`."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            said = self._listen()
            if said.get("id") == self._count:
                assert "error" not in said, said
                return said["result"]

    def open(self, url: str) -> None:
        """Load a page, and wait until all of it is there."""
        self.ask("Page.navigate", url=url)
        while not any(one["method"] == "Page.loadEventFired" for one in self.events):
            self._listen()

    def evaluate(self, script: str) -> Any:
        """What a script finds in the page. It is run by the protocol, whatever the page allows its own."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def look(self, *, width: int, dark: bool = False) -> None:
        """See the page as a screen so wide does, by day or in the dark."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=scheme)

    def picture(self) -> bytes:
        """The whole page as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def requests(self) -> list[str]:
        """All addresses that the page has requested, without `data:` addresses."""
        asked = [one["params"]["request"]["url"] for one in self.events if one["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith("data:")]

    def complaints(self) -> list[str]:
        """Script errors, dialogues, and what the content security policy has stopped."""
        kinds = (
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
        )
        return [json.dumps(one["params"]) for one in self.events if one["method"] in kinds]

    def _listen(self) -> dict[str, Any]:
        data = bytearray()
        while (letter := self._from.read(1)) not in (b"\0", b""):
            data += letter
        said: dict[str, Any] = json.loads(data)
        if "method" in said:
            self.events.append(said)
        return said
