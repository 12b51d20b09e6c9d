"""The named QoS profiles. Every publisher and subscription of the stack uses one of these.

Publishers of sensor data offer *reliable*, which serves best-effort and reliable readers alike;
our own readers ask for *best effort*, so a slow reader never holds a camera back.
"""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

COMMAND_LIFESPAN_S = 0.1
"""A set-point older than this is worthless: it expires instead of moving the arm late."""


def _profile(
    depth: int,
    reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE,
    durability: DurabilityPolicy = DurabilityPolicy.VOLATILE,
    lifespan_s: float | None = None,
) -> QoSProfile:
    profile = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=durability,
    )
    if lifespan_s is not None:
        profile.lifespan = Duration(seconds=lifespan_s)
    return profile


SENSOR_OUT = _profile(depth=5)
"""Publishers of images, camera infos and joint states."""

SENSOR_IN = _profile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Readers of images, camera infos and joint states."""

SENSOR_NEWEST_IN = _profile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Readers that look now and then and want the newest only."""

SENSOR_ALL_IN = _profile(depth=30, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Readers that may be late but must not miss an image: two seconds of it at 15 Hz."""

RECORD_IN = _profile(depth=2000)
"""A recorder of small messages: none may be missed, ten seconds at 200 Hz may wait."""

COMMAND = _profile(depth=1, lifespan_s=COMMAND_LIFESPAN_S)
"""Joint set-points, both ends: reliable, the newest only, expiring."""

STATIC = _profile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""What late joiners must still get: /tf_static, the newest imagined rollout."""

FRAMES = _profile(depth=100)
"""/tf, as tf2's own broadcasters offer it."""

STATUS = _profile(depth=10)
"""Status and diagnostics."""

EVENTS = _profile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""What is told seldom and must not be missed: a late joiner gets the newest hundred."""
