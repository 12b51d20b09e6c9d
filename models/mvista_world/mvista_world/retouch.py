"""What decoding left of a view's pictures, corrected by what the source saw of it.

Not the paper's. A generator's latents hold an eighth of the pixels and are one of many futures: its
pictures are soft where the source shows every detail, and its depth scatters where nobody looked.
A small convolutional network, trained on this generator's own futures beside the films, sees each
decoded picture beside what is known of that view: the source's first one drawn there (`reproject`),
the ground that the arm stands on, which calibration places, and the arm's links, which the motion
read off the same future places (`known_views`). It takes over what has not moved and corrects the
rest. Latents stay what they are, and so does all that is read off them; retouched pictures are for
people. A refiner has to see what was imagined: in these the arm is drawn where its prior has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from mvista_core.errors import ConfigError
from mvista_core.imaging import ModelWindow
from mvista_core.records import Float32, UInt8
from mvista_world.arm_pictures import DrawnArm
from mvista_world.attention import zeroed
from mvista_world.codec import ResBlock
from mvista_world.compute import Compute
from mvista_world.config import DepthConfig
from mvista_world.depth_codec import encode_depth
from mvista_world.described import DescribedFiles, halved
from mvista_world.pictures import COLOR, DEPTH, Pictures
from mvista_world.reprojection import PosedLens, Reprojection

RETOUCHER = DescribedFiles(
    "retoucher", "retouch.safetensors", "retouch.json", "mvista train retouch"
)
SHOWN, GROUND, ARM = 4, 3, 2
"""Channels of a picture: colour, and the one code of `depth_codec`; of `ground_of`; of an arm."""
FOUND = SHOWN + 4
"""What is found of each pixel: a correction, how far colour and depth go over to the source's, and
how far depth goes to the ground's and to the arm's."""
FARTHEST_M = 2.0
"""Where the ground is told: farther from the base it is nowhere in particular."""
FOLD = 2
"""Pixels of a side that share one place of the network."""


@dataclass(frozen=True)
class RetouchConfig:
    """`widths` of the network's levels, each at half the resolution of the one before."""

    widths: tuple[int, ...] = (48, 64, 96, 128)

    def __post_init__(self) -> None:
        if not self.widths or any(width < 8 or width % 8 for width in self.widths):
            raise ConfigError(f"widths of the retoucher must be multiples of 8: {self.widths}")

    @property
    def stride(self) -> int:
        """What divides the sides of its pictures."""
        return FOLD * 2 ** (len(self.widths) - 1)

    def check(self, window: ModelWindow) -> None:
        """Refuse a model whose pictures it cannot take.

        Raises:
            ConfigError: its window is of other sides.
        """
        if window.width_px % self.stride or window.height_px % self.stride:
            raise ConfigError(
                f"the model's window is {window.width_px}x{window.height_px}; the retoucher takes "
                f"sides that {self.stride} divides"
            )


@dataclass(frozen=True)
class Known:
    """What is known of one view beside its pictures: its lens, the source's first image drawn
    there, and the arm drawn as it is at the time of each picture."""

    drawn: Reprojection
    arm: DrawnArm
    lens: PosedLens


@dataclass(frozen=True)
class Seen:
    """What is retouched, in [-1, 1]: decoded pictures [B, T, 4, H, W] of views, each at its time of
    the film [B, T] (0 first, 1 last), and the arm then [B, T, 2, H, W], the code of its depth (-1:
    no arm) and which place of it; the first pictures of those films and the source's first one
    drawn there, [B, 4, H, W] each; `covered` [B, H, W], 1 where the source shows something; and
    `ground` [B, 3, H, W] (`ground_of`)."""

    imagined: torch.Tensor
    times: torch.Tensor
    arm: torch.Tensor
    first: torch.Tensor
    drawn: torch.Tensor
    covered: torch.Tensor
    ground: torch.Tensor

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Seen:
        """Every tensor changed, on another device for one."""
        return Seen(*(change(getattr(self, each.name)) for each in fields(self)))


