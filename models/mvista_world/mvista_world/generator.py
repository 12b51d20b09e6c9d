"""The multi-view RGB-D generator: diffusers' WanTransformer3DModel and what the paper adds to it.

Added per token: modality token, camera token, what the source shows of its place and where that
lies. Added per block (`block`): fusion of modalities and views before self-attention, style
cross-attention after the block. Added once: the pooled instruction in the modulation and the
latent-consistency head.
Everything added starts at zero, so the backbone's own output is where training starts; only where
it is told what the source shows is that output the difference from there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import nn

from mvista_core.errors import ConfigError
from mvista_world.arm_points import ArmDrawing
from mvista_world.attention import ExplicitAttention, cross_attention, layer_norm, zeroed
from mvista_world.block import (
    BlockContext,
    BlockInputs,
    EveryToken,
    KnownTokens,
    MultiViewBlock,
)
from mvista_world.config import ADDED, FUSION, ModelConfig
from mvista_world.joined_depth import JoinedDepth
from mvista_world.layout import token_owner
from mvista_world.modality import TokenIdentity
from mvista_world.source_points import SourcePoints
from mvista_world.source_render import SourceRender
from mvista_world.speed import Speed
from mvista_world.views import TokenGrid, ViewCameras, token_geometry

TIME_SCALE = 1000.0
OF_LATENTS = ("style_in", "null_style", "head.project.3", "arm_points.decoder")
"""What reads and writes z, and so has its shape."""
PARTS_OF = {"spherical": ("camera",), "latents": OF_LATENTS}
"""Of `config.RENEWABLE`, those that are called otherwise here."""


@dataclass(frozen=True)
class Conditions:
    """What the generator is told: text [B, n, text_dim], cameras of the views, style [B, S, C],
    what the source shows of the views [B, C + 5, 1, V*h, M*w]: latents, the share of each cell that
    it sees, and the depths of its quarters (`source_render`; None without), and joint positions
    [B, J] before the motion (`arm_points`; None without)."""

    text: torch.Tensor
    cameras: ViewCameras
    style: torch.Tensor
    shown: torch.Tensor | None = None
    joints: torch.Tensor | None = None

    def expand(self, samples: int) -> Conditions:
        """Those of one sample for `samples` of them."""
        return Conditions(
            self.text.expand(samples, -1, -1),
            self.cameras.expand(samples),
            self.style.expand(samples, -1, -1),
            None if self.shown is None else self.shown.expand(samples, -1, -1, -1, -1),
            None if self.joints is None else self.joints.expand(samples, -1),
        )

    def twice(self) -> Conditions:
        """Those of all samples, and the same again."""
        return Conditions(
            torch.cat([self.text, self.text]),
            self.cameras.twice(),
            torch.cat([self.style, self.style]),
            None if self.shown is None else torch.cat([self.shown, self.shown]),
            None if self.joints is None else torch.cat([self.joints, self.joints]),
        )


@dataclass(frozen=True)
class Prediction:
    """Velocity [B, C, T, V*h, M*w] and the final hidden tokens H_out [B, L, d]; of `joined_depth`
    half as many."""

    velocity: torch.Tensor
    hidden: torch.Tensor


@dataclass(frozen=True)
class Heard:
    """What words and style come to before any token is looked at: text features [B, n, d], the
    pooled instruction's share of the modulation [B, 6 d], style [B, S, d], and per block the keys
    and values of both, where they are kept."""

    text: torch.Tensor
    instruction: torch.Tensor
    style: torch.Tensor
    blocks: tuple[BlockContext, ...] = ()


class KeptContext:
    """`Heard` of one run of a solver, which tells the generator the same at every step."""

    def __init__(self) -> None:
        self.conditions: Conditions | None = None
        self.heard: Heard | None = None


class ConsistencyHead(nn.Module):
    """Proj(H_out) -> z [B, S, C] (Sec. 4.3): attention pooling with one query per style token.

    Trained on null samples too, so that it reads z off a rollout it was not told: this is the
    action head of +ActionInit, and adds no module.
    """

    def __init__(self, dim: int, heads: int, tokens: int, channels: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(tokens, dim) * dim**-0.5)
        self.norm = nn.LayerNorm(dim)
        self.attention = cross_attention(dim, heads)
        self.project = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, channels)
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        # A query per style token finds where in the rollout its stretch of the motion shows.
        queries = self.queries.expand(hidden.shape[0], -1, -1)
        pooled = queries + self.attention(queries, layer_norm(self.norm, hidden), None, None)
        return self.project(pooled)


class MultiViewGenerator(nn.Module):
    """v_Theta of Eq. 2 over V views x M modalities laid out on one latent grid."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.speed = Speed()
        trajectory = config.trajectory
        dim, heads = config.inner_dim, config.transformer.num_attention_heads
        self.backbone = make_backbone(config)
        # All that is added starts without effect (zero outputs): training departs from what the
        # backbone can do, and weights of Wan2.2 load as they are.
        self.identity = TokenIdentity(dim, config.flat_cameras)
        render = config.source_render
        self.source_render = None if render is None else SourceRender(config, render)
        points = config.source_points
        self.source_points = None if points is None else SourcePoints(config, points)
        arm = config.arm_points
        self.arm_points = None if arm is None else ArmDrawing(config, arm)
        self.joined_depth = JoinedDepth(dim) if config.joined_depth else None
        self.style_in = nn.Linear(trajectory.channels, dim)
        # z's tokens are ordered in time, which attention by itself does not see.
        self.style_position = nn.Parameter(torch.randn(trajectory.tokens, dim) * 0.02)
        # Learned, not zeros: "nothing is told" must differ from the mean trajectory.
        self.null_style = nn.Parameter(torch.zeros(trajectory.tokens, trajectory.channels))
        self.instruction_gate = zeroed(nn.Linear(dim, 6 * dim))
        self.head = ConsistencyHead(dim, heads, trajectory.tokens, trajectory.channels)
        self.register_load_state_dict_pre_hook(_style_into_blocks)

    def use_explicit_attention(self, explicit: bool = True) -> None:
        """Switch every attention module to the one written out, or back to diffusers' fused kernel
        (same weights, same result)."""
        for module in self.modules():
            if isinstance(module, WanAttention):
                module.processor = ExplicitAttention() if explicit else WanAttnProcessor()

    def close_instruction_gate(self) -> None:
        """Take the pooled instruction out of the modulation, in training too: it stays at zero."""
        nn.init.zeros_(self.instruction_gate.weight)
        nn.init.zeros_(self.instruction_gate.bias)
        self.instruction_gate.requires_grad_(False)

    def null(self, batch: int) -> torch.Tensor:
        """The null trajectory token as style [B, S, C]."""
        return self.null_style.expand(batch, -1, -1)

    def start_from(self, weights: Mapping[str, torch.Tensor], renewed: Sequence[str] = ()) -> None:
        """Load weights to train on from; a module of `FUSION` that they lack stays at zero, as does
        `flat_cameras` in the place of Eq. 7's token (the other way round is refused). Without
        `source_render` their output was the velocity itself: it begins at zero too. `joined_depth`
        begins with the mean of both maps. What reads and writes z begins anew where the weights'
        z is the TCN-VAE's and this model's is of actions (the other way round is refused).

        Of `ADDED`, those that this model is without are left behind, and the `renewed`, of
        `RENEWABLE`, begin anew, whatever the weights had learnt.

        Raises:
            RuntimeError: any other key is missing, or one is unknown or of another shape.
        """
        renewed = [part for name in renewed for part in PARTS_OF.get(name, (name,))]
        if self.config.lacks("tcn_vae") and weights["null_style"].shape != self.null_style.shape:
            renewed += OF_LATENTS
        dropped = [*renewed, *(name for name in ADDED if self.config.lacks(name))]
        if self.config.flat_cameras:
            dropped.append("camera")
        kept = {key: value for key, value in weights.items() if not _within(key, dropped)}
        replaced = (*FUSION, "flat_camera", "joined_depth", *renewed)
        lacking = [name for name in replaced if not any(_within(key, [name]) for key in kept)]
        fresh = {key: value for key, value in self.state_dict().items() if _within(key, lacking)}
        if self.source_render is not None and "source_render" in lacking:
            output = self.backbone.proj_out.state_dict(prefix="backbone.proj_out.")
            fresh |= {key: torch.zeros_like(value) for key, value in output.items()}
        self.load_state_dict({**kept, **fresh})

    def forward(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        clean: torch.Tensor,
        conditions: Conditions,
        kept: KeptContext | None = None,
    ) -> Prediction:
        """One evaluation.

        Args:
            x: latents [B, C, T, V*h, M*w]; known tokens hold clean latents.
            t: noise level [B] in [0, 1] of the unknown tokens.
            clean: bool [L] or [B, L]; known tokens, whose time is zero.
            conditions: text, cameras, style, what the source shows.
            kept: of evaluations before this one under the same `conditions`; filled by the first.

        Raises:
            ConfigError: x is no grid of the views that the cameras are of, something would be kept
                that gradients are taken through, or what the source shows is not told.
        """
        backbone, cameras = self.backbone, conditions.cameras
        # Weights say in which numbers: bf16 ones take what they are given in float32.
        number = backbone.patch_embedding.weight.dtype
        volume = backbone.patch_embedding(x.to(number))
        grid = self._grid(cameras.views, volume.shape[2:])
        tokens = self._told(volume, grid, conditions)
        held, laid_out = grid, x
        if self.joined_depth is not None:
            tokens, clean, held = self.joined_depth.together(tokens, clean, grid)
            laid_out = x[..., : x.shape[-1] // 2]
        rotary = backbone.rope(laid_out)
        heard = self._hear(conditions, number, kept)
        temb, modulation = self._embed(t, clean, heard.instruction, number)
        known = KnownTokens(clean) if self.speed.distinct_times else EveryToken(clean)
        geometry = token_geometry(cameras, held, self.config.cross_modality, self.config.cross_view)
        told = BlockInputs(heard.text, modulation, rotary, heard.style, known, geometry)
        keep_nothing = backbone.gradient_checkpointing and torch.is_grad_enabled()
        for k, block in enumerate(backbone.blocks):
            if heard.blocks:
                told = replace(told, context=heard.blocks[k])
            if keep_nothing:
                tokens = backbone._gradient_checkpointing_func(block, tokens, told)
            else:
                tokens = block(tokens, told)
        hidden = layer_norm(backbone.norm_out, tokens)
        shift, scale = (backbone.scale_shift_table[:, None] + temb[:, :, None]).unbind(2)
        finished = known.affine(hidden, scale, shift)
        if self.joined_depth is not None:
            finished = self.joined_depth.apart(finished, grid)
        found = self._unpatchify(backbone.proj_out(finished), volume.shape[2:])
        if self.source_render is not None and conditions.shown is not None:
            found = self.source_render.velocity(found, x, t, conditions.shown)
        return Prediction(found, hidden)

    def _told(self, volume: torch.Tensor, grid: TokenGrid, conditions: Conditions) -> torch.Tensor:
        """Tokens [B, L, d] of embedded patches, and of what each of them is told of its place."""
        cameras, number = conditions.cameras, self.backbone.patch_embedding.weight.dtype
        tokens = volume.flatten(2).transpose(1, 2).contiguous()
        tokens = self.identity(tokens, *self._owners(grid), cameras.embedding.to(number))
        if self.source_render is not None:
            tokens = self.source_render(tokens, conditions.shown, volume.shape[2])
        if self.source_points is not None and conditions.shown is not None:
            tokens = self.source_points(tokens, conditions.shown, cameras, grid)
        if self.arm_points is not None:
            moving = conditions.style, self.null_style, conditions.joints
            tokens = self.arm_points(tokens, *moving, cameras, grid)
        return tokens

    def _grid(self, views: int, volume: torch.Size) -> TokenGrid:
        frames, height, width = volume
        rows, columns = self.config.token_grid
        if height != views * rows or width % columns:
            raise ConfigError(
                f"{height}x{width} tokens are not {views} views of {rows}x{columns} each, maps "
                "side by side: latents and cameras are of other views, or of another model's window"
            )
        return TokenGrid(views, width // columns, frames, rows, columns)

    def _owners(self, grid: TokenGrid) -> tuple[torch.Tensor, torch.Tensor]:
        view, modality, _ = token_owner(
            grid.views, grid.modalities, grid.frames, grid.rows, grid.columns
        )
        device = self.null_style.device
        return view.to(device), modality.to(device)

    def _hear(self, conditions: Conditions, number: torch.dtype, kept: KeptContext | None) -> Heard:
        if kept is not None:
            if torch.is_grad_enabled():
                raise ConfigError(
                    "keys and values of text and style are kept over a solver's steps only: under "
                    "autograd they would hold the first step's graph; call with torch.no_grad(), "
                    "or kept=None"
                )
            if kept.heard is not None and kept.conditions is conditions:
                return kept.heard
        text = conditions.text.to(number)
        features = self.backbone.condition_embedder.text_embedder(text)
        # Padding is zero in Wan's text features, and must not thin the mean of the words.
        present = (text.abs().sum(dim=-1, keepdim=True) > 0).to(features.dtype)
        pooled = (features * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
        style = self.style_in(conditions.style.to(number)) + self.style_position
        heard = Heard(features, self.instruction_gate(pooled), style)
        if kept is not None:
            blocks = tuple(block.context(features, style) for block in self.backbone.blocks)
            heard = replace(heard, blocks=blocks)
            kept.conditions, kept.heard = conditions, heard
        return heard

    def _embed(
        self, t: torch.Tensor, clean: torch.Tensor, instruction: torch.Tensor, number: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """temb [B, 2, d] and modulation [B, 2, 6, d] for the times (t, 0); of each token where
        times are not told apart."""
        # Given tokens are at time zero, the others at t (App. A): two times serve all of them.
        times = torch.stack([t, torch.zeros_like(t)], dim=1)
        if not self.speed.distinct_times:
            times = torch.where(clean, torch.zeros_like(t)[:, None], t[:, None])
        embedder = self.backbone.condition_embedder
        waves = embedder.timesteps_proj((times * TIME_SCALE).flatten()).unflatten(0, times.shape)
        own = next(embedder.time_embedder.parameters()).dtype
        temb = embedder.time_embedder(waves.to(own)).to(number)
        modulation = embedder.time_proj(embedder.act_fn(temb)) + instruction.unsqueeze(1)
        return temb, modulation.unflatten(2, (6, -1))

    def _unpatchify(self, tokens: torch.Tensor, grid: torch.Size) -> torch.Tensor:
        p_t, p_h, p_w = self.config.transformer.patch
        frames, height, width = grid
        x = tokens.reshape(tokens.shape[0], frames, height, width, p_t, p_h, p_w, -1)
        # Each axis of the grid beside its share of the patch: the inverse of the patch embedding.
        x = x.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def _within(key: str, names: Sequence[str]) -> bool:
    """Whether a weight is of one of these modules, or one of these itself."""
    return any(f".{name}." in f".{key}." for name in names)


def make_backbone(config: ModelConfig) -> WanTransformer3DModel:
    """diffusers' model and keys, its blocks `MultiViewBlock`s."""
    t = config.transformer
    # Without blocks of its own first: at full size they would be 10 GB for nothing.
    backbone = WanTransformer3DModel(
        patch_size=t.patch,
        num_attention_heads=t.num_attention_heads,
        attention_head_dim=t.attention_head_dim,
        in_channels=config.codec.latent_channels,
        out_channels=config.codec.latent_channels,
        text_dim=config.text.hidden,
        freq_dim=t.freq_dim,
        ffn_dim=t.ffn_dim,
        num_layers=0,
        qk_norm=t.qk_norm,
    )
    backbone.blocks = nn.ModuleList([MultiViewBlock(config) for _ in range(t.num_layers)])
    backbone.register_to_config(num_layers=t.num_layers)
    # What diffusers compiles by the block, and keeps on one device.
    backbone._repeated_blocks = backbone._no_split_modules = [MultiViewBlock.__name__]
    return backbone


def style_into_blocks(weights: dict[str, torch.Tensor], prefix: str = "") -> None:
    """Weights saved up to 0.1.0 have each block's style attention beside the backbone."""
    beside = re.compile(re.escape(prefix) + r"style\.(\d+)\.")
    for key in [key for key in weights if beside.match(key)]:
        weights[beside.sub(rf"{prefix}backbone.blocks.\1.style.", key)] = weights.pop(key)


def _style_into_blocks(
    module: nn.Module, weights: dict[str, torch.Tensor], prefix: str, *_: object
) -> None:
    style_into_blocks(weights, prefix)
