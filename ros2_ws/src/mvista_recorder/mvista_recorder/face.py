"""The recorder's face: what the operator sees, and what each letter does."""

from __future__ import annotations

from collections.abc import Callable

from mvista_core.errors import MvistaError
from mvista_recorder.manifest import FAILURE, SUCCESS
from mvista_recorder.recorder import Recorder
from mvista_recorder.recorder_records import RecorderState
from mvista_recorder.streams import StreamState
from mvista_recorder.terminal import Terminal

PERIOD_S = 0.2
LETTERS = "s start   y success   n failure   d discard   r redo   p practice   q quit"
_COLUMNS = f"  {'stream':<42}{'count':>9}{'rate':>10}{'age':>9}{'drops':>7}{'skew':>10}"


class Face:
    """Turns letters into the recorder's words, and its state into lines."""

    def __init__(self, recorder: Recorder, instruction: str) -> None:
        self._recorder, self._instruction = recorder, instruction
        self._refusal = ""
        self._quit_asked = False
        self.over = False
        self._acts: dict[str, Callable[[], object]] = {
            "s": lambda: recorder.start(instruction),
            "p": lambda: recorder.start(instruction, practice=True),
            "y": lambda: self._label(SUCCESS),
            "n": lambda: self._label(FAILURE),
            "d": recorder.discard,
            "r": recorder.redo,
            "q": self._quit,
        }

    def press(self, letter: str) -> None:
        """Do what a letter says; a refusal is shown until the next letter."""
        act = self._acts.get(letter.lower())
        if act is None:
            return
        self._refusal = ""
        # Two in a row: any other letter takes the first q back.
        self._quit_asked = self._quit_asked and letter.lower() == "q"
        try:
            act()
        except MvistaError as error:
            self._refusal = f"[{error.code}] {error}"

    def lines(self) -> list[str]:
        """What the screen shows."""
        state = self._recorder.state()
        return [
            self._headline(state),
            f"  {_counts(state)}; {state.free_gib:.1f} GiB free: {self._recorder.settings.root}",
            "",
            _COLUMNS,
            *map(_line, state.streams),
            "",
            f"  {self._refusal or state.said}",
            "",
            f"  {LETTERS}",
        ]

    def _headline(self, state: RecorderState) -> str:
        if not state.episode:
            return f'  ready: "{self._instruction}"'
        kind = "PRACTICE" if state.practice else "RECORDING"
        return f'  {kind} {state.episode} "{state.instruction}" {state.elapsed_s:.1f} s'

    def _label(self, label: str) -> None:
        if self._recorder.state().episode:
            self._recorder.end(label)
        else:
            self._recorder.label(label)

    def _quit(self) -> None:
        if self._recorder.state().episode and not self._quit_asked:
            self._quit_asked = True
            self._refusal = "an episode is being recorded; q again ends it unlabelled"
            return
        self.over = True


def serve(recorder: Recorder, instruction: str, terminal: Terminal) -> None:
    """Until `q` or a signal to end. Without a terminal, also one that goes, services are heard on.

    What is being recorded then is for the caller to end: `Recorder.close`.
    """
    face = Face(recorder, instruction)
    while not (face.over or terminal.ended):
        terminal.show(face.lines())
        if letter := terminal.letter(PERIOD_S):
            face.press(letter)


def _counts(state: RecorderState) -> str:
    told = [f"{count} {label}" for label, count in sorted(state.kept.items())]
    return ", ".join(told) or "no episode yet"


def _line(stream: StreamState) -> str:
    age = "-" if stream.age_s is None else f"{stream.age_s:.2f} s"
    skew = "" if stream.skew_ms is None else f"{stream.skew_ms:+.1f} ms"
    told = (
        f"{stream.topic:<42}{stream.count:>9}{stream.rate_hz:>7.1f} Hz{age:>9}{stream.dropped:>7}"
        f"{skew:>10}"
    )
    return f"  {told}  {stream.words}" if stream.trouble is None else f"! {told}  {stream.words}"
