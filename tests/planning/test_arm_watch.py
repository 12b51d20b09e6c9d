"""What the arm's driver says, and what that means for a task."""

from __future__ import annotations

import pytest

from mvista_core.timing import ManualClock
from mvista_piper.status import ARMED, Mode
from mvista_planning.arm_watch import COMING_MODES, FRESH_S, IDLE_MODE, ArmWatch, ArmWord

FAILED = {Mode.FAULT, Mode.REFUSED, Mode.SEARCHING}


def word(mode: str, failed: bool = False) -> ArmWord:
    return ArmWord(mode, failed, "said")


@pytest.mark.parametrize("mode", Mode)
def test_every_mode_of_the_driver_is_one_to_go_on_to_wait_for_or_to_refuse(mode: Mode) -> None:
    said = word(mode.name.lower(), mode in FAILED)
    assert said.able is (mode in ARMED)
    assert said.coming is (mode in {Mode.CLOSED, Mode.SEARCHING, Mode.ENABLING})


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode in ARMED])
def test_a_driver_that_its_manager_holds_back_is_waited_for(mode: Mode) -> None:
    held = ArmWord(mode.name.lower(), False, "inactive: said", active=False)
    assert held.coming and not held.able


def test_an_inactive_driver_of_an_arm_nobody_enabled_is_refused() -> None:
    idle = ArmWord(IDLE_MODE, False, "said", active=False)
    assert not idle.able and not idle.coming


def test_the_modes_are_the_drivers() -> None:
    assert {*COMING_MODES, IDLE_MODE} <= {mode.name.lower() for mode in Mode}


def test_an_arm_that_names_no_mode_goes_by_its_level() -> None:
    assert word("").able and not word("", failed=True).able


def test_only_the_newest_word_counts_and_only_while_it_is_fresh() -> None:
    clock = ManualClock()
    watch = ArmWatch(clock)
    assert watch.word is None
    watch.hear(word("fault", failed=True))
    watch.hear(word("holding"))
    clock.advance(FRESH_S)
    assert watch.word == word("holding")
    clock.advance(0.01)
    assert watch.word is None
