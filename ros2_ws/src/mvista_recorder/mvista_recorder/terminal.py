"""A terminal's letters, one by one, and its screen; by `termios` alone, so over SSH and tmux too.

It is left as it was found on every exit. When it goes (SIGHUP, a lost connection) nothing
else does.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, TextIO

# xterm's other screen, cursor hidden: what the terminal showed before comes back.
_SHOW, _RESTORE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _TO_THE_END = "\x1b[H", "\x1b[J"
_LINE_END = "\x1b[K\n"


class Terminal:
    """`with Terminal() as terminal:`; without a TTY there are no letters, and nothing is drawn."""

    def __init__(self, source: TextIO = sys.stdin, screen: TextIO = sys.stdout) -> None:
        self._source, self._screen = source, screen
        self.there = source.isatty() and screen.isatty()
        self._began_there = self.there
        self.ended = False
        """Whether the process was asked to end (SIGINT, SIGTERM)."""
        self._before: list[Any] = []
        self._signals: dict[int, Any] = {}

    def __enter__(self) -> Terminal:
        if self.there:
            self._before = termios.tcgetattr(self._source.fileno())
            # Not raw: Ctrl-C still comes as SIGINT.
            tty.setcbreak(self._source.fileno())
            self._write(_SHOW)
        handlers: dict[int, Any] = {
            signal.SIGHUP: self._on_hangup,
            signal.SIGINT: self._on_end,
            signal.SIGTERM: self._on_end,
            # A recorder that is stopped records nothing.
            signal.SIGTSTP: signal.SIG_IGN,
        }
        self._signals = {number: signal.signal(number, do) for number, do in handlers.items()}
        return self

    def __exit__(self, *error: object) -> None:
        self._write(_RESTORE)
        if self._before:
            # The terminal may be gone: then there is nothing to restore.
            with suppress(OSError, termios.error, ValueError):
                termios.tcsetattr(self._source.fileno(), termios.TCSADRAIN, self._before)
        for number, before in self._signals.items():
            signal.signal(number, before)

    @property
    def lost(self) -> bool:
        """Whether there was a terminal, and is none any more."""
        return self._began_there and not self.there

    def letter(self, timeout_s: float) -> str:
        """The next letter, "" where none came in time."""
        if not self.there:
            select.select([], [], [], timeout_s)
            return ""
        try:
            ready, _, _ = select.select([self._source.fileno()], [], [], timeout_s)
            if not ready:
                return ""
            # Past Python's buffer: `select` would not see a letter that lies in there already.
            found = os.read(self._source.fileno(), 1)
        except OSError:
            found = b""
        if not found:
            self.there = False
        return found.decode(errors="ignore")

    def show(self, lines: Sequence[str]) -> None:
        """Draw lines from the top; what does not fit is left out."""
        if not self.there:
            return
        try:
            columns, rows = os.get_terminal_size(self._screen.fileno())
        except OSError:
            columns, rows = 0, 0
        # A terminal that nobody told its size says 0.
        columns, rows = columns or 80, rows or 24
        drawn = _LINE_END.join(line[:columns] for line in lines[: max(rows - 1, 1)])
        self._write(f"{_HOME}{drawn}{_LINE_END}{_TO_THE_END}")

    def _write(self, text: str) -> None:
        if not self.there:
            return
        try:
            self._screen.write(text)
            self._screen.flush()
        except (OSError, ValueError):
            self.there = False

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        self.there = False

    def _on_end(self, number: int, frame: FrameType | None) -> None:
        self.ended = True
