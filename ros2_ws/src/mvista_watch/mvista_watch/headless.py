"""A headless Chromium that looks at the page: for the bench and the tests. Knows no ROS.

It is driven by the DevTools protocol (chromedevtools.github.io/devtools-protocol), draws without a
GPU, and has a profile folder of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from mvista_core.errors import UnavailableError
from mvista_core.ports import Clock
from mvista_core.timing import ns_to_seconds, seconds_to_ns

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # refuses to run as root with one
    "--remote-debugging-port=0",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--window-size=1000,500",  # little between the panels: without a GPU the scene is drawn slowly
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
)
START_S, ANSWER_S = 60.0, 60.0
POLL_S = 0.05


def find_chromium() -> str | None:
    """The program's path, if this machine has one."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Headless:
    """One browser with at most one page open; `with Headless(...) as browser`.

    `requests` are the addresses of all that the page and its workers asked for, sockets too; what
    brings its data along (`data:`) is none.
    """

    def __init__(self, program: str, profile: Path, clock: Clock) -> None:
        """`profile` is a folder for it alone.

        Raises:
            UnavailableError: it ended, or does not answer within `START_S`.
        """
        self.requests: list[str] = []
        self._clock, self._number = clock, 0
        self._page: str | None = None
        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._socket = self._connected(profile / "DevToolsActivePort")
        except BaseException:
            self._kill()
            raise

    def __enter__(self) -> Headless:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._kill()

    def open(self, address: str) -> None:
        """Open the page, and note what it and its workers ask for from the beginning."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._page, session = target, attached["sessionId"]
        self._session = session
        self._call("Network.enable", session)
        self._attach_workers(session)
        self._call("Page.navigate", session, url=address)

    def close(self) -> None:
        """Close the page; the browser stays."""
        if self._page is not None:
            self._call("Target.closeTarget", targetId=self._page)
            self._page = None

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page; of a promise, once it is kept.

        Raises:
            UnavailableError: it raised, or the browser does not answer.
        """
        found = self._call(
            "Runtime.evaluate",
            self._session,
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        if "exceptionDetails" in found:
            raise UnavailableError(f"on the page: {found['exceptionDetails']}")
        return found["result"].get("value")

    def _connected(self, active_port: Path) -> ClientConnection:
        until_ns = self._clock.monotonic_ns() + seconds_to_ns(START_S)
        while self._process.poll() is None and self._clock.monotonic_ns() < until_ns:
            with suppress(OSError, ValueError):
                port, path = active_port.read_text(encoding="utf-8").splitlines()
                # Between two questions nobody reads, and no ping would be answered.
                return connect(
                    f"ws://127.0.0.1:{int(port)}{path}",
                    max_size=None,
                    proxy=None,
                    ping_interval=None,
                    close_timeout=1.0,
                )
            self._clock.sleep_until(self._clock.monotonic_ns() + seconds_to_ns(POLL_S))
        raise UnavailableError(
            f"the browser did not start within {START_S:g} s (exit {self._process.poll()})"
        )

    def _attach_workers(self, session: str) -> None:
        """Workers of this session stand still until their requests are noted too."""
        self._send(
            "Target.setAutoAttach",
            session,
            autoAttach=True,
            waitForDebuggerOnStart=True,
            flatten=True,
        )

    def _send(self, method: str, session: str | None = None, **parameters: Any) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._socket.send(json.dumps(message))
        return self._number

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = self._send(method, session, **parameters)
        until_ns = self._clock.monotonic_ns() + seconds_to_ns(ANSWER_S)
        try:
            while (left_ns := until_ns - self._clock.monotonic_ns()) > 0:
                message = json.loads(self._socket.recv(ns_to_seconds(left_ns)))
                if message.get("id") != number:
                    self._note(message)
                elif "error" in message:
                    raise UnavailableError(f"the browser refused {method}: {message['error']}")
                else:
                    found: dict[str, Any] = message["result"]
                    return found
        except (ConnectionClosed, TimeoutError) as error:
            raise UnavailableError(f"the browser is gone: {error!r}") from None
        raise UnavailableError(f"the browser did not answer {method} within {ANSWER_S:g} s")

    def _note(self, message: dict[str, Any]) -> None:
        """What the browser says by itself."""
        said = message.get("params", {})
        if message.get("method") == "Target.attachedToTarget":
            self._send("Network.enable", said["sessionId"])
            self._attach_workers(said["sessionId"])
            self._send("Runtime.runIfWaitingForDebugger", said["sessionId"])
        elif message.get("method") == "Network.requestWillBeSent":
            address = said["request"]["url"]
            if not address.startswith("data:"):
                self.requests.append(address)
        elif message.get("method") == "Network.webSocketCreated":
            self.requests.append(said["url"])

    def _kill(self) -> None:
        """Its whole group: a browser is a dozen processes."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
