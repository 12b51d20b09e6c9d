"""Capture times: drift, transfer delays that vary, clocks that are set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_cameras.stamps import (
    LATE_IMAGES,
    Reading,
    StampMap,
)
from mvista_core.timing import CLOCK_TRIES, TOGETHER_NS, read_clocks
from tests.cameras.emulated import START_NS, HostClock

PERIOD_S = 1 / 15
WALL_AHEAD_NS = 1_700_000_000 * 10**9


@dataclass
class Host:
    """Makes readings of captures at true times on the host's monotonic clock."""

    drift_ppm: float = 0.0
    latency_s: float = 0.03
    jitter_s: float = 0.005
    power_on_s: float = 1000.0
    seed: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.wall_ahead_ns = WALL_AHEAD_NS
        self.sdk_ahead_ns = WALL_AHEAD_NS
        self.device_ahead_us = 0

    def reading(self, captured_s: float, held_up_s: float = 0.0, sdk: bool = True) -> Reading:
        device_us = (captured_s + self.power_on_s) * 1e6 * (1 + self.drift_ppm * 1e-6)
        arrived_s = captured_s + self.latency_s + self.rng.exponential(self.jitter_s) + held_up_s
        arrived_ns = round(arrived_s * 1e9)
        global_us = (round(captured_s * 1e9) + self.sdk_ahead_ns) // 1000 if sdk else 0
        return Reading(
            round(device_us) + self.device_ahead_us,
            arrived_ns,
            arrived_ns + self.wall_ahead_ns,
            global_us,
        )

    def errors_ms(self, stamps: StampMap, first: int, count: int, **reading: float) -> np.ndarray:
        """Stamp minus true capture of captures `first`, `first` + 1, ..."""
        errors = []
        for k in range(first, first + count):
            captured_s = k * PERIOD_S
            stamp_ns = stamps.stamp(self.reading(captured_s, **reading))  # type: ignore[arg-type]
            true_ns = round(captured_s * 1e9) + self.wall_ahead_ns
            errors.append((stamp_ns - true_ns) / 1e6)
        return np.array(errors)


class PausedClock(HostClock):
    """The thread is not run for `pauses_s`, one after the other, before and after the wall clock is
    read."""

    def __init__(self, pauses_s: list[float]) -> None:
        super().__init__()
        self.pauses_s = list(pauses_s)

    def now_ns(self) -> int:
        self._pause()
        found_ns = super().now_ns()
        self._pause()
        return found_ns

    def _pause(self) -> None:
        self.advance(self.pauses_s.pop(0) if self.pauses_s else 0.0)


@given(st.lists(st.floats(0.0, 0.1), max_size=3 * CLOCK_TRIES))
def test_two_clocks_are_told_as_of_one_moment(pauses_s: list[float]) -> None:
    clock = PausedClock(pauses_s)
    monotonic_ns, wall_ns = read_clocks(clock)
    tries_ns = [sum(pauses_s[k : k + 2]) * 1e9 for k in range(0, 2 * CLOCK_TRIES, 2)]
    most_ns = max(min(tries_ns), TOGETHER_NS) / 2 + 2
    assert abs(wall_ns - monotonic_ns - (START_NS - 10**15)) <= most_ns


@given(st.floats(-200, 200), st.floats(0.005, 0.06), st.integers(0, 100))
def test_stamps_are_true_to_a_millisecond(drift_ppm: float, latency_s: float, seed: int) -> None:
    host, stamps = Host(drift_ppm, latency_s, seed=seed), StampMap(0.0)
    host.errors_ms(stamps, 0, 15 * 10)
    settled = host.errors_ms(stamps, 15 * 10, 15 * 20)
    assert np.abs(settled).max() < 2.0
    assert abs(np.median(settled)) < 1.5


def test_without_the_sdks_stamps_the_configured_latency_is_used() -> None:
    host, stamps = Host(latency_s=0.03), StampMap(0.03)
    errors_ms = host.errors_ms(stamps, 0, 300, sdk=False)
    assert np.abs(errors_ms[60:]).max() < 2.0


