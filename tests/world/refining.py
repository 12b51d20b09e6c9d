"""A refiner of a few thousand weights, and what it is given: a rig, a rollout, a prior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mvista_core.arm import ArmModel, load_arm
from mvista_core.geometry import look_at
from mvista_core.imaging import ModelWindow
from mvista_core.records import (
    ActionTrajectory,
    CameraCalibration,
    Intrinsics,
    Provenance,
    RigCalibration,
    Rollout,
)
from mvista_world.refine import (
    RefineConfig,
    ResidualRefiner,
)

ARM: ArmModel = load_arm(Path(__file__).parents[2] / "config/arms/piper.yaml")
TINY = RefineConfig(points=48, candidates=96, point_widths=(24, 48), keypoints=4, hidden=48)
FRAME_TIMES_S = np.linspace(0.0, 6.4, 9)
STEP_TIMES_S = np.linspace(1 / 15, 6.4, 96)
WINDOW = Intrinsics(24, 16, 23.4, 23.4, 11.4, 7.4)
RECORDED = ModelWindow(24, 16, 2)


def make_rig() -> RigCalibration:
    eyes = [[0.9, -0.4, 0.45], [1.0, 0.0, 0.5], [0.9, 0.4, 0.45], [0.35, 0.7, 0.5]]
    # The recorder's images are the central crop reduced by two: the cameras are twice as large.
    whole = Intrinsics(48, 32, 46.8, 46.8, 23.3, 15.3)
    cameras = tuple(
        CameraCalibration(f"cam{i}", look_at(np.array(eye), np.array([0.35, 0.0, 0.1])), whole)
        for i, eye in enumerate(eyes)
    )
    return RigCalibration("test", "piper_base", cameras, "2026-01-01", "pass")


def make_truth(rng: np.random.Generator) -> np.ndarray:
    """Smooth joints [97, 7] from home to somewhere near it."""
    s = np.linspace(0.0, 1.0, 97)[:, None]
    goal = rng.normal(size=7) * np.array([0.4, 0.2, 0.2, 0.2, 0.2, 0.2, 0.0])
    return ARM.home + (3 * s**2 - 2 * s**3) * goal + np.array([0] * 6 + [0.03]) * s


def make_rollout(seed: int = 0, near: bool = True) -> Rollout:
    rng = np.random.default_rng(seed)
    rig = make_rig()
    shape = (3, 9, 16, 24)
    low, high = (0.45, 0.9) if near else (3.0, 4.0)
    return Rollout(
        "r",
        "touch the red cube",
        rig.names[:3],
        (WINDOW,) * 3,
        np.stack([camera.base_from_camera for camera in rig.cameras[:3]]),
        rng.integers(0, 256, (*shape, 3), dtype=np.uint8),
        rng.uniform(low, high, shape).astype(np.float32),
        FRAME_TIMES_S,
        seed,
        0,
    )


def make_prior(seed: int = 0) -> tuple[ActionTrajectory, np.ndarray]:
    truth = make_truth(np.random.default_rng(seed))
    provenance = Provenance("plan", "0" * 64, seed)
    return ActionTrajectory(ARM.joint_names, truth[1:], STEP_TIMES_S, provenance), truth[0]


def last_weight(model: ResidualRefiner) -> torch.Tensor:
    return list(model.head.parameters())[-2]


def trained_at_random(seed: int = 0) -> ResidualRefiner:
    """A refiner whose last layer is not zero."""
    torch.manual_seed(seed)
    model = ResidualRefiner(TINY).eval()
    torch.nn.init.normal_(last_weight(model), std=0.02)
    return model
