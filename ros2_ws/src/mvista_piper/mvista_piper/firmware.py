"""The firmware's own text, from the raw frames of 0x4AF. Pure.

piper_sdk cuts it at eight characters: `S-V1.8-10` reads as `S-V1.8-1`. The answer is eleven frames
without a number, so it counts when it is whole: all eleven came without a pause, or, from a
controller that sends fewer, two answers in a row said the same.
"""

from __future__ import annotations

import re

from mvista_core.timing import seconds_to_ns
from mvista_piper.protocol import ASK_FIRMWARE, FIRMWARE_FRAMES

PAUSE_S = 0.05
"""Longer than between two frames of one answer, shorter than between two questions."""
_VERSION = re.compile(rb"S-V\d+\.\d+-\d+")
_ENDED = re.compile(rb"S-V\d+\.\d+-\d+\D")
_WORD = re.compile(rb"S-V[!-~]{0,24}")


class FirmwareText:
    """Frames of 0x4AF in, the version's text out once it is whole."""

    def __init__(self) -> None:
        self.text = ""
        self._answer = self._before = b""
        self._last_ns: int | None = None

    def take(self, data: bytes, now_ns: int) -> None:
        """One frame; data [8]. The question, which has the same id, is no part of an answer."""
        if data == ASK_FIRMWARE:
            return
        if self._last_ns is not None and now_ns - self._last_ns > seconds_to_ns(PAUSE_S):
            self._answer, self._before = b"", self._answer
        self._answer, self._last_ns = self._answer + data, now_ns
        whole = len(self._answer) == 8 * FIRMWARE_FRAMES
        if whole or (self._answer == self._before and _ENDED.search(self._answer)):
            self.text = version_in(self._answer)
        if whole:
            self._answer = b""


def version_in(answer: bytes) -> str:
    """`S-V1.8-10` from a whole answer; a word of another form as it stands; "" if there is none."""
    found = _VERSION.search(answer) or _WORD.search(answer)
    return found.group().decode("ascii") if found else ""
