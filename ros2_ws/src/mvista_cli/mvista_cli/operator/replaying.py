"""An episode again: on its topics from this process, or its motion as a goal of an executor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mvista_cli.operator.interrupts import interrupts
from mvista_cli.operator.watching import join_domain
from mvista_core.errors import ConfigError, ExecutionError
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_recorder.episode_player import SPEEDS
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.motion import motion_of

POLL_S = 0.2


@dataclass(frozen=True)
class ReplayRequest:
    """What is played: `arm` of the episode; `on_arm` is moved, both by their namespaces."""

    episode: Path
    speed: float
    loop: bool
    arm: str
    on_arm: str
    namespace: str
    domain: int | None

    def __post_init__(self) -> None:
        slowest, fastest = SPEEDS
        if not slowest <= self.speed <= fastest:
            raise ConfigError(f"--speed is {self.speed:g}; allowed: {slowest:g} to {fastest:g}")
        if self.loop and self.on_arm:
            raise ConfigError("--loop is for topics: a motion is one goal of an arm's executor")


def play(asked: ReplayRequest) -> str:
    """Until the end, or Ctrl-C; returns what became of it.

    Raises:
        EpisodeError: no episode, or a torn one.
    """
    EpisodeReader(asked.episode)
    join_domain(asked.domain)
    from rclpy.parameter import Parameter

    from mvista_recorder.episode_replay_node import EpisodeReplayNode
    from mvista_ros.spinning import spinning

    values = {"episode": str(asked.episode), "speed": asked.speed, "loop": asked.loop}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    build = partial(
        EpisodeReplayNode, namespace=asked.namespace or None, parameter_overrides=overrides
    )
    clock = SystemClock()
    with spinning(build) as node, interrupts() as interrupted:
        while not (node.finished or interrupted.is_set()):
            clock.sleep_until(clock.monotonic_ns() + seconds_to_ns(POLL_S))
        return f"{asked.episode.name}: {node.health().message}"


def replay_on_arm(asked: ReplayRequest) -> str:
    """Carry the motion out; returns what became of it.

    Raises:
        EpisodeError: no such motion. UnavailableError: no executor. ExecutionError: it refused the
            motion or could not carry it out; the reason is its own.
    """
    motion = motion_of(EpisodeReader(asked.episode), asked.arm, asked.speed)
    join_domain(asked.domain)
    from control_msgs.action import FollowJointTrajectory
    from rclpy.node import Node

    from mvista_ros.actions import GoalClient, call_action
    from mvista_ros.convert import trajectory_to_msg
    from mvista_ros.spinning import spinning

    name = f"{asked.on_arm.strip('/')}/follow_joint_trajectory"
    goal = FollowJointTrajectory.Goal(trajectory=trajectory_to_msg(motion))
    build = partial(Node, "replay", namespace=asked.namespace or None)
    with spinning(build) as node, interrupts() as interrupted:
        client = GoalClient(node, FollowJointTrajectory, name)
        _, result = call_action(
            client, goal, SystemClock(), keep_going=lambda: not interrupted.is_set()
        )
    if result.error_code != FollowJointTrajectory.Result.SUCCESSFUL:
        raise ExecutionError(f"{asked.on_arm}: {result.error_string} ({result.error_code})")
    return (
        f"{asked.episode.name}: {len(motion.times_s)} points, {motion.times_s[-1]:.1f} s, were "
        f"carried out by {asked.on_arm}"
    )
