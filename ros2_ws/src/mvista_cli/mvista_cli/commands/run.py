"""`mvista run "open the drawer"`: one task on the graph that runs on this ROS domain.

Ctrl-C cancels it: the arm stops smoothly and holds. Exit code 0 when it was carried out, 2 when it
was refused or failed.
"""

from __future__ import annotations

import argparse
import sys

from mvista_cli import view_choices


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("instruction", help='what to do, e.g. "open the drawer"')
    parser.add_argument(
        "--source", default="", help="the view the model sees (default: the node's)"
    )
    parser.add_argument("--targets", nargs="+", default=[], help="the views imagined beside it")
    parser.add_argument("--seed", type=int, default=0, help="of the imagination")
    view_choices.add_options(parser)
    parser.add_argument(
        "--confirm",
        choices=("true", "false"),
        default="true",
        help="whether the plan waits for a yes before the arm moves (default: %(default)s)",
    )
    parser.add_argument(
        "--namespace", default="", help="of the graph, where it was launched with one"
    )
    parser.add_argument(
        "--wait", type=float, default=5.0, help="seconds for the task node to appear"
    )


def run(args: argparse.Namespace) -> int:
    from mvista_cli.operator.interrupts import interrupts
    from mvista_cli.operator.progress import StageProgress
    from mvista_cli.operator.task_client import AskedTask, asked_at_the_terminal, task_client
    from mvista_core.timing import SystemClock

    clock = SystemClock()
    show = StageProgress(sys.stdout, clock)
    asked = AskedTask(
        args.instruction,
        args.source,
        tuple(args.targets),
        args.seed,
        args.confirm == "true",
        view_choices.options_of(args),
    )

    def decide() -> bool | None:
        show.done("reached")
        return asked_at_the_terminal(args.namespace)

    with task_client(clock, args.namespace) as client, interrupts() as interrupted:
        try:
            result = client.run(
                asked, args.wait, show.update, decide, lambda: not interrupted.is_set()
            )
        finally:
            show.done("ended")
    stages = ", ".join(f"{stage.name} {stage.duration_s:.1f} s" for stage in result.stages)
    chosen = f" of the likeliest of {result.imagined} futures" if result.imagined > 1 else ""
    print(f'"{args.instruction}" was carried out: {stages}; plan {result.plan_id}{chosen}')
    return 0
