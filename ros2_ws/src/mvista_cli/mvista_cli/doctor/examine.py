"""Which checks a purpose asks for, in the order in which one would mend them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mvista_bringup.finding import Finding, Severity, good
from mvista_bringup.graph.arm import EMULATED_CAN_GROUP
from mvista_bringup.graph.robot import REAL_ROBOT, REAL_ROBOT_OPTIONS
from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.graph.spec import DDS_PROFILE
from mvista_bringup.graph.teleop_record import TELEOP_RECORD, TELEOP_RECORD_OPTIONS
from mvista_bringup.preflight import Call, look
from mvista_cli.doctor import arm, cameras, can, files, host
from mvista_cli.doctor.machine import Machine
from mvista_core.ports import Clock
from mvista_piper.settings import LeaderSettings, PiperSettings

LAUNCHES = {
    "sim": ("sim_demo.launch.py", SIM_DEMO, SIM_DEMO_OPTIONS),
    "robot": ("real_robot.launch.py", REAL_ROBOT, REAL_ROBOT_OPTIONS),
    "record": ("teleop_record.launch.py", TELEOP_RECORD, TELEOP_RECORD_OPTIONS),
}


@dataclass(frozen=True)
class Subject:
    """What the stack would be started with."""

    purpose: str
    share: Path
    rig: str
    checkpoint: str
    arm: str
    output: Path
    driver: PiperSettings

    @property
    def arm_file(self) -> Path:
        """Limits and DH table of the arm."""
        return self.share / "config" / "arms" / f"{self.arm}.yaml"


def examine(subject: Subject, machine: Machine, clock: Clock) -> Iterator[Finding]:
    """Every check, each as soon as it is done."""
    rig_file = subject.share / "config" / "rigs" / f"{subject.rig}.yaml"
    rig_check, rig = files.check_rig(rig_file, clock.now_ns())
    records = subject.purpose == "record"
    if subject.purpose != "sim":
        yield from can.check_buses(machine)
        yield from _pair(subject, machine, clock) if records else _arms(subject, machine, clock)
        yield from cameras.check_cameras(machine, rig)
    yield from host.check_clocks(machine)
    yield host.check_memory(machine, subject.purpose)
    if records:
        yield host.check_taps(machine)
    else:
        yield host.check_gpu(machine, subject.purpose)
        yield files.check_weights(subject.share / "models" / "checkpoints" / subject.checkpoint)
    yield rig_check
    yield from _launch(subject, machine, rig_check)
    yield from host.check_dds(machine, subject.share / DDS_PROFILE)
    yield host.check_disk(machine, subject.output, subject.purpose)


def _launch(subject: Subject, machine: Machine, rig_check: Finding) -> Iterator[Finding]:
    """What `ros2 launch` (or, without an apt ROS, the supervisor) would refuse to start with."""
    file, graph, options = LAUNCHES[subject.purpose]
    asked = {"rig": subject.rig, "checkpoint": subject.checkpoint, "arm_file": subject.arm}
    names = {option.name for option in options}
    chosen = {name: value for name, value in asked.items() if name in names}
    by_ros = bool(machine.environment.get("ROS_DISTRO"))
    found = look(Call(graph, options, chosen, subject.share, by_ros, machine.environment))
    told = {"checkpoint"} | ({"rig"} if rig_check.level is Severity.FAIL else set())
    new = [
        replace(check, name=f"launch: {check.name}") for check in found if check.name not in told
    ]
    yield from new or [good("launch", f"{file} finds what it needs")]


def _arms(subject: Subject, machine: Machine, clock: Clock) -> Iterator[Finding]:
    if subject.driver.interface != "socketcan":
        yield arm.check_arm(subject.driver, subject.arm_file, clock)
        return
    up = can.channels_up(machine)
    if not up:
        yield Finding("arm", Severity.SKIP, "no CAN bus is up, so no arm can be asked")
    for adapter in up:
        settings = replace(subject.driver, channel=adapter.channel, adapter_serial="")
        yield arm.check_arm(settings, subject.arm_file, clock)


def _pair(subject: Subject, machine: Machine, clock: Clock) -> Iterator[Finding]:
    """Every arm on every bus that is up, as the follower it should be or as a leader."""
    found = []
    for check in _arms(subject, machine, clock):
        bus = replace(subject.driver, channel=check.name.removeprefix("arm at "))
        if check.level is Severity.FAIL:
            leader = LeaderSettings(bus.interface, bus.channel, "", bus.udp_port)
            asked = arm.check_leader(leader, clock)
            check = asked if asked.level is Severity.OK else check
        found.append(check)
        yield check
    sound = [check.name.partition(" ")[0] for check in found if check.level is not Severity.FAIL]
    count = {kind: sound.count(kind) for kind in ("arm", "leader")}
    if found and found[0].level is not Severity.SKIP and min(count.values()) == 0:
        said = f"{count['arm']} followers and {count['leader']} leaders; one of each is needed"
        fix = "an adapter for each arm; both on one bus: wiring:=bus; none: hardware:=sim"
        yield Finding("leader and follower", Severity.FAIL, said, fix)


def driver_settings(can_port: int) -> PiperSettings:
    """The driver's own, or those that ask an emulated arm at this UDP port (0: none)."""
    if not can_port:
        return PiperSettings()
    return PiperSettings(interface="udp_multicast", channel=EMULATED_CAN_GROUP, udp_port=can_port)


def as_document(purpose: str, checks: Sequence[Finding]) -> dict[str, Any]:
    """The same checks for a program."""
    rows = [{**asdict(check), "level": check.level.value} for check in checks]
    return {"purpose": purpose, "checks": rows}
