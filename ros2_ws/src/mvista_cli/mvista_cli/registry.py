"""Every verb of `mvista`, in one table: its words, and what it is for.

The file of a verb is `commands/<words joined by _>.py` (a - is a _ there): `add_arguments(parser)`,
`run(args) -> exit code`. What it runs is imported within `run`, so that help and mistakes are
answered at once.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Command:
    """`mvista <words...>`."""

    words: tuple[str, ...]
    help: str

    @property
    def file(self) -> str:
        """The name of its file."""
        return "_".join(self.words).replace("-", "_")

    @property
    def module(self) -> ModuleType:
        """Where it takes its options and is carried out."""
        return importlib.import_module(f"mvista_cli.commands.{self.file}")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        self.module.add_arguments(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Carry it out; returns the exit code."""
        return int(self.module.run(args))


def _verb(words: str, text: str) -> Command:
    return Command(tuple(words.split()), text)


COMMANDS: tuple[Command, ...] = (
    _verb("demo", "imagine, infer and execute one task on the simulated cell"),
    _verb("doctor", "what this machine lacks, and the line that mends it"),
    _verb("run", "one task on the graph that runs on this ROS domain"),
    _verb("record", "demonstrations from this terminal, an episode each"),
    _verb("replay", "an episode again: on its topics, or its motion on an arm"),
    _verb("watch", "the running cell as a page in the browser; it only looks"),
    _verb("plan", "one sample observation in, a trajectory out, no robot"),
    _verb("train", "train one network of the world model"),
    _verb("model info", "what a model folder is and holds, from its headers"),
    _verb("model verify", "every sum, key, shape, statistic and cached text of a model folder"),
    _verb("model make-random", "a folder in Wan2.2-TI2V-5B's layout, for tests, benches, training"),
    _verb("model convert", "a folder of one file per network in the layout of all sizes"),
    _verb("model merge", "a LoRA and the folder it was trained on as one folder that plans"),
    _verb("text encode", "features of every sentence a model knows, kept beside it"),
    _verb("eval success", "success rate of the pipeline in process"),
    _verb("eval generation", "imagined views against filmed ones, in process"),
    _verb("eval follow", "does the plan follow what was imagined, or the words"),
    _verb("eval gate", "which wrong futures can be told from right ones"),
    _verb("eval beside", "two tables of eval generation, scene by scene"),
    _verb("eval latent", "how far the generator's error depends on z"),
    _verb("eval style", "how much of a motion's style a line reads from the latents"),
    _verb("eval experts", "success rate of the scripted experts in process"),
    _verb("calibrate board", "a ChArUco board as a PDF to print at true size"),
    _verb("calibrate collect", "record a session from live topics or a recording"),
    _verb("calibrate intrinsics", "lenses from the views of a recorded session, with their sigma"),
    _verb("calibrate solve", "a recorded session -> rig file, or the reason why not"),
    _verb("calibrate verify", "does a rig file still hold, by a new session"),
    _verb("calibrate demo", "collect, solve, verify on a simulated cell"),
    _verb("calibrate simulate", "render a session, truth beside it"),
    _verb("bench calibration", "calibration against simulated truth"),
    _verb("bench capture", "cameras across processes: lost, late, cost"),
    _verb("bench drift", "is a moved camera noticed, and an unmoved one not"),
    _verb("bench executor", "the whole graph's set-points: even, in time"),
    _verb("bench graph", "what each process of the demo takes"),
    _verb("bench planner", "what a plan costs, stage by stage: time, processor, memory"),
    _verb("bench record", "the recorder under load, killed, or with wrong clocks"),
    _verb("bench speed", "what each way of being quick saves in imagining, and what it costs"),
    _verb("bench teleop", "leader to follower over CAN: latency, jumps, set-points"),
    _verb("bench watch", "what the page of `mvista watch` takes"),
    _verb("dataset collect", "let the scripted expert act, and film it"),
    _verb("dataset teleoperate", "let a simulated hand lead the arm, and record that"),
    _verb("dataset info", "counts, shapes and sizes of a data set or of episodes"),
    _verb("dataset convert", "episodes as data for training, or as bags to look at"),
    _verb("dataset validate", "are episodes what was recorded, byte for byte"),
    _verb("dataset repair", "new episodes of all that can be trusted in torn ones"),
)


def find_command(words: Sequence[str]) -> Command | None:
    """The command whose words `words` begins with, or None."""
    for command in COMMANDS:
        if tuple(words[: len(command.words)]) == command.words:
            return command
    return None
