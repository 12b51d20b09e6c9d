"""`piper_emulator`: serve an emulated Piper to other processes, or give a running one orders."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import can

from mvista_core import realtime
from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError
from mvista_core.signal_flag import SignalFlag
from mvista_core.timing import SystemClock, ns_to_seconds, seconds_to_ns
from mvista_piper.emulator import EmulatedPiper, EmulatorSettings
from mvista_piper.emulator.control import ORDER_NAMES, Order
from mvista_piper.emulator.hand import read_hand
from mvista_piper.emulator.loopback import DEFAULT_GROUP, DEFAULT_PORT, LoopbackBus
from mvista_piper.emulator.server import EmulatorServer, tell
from mvista_piper.emulator.settings import FIRMWARE, REST_RAD
from mvista_piper.protocol import (
    JOINT_FEEDBACK,
    LEADER,
    MOTOR_FAST,
    MOTORS,
    STATUS,
    RoleCommand,
)

TELL_TIMEOUT_S = 2.0
LISTEN_S = 0.1
ARM_IDS = frozenset({STATUS, *JOINT_FEEDBACK, *MOTOR_FAST})
"""Who sends these is an arm: a second one on the bus would answer with the same ids."""


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="piper_emulator",
        description=__doc__,
        epilog=f"orders (NAME=VALUE, 0 is off): {', '.join(ORDER_NAMES)}",
    )
    parser.add_argument("--channel", default=DEFAULT_GROUP, help="multicast group; %(default)s")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="UDP port; %(default)s")
    parser.add_argument("--joints", help="six joint angles in rad, comma-separated; default: rest")
    parser.add_argument("--home", metavar="ARM_FILE", help="start at the home pose of an arm file")
    parser.add_argument("--gripper", type=float, default=0.0, help="opening in m; %(default)s")
    parser.add_argument("--leader", action="store_true", help="in a person's hand, as after 0x470")
    parser.add_argument(
        "--hand", metavar="FILE", help="the motion of that hand; see emulator/hand.py"
    )
    parser.add_argument("--enabled", action="store_true", help="motors on, holding")
    parser.add_argument("--firmware", default=FIRMWARE, help="%(default)s")
    parser.add_argument(
        "--realtime", type=int, default=20, metavar="PRIORITY",
        help="SCHED_FIFO priority, where the system allows it; 0: none; %(default)s",
    )  # fmt: skip
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--tell", action="append", default=[], metavar="NAME=VALUE",
        help="give this order to the emulator that runs on this channel and port, and end",
    )  # fmt: skip
    return parser.parse_args(argv)


def make_arm(arguments: argparse.Namespace) -> EmulatedPiper:
    """The arm that the command line describes.

    Raises:
        ConfigError: it describes none.
    """
    try:
        joints_rad = (
            tuple(float(v) for v in arguments.joints.split(",")) if arguments.joints else ()
        )
    except ValueError:
        raise ConfigError(f"--joints '{arguments.joints}': six numbers, 0,1.2,-1.1,0,1,0") from None
    gripper_m = arguments.gripper
    if arguments.home:
        joints_rad, gripper_m = _home(Path(arguments.home), gripper_m)
    settings = EmulatorSettings(
        joints_rad or REST_RAD, gripper_m, arguments.enabled, arguments.firmware
    )
    arm = EmulatedPiper(settings)
    if arguments.leader or arguments.hand:
        # Its role and no fault: `clear` must not take a leader out of its person's hand.
        arm.controller.set_role(RoleCommand(LEADER))
    if arguments.hand:
        arm.controller.hand = read_hand(arguments.hand)
    for text in arguments.fault:
        Order.parse(text).apply(arm)
    return arm


def _home(arm_file: Path, gripper_m: float) -> tuple[tuple[float, ...], float]:
    """Six joints (rad) and the gripper's opening: `gripper_m` of an arm file that has no gripper.

    Raises:
        ConfigError: no arm file, or one of another number of joints.
    """
    home = load_arm(arm_file).home.tolist()
    if len(home) not in (MOTORS, MOTORS + 1):
        raise ConfigError(
            f"--home {arm_file}: {len(home)} joints; the emulated arm has {MOTORS} and a gripper"
        )
    return tuple(home[:MOTORS]), (home[MOTORS] if len(home) > MOTORS else gripper_m)


def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM; says `ready` once the bus is open."""
    arm = make_arm(arguments)
    if refused := realtime.claim(arguments.realtime):
        print(f"piper_emulator: {refused}", file=sys.stderr, flush=True)
    stop = SignalFlag()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with LoopbackBus(arguments.channel, arguments.port, obeys_adapter_faults=False) as bus:
        # A leader may share the bus of its follower.
        if not (arm.controller.leader or arm.faults.leader):
            _refuse_company(bus)
        print("ready", flush=True)
        EmulatorServer(arm, bus).run(stop)


def _refuse_company(bus: LoopbackBus) -> None:
    clock = SystemClock()
    until_ns = clock.monotonic_ns() + seconds_to_ns(LISTEN_S)
    while (left_ns := until_ns - clock.monotonic_ns()) > 0:
        message = bus.recv(ns_to_seconds(left_ns))
        if message is not None and message.arbitration_id in ARM_IDS:
            raise ConfigError(
                f"{bus.channel_info}: an arm is on this bus already (0x{message.arbitration_id:X})"
                "; end it, or choose another --port or --channel"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0; 2 with one line on standard error for what cannot be done."""
    arguments = parse_arguments(argv)
    try:
        if not arguments.tell:
            serve(arguments)
            return 0
        orders = [Order.parse(text) for text in arguments.tell]
        with LoopbackBus(arguments.channel, arguments.port) as bus:
            for order in orders:
                tell(bus, order, TELL_TIMEOUT_S)
    except (ConfigError, TimeoutError, can.CanError) as error:
        print(f"piper_emulator: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
