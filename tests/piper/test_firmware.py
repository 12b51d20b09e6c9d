"""The firmware's text is read from all of the raw answer, not from the SDK's eight characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.timing import seconds_to_ns
from mvista_piper.firmware import FirmwareText
from mvista_piper.protocol import ASK_FIRMWARE, pack_firmware

PERIOD_S, AGAIN_S = 0.001, 0.5


def tell(text: FirmwareText, frames: list[bytes], began_s: float = 1.0) -> str:
    for index, data in enumerate(frames):
        text.take(data, seconds_to_ns(began_s + index * PERIOD_S))
    return text.text


@pytest.mark.parametrize(
    "said", ["S-V1.8-8", "S-V1.8-10", "S-V1.6-10", "S-V1.10-1", "S-V12.34-567"]
)
@pytest.mark.parametrize("head", ["", "H-V1.2-1 ", "AGX\0\0\0"])
@pytest.mark.parametrize("tail", ["", "\0", "T2024", " 2024-11-05"])
def test_a_version_is_read_whole(said: str, head: str, tail: str) -> None:
    frames = list(pack_firmware(head + said + tail))
    assert tell(FirmwareText(), frames) == said


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 999), st.integers(0, 40))
def test_wherever_the_text_falls_in_the_frames(
    major: int, minor: int, patch: int, before: int
) -> None:
    said = f"S-V{major}.{minor}-{patch}"
    assert tell(FirmwareText(), list(pack_firmware("x" * before + said))) == said


def test_a_part_of_an_answer_is_none() -> None:
    frames = list(pack_firmware("S-V1.8-10"))
    for count in range(1, len(frames)):
        assert tell(FirmwareText(), frames[:count]) == ""


@pytest.mark.parametrize("lost", range(11))
def test_a_lost_frame_makes_no_other_version(lost: int) -> None:
    """Without its second frame S-V1.8-10 would read S-V1.8-1."""
    frames = list(pack_firmware("S-V1.8-10"))
    text = FirmwareText()
    assert tell(text, frames[:lost] + frames[lost + 1 :]) == ""
    assert tell(text, frames, began_s=1.0 + AGAIN_S) == "S-V1.8-10"


def test_a_controller_that_answers_in_fewer_frames_must_say_it_twice() -> None:
    text, frames = FirmwareText(), [b"\0\0\0\0\0S-V", b"1.8-10\0\0"]
    assert tell(text, frames) == ""
    assert tell(text, frames, began_s=1.0 + AGAIN_S) == "S-V1.8-10"


def test_the_question_is_no_part_of_the_answer() -> None:
    first, *rest = pack_firmware("S-V1.8-10")
    said = tell(FirmwareText(), [ASK_FIRMWARE, first, ASK_FIRMWARE, *rest])
    assert said == "S-V1.8-10"


def test_text_of_another_form_is_kept_to_be_refused() -> None:
    assert tell(FirmwareText(), list(pack_firmware("S-Vnext"))) == "S-Vnext"
