"""Pictures of the report as data URIs: film strips, depth in colour, charts, clouds."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from mvista_cli.demo.record import ImaginedCloud, JointSeries
from mvista_core.records import ActionTrajectory, Float32, Float64, UInt8

COLORMAP = "turbo_r"
INVALID_RGB = (38, 40, 46)
MISSING_RGB = (225, 228, 233)
GAP_PX = 4
ENLARGE = 2
PRIOR, REFINED, SENT, MEASURED = "#8a94a6", "#d97706", "#2563eb", "#111827"
CLOUD_VIEWS = (
    ("seen from the front left", 28.0, -50.0, 1.6),
    ("seen from above", 80.0, -90.0, 1.35),
)
"""Words, elevation and azimuth in degrees, zoom."""
GRIPPER = "gripper"


@dataclass(frozen=True)
class DepthScale:
    """One depth range for the whole page, so that equal colours mean equal depths."""

    near_m: float
    far_m: float

    @classmethod
    def of(cls, depths_m: Sequence[Float32]) -> DepthScale:
        """From the 1st to the 95th percentile of the valid depths, in steps of 5 cm."""
        valid = [depth[depth > 0].ravel() for depth in depths_m if (depth > 0).any()]
        if not valid:
            return cls(0.3, 1.5)
        low, high = np.percentile(np.concatenate(valid), (1, 95))
        near = float(np.floor(low * 20) / 20)
        return cls(near, max(float(np.ceil(high * 20) / 20), near + 0.05))

    def paint(self, depth_m: Float32) -> UInt8:
        """Depth [..., H, W] to colours [..., H, W, 3]; invalid pixels dark grey."""
        level = (depth_m - self.near_m) / (self.far_m - self.near_m)
        painted = colormaps[COLORMAP](np.clip(level, 0.0, 1.0), bytes=True)[..., :3]
        return np.where((depth_m > 0)[..., None], painted, np.array(INVALID_RGB)).astype(np.uint8)

    def bar(self, width_px: int = 320, height_px: int = 10) -> str:
        """The scale itself, near on the left, as a PNG."""
        ramp = np.linspace(self.near_m, self.far_m, width_px, dtype=np.float32)
        return png(self.paint(np.tile(ramp, (height_px, 1))))


def png(image: UInt8) -> str:
    """A data URI of an image [H, W, 3], lossless."""
    return _encoded(Image.fromarray(np.ascontiguousarray(image)), "PNG")


def jpeg(image: UInt8) -> str:
    """A data URI of a photograph-like image [H, W, 3]."""
    return _encoded(Image.fromarray(np.ascontiguousarray(image)), "JPEG")


def strip(images: UInt8, present: NDArray[np.bool_] | None = None) -> str:
    """Images [T, H, W, 3] side by side, twice as large; a missing one is a light blank."""
    count, height, width, _ = images.shape
    tile_w, tile_h = width * ENLARGE, height * ENLARGE
    row = np.full((tile_h, count * tile_w + (count - 1) * GAP_PX, 3), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        tile = np.full((tile_h, tile_w, 3), MISSING_RGB, dtype=np.uint8)
        if present is None or present[index]:
            larger = Image.fromarray(image).resize((tile_w, tile_h), Image.Resampling.BICUBIC)
            tile = np.asarray(larger)
        left = index * (tile_w + GAP_PX)
        row[:, left : left + tile_w] = tile
    return jpeg(row)


def loss_curve(losses: Float64) -> str:
    """Eq. 11 per optimisation step."""
    figure = Figure(figsize=(5.4, 2.9), layout="constrained")
    axes = figure.add_subplot()
    steps = np.arange(1, len(losses) + 1)
    axes.plot(steps, losses, color=REFINED, marker="o" if len(losses) <= 30 else "", markersize=4)
    axes.set_xlabel("optimisation step")
    axes.set_ylabel("loss (Eq. 11)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _plain(axes)
    return _figure(figure)


def joint_plots(
    prior: ActionTrajectory,
    refined: ActionTrajectory,
    sent: JointSeries | None,
    measured: JointSeries | None,
) -> str:
    """One small plot per joint: decoded prior, refined plan, sent set-points, measured joints."""
    names = refined.joint_names
    columns = 4
    rows = -(-(len(names) + 1) // columns)
    figure = Figure(figsize=(11.0, 2.15 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for joint, name in enumerate(names):
        axes, scale, unit = grid[joint], *_unit(name)
        _line(axes, prior, name, scale, PRIOR, "prior (decoded latent)", dashes=(4, 2))
        _line(axes, refined, name, scale, REFINED, "refined (plan)", width=2.2)
        _line(axes, sent, name, scale, SENT, "executed (sent)")
        _line(axes, measured, name, scale, MEASURED, "executed (measured)", dashes=(1, 1.5))
        axes.set_title(f"{name} [{unit}]", fontsize=9, loc="left", color="#374151")
        _plain(axes)
        if joint + columns >= len(names):
            axes.set_xlabel("time [s]", fontsize=8)
            axes.tick_params(labelbottom=True)
    handles, labels = grid[0].get_legend_handles_labels()
    for axes in grid[len(names) :]:
        axes.axis("off")
    grid[-1].legend(handles, labels, loc="center", frameon=False, fontsize=9)
    return _figure(figure)


def cloud_views(clouds: Sequence[ImaginedCloud]) -> str:
    """The fused clouds: one column per time, one row per side."""
    figure = Figure(figsize=(3.7 * len(clouds), 6.2))
    everything = np.concatenate([cloud.points_m for cloud in clouds])
    lower, upper = np.percentile(everything, (0.5, 99.5), axis=0)
    for row, (words, elevation, azimuth, zoom) in enumerate(CLOUD_VIEWS):
        for column, cloud in enumerate(clouds):
            position = row * len(clouds) + column + 1
            axes = figure.add_subplot(len(CLOUD_VIEWS), len(clouds), position, projection="3d")
            axes.scatter(*cloud.points_m.T, c=cloud.color / 255.0, s=5.0, linewidths=0)
            axes.view_init(elevation, azimuth)
            axes.set_xlim(lower[0], upper[0])
            axes.set_ylim(lower[1], upper[1])
            axes.set_zlim(lower[2], upper[2])
            axes.set_box_aspect(upper - lower, zoom=zoom)
            axes.set_axis_off()
            title = axes.set_title(f"{cloud.time_s:.1f} s, {words}", fontsize=9, y=0.95)
            title.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2})
    figure.subplots_adjust(0, 0, 1, 1, 0, 0)
    return _figure(figure)


def _line(
    axes: Axes,
    series: ActionTrajectory | JointSeries | None,
    name: str,
    scale: float,
    color: str,
    label: str,
    width: float = 1.4,
    dashes: tuple[float, float] | None = None,
) -> None:
    if series is None or name not in series.joint_names:
        return
    values = series.positions[:, series.joint_names.index(name)] * scale
    style = (0, dashes) if dashes else "-"
    axes.plot(series.times_s, values, color=color, linewidth=width, linestyle=style, label=label)


def _unit(joint: str) -> tuple[float, str]:
    return (1000.0, "mm") if joint == GRIPPER else (float(np.rad2deg(1.0)), "°")


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e7eb", linewidth=0.7)
    axes.tick_params(labelsize=8, colors="#4b5563")


def _figure(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return _uri("png", stream.getvalue())


def _encoded(image: Image.Image, kind: str) -> str:
    stream = io.BytesIO()
    image.save(stream, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return _uri(kind.lower(), stream.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
