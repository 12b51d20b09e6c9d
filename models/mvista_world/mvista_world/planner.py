"""The planner's port, and the rollouts it holds: the one place that composes the stages.

Implements `mvista_core.ports.Planner` on NumPy records; torch stays inside.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mvista_core import instructions
from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError, RigError, RolloutError
from mvista_core.ports import Clock, Progress
from mvista_core.records import (
    AS_NEEDED,
    AS_TRAINED,
    STEPS_AS_USUAL,
    ActionTrajectory,
    CameraCalibration,
    Doubt,
    Float32,
    ImagineOptions,
    InferredPlan,
    JointState,
    Observation,
    Provenance,
    RigCalibration,
    Rollout,
)
from mvista_core.timing import ns_to_seconds
from mvista_world.action_head import read_latent
from mvista_world.checkpoint import Checkpoint, load_checkpoint
from mvista_world.choices import MethodChoices
from mvista_world.compute import Compute
from mvista_world.config import INITIALISATIONS
from mvista_world.decode import decode_actions, within_range
from mvista_world.denoise import solve_views
from mvista_world.encode import checked_depth, encode_shown, encode_source, source_mask
from mvista_world.gate import MOST_AS_NEEDED, check_comparable, enough, judged, likelihood
from mvista_world.generator import Conditions
from mvista_world.given import given_to, seen_of
from mvista_world.guidance import WordGuidance
from mvista_world.held import AskedFuture, HeldRollout, look, look_explained, proceed
from mvista_world.infer import infer_latent
from mvista_world.known_views import KnownViews
from mvista_world.latent_optimisation import Evidence, motion_weight
from mvista_world.pictures import Pictures, UnreadRollout, decoded_maps, described
from mvista_world.plausibility import doubts_of
from mvista_world.refine import refine
from mvista_world.requested_views import ViewFinder
from mvista_world.retouch import retouched
from mvista_world.speed import AS_USUAL, Running
from mvista_world.view_passes import take_views

KEPT_ROLLOUTS = 4
SEEDS = 2**32
"""A rollout's seed is a uint32 in messages."""


