"""The `mvista` command: finds a verb in the registry and imports only that one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from mvista_cli import registry
from mvista_core.errors import MvistaError

EXIT_OK = 0
EXIT_REFUSED = 2
"""Bad input or a failed stage: one line on standard error says which."""
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0, 2 refused, 130 interrupted)."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = registry.find_command(words)
    try:
        if command is None:
            return _run_overview(words)
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


def _parser(command: registry.Command) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"mvista {' '.join(command.words)}",
        description=_capitalised(command.help),
    )
    command.add_arguments(parser)
    return parser


def _listed(commands: Sequence[registry.Command]) -> str:
    names = [" ".join(command.words) for command in commands]
    width = max(map(len, names), default=0)
    pairs = zip(names, commands, strict=True)
    lines = [f"  mvista {name:<{width}}  {command.help}" for name, command in pairs]
    return "\n".join(["commands (each has --help):", *lines]) if lines else ""


def _run_overview(words: Sequence[str]) -> int:
    """`mvista`, `mvista --help`, `mvista eval` or an unknown command: list what there is."""
    group = [c for c in registry.COMMANDS if words and c.words[0] == words[0]]
    shown = group or list(registry.COMMANDS)
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
