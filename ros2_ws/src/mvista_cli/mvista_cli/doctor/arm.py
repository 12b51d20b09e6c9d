"""The arm behind a bus, asked by the driver itself: firmware, role, limits, collision levels.

Only questions are sent (0x4AF, 0x472, 0x477): nothing is enabled and nothing moves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mvista_bringup.finding import Finding, Severity, good
from mvista_core.arm import load_arm
from mvista_core.errors import MvistaError
from mvista_core.ports import Clock
from mvista_core.timing import seconds_to_ns
from mvista_piper import protocol
from mvista_piper.bus import open_bus
from mvista_piper.driver import PiperDriver
from mvista_piper.link import PiperLink
from mvista_piper.settings import LeaderSettings, PiperSettings
from mvista_piper.status import Mode

POLL_S = 0.005
FRAMES_PER_LOOK = 64
SPARE_S = 1.0
"""Beyond the driver's own time for the arm to answer."""


def check_arm(
    settings: PiperSettings,
    arm_file: Path,
    clock: Clock,
    opener: Callable[[PiperSettings], Any] = open_bus,
) -> Finding:
    """Look for the arm as the driver would, and let go of the bus again."""
    name = f"arm at {settings.adapter_serial or settings.channel}"
    driver: PiperDriver | None = None
    try:
        link = PiperLink(partial(opener, settings), clock)
        driver = PiperDriver(link, load_arm(arm_file), settings, clock)
        driver.open()
        return _ask(name, driver, settings, clock)
    except MvistaError as error:
        return Finding(name, Severity.FAIL, str(error), "see mvista_piper/README.md, CAN adapters")
    finally:
        if driver is not None:
            driver.close()


def check_leader(
    settings: LeaderSettings, clock: Clock, opener: Callable[[LeaderSettings], Any] = open_bus
) -> Finding:
    """Look for a leader: an arm that answers questions (0x4AF) and gives no feedback."""
    name = f"leader at {settings.adapter_serial or settings.channel}"
    fix = "power it; with both arms on one bus: wiring:=bus"
    link = PiperLink(partial(opener, settings), clock)
    try:
        link.open()
        answered, feedback = _answers(link, settings, clock)
    except MvistaError as error:
        return Finding(name, Severity.FAIL, str(error), fix)
    finally:
        link.close()
    if answered and not feedback:
        return good(name, "answers, and gives no feedback")
    said = "gives feedback: it is a follower" if feedback else "does not answer (0x4AF)"
    return Finding(name, Severity.FAIL, said, fix)


def _answers(link: PiperLink, settings: LeaderSettings, clock: Clock) -> tuple[bool, bool]:
    """Whether the arm answers, and whether it tells where it stands."""
    answered = feedback = False
    link.ask_firmware()
    deadline_ns = clock.monotonic_ns() + seconds_to_ns(settings.answer_timeout_s)
    while clock.monotonic_ns() < deadline_ns and not feedback:
        clock.sleep_until(clock.monotonic_ns() + seconds_to_ns(POLL_S))
        for _ in range(FRAMES_PER_LOOK):
            if (frame := link.receive(0.0)) is None:
                break
            answered |= frame.can_id == protocol.FIRMWARE and frame.data != protocol.ASK_FIRMWARE
            feedback |= frame.can_id in protocol.JOINT_FEEDBACK
    return answered, feedback


def _ask(name: str, driver: PiperDriver, settings: PiperSettings, clock: Clock) -> Finding:
    deadline_ns = clock.monotonic_ns() + seconds_to_ns(settings.identity_timeout_s + SPARE_S)
    while driver.mode is Mode.SEARCHING and clock.monotonic_ns() < deadline_ns:
        clock.sleep_until(clock.monotonic_ns() + seconds_to_ns(POLL_S))
        # Not `poll`: on a busy machine frames may come faster than they are read, without end.
        for _ in range(FRAMES_PER_LOOK):
            if not driver.receive(0.0):
                break
        driver.tick()
    identity = driver.status().identity
    if identity is None:
        reason = str(driver.reason or "no answer")
        return Finding(
            name, Severity.FAIL, reason, "see mvista_piper/README.md, What is decided how"
        )
    levels = identity.collision_levels
    said = f"firmware {identity.firmware}, {identity.role.value}, limits agree"
    if min(levels) == 0:
        unprotected = [f"joint{i + 1}" for i, level in enumerate(levels) if level == 0]
        return Finding(
            name,
            Severity.WARN,
            f"{said}; collision protection is off on {', '.join(unprotected)}",
            "set levels 1 to 8 with the vendor's tool (0x47A), then `min_collision_level` in "
            "config/piper.yaml",
        )
    return good(name, f"{said}, collision levels {list(levels)}")
