"""The motion that an RGB-D future shows, read off its latents and cameras: the action head of
+ActionInit, where a checkpoint has one.

Not the paper's, whose head shares the generator's hidden tokens (Sec. 4.3): those of a small
generator say where the words lead, and next to nothing of the path that a film shows (`tiny_views`
followed a filmed style in 4 of 16 by `mvista eval follow --action-head generator`). Here each
view's latents say in which cell, and where along its ray, the finger tip is at each picture;
calibrated cameras bring that into the base frame together, and queries read the rest of z from all
cells. No words are heard: what was imagined decides.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from mvista_core.camera_range import TRAINED
from mvista_core.errors import ConfigError
from mvista_world.codec import ResBlock
from mvista_world.config import ModelConfig
from mvista_world.described import DescribedFiles, halved
from mvista_world.layout import from_grid
from mvista_world.views import ViewCameras

READER = DescribedFiles("motion reader", "reader.safetensors", "reader.json", "mvista train reader")
MIDDLE_M, SPREAD_M = 0.7, 0.2
"""Depths of tips before training, and their unit."""
RAY = 6
"""Numbers that tell a cell's ray: its direction and the camera's place."""
TIP = 4
"""Numbers of a tip in a cell: offsets in cells, depth, and how far the view is believed."""


@dataclass(frozen=True)
class ReaderConfig:
    """Sizes of the reader (our choice): `width` of features, `blocks` of convolutions over a
    view's cells, `layers` and `heads` of the decoder whose queries become z's tokens."""

    width: int = 128
    blocks: int = 3
    layers: int = 3
    heads: int = 4

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 1 or self.width % self.heads or self.width % 8:
            raise ConfigError(
                f"sizes of the reader must be positive, its width a multiple of 8 and of heads: "
                f"{self}"
            )


@dataclass(frozen=True)
class MotionReading:
    """z [B, S, C], and what training holds to the truth besides: `places` [B, V, K, h*w], in which
    cell the tip is at each picture after the first (logits); `seen_m` [B, V, K, 3] where it is by
    each view alone, and `tips_m` [B, K, 3] by all, base frame."""

    z: torch.Tensor
    places: torch.Tensor
    seen_m: torch.Tensor
    tips_m: torch.Tensor


class MotionReader(nn.Module):
    """Latents of any number of calibrated views to z."""

    centre_m: torch.Tensor

    def __init__(self, model: ModelConfig, own: ReaderConfig) -> None:
        super().__init__()
        self.config = own
        trajectory, width = model.trajectory, own.width
        self._parts = model.transformer.patch[1:]
        self.pictures = model.frame_count - 1
        shown = 2 * model.codec.latent_channels * model.latent_frames
        self.embed = nn.Conv2d(shown + RAY, width, 1)
        self.blocks = nn.Sequential(*(ResBlock(width) for _ in range(own.blocks)))
        self.place = nn.Conv2d(width, self.pictures, 1)
        self.tip = nn.Conv2d(width, TIP * self.pictures, 1)
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(trajectory.tokens, width) * 0.1)
        self.joints = nn.Linear(len(model.joint_names), width)
        self.track = nn.Sequential(
            nn.Linear(3 * self.pictures, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, trajectory.tokens * width),
        )
        layer = nn.TransformerDecoderLayer(
            width, own.heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, own.layers, nn.LayerNorm(width))
        self.project = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, trajectory.channels)
        )
        self.register_buffer("centre_m", torch.tensor(TRAINED.centre_m, dtype=torch.float32))

    def forward(
        self, grid: torch.Tensor, cameras: ViewCameras, joints: torch.Tensor
    ) -> MotionReading:
        """grid [B, C, T', V*h, 2*w] of the cameras' views; joints [B, J] before the motion."""
        latents = from_grid(grid.float(), cameras.views)
        batch, views, *_, height, width = latents.shape
        # Millimetres are lost in half precision: what lies where is computed in full.
        with torch.autocast(grid.device.type, enabled=False):
            rays = self._rays(cameras, height, width)
        away = (rays.centres - self.centre_m)[:, :, None].expand_as(rays.of_cells)
        told = torch.cat([rays.of_cells, away], dim=-1).unflatten(2, (height, width))
        # B V M C T h w -> (B V) (M T C) h w
        shown = latents.transpose(3, 4).flatten(0, 1).flatten(1, 3)
        cells = torch.cat([shown, told.flatten(0, 1).permute(0, 3, 1, 2)], dim=1)
        seen = self.blocks(self.embed(cells))
        places = self.place(seen).reshape(batch, views, self.pictures, -1)
        tips = self.tip(seen).reshape(batch, views, self.pictures, TIP, -1)
        with torch.autocast(grid.device.type, enabled=False):
            places = places.float()
            seen_m, tips_m = _tips(places, tips.float(), rays)
        track = self.track(((tips_m - self.centre_m) / SPREAD_M).flatten(1))
        start = self.queries + self.joints(joints.float())[:, None]
        start = start + track.view_as(start)
        memory = self.norm(seen.flatten(2).transpose(1, 2)).unflatten(0, (batch, views))
        z = self.project(self.decoder(start, memory.flatten(1, 2))).float()
        return MotionReading(z, places, seen_m, tips_m)

    def _rays(self, cameras: ViewCameras, height: int, width: int) -> _Rays:
        parts_down, parts_across = self._parts
        k = cameras.intrinsics.float()[..., None, None]
        # Intrinsics are in pixels of the token grid, whose integers are centres.
        u = (torch.arange(width, device=k.device) + 0.5) / parts_across - 0.5
        v = (torch.arange(height, device=k.device) + 0.5) / parts_down - 0.5
        x = ((u - k[:, :, 0, 2]) / k[:, :, 0, 0]).expand(-1, -1, height, -1)
        y = ((v[:, None] - k[:, :, 1, 2]) / k[:, :, 1, 1]).expand(-1, -1, -1, width)
        local = torch.stack([x, y, torch.ones_like(x)], dim=-1).flatten(2, 3)
        rotation, centre = cameras.base_from_camera[:, :, :3].float().split([3, 1], dim=-1)
        return _Rays(
            torch.einsum("bvij,bvnj->bvni", rotation, local),
            centre[..., 0],
            rotation[..., 0] / (parts_across * k[:, :, 0, 0, 0]),
            rotation[..., 1] / (parts_down * k[:, :, 1, 1, 0]),
        )


@dataclass(frozen=True)
class _Rays:
    """Base frame: what a metre of depth is along the ray of each cell [B, V, h*w, 3], the cameras'
    centres [B, V, 3], and by how much a ray changes from a cell to the next, right and down."""

    of_cells: torch.Tensor
    centres: torch.Tensor
    right: torch.Tensor
    down: torch.Tensor


def _tips(
    places: torch.Tensor, found: torch.Tensor, rays: _Rays
) -> tuple[torch.Tensor, torch.Tensor]:
    """Base frame, at each picture: tips by each view [B, V, K, 3] and by all of them [B, K, 3], of
    the cells they are in (logits [B, V, K, h*w]) and what each cell says [B, V, K, TIP, h*w]."""
    share = places.softmax(dim=-1)
    across, along, depth, belief = torch.einsum("bvkn,bvkfn->fbvk", share, found)[..., None]
    ray = torch.einsum("bvkn,bvnc->bvkc", share, rays.of_cells)
    ray = ray + across * rays.right[:, :, None] + along * rays.down[:, :, None]
    seen_m = rays.centres[:, :, None] + ray * (MIDDLE_M + SPREAD_M * depth)
    return seen_m, (seen_m * belief.softmax(dim=1)).sum(dim=1)


@dataclass(frozen=True)
class Watched:
    """A future [1, C, T', V*h, 2*w] before a reader: every view that there is of it, by its camera,
    and joint positions [1, J] before the motion."""

    reader: MotionReader
    grid: torch.Tensor
    cameras: ViewCameras
    joints: torch.Tensor

    @torch.no_grad()
    def read(self) -> torch.Tensor:
        """z [1, S, C] of the motion that it shows; in full precision, which costs next to
        nothing."""
        with torch.autocast(self.grid.device.type, enabled=False):
            found: MotionReading = self.reader(self.grid, self.cameras, self.joints)
        return found.z


def save_reader(model: MotionReader, directory: Path) -> Path:
    """Write weights (float16) and description (config and sha256); returns the former."""
    return READER.save(halved(model.state_dict()), asdict(model.config), directory)


def load_reader(directory: Path, model: ModelConfig) -> MotionReader:
    """Read what `save_reader` wrote, frozen and in evaluation mode.

    Raises:
        WeightsError: a file is missing, truncated or altered, or fits not its description or not
            the model.
    """
    reader = READER.load(directory, lambda sizes: MotionReader(model, ReaderConfig(**sizes)))
    return reader.requires_grad_(False)
