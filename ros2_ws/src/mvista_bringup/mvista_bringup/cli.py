"""The `mvista` command: finds a command in one table and imports only that one."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from mvista_core.errors import MvistaError

EXIT_OK = 0
EXIT_REFUSED = 2
"""Bad input or a failed stage: one line on standard error says which."""
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Command:
    """`mvista <words...>` runs `mvista_bringup.commands.<module>.run`.

    Where that module takes long to import (networks, simulator, calibration), its options are in
    `mvista_bringup.arguments.<module>`: help and mistakes are answered without it.
    """

    words: tuple[str, ...]
    module: str
    help: str
    heavy: bool = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        package = "arguments" if self.heavy else "commands"
        importlib.import_module(f"mvista_bringup.{package}.{self.module}").add_arguments(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Carry it out; returns the exit code."""
        module = importlib.import_module(f"mvista_bringup.commands.{self.module}")
        return int(module.run(args))


def _heavy(words: str, module: str, text: str) -> Command:
    return Command(tuple(words.split()), module, text, heavy=True)


COMMANDS: tuple[Command, ...] = (
    Command(("demo",), "demo", "imagine, infer and execute one task on the simulated cell"),
    Command(("doctor",), "doctor", "what this machine lacks, and the line that mends it"),
    Command(("run",), "run_task", "one task on the graph that runs on this ROS domain"),
    Command(("watch",), "watch", "the running cell as a page in the browser; it only looks"),
    _heavy("plan", "plan", "one sample observation in, a trajectory out, no robot"),
    Command(("train",), "train", "train one network of the world model"),
    _heavy("eval success", "eval_success", "success rate of the pipeline in process"),
    _heavy("eval latent", "eval_latent", "how far the generator's error depends on z"),
    _heavy("eval experts", "eval_experts", "success rate of the scripted experts in process"),
    _heavy(
        "calibrate collect", "calibrate_collect", "record a session from live topics or a recording"
    ),
    _heavy("calibrate demo", "calibrate_demo", "collect, solve, verify on a simulated cell"),
    _heavy("calibrate simulate", "calibrate_simulate", "render a session, truth beside it"),
    _heavy(
        "calibrate",
        "calibrate",
        "cameras and robot: print a board, solve a session, verify a rig",
    ),
    _heavy("bench calibration", "bench_calibration", "calibration against simulated truth"),
    Command(("bench", "capture"), "bench_capture", "cameras across processes: lost, late, cost"),
    _heavy("bench drift", "bench_drift", "is a moved camera noticed, and an unmoved one not"),
    Command(("bench", "executor"), "bench_executor", "the whole graph's set-points: even, in time"),
    Command(("bench", "graph"), "bench_graph", "what each process of the demo takes"),
    Command(("bench", "watch"), "bench_watch", "what the page of `mvista watch` takes"),
    _heavy("dataset", "dataset", "collect expert episodes in the cell, or describe a data set"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0, 2 refused, 130 interrupted)."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = find_command(words)
    if command is None:
        return _run_overview(words)
    try:
        return command.run(_parser(command).parse_args(words[len(command.words) :]))
    except MvistaError as error:
        print(f"mvista: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("mvista: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`mvista ... | head`): say nothing more, not even at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def find_command(words: Sequence[str]) -> Command | None:
    """The command whose words `words` begins with, or None."""
    for command in COMMANDS:
        if tuple(words[: len(command.words)]) == command.words:
            return command
    return None


def _parser(command: Command) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"mvista {' '.join(command.words)}",
        description=_capitalised(command.help),
        epilog=_listed(_below(command.words)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    return parser


def _below(words: tuple[str, ...]) -> list[Command]:
    """Commands that go on from these words: `calibrate collect` from `calibrate`."""
    length = len(words)
    return [c for c in COMMANDS if c.words[:length] == words and len(c.words) > length]


def _listed(commands: Sequence[Command]) -> str:
    lines = [f"  mvista {' '.join(c.words):<18} {c.help}" for c in commands]
    return "\n".join(["commands (each has --help):", *lines]) if lines else ""


def _run_overview(words: Sequence[str]) -> int:
    """`mvista`, `mvista --help`, `mvista eval` or an unknown command: list what there is."""
    group = [c for c in COMMANDS if words and c.words[0] == words[0]]
    shown = group or list(COMMANDS)
    text = _listed(shown)
    asked = [word for word in words if word not in ("-h", "--help")]
    if len(asked) < len(words) and (not asked or group):
        print(text)
        return EXIT_OK
    if not words:
        print(text)
        return EXIT_REFUSED
    print(f"mvista: no command '{' '.join(asked)}'; {text}", file=sys.stderr)
    return EXIT_REFUSED


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


if __name__ == "__main__":
    sys.exit(main())
