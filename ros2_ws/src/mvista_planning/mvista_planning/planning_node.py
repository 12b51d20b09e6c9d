"""World model and action planner in one node: one copy of the weights, two actions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from mvista_interfaces.action import Imagine, InferActions
from mvista_interfaces.msg import ImaginedRollout
from sensor_msgs.msg import Image, PointCloud2
from trajectory_msgs.msg import JointTrajectory

from mvista_core import realtime
from mvista_core.arm import load_arm
from mvista_core.errors import CancelledError
from mvista_core.ports import Progress
from mvista_core.records import Rollout
from mvista_core.rig import load_rig
from mvista_core.timing import seconds_to_ns
from mvista_planning.exclusive import ExclusivePlanner
from mvista_planning.settings import PlanningParameters
from mvista_ros import qos
from mvista_ros.actions import WorkServer
from mvista_ros.age import Age
from mvista_ros.base_node import Health, HouseNode, run_node
from mvista_ros.convert import (
    cloud_to_msg,
    color_to_msg,
    optical_frame,
    rollout_to_msg,
    trajectory_to_msg,
)
from mvista_ros.convert.joints import doubles
from mvista_ros.observation import ObservationSource
from mvista_ros.parameters import declare
from mvista_world.choices import MethodChoices
from mvista_world.compute import choose
from mvista_world.fusion import FusionConfig, PointCloud, fuse
from mvista_world.planner import load_planner

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
        device, threads = self._settings.device, self._settings.threads
        self._compute = choose(self._settings.precision, device, threads=threads)
        self._rig = load_rig(self._settings.rig_file)
        self._planner = self._load()
        self._cameras = ObservationSource(
            self, self._rig, self.system_clock, self._settings.joint_topic, limits=self._settings
        )
        self._rollouts = self.create_publisher(ImaginedRollout, "imagined/rollout", qos.STATIC)
        self._clouds = self.create_publisher(PointCloud2, "imagined/points", qos.STATIC)
        self._plans = self.create_publisher(JointTrajectory, "inferred/trajectory", qos.STATIC)
        self._images = {
            name: self.create_publisher(Image, f"imagined/{name}/color/image_raw", qos.SENSOR_OUT)
            for name in self._rig.names
        }
        self._shown: Rollout | None = None
        self._moments: Iterator[tuple[int, PointCloud]] = iter(())
        self.create_timer(1.0 / self._settings.playback_hz, self._play)
        self._servers = (
            WorkServer(self, Imagine, ACTIONS[0], self._imagine),
            WorkServer(self, InferActions, ACTIONS[1], self._infer),
        )

    def health(self) -> Health:
        """What it works on."""
        busy = [name for name, server in zip(ACTIONS, self._servers, strict=True) if server.busy]
        free = f"{self._compute.free_bytes() / 2**30:.1f} GiB"
        values = (("networks", str(self._compute)), ("memory free", free))
        return Health(message=f"working on {busy[0]}" if busy else "idle", values=values)

    def stop(self) -> None:
        """End the running work."""
        for server in self._servers:
            server.stop()

    def _load(self) -> ExclusivePlanner:
        arm, folder = load_arm(self._settings.arm_file), self._settings.checkpoint
        choices = MethodChoices(self._settings.view_mode or None)
        planner = load_planner(
            Path(folder), self._rig, arm, self.system_clock, self._compute, choices
        )
        self.get_logger().info(f"weights {planner.weights_sha256} from {folder}; {self._compute}")
        return ExclusivePlanner(planner)

    def _imagine(self, request: Imagine.Goal, progress: Progress) -> Imagine.Result:
        if not progress("observe", 0.0):
            raise CancelledError("imagine was cancelled before it began")
        observation = self._cameras.observe(self.system_clock.now_ns(), request.instruction)
        age = Age.of(observation, self.system_clock)
        rollout = self._planner.imagine(
            observation, request.source_camera, request.target_cameras, request.seed, progress
        )
        self._rollouts.publish(rollout_to_msg(rollout, self._rig.base_frame))
        clouds = fuse(rollout, FusionConfig(voxel_m=self._settings.voxel_m))
        self._shown, self._moments = rollout, itertools.cycle(enumerate(clouds))
        return Imagine.Result(rollout_id=rollout.rollout_id, observation_age_s=age.seconds())

    def _infer(self, request: InferActions.Goal, progress: Progress) -> InferActions.Result:
        start, steps = request.initialisation, request.steps
        if not start:
            start, steps = self._settings.initialisation, self._settings.steps
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
        )

    def _play(self) -> None:
        """Publish the next moment of the newest rollout, again and again from its beginning."""
        moment, rollout = next(self._moments, None), self._shown
        if moment is None or rollout is None:
            return
        index, cloud = moment
        stamp_ns = rollout.stamp_ns + seconds_to_ns(float(rollout.times_s[index]))
        points = cloud_to_msg(cloud.points_m, cloud.color, stamp_ns, self._rig.base_frame)
        self._clouds.publish(points)
        for view, name in enumerate(rollout.cameras):
            image = color_to_msg(rollout.color[view, index], stamp_ns, optical_frame(name))
            self._images[name].publish(image)


def main() -> None:
    """Entry point of the `planning_node` executable."""
    run_node(PlanningNode, THREADS)
