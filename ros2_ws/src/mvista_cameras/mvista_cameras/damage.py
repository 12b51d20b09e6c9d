"""Images that could not be used, counted and put into words."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_cameras.records import Damaged, Stream
from mvista_core.timing import NS_PER_S, ns_to_seconds

WARN_NS = 5 * NS_PER_S
"""For so long after a damaged image the health says so."""


@dataclass
class DamagedImages:
    """Of one camera: found when they came (`add`), or not before they were decoded (`skip`)."""

    count: int = 0
    since_pair: int = 0
    newest: str = ""
    newest_ns: int = 0
    _undecodable_since_ns: int | None = None
    _skipped: bool = False

    def add(self, damaged: Damaged, now_ns: int) -> None:
        """An image came that cannot be used."""
        self.count += 1
        self.since_pair += 1
        self.newest, self.newest_ns = str(damaged), now_ns

    def skip(self, reason: str, now_ns: int) -> None:
        """The newest capture's colour was wanted and cannot be decoded."""
        self.add(Damaged(Stream.COLOR, reason), now_ns)
        self._skipped = True
        if self._undecodable_since_ns is None:
            self._undecodable_since_ns = now_ns

    def paired(self) -> None:
        """Colour and depth of one capture came, whole as far as is known."""
        if not self._skipped:
            self.since_pair = 0

    def next_capture(self) -> None:
        """Another goes out: whoever wanted the one before has said by now if it was damaged."""
        if not self._skipped:
            self._undecodable_since_ns = None
        self._skipped = False

    def undecodable_s(self, now_ns: int, allowed_s: float) -> float:
        """How long no capture that was wanted could be decoded; 0 while that is no trouble."""
        if self._undecodable_since_ns is None:
            return 0.0
        seconds = ns_to_seconds(now_ns - self._undecodable_since_ns)
        return seconds if seconds > allowed_s else 0.0

    def words(self) -> str:
        """How many, and what was wrong with the newest."""
        return f"{self.count} (newest: {self.newest})" if self.count else "0"

    def warning(self, now_ns: int) -> str:
        """For as long as it is news."""
        if not self.count or now_ns - self.newest_ns > WARN_NS:
            return ""
        return f"{self.count} damaged images skipped, the newest {self.newest}"
