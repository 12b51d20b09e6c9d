"""The thread of one camera: it takes captures and hands each on, as long as it is wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mvista_cameras.ports import CaptureSource
from mvista_core.capture import Capture

# So long may a thread that waits for an image take to hear `stop`.
WAIT_S = 0.2


class CaptureThread:
    """Runs from the beginning; ending, it lets go of the camera."""

    def __init__(self, source: CaptureSource, hand_on: Callable[[Capture], None]) -> None:
        """`hand_on` is called on the thread."""
        self._source, self._hand_on = source, hand_on
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the thread, if anything did; ask from the thread that can tell it."""
        if self._failure is not None:
            raise self._failure

    def stop(self, timeout_s: float) -> None:
        """End after the present capture."""
        self._ended.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                capture = self._source.next(WAIT_S)
                if capture is not None:
                    self._hand_on(capture)
        # Nobody looks at this thread: `check` raises it where it ends the node.
        except Exception as error:
            self._failure = error
        finally:
            # Here: this thread alone uses the device, and `stop` may have given up waiting for it.
            self._source.close()
