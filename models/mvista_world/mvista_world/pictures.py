"""The pictures of a future, each map decoded when somebody first reads it.

A view has two maps, colour and depth, and a rollout of V views 2 V videos to decode: of the large
model more time than anything but imagining. Who reads which differs: Eq. 11 weighs by the pictures
of the views that it explains (its literal form by none), the gate looks at every depth but at the
source's colour only, a cloud and whoever watches at all. What is read by nobody stays a latent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mvista_core.records import Float32, Intrinsics, Rollout, UInt8
from mvista_world.codec import VideoCodec
from mvista_world.compute import Compute
from mvista_world.config import DepthConfig, ModelConfig
from mvista_world.depth_codec import decode_depth
from mvista_world.layout import from_grid

COLOR, DEPTH = 0, 1
"""Places of a view's maps on the latent grid (`layout`)."""


class Pictures:
    """Of maps [T, H, W, 3] in [-1, 1] that `decode(view, modality)` makes (`decoded_maps`);
    `lenses` are the whole images' intrinsics, view by view.

    Every map is decoded once, so that a picture is the same to the bit whoever reads it first.
    """

    def __init__(
        self,
        decode: Callable[[int, int], torch.Tensor],
        lenses: Sequence[Intrinsics],
        config: ModelConfig,
    ) -> None:
        self._decode = decode
        self._lenses = tuple(lenses)
        self.config = config
        self._color: dict[int, UInt8] = {}
        self._depth_m: dict[int, Float32] = {}
        # A node shows a rollout while its planner reads it.
        self._lock = threading.Lock()

    def decoded_by(self, decode: Callable[[int, int], torch.Tensor]) -> Pictures:
        """The same views, their maps made otherwise."""
        return Pictures(decode, self._lenses, self.config)

    def __len__(self) -> int:
        """How many maps there are."""
        return 2 * len(self._lenses)

    @property
    def decoded(self) -> int:
        """How many maps were decoded so far."""
        return len(self._color) + len(self._depth_m)

    def color(self, view: int) -> UInt8:
        """Of one view [T, H, W, 3]."""
        with self._lock:
            if view not in self._color:
                self._color[view] = color_of(self._decode(view, COLOR))
            return self._color[view]

    def depth_m(self, view: int) -> Float32:
        """Of one view [T, H, W], 0 where there is none."""
        with self._lock:
            if view not in self._depth_m:
                window, lens = self.config.window, self._lenses[view]
                metres = depth_of(self._decode(view, DEPTH), self.config.depth)
                # What is imagined in the padding is seen by no camera: no surface may stand there.
                kept = window.without_padding(metres, lens)
                self._depth_m[view] = kept.astype(np.float32)
            return self._depth_m[view]

    def read(self, color: Sequence[int], on_map: Callable[[float], object]) -> None:
        """Decode every depth and the colour of these views; `on_map(fraction)` hears how far it is,
        and nothing where all of it was decoded before."""
        missing: list[tuple[Callable[[int], object], int]]
        missing = [(self.color, k) for k in color if k not in self._color]
        missing += [(self.depth_m, k) for k in range(len(self._lenses)) if k not in self._depth_m]
        for done, (decode, view) in enumerate(missing):
            on_map(done / len(missing))
            decode(view)
        if missing:
            on_map(1.0)


def decoded_maps(
    codec: VideoCodec, latents: torch.Tensor, views: int, compute: Compute
) -> Callable[[int, int], torch.Tensor]:
    """What `Pictures` decode by: latents [1, C, T', V*h, 2*w], every map by itself."""
    maps = from_grid(latents, views)[0]
    return lambda view, modality: decode_map(codec, maps[view, modality], compute)


PICTURES = {"color", "depth_m"}


class UnreadRollout(Rollout):
    """A `Rollout` in every respect, its `color` and `depth_m` decoded when they are first read."""

    if TYPE_CHECKING:
        pictures: Pictures

    @staticmethod
    def of(pictures: Pictures, **described: Any) -> UnreadRollout:
        """From all fields of a `Rollout` but the two."""
        rollout = object.__new__(UnreadRollout)
        for name, value in {**described, "pictures": pictures}.items():
            object.__setattr__(rollout, name, value)
        asked = {f.name for f in fields(Rollout) if f.default is MISSING} - PICTURES
        if missing := asked - described.keys():
            raise TypeError(f"a rollout without {sorted(missing)}")
        return rollout

    def __getattr__(self, name: str) -> Any:
        # Asked for only what is not there yet.
        if name not in PICTURES:
            raise AttributeError(f"a rollout has no '{name}'")
        one = self.pictures.color if name == "color" else self.pictures.depth_m
        whole = np.stack([one(view) for view in range(len(self.cameras))])
        object.__setattr__(self, name, whole)
        return whole

    def __reduce__(self) -> tuple[type[Rollout], tuple[Any, ...]]:
        # To another process or a file it goes as what it shows.
        return Rollout, tuple(getattr(self, each.name) for each in fields(Rollout))

    def view_color(self, view: int) -> UInt8:
        """See `Rollout.view_color`: decodes no other view."""
        # What `dataclasses.replace` made has its pictures whole.
        if "pictures" not in self.__dict__:
            return super().view_color(view)
        return self.pictures.color(view)


def described(rollout: Rollout, **changes: Any) -> Rollout:
    """The same pictures, otherwise described: `dataclasses.replace` would decode them."""
    if not isinstance(rollout, UnreadRollout):
        return replace(rollout, **changes)
    same = {f.name: getattr(rollout, f.name) for f in fields(Rollout) if f.name not in PICTURES}
    return UnreadRollout.of(rollout.pictures, **{**same, **changes})


def decode_map(codec: VideoCodec, latents: torch.Tensor, compute: Compute) -> torch.Tensor:
    """One map [C, T', h, w] of one view to pixels [T, H, W, 3] in [-1, 1], on the processor."""
    with torch.no_grad(), compute.autocast():
        return codec.decode(latents[None]).float()[0].movedim(0, -1).cpu()


def color_of(pixels: torch.Tensor) -> UInt8:
    """Colour [T, H, W, 3] of a decoded map."""
    rgb = ((pixels + 1.0) * 127.5).round().clamp(0, 255)
    return np.asarray(rgb.to(torch.uint8).numpy())


def depth_of(pixels: torch.Tensor, depth: DepthConfig) -> Float32:
    """Depth [T, H, W] (m, 0: none) of a decoded map."""
    return np.asarray(decode_depth(pixels, depth).numpy())
