"""The rows of one arm: driver, executor, model; without an arm, one emulated at its CAN wire."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_bringup.graph.spec import CellUrdf, NodeSpec, ProcessSpec, Spec, Template, Value, When

EMULATED_CAN_GROUP = "239.74.163.2"


@dataclass(frozen=True)
class ArmSite:
    """Where an arm's rows stand; its texts may refer to options.

    `place` leads the names of its CAN options ("second_"); `told` is what its driver is told beside
    the arm file.
    """

    namespace: str
    file: str
    place: str = ""
    told: tuple[tuple[str, Value], ...] = ()
    when: tuple[When, ...] = ()

    @property
    def arm_file(self) -> tuple[str, Template]:
        """The parameter of every node that knows the arm."""
        return "arm_file", Template(self.file)

    def driver(self, *told: tuple[str, Value], when: tuple[When, ...] = ()) -> NodeSpec:
        """The driver's row, told this too."""
        return NodeSpec(
            "mvista_piper",
            "piper_node",
            "driver",
            self.namespace,
            "config/piper.yaml",
            (self.arm_file, *self.told, *told),
            when=(*self.when, *when),
        )


def real_driver(site: ArmSite, when: tuple[When, ...] = ()) -> NodeSpec:
    """The driver on a CAN adapter, named by its USB serial or its channel."""
    return site.driver(
        ("adapter_serial", Template(f"{{{site.place}can_serial}}")),
        ("channel", Template(f"{{{site.place}can_channel}}")),
        when=when,
    )


def emulated_driver(site: ArmSite, when: tuple[When, ...] = ()) -> tuple[ProcessSpec, NodeSpec]:
    """An arm that speaks CAN where there is none, and the same driver on its bus."""
    port = f"{{{site.place}can_port}}"
    emulator = ProcessSpec(
        "mvista_piper",
        "piper_emulator",
        "emulator_main",
        f"{site.place}emulator",
        (
            *("--channel", EMULATED_CAN_GROUP, "--port", Template(port)),
            *("--home", Template(site.file), "--enabled"),
        ),
        when=(*site.when, *when),
    )
    driver = site.driver(
        ("interface", "udp_multicast"),
        # The emulated arm is a process among many that start at once: it is silent for longer.
        ("stale_after_s", 0.3),
        ("channel", EMULATED_CAN_GROUP),
        ("udp_port", Template(port, int)),
        ("enable_at_start", True),
        when=when,
    )
    return emulator, driver


def executor(site: ArmSite) -> NodeSpec:
    """What checks, streams and holds."""
    return NodeSpec(
        "mvista_executor",
        "executor_node",
        "executor",
        site.namespace,
        "config/executor.yaml",
        (site.arm_file,),
        when=site.when,
    )


def state_publisher(
    namespace: str, urdf: CellUrdf, prefix: str = "", when: tuple[When, ...] = ()
) -> Spec:
    """`joint_states` and the URDF of one arm -> /tf and `robot_description`."""
    return NodeSpec(
        "robot_state_publisher",
        "robot_state_publisher",
        "robot_state_publisher",
        namespace,
        parameters=(("robot_description", urdf), ("frame_prefix", prefix)),
        when=when,
        apt=True,
    )
