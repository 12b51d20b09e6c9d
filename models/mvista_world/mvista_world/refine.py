"""Residual inverse dynamics (Sec. 4.4, App. A): a point-based correction of a trajectory prior.

Clouds P_k, P_{k+1} of two consecutive frames, each seen from where the *prior* puts the finger
tip at that frame, go through a PointNet; with the prior's joints at both frames it predicts the
correction of the joints at frame k+1. In the tip's own frame a correct prior always shows the
same hand, so what is learnt is local alignment. The corrections are spread over the action steps
by a C1 curve that starts at zero, since the start is measured. The paper leaves open: the crop
(a ball around the tip here, a 2D window there) and how a correction per frame becomes one per
action.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import fpsample
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mvista_core.arm import ArmModel
from mvista_core.camera_range import TRAINED
from mvista_core.errors import ConfigError, ObservationError, TrajectoryError
from mvista_core.records import ActionTrajectory, Float32, Float64, JointState, Rollout, UInt8
from mvista_world.corrections import spread_correction, step_correction
from mvista_world.described import DescribedFiles
from mvista_world.fusion import FusionConfig, PointCloud, fuse

POINT_FEATURES = 7
"""Per point: x, y, z over `scale_m` (`RefineConfig.crop` says in which frame), r, g, b, height in
the base."""

ABOVE_TABLE = FusionConfig(lower_m=(0.0, -0.5, 0.012))
"""The default crop leaves the table top (z = 0) out: it is three points in four around a hand
that reaches down, and says nothing about where the hand is."""

REFINER = DescribedFiles("refiner", "refine.safetensors", "refine.json", "mvista train refine")


@dataclass(frozen=True)
class RefineConfig:
    """Sizes of the residual IDM; the defaults are those of `tiny`.

    points: per cloud after farthest point sampling (8,192 in App. A). candidates: a cloud is
    thinned evenly to at most this many points before that (0: never). radius_m: points farther
    from the prior's tip are dropped. scale_m: length that is 1 to the network; errors are
    millimetres, so well below the radius. min_points: with fewer, that frame's correction is zero.
    keypoints: learnt soft keypoints per frame beside the max-pooled feature (0: the paper's plain
    PointNet). On a simulated hand they halved what was left of the tip error, max pooling being
    coarse.
    """

    points: int = 512
    candidates: int = 1536
    radius_m: float = 0.15
    scale_m: float = 0.05
    min_points: int = 16
    point_widths: tuple[int, ...] = (64, 128, 256)
    keypoints: int = 16
    hidden: int = 256
    joints: int = 7
    workspace: FusionConfig = field(default_factory=lambda: ABOVE_TABLE)
    crop: tuple[float, float, float, float] | None = None
    per_step: bool = False

    def __post_init__(self) -> None:
        sizes = (self.points, self.min_points, self.hidden, self.joints, *self.point_widths)
        lengths_m = (self.radius_m, self.scale_m)
        if min(sizes) < 1 or min(lengths_m) <= 0 or not self.point_widths or self.keypoints < 0:
            raise ConfigError(f"sizes of the refiner must be positive: {self}")
        if 0 < self.candidates < self.points:
            raise ConfigError(
                f"candidates ({self.candidates}) must be 0 or at least points ({self.points})"
            )
        if self.crop is not None:
            left, top, right, bottom = self.crop
            if not (0.0 <= left < right <= 1.0 and 0.0 <= top < bottom <= 1.0):
                raise ConfigError(
                    f"crop {self.crop}: left < right and top < bottom, shares from 0 to 1"
                )

    def cropped(self, depth_m: Float32) -> Float32:
        """Depth [..., H, W] with nothing measured (0) outside the fixed window, if there is one."""
        if self.crop is None:
            return depth_m
        height, width = depth_m.shape[-2:]
        left, top, right, bottom = self.crop
        rows = slice(round(top * height), round(bottom * height))
        columns = slice(round(left * width), round(right * width))
        inside = np.zeros_like(depth_m)
        inside[..., rows, columns] = depth_m[..., rows, columns]
        return inside


PAPER = RefineConfig(
    points=8192,
    candidates=0,
    scale_m=0.3,
    keypoints=0,
    workspace=FusionConfig(),
    crop=(0.2, 0.1, 0.8, 0.9),
    per_step=True,
)
"""App. A's. The window and the scale are our choice: the paper says "middle workspace"."""
CENTRE_M = np.array(TRAINED.centre_m, dtype=np.float32)