class WorldModelPlanner:
    """Imagines with the null style, then explains what it imagined (Sec. 4.4)."""

    def __init__(
        self, checkpoint: Checkpoint, rig: RigCalibration, arm: ArmModel, clock: Clock
    ) -> None:
        if checkpoint.generator.arm_points is not None:
            checkpoint.generator.arm_points.require(arm)
        self.config = checkpoint.config
        self.compute = checkpoint.compute
        self.templates = checkpoint.templates
        self.weights_sha256 = checkpoint.sha256
        self.gated = bool(checkpoint.gate_limits)
        self.held_bytes = checkpoint.held_bytes()
        self._checkpoint = checkpoint
        self._rig = rig
        self._arm = arm
        self._clock = clock
        self._held: OrderedDict[str, HeldRollout] = OrderedDict()
        known = [words for template in self.templates for words in instructions.expand(template)]
        # Eq. 11 is told the words of any task (`latent_optimisation`): all of them, encoded once.
        with torch.no_grad():
            self._words = checkpoint.text(known)
        self._guidance = WordGuidance.of(self.config.sampler, checkpoint.text)
        self._finder = ViewFinder(
            rig, checkpoint.trained_cameras, checkpoint.config, self.compute.device
        )

    def imagine(
        self,
        observation: Observation,
        source_camera: str,
        target_cameras: Sequence[str],
        seed: int,
        progress: Progress,
        options: ImagineOptions = AS_TRAINED,
    ) -> Rollout:
        """Text-only imagination of the source and target views and of the cameras that `options`
        bring, in the mode of `config.sampler` or of `options`. Weights without limits of a gate
        cannot be unsure: as many rollouts as needed are one.

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
        views = self._finder.find(source_camera, target_cameras, options)
        seen = checked_depth(observation.frame(source_camera))
        own = self.config.window.frame(seen)
        given = given_to(views, seen, own, self.config.window)
        asked = AskedFuture(seen, own, given, views, instruction, observation.joints)
        if options.best_of == 1 or (options.best_of == AS_NEEDED and not self.gated):
            return self._imagine(self._seen(asked, progress), seed, progress)
        return self._likeliest(asked, seed, options.best_of, progress)

    def latents(self, rollout_id: str) -> Float32:
        """What a held rollout is on the latent grid [1, C, T', V*h, 2*w] (of the explained views).

        Raises:
            RolloutError: the rollout is not held here.
        """
        return np.asarray(self._find(rollout_id).latents.float().cpu().numpy())

    def judge(self, rollout_id: str, plan: InferredPlan, progress: Progress) -> tuple[Doubt, ...]:
        """What speaks against a held future and the plan read from it, each number beside the
        limit of these weights (NaN where none was fitted).

        Raises:
            RolloutError: the rollout is not held here. CancelledError.
        """
        held = self._find(rollout_id)
        look(held.imagined, (0,), progress)
        proceed(progress, "judge", 0.0)
        told = self._read_hidden(held)
        window = self.config.window
        found = doubts_of(held.imagined, held.asked.observed, plan.refined, told, self._arm, window)
        proceed(progress, "judge", 1.0)
        return judged(found, self._checkpoint.gate_limits)

    def infer_actions(
        self, rollout_id: str, initialisation: str, steps: int, progress: Progress
    ) -> InferredPlan:
        """z* by Eq. 11 from one of `INITIALISATIONS`, decoded, refined.

        Zero steps decodes the start itself; `STEPS_AS_USUAL` are those of `config.optimisation`. Of
        a rollout of more views than the generator was trained on, as many as it was trained on are
        explained, the source first, or its vantage in its place.

        Raises:
            RolloutError: the rollout is not held here. ConfigError: unknown initialisation.
        """
        held = self._find(rollout_id)
        if initialisation not in INITIALISATIONS:
            raise ConfigError(f"initialisation '{initialisation}' is none of {INITIALISATIONS}")
        if steps == STEPS_AS_USUAL:
            steps = self.config.optimisation.steps_from(initialisation)
        evidence = self._evidence(held, steps, progress)
        proceed(progress, "action head", 0.0)
        with self.compute.autocast():
            found = infer_latent(
                self._checkpoint.generator,
                held.watched_by(self._checkpoint.reader),
                evidence,
                held.conditions,
                initialisation,
                steps,
                self.config.optimisation,
                torch.Generator().manual_seed(held.rollout.seed + 1),
                lambda fraction: proceed(progress, "optimise", fraction),
            )
        if self._checkpoint.refiner is not None:
            look(held.imagined, range(len(held.asked.views)), progress)
        proceed(progress, "refine", 0.0)
        provenance = Provenance(
            uuid.uuid4().hex[:12], self.weights_sha256, held.rollout.seed, initialisation, steps
        )
        prior = self._trajectory(found.z, held.asked.joints, provenance)
        first = self._trajectory(found.head, held.asked.joints, provenance)
        # Radians of the revolute joints alone: the gripper opens by metres.
        gap = float(np.abs(prior.positions - first.positions)[:, : len(self._arm.dh)].mean())
        refined = self._refine(held, prior)
        proceed(progress, "refine", 1.0)
        return InferredPlan(prior, refined, np.array(found.losses), gap)

    def _likeliest(
        self, asked: AskedFuture, first_seed: int, count: int, progress: Progress
    ) -> Rollout:
        """Of `count` rollouts by seed, the one whose reading by the action head is doubted least;
        `AS_NEEDED`: no more after one that is sure, or when they take long.

        Raises:
            ConfigError: these weights have no limits to compare them by. CancelledError.
        """
        check_comparable(self._checkpoint.gate_limits)
        asked = self._seen(asked, progress)
        best: tuple[tuple[int, float], Rollout] | None = None
        began_ns = self._clock.monotonic_ns()
        for k in range(count or MOST_AS_NEEDED):
            rollout = self._imagine(asked, (first_seed + k) % SEEDS, progress)
            # No step of Eq. 11 here: the search is for the one future that is taken.
            read = self.infer_actions(rollout.rollout_id, INITIALISATIONS[0], 0, progress)
            doubts = self.judge(rollout.rollout_id, read, progress)
            doubt = likelihood(doubts)
            if best is None or doubt < best[0]:
                best = doubt, rollout
            # The best so far outlives those after it.
            self._held.move_to_end(best[1].rollout_id)
            after_s = ns_to_seconds(self._clock.monotonic_ns() - began_ns)
            if count == AS_NEEDED and enough(doubts, after_s):
                break
        assert best is not None
        return described(best[1], imagined=k + 1)

    def _imagine(
        self,
        asked: AskedFuture,
        seed: int,
        progress: Progress,
        style: torch.Tensor | None = None,
    ) -> Rollout:
        """Solve from noise, told `style` or (None) the null style, and keep the latents, to be
        explained with the null style."""
        proceed(progress, "encode", 0.0)
        checkpoint, config, compute = self._checkpoint, self.config, self.compute
        views, runs = asked.views, asked.views.runs
        given = encode_source(checkpoint.codec, asked.given, len(views.grid), config, compute)
        # Drawn on the processor wherever the networks are: a seed is one imagination everywhere.
        noise = torch.randn(given.shape, generator=torch.Generator().manual_seed(seed))
        told = [self._conditions(asked, run.views) for run in runs]
        if style is not None:
            told = [replace(conditions, style=style) for conditions in told]

        def on_step(run: int, fraction: float) -> bool:
            if run == 0:
                return proceed(progress, "imagine", fraction)
            return proceed(progress, "complete", (run - 1 + fraction) / (len(runs) - 1))

        with torch.no_grad(), compute.autocast():
            latents = solve_views(
                checkpoint.generator,
                given,
                noise.to(compute.device),
                runs,
                told,
                config.sampler,
                on_step,
                self._guidance,
            )
        wanted = take_views(latents, len(views.grid), views.on_grid)
        described_as = asked.described(config, seed, self._clock.now_ns())
        pictures = self._pictures(wanted, views.calibrations)
        imagined = UnreadRollout.of(pictures, **described_as)
        held = self._explainable(imagined, asked, latents)
        pictures = retouched(pictures, checkpoint.retoucher, self._known(held), compute)
        shown = UnreadRollout.of(pictures, **described_as)
        self._keep(replace(held, rollout=shown))
        return shown

    def _pictures(self, latents: torch.Tensor, cameras: Sequence[CameraCalibration]) -> Pictures:
        lenses = [camera.intrinsics for camera in cameras]
        maps = decoded_maps(self._checkpoint.codec, latents, len(cameras), self.compute)
        return Pictures(maps, lenses, self.config)

    def _explainable(
        self, imagined: Rollout, asked: AskedFuture, latents: torch.Tensor
    ) -> HeldRollout:
        """A rollout, shown as it was imagined, as `infer_actions` explains it: with the latents of
        its grid."""
        views = asked.views
        # The generator explains no more views at once than it was trained on.
        explained = range(min(len(views), self.config.max_views))
        clean = source_mask(len(explained), self.config, self.compute)
        vantage = None
        if views.vantage is not None:
            first = take_views(latents, len(views.grid), [0])
            vantage = self._pictures(first, [views.vantage])
        conditions = self._conditions(asked, explained)
        part = take_views(latents, len(views.grid), explained)
        return HeldRollout(imagined, imagined, asked, part, clean, conditions, latents, vantage)

    def _keep(self, held: HeldRollout) -> None:
        """The oldest beyond `KEPT_ROLLOUTS` is dropped."""
        self._held[held.rollout.rollout_id] = held
        while len(self._held) > KEPT_ROLLOUTS:
            self._held.popitem(last=False)

    def _find(self, rollout_id: str) -> HeldRollout:
        held = self._held.get(rollout_id)
        if held is None:
            raise RolloutError(
                f"no rollout '{rollout_id}'; this planner holds {list(self._held)} "
                f"(the newest {KEPT_ROLLOUTS} are kept)"
            )
        return held

    def _evidence(self, held: HeldRollout, steps: int, progress: Progress) -> Evidence:
        """What Eq. 11 explains. It is weighed by pictures only where that is asked for."""
        literal = self.config.optimisation.literal
        weight = torch.ones(1)
        if steps and not literal:
            look_explained(held, progress)
            weight = motion_weight(*held.explained_pictures(), self.config)
        return Evidence(
            held.latents,
            held.clean,
            held.conditions.cameras,
            held.conditions.text if literal else self._words,
            weight.to(self.compute.device),
            held.conditions.shown,
            held.conditions.joints,
        )

    def _trajectory(
        self, z: torch.Tensor, joints: JointState, provenance: Provenance
    ) -> ActionTrajectory:
        config = self.config
        start = joints.ordered(config.joint_names)
        positions = decode_actions(self._checkpoint.trajectory, z, start, self._arm, config)
        due_s = config.episode.action_times_s
        return ActionTrajectory(config.joint_names, positions, due_s, provenance)

    def _refine(self, held: HeldRollout, prior: ActionTrajectory) -> ActionTrajectory:
        if self._checkpoint.refiner is None:
            return prior
        initial = held.asked.joints.ordered(self.config.joint_names)
        refined = refine(self._checkpoint.refiner, held.imagined, prior, initial, self._arm)
        # A closed gripper refined a micrometre below zero is a plan that the executor refuses.
        return replace(refined, positions=within_range(refined.positions, self._arm))

    def _read_hidden(self, held: HeldRollout) -> ActionTrajectory:
        """What the action head reads where the rollout is all noise (t = 1): of the words and the
        given first frame alone, a policy without imagination."""
        blind = replace(self.config.optimisation, head_t_low=1.0, head_t_high=1.0)
        rng = torch.Generator().manual_seed(held.rollout.seed + 1)
        told = held.latents, held.clean, held.conditions
        with self.compute.autocast():
            z = read_latent(self._checkpoint.generator, *told, blind, rng)
        provenance = Provenance("hidden", self.weights_sha256, held.rollout.seed)
        return self._trajectory(z, held.asked.joints, provenance)

    def _known(self, held: HeldRollout) -> KnownViews:
        reader = self._checkpoint.reader
        return KnownViews(held, reader, self._trajectory, self._arm, self.config)

    def _seen(self, asked: AskedFuture, progress: Progress) -> AskedFuture:
        """With what the source's window shows of the views, where the model is told."""
        proceed(progress, "encode", 0.0)
        if self.config.source_render is None:
            return asked
        drawn = seen_of(asked.views, asked.own, asked.given, self.config.window)
        told = encode_shown(self._checkpoint.codec, drawn, self.config, self.compute)
        return replace(asked, shown=told)

    def _conditions(self, asked: AskedFuture, chosen: Sequence[int]) -> Conditions:
        """Words, and of the chosen views cameras and what the source shows of them, with the null
        style: no motion is known."""
        checkpoint, views, shown = self._checkpoint, asked.views, asked.shown
        cameras = views.cameras.pick(0, [list(chosen)])
        if shown is not None:
            shown = take_views(shown, len(views.grid), chosen)
        text = self._text(asked.instruction)
        null = checkpoint.generator.null(1).detach()
        start = asked.joints.ordered(self.config.joint_names)
        joints = torch.from_numpy(start.astype(np.float32))[None].to(self.compute.device)
        return Conditions(text, cameras, null, shown, joints)

    def _text(self, instruction: str) -> torch.Tensor:
        with torch.no_grad():
            return self._checkpoint.text([instruction])


def load_planner(
    checkpoint: Path,
    rig: RigCalibration,
    arm: ArmModel,
    clock: Clock,
    compute: Compute | None = None,
    choices: MethodChoices | None = None,
    running: Running = AS_USUAL,
) -> WorldModelPlanner:
    """Verify and load a checkpoint folder; `compute` None chooses by what the processor can,
    `choices` None is the checkpoint's own method.

    Raises:
        WeightsError: missing, truncated or altered files. ConfigError: a config that does not fit.
    """
    loaded = load_checkpoint(checkpoint, compute, choices, running)
    return WorldModelPlanner(loaded, rig, arm, clock)
