"""The one place that composes the stages: encode, denoise, decode, optimise, refine.

Implements `mvista_core.ports.Planner` on NumPy records; torch stays inside.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mvista_core import instructions, weights
from mvista_core.arm import ArmModel
from mvista_core.errors import CancelledError, ConfigError, RigError, RolloutError, WeightsError
from mvista_core.ports import Clock, Progress
from mvista_core.records import (
    ActionTrajectory,
    CameraFrame,
    Float32,
    Float64,
    InferredPlan,
    JointState,
    Observation,
    Provenance,
    RigCalibration,
    Rollout,
)
from mvista_world.action_head import read_latent
from mvista_world.cameras import camera_embedding
from mvista_world.codec import StackedCodec, VideoCodec
from mvista_world.compute import Compute, choose
from mvista_world.config import ModelConfig, load_config
from mvista_world.denoise import solve
from mvista_world.depth_codec import decode_depth, encode_depth
from mvista_world.flow import denoising_error
from mvista_world.generator import Conditions, MultiViewGenerator
from mvista_world.latent_optimisation import Evidence, motion_weight, optimise_latent
from mvista_world.layout import clean_mask, from_grid, to_grid
from mvista_world.refine import ResidualRefiner, load_refiner, refine
from mvista_world.text import InstructionEncoder, load_tokenizer
from mvista_world.trajectory import TrajectoryVae, smooth_from

KEPT_ROLLOUTS = 4
INITIALISATIONS = ("head", "random")


@dataclass(frozen=True)
class Networks:
    """The frozen networks of one checkpoint."""

    codec: VideoCodec
    text: InstructionEncoder
    generator: MultiViewGenerator
    trajectory: TrajectoryVae
    refiner: ResidualRefiner | None


@dataclass(frozen=True)
class HeldRollout:
    """A rollout as it stays with the generator: its latents and what it was imagined from."""

    rollout: Rollout
    latents: torch.Tensor
    conditions: Conditions
    joints: JointState


class WorldModelPlanner:
    """Imagines with the null style, then explains what it imagined (Sec. 4.4)."""

    def __init__(
        self,
        config: ModelConfig,
        templates: Sequence[str],
        networks: Networks,
        rig: RigCalibration,
        arm: ArmModel,
        clock: Clock,
        weights_sha256: str,
        compute: Compute,
    ) -> None:
        self.config = config
        self.compute = compute
        self.templates = tuple(templates)
        self.weights_sha256 = weights_sha256
        self._networks = networks
        self._rig = rig
        self._arm = arm
        self._clock = clock
        self._held: OrderedDict[str, HeldRollout] = OrderedDict()
        known = [words for template in self.templates for words in instructions.expand(template)]
        with torch.no_grad():
            self._words = networks.text(known)
        poses = np.stack([camera.base_from_camera for camera in rig.cameras])
        # Eq. 6 over the whole rig, so that a camera's token does not depend on who else is asked.
        self._embeddings = dict(zip(rig.names, camera_embedding(poses), strict=True))

    def imagine(
        self,
        observation: Observation,
        source_camera: str,
        target_cameras: Sequence[str],
        seed: int,
        progress: Progress,
    ) -> Rollout:
        """Text-only imagination of the source and target views (mode 1).

        Raises:
            InstructionError, ObservationError, RigError, ConfigError, CancelledError.
        """
        if observation.rig_hash != self._rig.content_hash:
            raise RigError(
                f"the observation was made with rig {observation.rig_hash[:12]}, this planner "
                f"plans for rig '{self._rig.name}' {self._rig.content_hash[:12]}; start both with "
                "the same rig_file"
            )
        instruction = instructions.check(observation.instruction, self.templates)
        names = self._views(source_camera, target_cameras)
        frame = self.config.window.frame(observation.frame(source_camera))
        conditions = self._conditions(instruction, names)
        return self._imagine(
            frame, names, conditions, instruction, observation.joints, seed, progress
        )

    def imagine_told(
        self,
        frame: CameraFrame,
        target_cameras: Sequence[str],
        joints: JointState,
        instruction: str,
        actions: Float32,
        seed: int,
    ) -> Rollout:
        """The future of known actions [L, J], told by their latent; `frame` is a model window.

        Where imagination chooses one of many motions, this one is known: what `refine` needs to
        learn from imagined clouds.
        """
        names = self._views(frame.camera, target_cameras)
        told = self._conditions(instructions.check(instruction, self.templates), names)
        with torch.no_grad():
            style = self._networks.trajectory.encode(torch.from_numpy(actions).float()[None])
        told = replace(told, style=style)
        return self._imagine(frame, names, told, instruction, joints, seed, lambda *_: True)

    def _imagine(
        self,
        frame: CameraFrame,
        names: Sequence[str],
        conditions: Conditions,
        instruction: str,
        joints: JointState,
        seed: int,
        progress: Progress,
    ) -> Rollout:
        """Solve from noise and keep the latents, to be explained with the null style."""
        _proceed(progress, "encode", 0.0)
        clean, given = self._source_latents(frame, len(names))
        rng = torch.Generator().manual_seed(seed)
        noise = torch.randn(given.shape, generator=rng)
        sampler = self.config.sampler
        with torch.no_grad(), self.compute.autocast():
            latents = solve(
                self._networks.generator,
                given,
                clean,
                conditions,
                noise,
                sampler.steps,
                sampler.shift,
                lambda fraction: _proceed(progress, "imagine", fraction),
            )
        _proceed(progress, "decode", 0.0)
        rollout = self._decode(latents, names, instruction, seed)
        self.hold(rollout, latents, self._conditions(instruction, names), joints)
        _proceed(progress, "decode", 1.0)
        return rollout

    def adopt(
        self, frames: Sequence[Sequence[CameraFrame]], joints: JointState, instruction: str
    ) -> Rollout:
        """Take what really happened, frames [V][T], as a rollout: the truth in place of
        imagination, to measure what imagination costs."""
        names = [view[0].camera for view in frames]
        windows = [[self.config.window.frame(frame) for frame in view] for view in frames]
        color = np.stack([np.stack([f.color for f in view]) for view in windows])
        depth = np.stack([np.stack([f.depth_m for f in view]) for view in windows])
        latents = to_grid(self._encode(color, depth)[None])
        rollout = self._record(color, depth, names, instruction, 0)
        conditions = self._conditions(instructions.check(instruction, self.templates), names)
        self.hold(rollout, latents, conditions, joints)
        return rollout

    def hold(
        self, rollout: Rollout, latents: torch.Tensor, conditions: Conditions, joints: JointState
    ) -> None:
        """Keep a rollout for `infer_actions`; the oldest beyond `KEPT_ROLLOUTS` is dropped."""
        self._held[rollout.rollout_id] = HeldRollout(rollout, latents, conditions, joints)
        while len(self._held) > KEPT_ROLLOUTS:
            self._held.popitem(last=False)

    def infer_actions(
        self, rollout_id: str, initialisation: str, steps: int, progress: Progress
    ) -> InferredPlan:
        """z* by Eq. 11 from the action head ("head") or from N(0, 1) ("random"), decoded, refined.

        Zero steps decodes the start itself.

        Raises:
            RolloutError: the rollout is not held here. ConfigError: unknown initialisation.
        """
        held = self._find(rollout_id)
        if initialisation not in INITIALISATIONS:
            raise ConfigError(f"initialisation '{initialisation}' is none of {INITIALISATIONS}")
        rng = torch.Generator().manual_seed(held.rollout.seed + 1)
        clean = self._source_mask(len(held.rollout.cameras))
        generator, config = self._networks.generator, self.config.optimisation
        from_head = initialisation == "head"
        _proceed(progress, "action head", 0.0)
        with self.compute.autocast():
            head = read_latent(generator, held.latents, clean, held.conditions, config, rng)
            start = head if from_head else torch.randn(head.shape, generator=rng)
            found = optimise_latent(
                generator,
                self._evidence(held, clean),
                start,
                steps,
                config.head_learning_rate if from_head else config.learning_rate,
                config,
                rng,
                lambda fraction: _proceed(progress, "optimise", fraction),
            )
        _proceed(progress, "refine", 0.0)
        provenance = Provenance(
            uuid.uuid4().hex[:12], self.weights_sha256, held.rollout.seed, initialisation, steps
        )
        prior = self._trajectory(found.z, held.joints, provenance)
        first = self._trajectory(head, held.joints, provenance)
        # Radians of the revolute joints alone: the gripper opens by metres.
        gap = float(np.abs(prior.positions - first.positions)[:, : len(self._arm.dh)].mean())
        refined = self._refine(held, prior)
        _proceed(progress, "refine", 1.0)
        return InferredPlan(prior, refined, np.array(found.losses), gap)

    def _evidence(self, held: HeldRollout, clean: torch.Tensor) -> Evidence:
        rollout = held.rollout
        weight = motion_weight(rollout.color, rollout.depth_m, self.config)
        return Evidence(held.latents, clean, held.conditions.cameras, self._words, weight)

    def reconstruct(self, actions: ActionTrajectory, joints: JointState) -> ActionTrajectory:
        """decode(encode(actions)): the ceiling that the trajectory latent sets."""
        given = torch.from_numpy(actions.positions.astype(np.float32))[None]
        with torch.no_grad():
            z = self._networks.trajectory.encode(given)
        return self._trajectory(z, joints, actions.provenance)

    def explained(
        self, rollout_id: str, actions: ActionTrajectory | None, noise_levels: Sequence[float]
    ) -> Float64:
        """Eq. 2's error of a held rollout per noise level, told `actions` or (None) nothing.

        What Eq. 11 descends is the difference between one trajectory's values and another's; all
        share their noise.

        Raises:
            RolloutError: the rollout is not held here.
        """
        held = self._find(rollout_id)
        conditions = held.conditions
        if actions is not None:
            given = torch.from_numpy(actions.positions.astype(np.float32))[None]
            with torch.no_grad():
                conditions = replace(conditions, style=self._networks.trajectory.encode(given))
        clean = self._source_mask(len(held.rollout.cameras))
        noise = torch.randn(held.latents.shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad(), self.compute.autocast():
            errors = [
                denoising_error(
                    self._networks.generator,
                    held.latents,
                    noise,
                    torch.tensor([level]),
                    clean,
                    conditions,
                )[0].item()
                for level in noise_levels
            ]
        return np.array(errors, np.float64)

    def _find(self, rollout_id: str) -> HeldRollout:
        held = self._held.get(rollout_id)
        if held is None:
            raise RolloutError(
                f"no rollout '{rollout_id}'; this planner holds {list(self._held)} "
                f"(the newest {KEPT_ROLLOUTS} are kept)"
            )
        return held

    def _refine(self, held: HeldRollout, prior: ActionTrajectory) -> ActionTrajectory:
        if self._networks.refiner is None:
            return prior
        initial = held.joints.ordered(self.config.joint_names)
        refined = refine(self._networks.refiner, held.rollout, prior, initial, self._arm)
        return replace(refined, positions=self._within(refined.positions))

    def _trajectory(
        self, z: torch.Tensor, joints: JointState, provenance: Provenance
    ) -> ActionTrajectory:
        with torch.no_grad():
            decoded = self._networks.trajectory.decode(z.float())[0].double().numpy()
        start = joints.ordered(self.config.joint_names)
        smooth = smooth_from(start, decoded, self.config.trajectory)
        within = self._within(smooth)
        count = self.config.trajectory.action_count
        rate_hz = self.config.trajectory.action_rate_hz
        times = np.arange(1.0, count + 1.0, dtype=np.float64) / rate_hz
        return ActionTrajectory(self.config.joint_names, within, times, provenance)

    def _within(self, positions: Float64) -> Float64:
        """A network may leave a joint's range by a hair; the arm's range is the truth."""
        inside: Float64 = np.clip(positions, self._arm.lower, self._arm.upper)
        return inside

    def _views(self, source: str, targets: Sequence[str]) -> list[str]:
        names = [source, *targets]
        for name in names:
            self._rig.camera(name)
        if len(set(names)) != len(names):
            raise ConfigError(f"a view is named twice: source '{source}', targets {list(targets)}")
        if len(names) > self.config.max_views:
            raise ConfigError(
                f"{len(names)} views asked for; this model was trained on at most "
                f"{self.config.max_views}"
            )
        return names

    def _conditions(self, instruction: str, names: Sequence[str]) -> Conditions:
        cameras = torch.from_numpy(np.stack([self._embeddings[name] for name in names]))[None]
        with torch.no_grad():
            text = self._networks.text([instruction])
        return Conditions(text, cameras, self._networks.generator.null(1).detach())

    def _source_mask(self, views: int) -> torch.Tensor:
        """Token mask [L]: the first frame of the first view is given."""
        known = torch.zeros(views, self.config.latent_frames, dtype=torch.bool)
        known[0, 0] = True
        return clean_mask(known, self.config.token_grid)

    def _source_latents(self, frame: CameraFrame, views: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Token mask and the latent grid with the observed frame in place, zero elsewhere."""
        first = self._encode(frame.color[None, None], frame.depth_m[None, None])[0]
        shape = (1, views, 2, first.shape[1], self.config.latent_frames, *first.shape[3:])
        given = torch.zeros(shape)
        given[:, 0, :, :, 0] = first[:, :, 0]
        return self._source_mask(views), to_grid(given)

    def _encode(self, color: np.ndarray, depth_m: np.ndarray) -> torch.Tensor:
        """[V, T, H, W(, 3)] to latents [V, 2, C, T', h, w]."""
        rgb = torch.from_numpy(np.ascontiguousarray(color)).float() / 127.5 - 1.0
        depth = encode_depth(torch.from_numpy(np.ascontiguousarray(depth_m)), self.config.depth)
        pixels = torch.stack([rgb, depth], dim=1).permute(0, 1, 5, 2, 3, 4)
        with torch.no_grad(), self.compute.autocast():
            latents = self._networks.codec.encode(pixels.flatten(0, 1))
        return latents.float().unflatten(0, (-1, 2))

    def _decode(
        self, latents: torch.Tensor, names: Sequence[str], instruction: str, seed: int
    ) -> Rollout:
        maps = from_grid(latents, len(names))[0].flatten(0, 1)
        with torch.no_grad(), self.compute.autocast():
            pixels = self._networks.codec.decode(maps).float().unflatten(0, (-1, 2))
        rgb = ((pixels[:, 0].movedim(1, -1) + 1.0) * 127.5).round().clamp(0, 255)
        depth = decode_depth(pixels[:, 1].movedim(1, -1), self.config.depth)
        return self._record(rgb.to(torch.uint8).numpy(), depth.numpy(), names, instruction, seed)

    def _record(
        self,
        color: np.ndarray,
        depth_m: np.ndarray,
        names: Sequence[str],
        instruction: str,
        seed: int,
    ) -> Rollout:
        cameras = [self._rig.camera(name) for name in names]
        times = np.arange(self.config.frame_count, dtype=np.float64) * self.config.frame_period_s
        return Rollout(
            uuid.uuid4().hex[:12],
            instruction,
            tuple(names),
            tuple(self.config.window.intrinsics(camera.intrinsics) for camera in cameras),
            np.stack([camera.base_from_camera for camera in cameras]),
            color,
            depth_m.astype(np.float32),
            times,
            seed,
            self._clock.now_ns(),
        )


