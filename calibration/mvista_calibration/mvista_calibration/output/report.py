"""`report.html`: the verdict in words, its checks, and the pictures to believe it or not."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from mvista_calibration.output.save import describe_board
from mvista_calibration.records import Calibration, GateCheck, RigEstimate, Session
from mvista_calibration.solve.clouds import SceneCloud, middle_of, scene_clouds
from mvista_calibration.solve.overlap import fused_disagreement
from mvista_core.errors import CalibrationError
from mvista_core.files import make_folder, replace_file
from mvista_core.geometry import invert, transform_points
from mvista_core.records import Float64

# Before pyplot is imported, since a robot's computer or a container has no display.
matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#e09f3e", "#6a4c93", "#2a9d8f")
TURNED_OVER = np.diag([1.0, -1.0, -1.0, 1.0])
"""A board's own frame has z into the board: turned so, z points away from its face and y up."""
POINT_LIMIT = 6000
STYLE = """body{font:15px/1.5 sans-serif;color:#222;background:#f3f5f7;margin:0}
main{max-width:1080px;margin:1.5em auto}section{background:#fff;padding:1.2em 1.8em;margin:1em 0;
border:1px solid #dde3ea;border-radius:8px}h1,h2{margin:.2em 0 .6em}img{max-width:100%}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3em .6em;
border-bottom:1px solid #e6e9ee;vertical-align:top}.pass{color:#1d7a3a}.fail{color:#b3261e}
.warn{color:#9a6700}small{color:#667}"""


def write_report(session: Session, calibration: Calibration, folder: Path) -> Path:
    """Write `report.html`, everything inline; returns its path."""
    make_folder(folder, CalibrationError)
    parts = [_verdict(calibration), _checks(calibration.verdict.checks)]
    parts.append(
        _section(
            "Reprojection residuals", "Of every corner used, per camera.", _residuals(calibration)
        )
    )
    if session.scene and len(session.cameras) > 1:
        parts.append(_clouds(session, calibration))
    parts.append(_numbers(calibration))
    if session.notes:
        parts.append(_notes(session.notes))
    page = folder / "report.html"
    title = html.escape(f"Calibration of {session.name}")
    replace_file(
        page,
        f"<!doctype html><meta charset='utf-8'><title>{title}</title><style>{STYLE}</style>"
        f"<main>{''.join(parts)}</main>",
        CalibrationError,
    )
    return page


def _verdict(calibration: Calibration) -> str:
    state = ("pass", "May be used") if calibration.verdict.passed else ("fail", "Must not be used")
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in calibration.seconds.items())
    return (
        f"<section><h1>{html.escape(calibration.session)}: "
        f"<span class='{state[0]}'>{state[1]}</span></h1>"
        f"<p>{html.escape(calibration.verdict.words)}</p>"
        f"<p><small>{html.escape(describe_board(calibration.board))}. Stage kept: "
        f"{calibration.rig.stage}. Times: {seconds}.</small></p></section>"
    )


def _checks(checks: Sequence[GateCheck]) -> str:
    rows = []
    for check in sorted(checks, key=lambda c: c.passed):
        kind = "pass" if check.passed else ("fail" if check.level == "refuse" else "warn")
        said = {"pass": "ok", "fail": "refused", "warn": "warning"}[kind]
        value = "" if np.isnan(check.value) else f"{check.value:.3g} {check.unit}"
        limit = "" if np.isnan(check.limit) else f"{check.limit:.3g}"
        cells = (check.name, check.subject, value, limit)
        rows.append(
            f"<tr><td class='{kind}'>{said}</td>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
            + f"<td><small>{html.escape(check.reason)}</small></td></tr>"
        )
    head = "<tr><th></th><th>check</th><th>where</th><th>value</th><th>limit</th><th>why</th></tr>"
    return f"<section><h2>Checks</h2><table>{head}{''.join(rows)}</table></section>"


def _numbers(calibration: Calibration) -> str:
    bias = {entry.camera: entry for entry in calibration.depth_bias}
    rows = []
    for index, name in enumerate(calibration.rig.cameras):
        sd_m = calibration.corner_sd_m[index]
        # A baseline knows none: NaN at every corner.
        sigma = f"{np.nanmax(sd_m) * 1e3:.2f}" if np.isfinite(sd_m).any() else "not known"
        entry = bias.get(name)
        depth = ""
        if entry is not None:
            depth = f"{entry.offset_m * 1e3:+.1f} ± {entry.offset_sd_m * 1e3:.1f}"
        views = sum(view.camera == name for view in calibration.coarse.views)
        rows.append(
            f"<tr><td>{html.escape(name)}</td><td>{views}</td><td>{sigma}</td><td>{depth}</td></tr>"
        )
    left_out = "".join(
        f"<li>{html.escape(f'{camera}, shot {shot}: {why}')}</li>"
        for camera, shot, why in calibration.coarse.rejected
    )
    return (
        "<section><h2>Cameras</h2><table><tr><th>camera</th><th>views used</th><th>largest sigma "
        "at the workspace's corners, mm</th><th>depth offset, mm</th></tr>"
        f"{''.join(rows)}</table>"
        + (f"<p>Left out:</p><ul>{left_out}</ul>" if left_out else "")
        + "</section>"
    )


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f"<section><h2>While reading the session</h2><ul>{items}</ul></section>"