class Retoucher(nn.Module):
    """Pictures of a view, each by itself; untrained it changes none."""

    def __init__(self, config: RetouchConfig) -> None:
        super().__init__()
        self.config = config
        first, *others = config.widths
        # A picture, the first of its film, the source's drawn here, what that covers, the time, the
        # arm, and the ground.
        told = 3 * SHOWN + 2 + ARM + GROUND
        self.embed = nn.Conv2d(FOLD**2 * told, first, 3, padding=1)
        self.before = nn.ModuleList(ResBlock(above) for above in config.widths[:-1])
        self.down = nn.ModuleList(
            nn.Conv2d(above, below, 3, stride=2, padding=1)
            for above, below in zip(config.widths, others, strict=False)
        )
        self.middle = ResBlock(config.widths[-1])
        self.up = nn.ModuleList(
            nn.Conv2d(below + above, above, 1)
            for above, below in zip(config.widths, others, strict=False)
        )
        self.after = nn.ModuleList(ResBlock(above) for above in config.widths[:-1])
        self.find = zeroed(nn.Conv2d(first, FOUND * FOLD**2, 3, padding=1))

    def forward(self, seen: Seen) -> torch.Tensor:
        """Pictures as `seen.imagined`, corrected; of sides that `config.stride` divides."""
        imagined = seen.imagined
        frames = imagined.shape[1]
        still = seen.drawn[:, None].expand_as(imagined)
        plane = imagined[:, :, :1]
        told = [
            imagined,
            seen.first[:, None].expand_as(imagined),
            still,
            seen.covered[:, None, None].expand_as(plane),
            seen.times[:, :, None, None, None].expand_as(plane),
            seen.arm,
            seen.ground[:, None].expand(-1, frames, -1, -1, -1),
        ]
        x = torch.cat(told, dim=2).flatten(0, 1).to(memory_format=torch.channels_last)
        found = F.pixel_shuffle(self._levels(F.pixel_unshuffle(x, FOLD)), FOLD).float()
        added, of_source, of_ground, of_arm = found.unflatten(0, (-1, frames)).split(
            [SHOWN, 2, 1, 1], dim=2
        )
        over = of_source[:, :, [0] * (SHOWN - 1) + [1]]
        color, depth = (imagined + over * (still - imagined) + added).split([SHOWN - 1, 1], dim=2)
        decoded = imagined[:, :, SHOWN - 1 :]
        depth = depth + of_ground * (seen.ground[:, None, :1] - decoded)
        depth = depth + of_arm * (seen.arm[:, :, :1] - decoded)
        return torch.cat([color, depth], dim=2)

    def _levels(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        above = []
        for block, narrow in zip(self.before, self.down, strict=True):
            above.append(block(x))
            x = narrow(above[-1])
        x = self.middle(x)
        for level in reversed(range(len(above))):
            x = torch.cat([F.interpolate(x, scale_factor=2.0), above[level]], dim=1)
            x = self.after[level](self.up[level](x))
        found: torch.Tensor = self.find(x)
        return found


def coded(color: UInt8, depth_m: Float32, depth: DepthConfig) -> torch.Tensor:
    """Colour [..., H, W, 3] and depth [..., H, W] (m, 0: none) to [..., 4, H, W] in [-1, 1]."""
    rgb = torch.from_numpy(np.ascontiguousarray(color)).float() / 127.5 - 1.0
    return torch.cat([rgb.movedim(-1, -3), _code(depth_m, depth).unsqueeze(-3)], dim=-3)


def _code(depth_m: NDArray[np.floating], depth: DepthConfig) -> torch.Tensor:
    """The one code of `depth_codec` of depths (m, 0: none), alike in shape."""
    return encode_depth(torch.from_numpy(np.ascontiguousarray(depth_m)).float(), depth)[..., 0]


def ground_of(lens: PosedLens, depth: DepthConfig) -> torch.Tensor:
    """Where the ray of each pixel meets z = 0 of the base frame, on which the arm stands: the code
    of its depth, x and y (m), [3, H, W]; -1, 0 and 0 where it meets it nowhere near."""
    own = lens.intrinsics
    v, u = np.mgrid[: own.height_px, : own.width_px].astype(np.float64)
    rays = np.stack([(u - own.cx_px) / own.fx_px, (v - own.cy_px) / own.fy_px, np.ones_like(u)])
    rotation, centre = lens.base_from_camera[:3, :3], lens.base_from_camera[:3, 3]
    along = np.einsum("ij,jhw->ihw", rotation, rays)
    with np.errstate(divide="ignore", invalid="ignore"):
        metres = -centre[2] / along[2]
        places = centre[:2, None, None] + metres * along[:2]
    there = (metres > 0) & (np.abs(places) < FARTHEST_M).all(axis=0)
    code = _code(np.where(there, metres, 0.0), depth)
    told = torch.from_numpy(np.where(there, places, 0.0)).float()
    return torch.cat([code[None], told])


def seen_film(color: UInt8, depth_m: Float32, known: Known, depth: DepthConfig) -> Seen:
    """One view's whole film [T, H, W, 3], [T, H, W] before the retoucher."""
    film, drawn = coded(color, depth_m, depth)[None], known.drawn
    covered = torch.from_numpy(drawn.covered).float()[None]
    times = torch.linspace(0.0, 1.0, film.shape[1])[None]
    along = torch.from_numpy(known.arm.along)
    arm = torch.stack([_code(known.arm.depth_m, depth), along], dim=1)[None]
    still = coded(drawn.color, drawn.depth_m, depth)[None]
    return Seen(film, times, arm, film[:, 0], still, covered, ground_of(known.lens, depth)[None])


def retouched(
    pictures: Pictures,
    model: Retoucher | None,
    known: Callable[[int], Known],
    compute: Compute,
) -> Pictures:
    """The same views, corrected when they are first read; themselves where there is no retoucher.
    `known(view)` is asked then."""
    if model is None:
        return pictures
    return pictures.decoded_by(_RetouchedMaps(model, pictures, known, compute))


class _RetouchedMaps:
    """What a `Pictures` of retouched views is decoded by: both maps of a view come together."""

    def __init__(
        self,
        model: Retoucher,
        pictures: Pictures,
        known: Callable[[int], Known],
        compute: Compute,
    ) -> None:
        self._model, self._pictures, self._compute = model, pictures, compute
        self._known = known
        # The other map of a view, until it is asked for.
        self._left: dict[tuple[int, int], torch.Tensor] = {}

    @torch.no_grad()
    def __call__(self, view: int, modality: int) -> torch.Tensor:
        """One map [T, H, W, 3] in [-1, 1]."""
        if (view, modality) not in self._left:
            film = self._pictures.color(view), self._pictures.depth_m(view)
            depth = self._pictures.config.depth
            seen = seen_film(*film, self._known(view), depth)
            with self._compute.autocast():
                after = self._model(seen.map(lambda x: x.to(self._compute.device)))
            pixels = after[0].clamp(-1.0, 1.0).cpu().movedim(1, -1)
            code = pixels[..., SHOWN - 1 :].expand(*pixels.shape[:-1], 3)
            self._left[view, COLOR] = pixels[..., : SHOWN - 1]
            self._left[view, DEPTH] = code
        return self._left.pop((view, modality))


def save_retoucher(model: Retoucher, directory: Path) -> Path:
    """Write weights (float16) and description; returns where the weights are."""
    return RETOUCHER.save(halved(model.state_dict()), asdict(model.config), directory)


def load_retoucher(directory: Path, window: ModelWindow) -> Retoucher:
    """Read what `save_retoucher` wrote, frozen, for a model of this window.

    Raises:
        WeightsError: a file is missing, truncated or altered, or fits not its description or not
            the model.
    """

    def made(document: dict[str, list[int]]) -> Retoucher:
        config = RetouchConfig(tuple(document["widths"]))
        config.check(window)
        return Retoucher(config)

    return RETOUCHER.load(directory, made).requires_grad_(False)