def test_stamps_keep_the_distances_of_the_captures_not_of_the_arrivals() -> None:
    host, stamps = Host(jitter_s=0.02), StampMap(0.03)
    host.errors_ms(stamps, 0, 150)
    assert np.abs(np.diff(host.errors_ms(stamps, 150, 300))).max() < 2.0


@pytest.mark.parametrize("step_s", [1.0, -1.0])
def test_a_step_of_the_hosts_clock_moves_the_stamps_at_once_and_by_that(step_s: float) -> None:
    host, stamps = Host(drift_ppm=50), StampMap(0.03)
    host.errors_ms(stamps, 0, 300)
    host.wall_ahead_ns += round(step_s * 1e9)  # the SDK's own fit stays behind
    assert np.abs(host.errors_ms(stamps, 300, 150)).max() < 2.0
    assert stamps.wall_steps == 1
    assert stamps.last_wall_step_s == pytest.approx(step_s)
    assert stamps.device_steps == 0


@pytest.mark.parametrize("step_us", [1_000_000, -1_000_000, 3_600_000_000, -3_600_000_000])
def test_a_step_of_the_cameras_clock_is_seen_at_the_first_image(step_us: int) -> None:
    host, stamps = Host(), StampMap(0.03)
    host.errors_ms(stamps, 0, 300)
    host.device_ahead_us = step_us
    errors_ms = host.errors_ms(stamps, 300, 300)
    # The fit begins anew: until a fast arrival is seen, part of the jitter is added.
    assert np.abs(errors_ms).max() < 20.0
    assert np.abs(errors_ms[150:]).max() < 2.0
    assert stamps.device_steps == 1


def test_a_step_back_behind_a_pause_is_seen_within_a_second() -> None:
    host, stamps = Host(), StampMap(0.03)
    host.errors_ms(stamps, 0, 300)
    host.device_ahead_us = -1_000_000
    errors_ms = host.errors_ms(stamps, 400, 100)
    assert (np.abs(errors_ms) > 100).sum() < LATE_IMAGES
    assert stamps.device_steps == 1


@pytest.mark.parametrize("held_up_s", [0.09, 0.5, 3.0])
def test_images_that_were_held_up_keep_their_stamps(held_up_s: float) -> None:
    host, stamps = Host(), StampMap(0.03)
    host.errors_ms(stamps, 0, 300)
    assert np.abs(host.errors_ms(stamps, 300, 10, held_up_s=held_up_s)).max() < 2.0
    assert np.abs(host.errors_ms(stamps, 310, 100)).max() < 2.0
    assert stamps.device_steps == 0


def test_global_stamps_that_cannot_be_are_not_believed() -> None:
    host, stamps = Host(), StampMap(0.03)
    host.sdk_ahead_ns -= 10**9
    assert np.abs(host.errors_ms(stamps, 0, 300)[60:]).max() < 2.0
    assert stamps.latency_s == 0.03


def test_the_drift_is_told() -> None:
    host, stamps = Host(drift_ppm=80, jitter_s=0.001), StampMap(0.03)
    host.errors_ms(stamps, 0, 15 * 60)
    assert stamps.drift_ppm == pytest.approx(-80, abs=15)


def test_a_machine_that_was_busy_and_is_no_more_is_no_fault_of_the_camera() -> None:
    """Arrivals held up less and less look like a clock that strays by 8,000 ppm, for 10 s."""
    host, stamps = Host(), StampMap(0.03)
    for k in range(15 * 60):
        captured_s = k * PERIOD_S
        stamps.stamp(host.reading(captured_s, held_up_s=max(0.08 - 0.008 * captured_s, 0.0)))
        assert not stamps.fault


def test_a_stamp_counts_once_a_second_of_arrivals_is_known_or_the_sdk_says_it() -> None:
    for sdk in (True, False):
        host, stamps = Host(jitter_s=0.02), StampMap(0.03)
        settled = []
        for k in range(20):
            stamps.stamp(host.reading(k * PERIOD_S, sdk=sdk))
            settled.append(stamps.settled)
        assert settled == [sdk or k >= 15 for k in range(20)]
