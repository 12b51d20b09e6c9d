"""`mvista watch`: the running cell as a page in the browser, served on this machine only.

It looks and nothing else: no topic is written, no action or service is called. While no browser has
the page open nothing is heard either. Ctrl-C ends it, and says what it took of the processor.
"""

from __future__ import annotations

import argparse

LOCAL_HOST = "127.0.0.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8080, help="of the page (default: %(default)s)")
    parser.add_argument(
        "--host",
        default=LOCAL_HOST,
        help="address to listen at; any other than %(default)s lets other machines look",
    )
    parser.add_argument(
        "--namespace", default="", help="of the graph, where it was launched with one"
    )
    parser.add_argument(
        "--arm", default="piper", help="namespace of the arm (default: %(default)s)"
    )
    parser.add_argument("--arm-file", default="piper", help="a file of config/arms, without .yaml")
    parser.add_argument("--rig", default="sim_cell", help="a file of config/rigs, without .yaml")
    parser.add_argument(
        "--domain", type=int, help="ROS domain of the graph (default: $ROS_DOMAIN_ID)"
    )


def run(args: argparse.Namespace) -> int:
    from mvista_cli.operator.watching import WatchRequest, serve

    serve(WatchRequest(**vars(args)))
    return 0
