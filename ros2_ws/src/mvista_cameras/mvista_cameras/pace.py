"""Rates and ages of what a camera delivered, between two reports."""

from __future__ import annotations

from mvista_cameras.records import Condition, SourceReport
from mvista_core.timing import ns_to_seconds

SLOW = 0.9
"""A camera below this part of its rate is worth a warning."""


class Pace:
    """`shot` per delivery; `take` once a report."""

    def __init__(self, rate_hz: float, now_ns: int) -> None:
        self._rate_hz, self._since_ns = rate_hz, now_ns
        self._count = 0
        self._newest_ns: int | None = None
        self._latest_age_s = 0.0

    def shot(self, age_s: float, now_ns: int) -> None:
        """A shot went out, `age_s` after its capture."""
        self._count += 1
        self._newest_ns = now_ns
        self._latest_age_s = max(self._latest_age_s, age_s)

    def take(self, now_ns: int) -> tuple[float, tuple[tuple[str, str], ...]]:
        """The rate since the last call (Hz), and the numbers to report."""
        elapsed_s = max(ns_to_seconds(now_ns - self._since_ns), 1e-6)
        rate_hz = self._count / elapsed_s
        age_s = self._latest_age_s
        silent_s = float("inf")
        if self._newest_ns is not None:
            silent_s = ns_to_seconds(now_ns - self._newest_ns)
        self._count, self._latest_age_s, self._since_ns = 0, 0.0, now_ns
        return rate_hz, (
            ("rate (Hz)", f"{rate_hz:.1f}"),
            ("largest age when sent (ms)", f"{age_s * 1000:.0f}"),
            ("since the last image (s)", f"{silent_s:.2f}"),
        )

    def grade(self, report: SourceReport, rate_hz: float) -> tuple[str, str]:
        """(OK, WARN or ERROR; a sentence) from the source's report and the rate kept."""
        if report.condition is Condition.READY:
            return "OK", report.message
        if report.condition is not Condition.OK:
            return "ERROR", report.message
        if report.warning:
            return "WARN", f"{report.message}; {report.warning}"
        if rate_hz < SLOW * self._rate_hz:
            return "WARN", f"{rate_hz:.1f} Hz, expected {self._rate_hz:g} Hz"
        return "OK", report.message