def _residuals(calibration: Calibration) -> str:
    names = calibration.rig.cameras
    figure, axes = pyplot.subplots(1, len(names), figsize=(3 * len(names), 3.2), squeeze=False)
    pairs = list(zip(calibration.coarse.views, calibration.coarse.residuals_px, strict=True))
    for axis, name in zip(axes[0], names, strict=True):
        mine = [residual for view, residual in pairs if view.camera == name]
        points = np.concatenate(mine) if mine else np.zeros((0, 2))
        colour = _colour(names, name)
        axis.scatter(points[:, 0], points[:, 1], s=3, alpha=0.4, color=colour)
        rms = float(np.sqrt((points**2).sum(axis=1).mean())) if len(points) else np.nan
        axis.set(title=f"{name}: {rms:.2f} px RMS", xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
        axis.grid(alpha=0.3)
    return _image(figure)


def _colour(names: Sequence[str], camera: str) -> str:
    """A camera's own in every picture; from the seventh on they come again."""
    return COLOURS[names.index(camera) % len(COLOURS)]


def _clouds(session: Session, calibration: Calibration) -> str:
    """The fused cloud by the board alone, raw depth, and as it is handed over, from two sides."""
    coarse = calibration.coarse
    middle = middle_of(coarse.reference_from_board)
    ways = (
        ("board only, depth as measured", coarse.rig, ()),
        ("as saved", calibration.rig, calibration.depth_bias),
    )
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 8))
    said = []
    try:
        for row, (title, rig, bias) in enumerate(ways):
            clouds = scene_clouds(session, rig, bias, middle)
            said.append(f"{title}: {fused_disagreement(rig, clouds) * 1e3:.2f} mm")
            _draw(axes[row], clouds, rig, upright_from_reference(calibration), title)
    except CalibrationError as error:
        pyplot.close(figure)
        return f"<section><h2>Fused cloud</h2><p>{html.escape(str(error))}</p></section>"
    text = (
        "One colour per camera, as above. Systematic disagreement of surfaces that several cameras "
        "see: " + "; ".join(said) + "."
    )
    return _section("Fused cloud, before and after", text, _image(figure)) + _pairs(calibration)


def upright_from_reference(calibration: Calibration) -> Float64:
    """The frame [4, 4] that clouds are shown in: the robot's base, or without a robot the first
    board's, turned over so that z leaves its face: up, where it lay on the table."""
    if calibration.base_from_reference is not None:
        return calibration.base_from_reference
    return np.asarray(TURNED_OVER @ invert(calibration.coarse.reference_from_board[0]))


def _draw(
    axes: Sequence[Axes],
    clouds: Sequence[SceneCloud],
    rig: RigEstimate,
    upright: Float64,
    title: str,
) -> None:
    for cloud in clouds:
        colour = _colour(rig.cameras, cloud.camera)
        points = transform_points(upright @ rig.pose(cloud.camera), cloud.points)
        points = points[:: max(len(points) // POINT_LIMIT, 1)]
        for axis, (a, b), view in zip(axes, ((0, 1), (1, 2)), ("above", "the front"), strict=True):
            axis.scatter(points[:, a], points[:, b], s=1, alpha=0.5, color=colour, linewidths=0)
            axis.set(title=f"{title}, from {view}", aspect="equal")
    axes[0].set(xlabel="x [m]", ylabel="y [m]")
    axes[1].set(xlabel="y [m]", ylabel="z [m]")


def _pairs(calibration: Calibration) -> str:
    if calibration.refine is None:
        return ""
    rows = "".join(
        f"<tr><td>{html.escape(a)} - {html.escape(b)}</td><td>{before * 1e3:.2f}</td>"
        f"<td>{after * 1e3:.2f}</td></tr>"
        for a, b, before, after in calibration.refine.pairs
    )
    return (
        "<section><h2>Disagreement per pair</h2><p>Median distance of held-out points, mm: where "
        "the board puts the cameras, and where refinement would. "
        f"{html.escape(calibration.refine.why)}.</p>"
        f"<table><tr><th>pair</th><th>board</th><th>refined</th></tr>{rows}</table></section>"
    )


def _section(title: str, text: str, picture: str) -> str:
    return f"<section><h2>{title}</h2><p>{html.escape(text)}</p>{picture}</section>"


def _image(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.tight_layout()
    figure.savefig(buffer, format="png", dpi=110)
    pyplot.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='' src='data:image/png;base64,{data}'>"