def _proceed(progress: Progress, stage: str, fraction: float) -> bool:
    """Report; True to go on. Raises where it is asked to stop, since it may be asked only once."""
    if not progress(stage, fraction):
        raise CancelledError(f"cancelled at stage '{stage}' ({fraction:.0%} of it done)")
    return True


def build_networks(
    config: ModelConfig, folder: Path, refiner: ResidualRefiner | None, compute: Compute
) -> Networks:
    """Construct the networks of a checkpoint folder and load their weights.

    Raises:
        WeightsError: a file does not fit the configuration beside it.
        ConfigError: networks that this loader does not build.
    """
    if (config.codec.kind, config.text.kind) != ("stacked2d", "bert"):
        raise ConfigError(
            f"config '{config.name}' wants codec '{config.codec.kind}' and text "
            f"'{config.text.kind}'; checkpoint folders hold 'stacked2d' and 'bert' (preset tiny)"
        )
    codec = StackedCodec(config.codec)
    text = InstructionEncoder(config.text, load_tokenizer(folder))
    generator = MultiViewGenerator(config)
    trajectory = TrajectoryVae(config.trajectory, len(config.joint_names))
    for name, module in (
        ("codec", codec),
        ("text", text),
        ("generator", generator),
        ("trajectory", trajectory),
    ):
        path = folder / f"{name}.safetensors"
        try:
            module.load_state_dict(load_file(path))
        except (RuntimeError, OSError, SafetensorError) as error:
            raise WeightsError(f"{path} does not fit its config.json: {error}") from None
        module.eval().requires_grad_(False)
    if compute.explicit_attention:
        generator.use_explicit_attention()
    codec.channels_last()
    return Networks(codec, text, generator, trajectory, refiner)


def load_planner(
    checkpoint: Path,
    rig: RigCalibration,
    arm: ArmModel,
    clock: Clock,
    compute: Compute | None = None,
) -> WorldModelPlanner:
    """Verify and load a checkpoint folder; `compute` None chooses by what the processor can.

    Raises:
        WeightsError: missing, truncated or altered files. ConfigError: a config that does not fit.
    """
    sha = weights.verify(checkpoint)
    config, templates = load_config(checkpoint / "config.json")
    has_refiner = (checkpoint / "refine.safetensors").is_file()
    refiner = load_refiner(checkpoint) if has_refiner else None
    compute = compute or choose()
    networks = build_networks(config, checkpoint, refiner, compute)
    return WorldModelPlanner(config, templates, networks, rig, arm, clock, sha, compute)