class ResidualRefiner(nn.Module):
    """PointNet over two clouds plus the prior at both frames -> joint residual at the second.

    The last layer starts at zero: an untrained refiner returns the prior exactly. The buffers
    `prior_mean`, `prior_std`, `residual_std` [J] are statistics of the training data; `gain` [1] is
    the share of the predicted residual that held on imagined clouds (1 where that was not fitted).
    """

    gain: Tensor
    prior_mean: Tensor
    prior_std: Tensor
    residual_std: Tensor

    def __init__(self, config: RefineConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        # App. A feeds both clouds at once: a flag says of which one a point is.
        width = POINT_FEATURES + 1
        for out in config.point_widths:
            layers += [nn.Linear(width, out), nn.ReLU()]
            width = out
        self.point_mlp = nn.Sequential(*layers)
        self.keypoint = nn.Linear(width, config.keypoints) if config.keypoints else None
        pooled = width + 2 * 3 * config.keypoints
        last = nn.Linear(config.hidden, config.joints)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(
            nn.Linear(pooled + (1 if config.per_step else 2) * config.joints, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            last,
        )
        self.register_buffer("gain", torch.ones(1))
        self.register_buffer("prior_mean", torch.zeros(config.joints))
        self.register_buffer("prior_std", torch.ones(config.joints))
        self.register_buffer("residual_std", torch.ones(config.joints))

    def forward(self, clouds: Tensor, prior: Tensor) -> Tensor:
        """Residuals [B, T-1, J] at frames 1..T-1 (rad; gripper m).

        clouds [B, T, N, POINT_FEATURES] from `local_clouds`; prior [B, T, J] at the frame times.
        """
        # P_k beside P_k+1 (Sec. 4.4): what moved between them, against what the prior says moved.
        pairs = torch.stack([clouds[:, :-1], clouds[:, 1:]], dim=2)
        flag = torch.zeros_like(pairs[..., :1])
        flag[:, :, 1] = 1.0
        points = self.point_mlp(torch.cat([pairs, flag], dim=-1))
        pooled = [points.amax(dim=(2, 3))]
        if self.keypoint is not None:
            # Weighted means of positions move smoothly with the hand; a maximum jumps from point
            # to point.
            weights = self.keypoint(points).float().softmax(dim=3)
            keys = torch.einsum("bifnk,bifnd->bifkd", weights, pairs[..., :3])
            pooled.append(keys.flatten(2))
        # The same look means another correction in another pose of the arm.
        scaled = (prior - self.prior_mean) / self.prior_std
        told = [scaled[:, 1:]] if self.config.per_step else [scaled[:, :-1], scaled[:, 1:]]
        residual: Tensor = (
            self.head(torch.cat([*pooled, *told], dim=-1)).float() * self.residual_std * self.gain
        )
        return residual


def refine(
    model: ResidualRefiner,
    rollout: Rollout,
    prior: ActionTrajectory,
    initial: JointState | NDArray[np.floating],
    arm: ArmModel,
) -> ActionTrajectory:
    """The prior plus the residual IDM's correction; nothing is clipped (the executor checks).

    `initial` is the measured joint vector [J] at t = 0, or the joint state it stands in.

    Raises:
        TrajectoryError: the prior's joints are not the arm's, or it ends before the last frame.
        ObservationError: the rollout is malformed, or the initial state lacks a joint.
    """
    frame_prior = prior_at_frames(prior, initial_positions(initial, arm), rollout.times_s, arm)
    seen = replace(rollout, depth_m=model.config.cropped(rollout.depth_m))
    clouds = fuse(seen, model.config.workspace)
    features, usable = local_clouds(clouds, tip_poses(arm, frame_prior), model.config)
    device = model.prior_mean.device
    with torch.inference_mode():
        residual = model(
            torch.from_numpy(features)[None].to(device),
            torch.from_numpy(frame_prior.astype(np.float32))[None].to(device),
        )
    # The start is measured, and a frame without the hand in reach is no evidence: zero there.
    knots = np.zeros_like(frame_prior)
    knots[1:] = residual[0].cpu().numpy() * usable[1:, None]
    spread = step_correction if model.config.per_step else spread_correction
    correction = spread(knots, rollout.times_s, prior.times_s)
    # Sec. 4.4: a_t = a_t^prior + Delta a_t.
    return replace(prior, positions=prior.positions + correction)


def initial_positions(initial: JointState | NDArray[np.floating], arm: ArmModel) -> Float64:
    """The measured start [J] in the arm's joint order."""
    if isinstance(initial, JointState):
        return initial.ordered(arm.joint_names)
    positions = np.asarray(initial, dtype=np.float64)
    if positions.shape != (len(arm.joint_names),):
        raise ObservationError(
            f"the initial joint vector is {positions.shape}, arm '{arm.name}' has "
            f"{len(arm.joint_names)} joints: {list(arm.joint_names)}"
        )
    return positions


def prior_at_frames(
    prior: ActionTrajectory, initial: Float64, frame_times_s: Float64, arm: ArmModel
) -> Float64:
    """Prior joint positions [T, J] at the frame times, `initial` at t = 0, linear between steps.

    Raises:
        TrajectoryError: joints other than the arm's, or a frame after the prior's last step.
    """
    if prior.joint_names != arm.joint_names:
        raise TrajectoryError(
            TrajectoryError.UNKNOWN_JOINT,
            f"the prior moves {list(prior.joint_names)}, arm '{arm.name}' has "
            f"{list(arm.joint_names)} in this order",
        )
    if frame_times_s[-1] > prior.times_s[-1] + 1e-6:
        raise TrajectoryError(
            TrajectoryError.SHAPE,
            f"the prior ends at {prior.times_s[-1]:.3f} s, the last frame is at "
            f"{frame_times_s[-1]:.3f} s; it must cover all frames",
        )
    times_s = np.concatenate([[0.0], prior.times_s])
    positions = np.concatenate([initial[None], prior.positions])
    columns = [np.interp(frame_times_s, times_s, column) for column in positions.T]
    return np.stack(columns, axis=1)


def tip_poses(arm: ArmModel, positions: NDArray[np.floating]) -> Float64:
    """`base_from_tip` [..., 4, 4] of joint positions [..., J]; `ArmModel.base_from_tip` batched."""
    positions = np.asarray(positions, dtype=np.float64)
    pose = np.broadcast_to(np.eye(4), (*positions.shape[:-1], 4, 4))
    for index, row in enumerate(arm.dh):
        theta = positions[..., index] + row.theta_offset_rad
        ct, st = np.cos(theta), np.sin(theta)
        ca, sa = np.cos(row.alpha_rad), np.sin(row.alpha_rad)
        # Craig's modified DH, as the arm file's rows are.
        link = np.zeros((*theta.shape, 4, 4))
        link[..., 0, 0], link[..., 0, 1], link[..., 0, 3] = ct, -st, row.a_m
        link[..., 1, 0], link[..., 1, 1] = st * ca, ct * ca
        link[..., 1, 2], link[..., 1, 3] = -sa, -sa * row.d_m
        link[..., 2, 0], link[..., 2, 1] = st * sa, ct * sa
        link[..., 2, 2], link[..., 2, 3] = ca, ca * row.d_m
        link[..., 3, 3] = 1.0
        pose = pose @ link
    tip = np.eye(4)
    tip[2, 3] = arm.flange_from_tip_m
    return np.asarray(pose @ tip)


def local_clouds(
    clouds: Sequence[PointCloud], base_from_tip: Float64, config: RefineConfig
) -> tuple[Float32, NDArray[np.bool_]]:
    """Network input of T clouds (base frame) and the prior's tip poses [T, 4, 4].

    Returns features [T, points, POINT_FEATURES] and which frames had `min_points` in reach
    (the others are zeros). Deterministic.
    """
    features = np.zeros((len(clouds), config.points, POINT_FEATURES), dtype=np.float32)
    usable = np.zeros(len(clouds), dtype=bool)
    for t, cloud in enumerate(clouds):
        local = _near(cloud.points_m, cloud.color, base_from_tip[t], config)
        usable[t] = len(local) >= config.min_points
        if usable[t]:
            features[t] = _sample(local, config)
    return features, usable


def save_refiner(model: ResidualRefiner, directory: Path) -> Path:
    """Write `refine.safetensors` and `refine.json` (config and sha256) and return the former."""
    return REFINER.save(model.state_dict(), asdict(model.config), directory)


def load_refiner(directory: Path) -> ResidualRefiner:
    """Read what `save_refiner` wrote, in evaluation mode.

    Raises:
        WeightsError: a file is missing, truncated, altered, or does not fit its configuration.
    """
    return REFINER.load(directory, lambda sizes: ResidualRefiner(_config_from(sizes)))


def _config_from(document: dict[str, object]) -> RefineConfig:
    box = document["workspace"]
    if not isinstance(box, dict):
        raise TypeError(f"workspace is {box!r}, wanted a mapping")
    workspace = FusionConfig(tuple(box["lower_m"]), tuple(box["upper_m"]), float(box["voxel_m"]))
    widths = document["point_widths"]
    if not isinstance(widths, list):
        raise TypeError(f"point_widths is {widths!r}, wanted a list")
    # Refiners of before the fixed window have none.
    crop = document.get("crop")
    taken = ("workspace", "point_widths", "crop")
    plain: dict[str, Any] = {k: v for k, v in document.items() if k not in taken}
    window = tuple(crop) if isinstance(crop, list) else None
    return RefineConfig(workspace=workspace, point_widths=tuple(widths), crop=window, **plain)


def _near(points_m: Float32, color: UInt8, base_from_tip: Float64, config: RefineConfig) -> Float32:
    """Features [n, POINT_FEATURES] of the points within the radius of the tip, or of all."""
    if config.crop is not None:
        features = np.empty((len(points_m), POINT_FEATURES), dtype=np.float32)
        features[:, :3] = (points_m - CENTRE_M) / np.float32(config.scale_m)
        features[:, 3:6] = color.astype(np.float32) / 255.0 - 0.5
        features[:, 6] = points_m[:, 2] / config.scale_m
        return features
    offset = points_m - base_from_tip[:3, 3].astype(np.float32)
    # In the tip's frame a correct prior shows the same hand in every pose: less to be learnt.
    near = np.einsum("nd,nd->n", offset, offset) <= config.radius_m**2
    features = np.empty((int(near.sum()), POINT_FEATURES), dtype=np.float32)
    features[:, :3] = offset[near] @ (base_from_tip[:3, :3] / config.scale_m).astype(np.float32)
    features[:, 3:6] = color[near].astype(np.float32) / 255.0 - 0.5
    features[:, 6] = points_m[near, 2] / config.scale_m
    return features


def _sample(features: Float32, config: RefineConfig) -> Float32:
    """Exactly `points` rows: thinned, then farthest point sampling, or repeated when too few."""
    count = len(features)
    if count <= config.points:
        return features[np.arange(config.points) % count]
    # Farthest point sampling is linear in the cloud and the slowest step here.
    if 0 < config.candidates < count:
        features = features[np.linspace(0, count - 1, config.candidates).astype(np.int64)]
    if len(features) == config.points:
        return features
    xyz = np.ascontiguousarray(features[:, :3])
    chosen = fpsample.bucket_fps_kdline_sampling(xyz, config.points, h=3, start_idx=0)
    return np.asarray(features[chosen.astype(np.int64)], dtype=np.float32)
