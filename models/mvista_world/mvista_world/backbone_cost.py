"""What a model of any size costs on this machine, on random weights: no checkpoint is needed.

Times are measured. A floor stands beside them: the products that the networks must do, over the
speed at which this machine multiplies matrices of their shape. It is an estimate, and no plan is
faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mvista_core.ports import Clock
from mvista_core.records import RigCalibration
from mvista_core.timing import ns_to_seconds
from mvista_world.cameras import check_cameras, window_cameras
from mvista_world.codec import WanCodec
from mvista_world.compiled import apply_blocks
from mvista_world.compute import Compute
from mvista_world.config import ModelConfig
from mvista_world.generator import Conditions, KeptContext, MultiViewGenerator
from mvista_world.latent_optimisation import Evidence, optimise_latent
from mvista_world.layout import SHOWN_BESIDE, clean_mask
from mvista_world.parts import frozen, weight_number
from mvista_world.view_passes import ViewPass
from mvista_world.views import ViewCameras
from mvista_world.wan import vae_config

PATTERN = 1 << 20
"""So many random numbers fill all weights, again and again: drawing billions takes minutes."""


@dataclass(frozen=True)
class BackboneCost:
    """Seconds of each part, floating-point operations, and memory.

    `guided_s` is of one evaluation with words and without in one batch, text and style kept as a
    solver keeps them. `forward_flop` is of one evaluation, `block_flop` of one of its blocks;
    `step_flop` of one step of Eq. 11, to which another layer adds `step_blocks` blocks.
    `matrix_flops` is what this machine reaches in products of the block's shape.
    """

    parameters: int
    tokens: int
    forward_s: float
    guided_s: float
    step_s: float
    encode_s: float
    decode_s: float
    forward_flop: float
    block_flop: float
    step_flop: float
    step_blocks: int
    matrix_flops: float
    peak_bytes: int

    def floor_s(self, forwards: int, steps: int, layers: int, depth: int) -> float:
        """Least seconds for `forwards` evaluations and `steps` of Eq. 11 at `depth` layers, from
        a measurement at `layers`: an estimate."""
        deeper = (depth - layers) * self.block_flop
        step = self.step_flop + self.step_blocks * deeper
        return (forwards * (self.forward_flop + deeper) + steps * step) / self.matrix_flops


@dataclass(frozen=True)
class Measuring:
    """Where and how often; the first run of each part is apart, unless there is only one."""

    compute: Compute
    clock: Clock
    repeats: int

    def seconds(self, work: Callable[[], object]) -> float:
        """The median."""
        if self.repeats > 1:
            work()
        taken = []
        for _ in range(self.repeats):
            began_ns = self._now_ns()
            work()
            taken.append(self._now_ns() - began_ns)
        return ns_to_seconds(round(median(taken)))

    def _now_ns(self) -> int:
        """When all that was asked of the device is done."""
        self.compute.wait()
        return self.clock.monotonic_ns()


def measure_cost(
    config: ModelConfig,
    rig: RigCalibration,
    views: int,
    measuring: Measuring,
    checkpointing: bool = False,
    compiled: bool = False,
) -> BackboneCost:
    """Times evaluations, steps of Eq. 11 and codings of `views` of the rig's cameras.

    `checkpointing` computes each block again in the backward pass instead of keeping it, `compiled`
    is `Speed.compiled`.

    Raises:
        ObservationError, RigError: the rig's cameras do not fit the model's window.
        ConfigError: more views than the model takes, or nothing to compile with.
    """
    compute = measuring.compute
    generator = random_generator(config, compute)
    if checkpointing:
        generator.backbone.enable_gradient_checkpointing()
    told, x, clean = _inputs(config, rig, compute, views)
    forward, guided, step = _works(config, generator, compute, told, x, clean)
    forward_flop, block_flop = _flop(forward)
    step_flop, _ = _flop(step)
    if compiled:
        apply_blocks(generator, compute)
        for work in (forward, guided, step):
            work()  # compiles, for the sizes that it meets
    forward_s, guided_s, step_s = map(measuring.seconds, (forward, guided, step))
    return BackboneCost(
        sum(p.numel() for p in generator.parameters()),
        len(clean),
        forward_s,
        guided_s,
        step_s,
        *_coding(config, measuring),
        forward_flop,
        block_flop,
        step_flop,
        # Forward, and backward through what it was made of: the weights are frozen.
        (3 if checkpointing else 2) * config.optimisation.draws,
        matrix_speed(config, measuring, len(clean)),
        compute.peak_bytes(),
    )


def _works(
    config: ModelConfig,
    generator: MultiViewGenerator,
    compute: Compute,
    told: Conditions,
    x: torch.Tensor,
    clean: torch.Tensor,
) -> tuple[Callable[[], None], Callable[[], None], Callable[[], None]]:
    """An evaluation, one with guidance, and a step of Eq. 11."""
    t = torch.full((1,), 0.7, device=compute.device)

    def forward() -> None:
        with torch.no_grad(), compute.autocast():
            generator(x, t, clean, told)

    twice, kept = told.expand(2), KeptContext()

    def guided() -> None:
        with torch.no_grad(), compute.autocast():
            generator(x.expand(2, -1, -1, -1, -1), t.expand(2), clean, twice, kept)

    def step() -> None:
        weight, rng = torch.ones(1, device=compute.device), torch.Generator().manual_seed(0)
        evidence = Evidence(x, clean, told.cameras, told.text, weight, told.shown)
        with compute.autocast():
            optimise_latent(generator, evidence, told.style, 1, 0.1, config.optimisation, rng)

    return forward, guided, step


def random_generator(config: ModelConfig, compute: Compute) -> MultiViewGenerator:
    """A generator of the config on the device, in the numbers a planner holds it in."""
    with init_empty_weights():
        generator = MultiViewGenerator(config)
    _fill(generator, compute, lambda key: weight_number(config, compute, key))
    return frozen(generator, compute)


def _fill(module: nn.Module, compute: Compute, number_of: Callable[[str], torch.dtype]) -> None:
    rng = torch.Generator().manual_seed(0)
    pattern = torch.randn(PATTERN, generator=rng)
    for key, empty in list(module.named_parameters()):
        fan_in = max(empty[0].numel(), 1) if empty.ndim > 1 else 1
        flat = torch.empty(empty.numel(), dtype=number_of(key), device=compute.device)
        for start in range(0, len(flat), PATTERN):
            part = flat[start : start + PATTERN]
            part.copy_(pattern[: len(part)] * fan_in**-0.5)
        if empty.ndim == 1:
            flat.fill_(1.0 if key.endswith("weight") else 0.0)
        module.load_state_dict({key: flat.view(empty.shape)}, strict=False, assign=True)


def _inputs(
    config: ModelConfig, rig: RigCalibration, compute: Compute, views: int
) -> tuple[Conditions, torch.Tensor, torch.Tensor]:
    poses, k = window_cameras(rig.cameras, config.window)
    check_cameras(rig.names[:views], poses[:views], k[:views], config.window)
    whole = ViewCameras.of(poses[None], k[None], config)
    rng = torch.Generator().manual_seed(1)
    rows, columns = config.latent_size
    shape = (1, config.codec.latent_channels, config.latent_frames, views * rows, 2 * columns)
    # As many words as the encoder pads to: padding is computed like any word.
    text = torch.randn(1, config.text.max_tokens, config.text.hidden, generator=rng)
    z = config.trajectory
    style = torch.randn(1, z.tokens, z.channels, generator=rng)
    shown = None
    if config.source_render is not None:
        shown = torch.rand(1, shape[1] + SHOWN_BESIDE, 1, *shape[3:], generator=rng)
        shown = shown.to(compute.device)
    told = Conditions(
        text.to(compute.device),
        whole.pick(0, [list(range(views))]).to(compute.device),
        style.to(compute.device),
        shown,
        torch.zeros(1, len(config.joint_names), device=compute.device),
    )
    x = torch.randn(shape, generator=rng).to(compute.device)
    given = ViewPass(tuple(range(views)), 0).known(config.latent_frames)
    return told, x, clean_mask(given, config.token_grid).to(compute.device)


def _coding(config: ModelConfig, measuring: Measuring) -> tuple[float, float]:
    """Seconds to encode one frame and to decode one video: a view has two of each."""
    compute = measuring.compute
    with init_empty_weights():
        vae = AutoencoderKLWan.from_config(vae_config(config.codec))
    _fill(vae, compute, lambda key: torch.float32)
    codec = frozen(WanCodec(vae), compute)
    size = (config.window.height_px, config.window.width_px)
    frame = torch.zeros(1, 3, 1, *size, device=compute.device)
    shape = (1, config.codec.latent_channels, config.latent_frames, *config.latent_size)
    latents = torch.zeros(shape, device=compute.device)

    def encode() -> None:
        with torch.no_grad():
            codec.encode(frame)

    def decode() -> None:
        with torch.no_grad():
            codec.decode(latents)

    return measuring.seconds(encode), measuring.seconds(decode)


def matrix_speed(config: ModelConfig, measuring: Measuring, tokens: int) -> float:
    """Floating-point operations a second of the block's largest product, tokens x d x ffn."""
    compute = measuring.compute
    d, ffn = config.inner_dim, config.transformer.ffn_dim
    # The empty key is of no part that stays in float32: the numbers of most weights.
    number = weight_number(config, compute, "")
    a = torch.ones(tokens, d, dtype=number, device=compute.device)
    b = torch.ones(d, ffn, dtype=number, device=compute.device)
    return 2 * tokens * d * ffn / measuring.seconds(lambda: a @ b)


def _flop(work: Callable[[], object]) -> tuple[float, float]:
    """Operations of all, and of the first block."""
    with FlopCounterMode(display=False) as counter:
        work()
    blocks = [
        sum(counts.values())
        for name, counts in counter.get_flop_counts().items()
        if name.endswith("blocks.0")
    ]
    return float(counter.get_total_flops()), float(blocks[0] if blocks else 0)
