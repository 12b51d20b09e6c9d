"""Leader and follower, and teleoperation between them; `hardware:=emulated` has both emulated at
the CAN wire, the leader in a hand that plays a motion from a file.

With `wiring:=bus` both arms are on the follower's bus and nothing is sent: no driver, no gate.
"""

from __future__ import annotations

from mvista_bringup.graph.arm import EMULATED_CAN_GROUP, ArmSite, emulated_driver, real_driver
from mvista_bringup.graph.choices import ARM_FILE_OPTION, ARM_OPTION, CHOSEN_ARM_FILE, whole
from mvista_bringup.graph.robot import EMULATED, REAL
from mvista_bringup.graph.spec import NodeSpec, ProcessSpec, Spec, Template, Value, When
from mvista_bringup.options import NAMESPACE_OPTION, PORTS, Kind, RunOption

HOST, BUS = "host", "bus"

PAIR_OPTIONS = (
    RunOption("wiring", HOST, "host: a bus per arm; bus: both on one, no gate", (HOST, BUS)),
    ARM_OPTION,
    ARM_FILE_OPTION,
    RunOption("leader", "leader", "namespace of the leader arm", kind=Kind.NAME),
    RunOption("can_serial", "", "USB serial of the follower's CAN adapter"),
    RunOption("can_channel", "", "or its channel, e.g. can0"),
    RunOption("leader_can_serial", "", "USB serial of the leader's CAN adapter"),
    RunOption("leader_can_channel", "", "or its channel, e.g. can1"),
    RunOption("hand", "", "emulated: a file with the motion of the leader's hand; empty: none"),
    whole("can_port", "43113", "emulated: UDP port of the follower's bus", PORTS),
    whole("leader_can_port", "43115", "emulated: UDP port of the leader's bus", PORTS),
)
TELEOP_OPTIONS = (
    RunOption("hardware", REAL, "real, or emulated: rehearse without any", (REAL, EMULATED)),
    *PAIR_OPTIONS,
    NAMESPACE_OPTION,
)

_FOLLOWER = ArmSite("{arm}", CHOSEN_ARM_FILE)
_REAL, _EMULATED = When("hardware", REAL), When("hardware", EMULATED)
_OWN_BUS, _ONE_BUS = When("wiring", HOST), When("wiring", BUS)
_ONE_BUS_TOLD: tuple[tuple[str, Value], ...] = (
    ("listen_only", True),
    ("follower", Template("{arm}")),
)


def _reader(*told: tuple[str, Value], when: tuple[When, ...]) -> NodeSpec:
    """What reads the leader."""
    return NodeSpec(
        "mvista_piper",
        "leader_node",
        "reader",
        "{leader}",
        "config/leader.yaml",
        (_FOLLOWER.arm_file, *told),
        when=when,
    )


def _real_reader(place: str, *told: tuple[str, Value], when: When) -> NodeSpec:
    adapter = (
        ("adapter_serial", Template(f"{{{place}can_serial}}")),
        ("channel", Template(f"{{{place}can_channel}}")),
    )
    return _reader(*adapter, *told, when=(_REAL, when))


def _emulated_leader(
    place: str, *told: tuple[str, Value], when: When
) -> tuple[ProcessSpec, ProcessSpec, NodeSpec]:
    """A leader on an emulated bus, with a hand's motion or without, and its reader."""
    port = f"{{{place}can_port}}"

    def leader(*words: str | Template, hand: bool) -> ProcessSpec:
        return ProcessSpec(
            "mvista_piper",
            "piper_emulator",
            "emulator_main",
            "leader_emulator",
            (
                *("--channel", EMULATED_CAN_GROUP, "--port", Template(port)),
                *("--home", Template(_FOLLOWER.file), "--leader", *words),
            ),
            when=(_EMULATED, when, When("hand", "", equal=not hand)),
        )

    bus = (
        ("interface", "udp_multicast"),
        ("channel", EMULATED_CAN_GROUP),
        ("udp_port", Template(port, int)),
    )
    reader = _reader(*bus, *told, when=(_EMULATED, when))
    return leader(hand=False), leader("--hand", Template("{hand}"), hand=True), reader


_FOLLOWER_EMULATOR, _EMULATED_DRIVER = emulated_driver(_FOLLOWER, (_EMULATED, _OWN_BUS))
_FOLLOWER_ALONE, _ = emulated_driver(_FOLLOWER, (_EMULATED, _ONE_BUS))

ARMS: tuple[Spec, ...] = (
    real_driver(_FOLLOWER, (_REAL, _OWN_BUS)),
    _real_reader("leader_", when=_OWN_BUS),
    _real_reader("", *_ONE_BUS_TOLD, when=_ONE_BUS),
    _FOLLOWER_EMULATOR,
    _EMULATED_DRIVER,
    *_emulated_leader("leader_", when=_OWN_BUS),
    _FOLLOWER_ALONE,
    *_emulated_leader("", *_ONE_BUS_TOLD, when=_ONE_BUS),
)


def coupling(wiring: Value, when: tuple[When, ...] = ()) -> NodeSpec:
    """What stands between the arms."""
    return NodeSpec(
        "mvista_teleop",
        "teleop_node",
        "teleop",
        parameter_file="config/teleop.yaml",
        parameters=(
            _FOLLOWER.arm_file,
            ("wiring", wiring),
            ("leader", Template("{leader}")),
            ("follower", Template("{arm}")),
        ),
        when=when,
    )


TELEOP: tuple[Spec, ...] = (*ARMS, coupling(Template("{wiring}")))
