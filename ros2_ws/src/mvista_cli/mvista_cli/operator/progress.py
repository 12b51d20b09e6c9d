"""Progress by stage: one moving bar on a terminal, one plain line per stage elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

from mvista_core.ports import Clock
from mvista_core.timing import ns_to_seconds

BAR_CHARS = 28
LABEL_CHARS = 10


def percent(stage: str, fraction: float) -> bool:
    """A `Progress` in plain lines on standard error."""
    sys.stderr.write(f"{stage}: {fraction:.0%}\n")
    return True


class StageProgress:
    """`update` as often as one likes; `done` ends a stage with what became of it."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._moving = stream.isatty()
        self._stage = ""
        self._begun_ns = clock.monotonic_ns()

    @property
    def stage(self) -> str:
        """The stage that runs now, "" when none does."""
        return self._stage

    def update(self, stage: str, fraction: float = 0.0) -> None:
        """A stage goes on; another one than before ends that as done."""
        if stage != self._stage:
            self.done()
            self._stage, self._begun_ns = stage, self._clock.monotonic_ns()
            if not self._moving:
                self._write(f"{stage} ...\n")
        if self._moving:
            filled = round(BAR_CHARS * min(max(fraction, 0.0), 1.0))
            bar = "━" * filled + " " * (BAR_CHARS - filled)
            self._write(f"\r\x1b[2K{stage:<{LABEL_CHARS}} {bar} {self.seconds:6.1f} s")

    def done(self, words: str = "done") -> None:
        """The running stage has ended; nothing when none runs."""
        if not self._stage:
            return
        start = "\r\x1b[2K" if self._moving else ""
        self._write(f"{start}{self._stage:<{LABEL_CHARS}} {words}, {self.seconds:.1f} s\n")
        self._stage = ""

    @property
    def seconds(self) -> float:
        """How long the running stage has run."""
        return ns_to_seconds(self._clock.monotonic_ns() - self._begun_ns)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
