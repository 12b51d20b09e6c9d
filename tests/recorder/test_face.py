"""The terminal and the operator's letters: on a pseudo terminal, as over SSH."""

from __future__ import annotations

import os
import pty
import signal
import termios
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mvista_core.timing import NS_PER_S, SystemClock
from mvista_recorder.face import Face, serve
from mvista_recorder.layout import episode_folders, is_finished
from mvista_recorder.manifest import load_manifest
from mvista_recorder.recorder import Recorder
from mvista_recorder.recorder_records import RecorderSettings
from mvista_recorder.terminal import Terminal
from tests.recorder.made import ARM, RIG

pytestmark = pytest.mark.slow

TOUCH = "touch the red cube"


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    settings = RecorderSettings(tmp_path / "root", (), (), RIG, ARM, least_free_gib=0.01)
    made = Recorder(settings, [], SystemClock())
    yield made
    made.close()


@pytest.fixture
def tty_pair() -> Iterator[tuple[int, Terminal]]:
    """The operator's end of a pseudo terminal, and ours."""
    theirs, ours = pty.openpty()
    with open(ours, "r+b", buffering=0) as raw, open(ours, "w", closefd=False) as screen:
        yield theirs, Terminal(raw, screen)  # type: ignore[arg-type]
    with suppress(OSError):
        os.close(theirs)


def labels(recorder: Recorder) -> list[str]:
    folders = episode_folders(recorder.settings.root)
    return sorted(load_manifest(folder).label for folder in folders if is_finished(folder))


def test_letters_are_the_recorders_words(recorder: Recorder) -> None:
    face = Face(recorder, TOUCH)
    for letter in "sySn":
        face.press(letter)
    assert labels(recorder) == ["failure", "success"]
    for letter in "sdsrd":
        face.press(letter)
    assert labels(recorder) == ["failure", "success"] and not recorder.state().episode
    face.press("y")
    assert any("[91]" in line and "given once" in line for line in face.lines())
    face.press("p")
    assert recorder.state().practice and "PRACTICE" in face.lines()[0]
    face.press("s")
    assert any("[60]" in line for line in face.lines())
    face.press("q")
    assert not face.over and any("q again" in line for line in face.lines())
    face.press("q")
    assert face.over


def test_quitting_needs_two_letters_in_a_row_while_recording(recorder: Recorder) -> None:
    face = Face(recorder, TOUCH)
    for letter in "sqxdsq":
        face.press(letter)
    assert not face.over
    face.press("d")
    face.press("q")
    assert face.over


def test_a_session_by_letters_restores_the_terminal(
    recorder: Recorder, tty_pair: tuple[int, Terminal]
) -> None:
    theirs, terminal = tty_pair
    before = termios.tcgetattr(theirs)
    seen = bytearray()

    def operate() -> None:
        for letter in b"sysnq":
            seen.extend(os.read(theirs, 1 << 16))
            os.write(theirs, bytes([letter]))

    operator = threading.Thread(target=operate, daemon=True)
    with terminal:
        assert termios.tcgetattr(theirs) != before
        operator.start()
        serve(recorder, TOUCH, terminal)
    operator.join()
    assert termios.tcgetattr(theirs) == before
    assert labels(recorder) == ["failure", "success"] and b"s start" in seen


@pytest.mark.parametrize("how", ["an error", "SIGTERM", "SIGINT"])
def test_the_terminal_is_restored_however_it_ends(
    recorder: Recorder, tty_pair: tuple[int, Terminal], how: str
) -> None:
    theirs, terminal = tty_pair
    before = termios.tcgetattr(theirs)
    handler = signal.getsignal(signal.SIGINT)
    with suppress(ZeroDivisionError), terminal:
        if how == "an error":
            raise ZeroDivisionError
        os.kill(os.getpid(), getattr(signal, how))
        serve(recorder, TOUCH, terminal)
    assert termios.tcgetattr(theirs) == before
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_terminal_that_dies_ends_no_episode(
    recorder: Recorder, tty_pair: tuple[int, Terminal]
) -> None:
    theirs, terminal = tty_pair
    with terminal:
        face = Face(recorder, TOUCH)
        os.write(theirs, b"s")
        face.press(terminal.letter(1.0))
        os.close(theirs)
        os.kill(os.getpid(), signal.SIGHUP)
        clock = SystemClock()
        for _ in range(3):
            terminal.show(face.lines())
            assert terminal.letter(0.01) == ""
        clock.sleep_until(clock.monotonic_ns() + NS_PER_S // 20)
        assert recorder.state().episode and not terminal.ended and not terminal.there
    recorder.end("success")
    assert labels(recorder) == ["success"]


def test_without_a_terminal_there_are_no_letters() -> None:
    with (
        open(os.devnull) as source,
        open(os.devnull, "w") as screen,
        Terminal(source, screen) as terminal,
    ):
        assert not terminal.there and terminal.letter(0.0) == ""
        terminal.show(["nobody sees this"])
