"""World model and action planner in one node: one copy of the weights, two actions."""

from __future__ import annotations

from pathlib import Path

from mvista_interfaces.action import Imagine, InferActions
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from trajectory_msgs.msg import JointTrajectory

from mvista_core import realtime
from mvista_core.arm import load_arm
from mvista_core.errors import CancelledError
from mvista_core.ports import Progress
from mvista_core.rig import load_rig
from mvista_planning.exclusive import ExclusivePlanner
from mvista_planning.imagined_show_node import ImaginedShow
from mvista_planning.settings import PlanningParameters, steps_asked
from mvista_ros import qos
from mvista_ros.actions import WorkServer
from mvista_ros.age import Age
from mvista_ros.base_node import Health, HouseNode, run_node
from mvista_ros.convert import doubts_to_msg, options_from_goal, trajectory_to_msg
from mvista_ros.convert.joints import doubles
from mvista_ros.observation import ObservationSource
from mvista_ros.parameters import declare
from mvista_world.choices import MethodChoices
from mvista_world.compute import choose
from mvista_world.gate import GATE_FILE
from mvista_world.parts import in_gib
from mvista_world.planner import load_planner
from mvista_world.speed import Running, Speed

FIXED = "weights and limits are those that its plans name"
"""Why its parameters do not change at run time."""
THREADS = 6
ACTIONS = ("imagine", "infer_actions")


class PlanningNode(HouseNode):
    """Actions `imagine` and `infer_actions` on the same networks and the same held rollouts."""

    def __init__(self) -> None:
        super().__init__("planning")
        self._settings = declare(self, PlanningParameters, fixed=FIXED)
        realtime.give_way(self._settings.niceness)
        wanted = self._settings
        self._compute = choose(wanted.precision, wanted.device, threads=wanted.threads)
        self._rig = load_rig(self._settings.rig_file)
        self._planner = self._load()
        self._cameras = ObservationSource(
            self, self._rig, self.system_clock, self._settings.joint_topic, limits=self._settings
        )
        self._plans = self.create_publisher(JointTrajectory, "inferred/trajectory", qos.STATIC)
        self._show = ImaginedShow(self, self._rig, self._settings.voxel_m)
        # A group of its own: a picture may be decoded in it, and cameras are heard meanwhile.
        period_s, group = 1.0 / self._settings.playback_hz, MutuallyExclusiveCallbackGroup()
        self.create_timer(period_s, self._show.play, callback_group=group)
        self._servers = (
            WorkServer(self, Imagine, ACTIONS[0], self._imagine),
            WorkServer(self, InferActions, ACTIONS[1], self._infer),
        )

    def health(self) -> Health:
        """What it works on."""
        busy = [name for name, server in zip(ACTIONS, self._servers, strict=True) if server.busy]
        free = f"{self._compute.free_bytes() / 2**30:.1f} GiB"
        values = (
            ("networks", str(self._compute)),
            ("weights held", self._weights),
            ("memory free", free),
        )
        return Health(message=f"working on {busy[0]}" if busy else "idle", values=values)

    def stop(self) -> None:
        """End the running work."""
        for server in self._servers:
            server.stop()

    def _load(self) -> ExclusivePlanner:
        arm, folder = load_arm(self._settings.arm_file), self._settings.checkpoint
        choices = MethodChoices(self._settings.view_mode or None)
        planner = load_planner(
            Path(folder), self._rig, arm, self.system_clock, self._compute, choices, self._running()
        )
        self._weights = in_gib(planner.held_bytes)
        self.get_logger().info(f"weights {planner.weights_sha256} from {folder}; {self._compute}")
        if not planner.gated:
            self.get_logger().warning(
                f"{folder} has no {GATE_FILE}: plans are doubted and none is refused for it; fit "
                "limits with `mvista eval gate --write`"
            )
        return ExclusivePlanner(planner)

    def _running(self) -> Running:
        wanted = self._settings
        speed = Speed(compiled=wanted.compiled, tiled_decoding=wanted.tiled_decoding)
        return Running(speed, wanted.offload)

    def _imagine(self, request: Imagine.Goal, progress: Progress) -> Imagine.Result:
        if not progress("observe", 0.0):
            raise CancelledError("imagine was cancelled before it began")
        options = options_from_goal(request)
        observation = self._cameras.observe(self.system_clock.now_ns(), request.instruction)
        age = Age.of(observation, self.system_clock)
        source, targets = request.source_camera, request.target_cameras
        rollout = self._planner.imagine(
            observation, source, targets, request.seed, progress, options
        )
        self._show.show(rollout)
        return Imagine.Result(
            rollout_id=rollout.rollout_id,
            seed=rollout.seed,
            imagined=rollout.imagined,
            observation_age_s=age.seconds(),
        )

    def _infer(self, request: InferActions.Goal, progress: Progress) -> InferActions.Result:
        start, steps = request.initialisation, request.steps
        if not start:
            start, steps = self._settings.initialisation, steps_asked(self._settings.steps)
        plan = self._planner.infer_actions(request.rollout_id, start, steps, progress)
        made = plan.refined.provenance
        self._plans.publish(trajectory_to_msg(plan.refined))
        return InferActions.Result(
            plan_id=made.plan_id,
            weights_sha256=made.weights_sha256,
            seed=made.seed,
            prior=trajectory_to_msg(plan.prior),
            refined=trajectory_to_msg(plan.refined),
            losses=doubles(plan.losses),
            head_disagreement_rad=plan.head_disagreement_rad,
            doubts=doubts_to_msg(plan.doubts),
        )


def main() -> None:
    """Entry point of the `planning_node` executable."""
    run_node(PlanningNode, THREADS)
