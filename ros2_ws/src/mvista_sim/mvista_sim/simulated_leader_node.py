"""A leader without an arm: the topics of a leader's reader, led by a scripted expert's hand.

Run it in the leader's namespace; its name is `reader`, as the real one's. `ready` brings the hand
to where the scene's arm begins, `perform` acts the task of the scene (`task`, `seed`) once.
"""

from __future__ import annotations

from dataclasses import dataclass

from mvista_interfaces.msg import LeaderStatus
from sensor_msgs.msg import JointState as JointStateMsg
from std_srvs.srv import Trigger

from mvista_core.arm import load_arm
from mvista_core.errors import BusyError, MvistaError
from mvista_core.rig import load_rig
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.convert import header, joint_state_to_msg, outcome_from_error, outcome_ok
from mvista_ros.parameters import declare, parameter
from mvista_sim.cell import SimCell
from mvista_sim.demonstrator import RATE_HZ, HandManner, SimulatedLeader, demonstration
from mvista_sim.experts import MotionStyle, hand_of

STATUS_PERIOD_S = 0.1


@dataclass(frozen=True)
class SimulatedLeaderParameters:
    """See the simulated cell's own: the scene must be the one that it has laid out."""

    arm_file: str = parameter("config/arms/piper.yaml", "The arm file: joints and limits")
    rig_file: str = parameter("config/rigs/sim_cell.yaml", "The rig file of the cell")
    task: str = parameter("touch_cube", "touch_cube, open_drawer, put_orange", live=True)
    seed: int = parameter(0, "Object poses; also draws the hand's manner", 0, 2**32 - 1, live=True)


class SimulatedLeaderNode(HouseNode):
    """Tells where a hand that is not there has led an arm."""

    def __init__(self) -> None:
        super().__init__("reader")
        self._scene = declare(self, SimulatedLeaderParameters, self._change)
        self._arm = load_arm(self._scene.arm_file)
        self._cell = SimCell(self._arm, load_rig(self._scene.rig_file))
        self._leader = SimulatedLeader(self._arm.joint_names, self._arm.home)
        self._told = 0
        self._poses = self.create_publisher(JointStateMsg, "joint_states", qos.SENSOR_OUT)
        self._statuses = self.create_publisher(LeaderStatus, "status", qos.STATUS)
        self.create_service(Trigger, "ready", self._on_ready)
        self.create_service(Trigger, "perform", self._on_perform)
        self.create_timer(1.0 / RATE_HZ, self._step)
        self.create_timer(STATUS_PERIOD_S, self._tell)

    def health(self) -> Health:
        """Whether its pose is known."""
        trouble = self._leader.trouble()
        values = (("poses told", str(self._told)),)
        if trouble is not None:
            return Health(Level.WARN, f"[{trouble.code}] {trouble}", values)
        return Health(Level.OK, "moving" if self._leader.moving else "resting", values)

    def stop(self) -> None:
        """Let go of the cell."""
        self._cell.close()

    def _change(self, scene: SimulatedLeaderParameters) -> None:
        self._scene = scene

    def _step(self) -> None:
        clock = self.system_clock
        pose = self._leader.step(clock.monotonic_ns(), clock.now_ns())
        if pose is not None:
            self._poses.publish(joint_state_to_msg(pose))
            self._told += 1

    def _tell(self) -> None:
        trouble = self._leader.trouble()
        state = LeaderStatus.MOVING if self._leader.moving else LeaderStatus.RESTING
        self._statuses.publish(
            LeaderStatus(
                header=header(self.system_clock.now_ns(), ""),
                state=state if trouble is None else LeaderStatus.UNKNOWN,
                outcome=outcome_ok() if trouble is None else outcome_from_error(trouble),
                set_points=self._told,
            )
        )

    def _on_ready(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self._refuse_while_moving()
            said = self._cell.reset(self._scene.task, self._scene.seed)
            self._leader.approach(self._cell.state().positions, self.system_clock.monotonic_ns())
        except MvistaError as error:
            response.success, response.message = False, f"[{error.code}] {error}"
            return response
        response.success, response.message = True, said
        return response

    def _on_perform(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        scene = self._scene
        try:
            self._refuse_while_moving()
            said = self._cell.reset(scene.task, scene.seed)
            rng = hand_of(scene.seed)
            actions = self._cell.expert(style=MotionStyle.drawn(rng))
            manner = HandManner.drawn(rng, float(actions.times_s[-1]))
            start = self._leader.pose()
            at = self._cell.state().positions if start is None else start.positions
            rows = demonstration(actions, at, manner, self._arm, rng)
            self._leader.perform(rows, self.system_clock.monotonic_ns())
        except MvistaError as error:
            response.success, response.message = False, f"[{error.code}] {error}"
            return response
        response.success, response.message = True, f"{said} ({len(rows) / RATE_HZ:.1f} s)"
        return response

    def _refuse_while_moving(self) -> None:
        if self._leader.moving:
            raise BusyError("the hand is in the middle of a motion; wait until it rests")


def main() -> None:
    """Entry point of the `simulated_leader_node` executable."""
    run_node(SimulatedLeaderNode)
