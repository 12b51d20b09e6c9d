"""The report of one run: one HTML page with everything inline, and the same facts as JSON.

Records in, text out; no ROS. `write_report` is what a run calls at its end, however it ended.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mvista_cli.demo import pictures
from mvista_cli.demo.pictures import DepthScale
from mvista_cli.demo.record import OK, RunRecord
from mvista_cli.demo.style import CSS
from mvista_core.records import CameraFrame
from mvista_eval.facts import Fact
from mvista_world.gate import MEANINGS


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write `report.json` and `report.html` into a folder; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(to_json(record), encoding="utf-8")
    page = folder / "report.html"
    page.write_text(to_html(record), encoding="utf-8")
    return page


def verdict(record: RunRecord) -> str:
    """How a run ended that reached its end, in one line."""
    said = "succeeded" if record.success else "did not succeed"
    line = f"the pipeline ran to the end; the task {said}: {record.success_detail}"
    return f"{line}\n{missed(record)}" if record.success is False else line


def missed(record: RunRecord) -> str:
    """Why a task that was carried out can have failed, and what its user can do."""
    gap = next((doubt for doubt in record.doubts if doubt.name == "goal_gap_m"), None)
    doubt = (
        ""
        if gap is None
        else f"The chosen future and the words alone put the hand {1000 * gap.value:.0f} mm apart "
        f"(at most {1000 * gap.limit:.0f} are carried out). "
    )
    return (
        f"{doubt}A plan can pass the gate and still miss by a few centimetres: how often these "
        "weights do is in their MODEL_CARD.md. What can be done: another --seed, which is another "
        f"scene too, or the likeliest of more futures (--best-of 8; here of {record.imagined})."
    )


def to_json(record: RunRecord) -> str:
    """The facts of a run, without pictures."""
    document = {
        "outcome": record.outcome,
        "message": record.message,
        "task": record.task,
        "instruction": record.instruction,
        "seed": record.seed,
        "arm": record.arm,
        "stages": [
            {"name": s.name, "seconds": round(s.seconds, 3), "error": s.error}
            for s in record.stages
        ],
        "success": record.success,
        "success_detail": record.success_detail,
        "weights_sha256": record.weights_sha256,
        "rollout_id": record.rollout.rollout_id if record.rollout else "",
        "plan_id": record.refined.provenance.plan_id if record.refined else "",
        "imagined": record.imagined,
        "imagined_with_seed": record.rollout.seed if record.rollout else None,
        "losses": record.losses.tolist(),
        "head_disagreement_rad": record.head_disagreement_rad,
        "doubts": [doubt.document() for doubt in record.doubts],
        "versions": {fact.name: fact.value for fact in record.versions},
        "machine": {fact.name: fact.value for fact in record.machine},
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def to_html(record: RunRecord) -> str:
    """The page. Parts that the run never reached are left out."""
    scale = _depth_scale(record)
    parts = [
        _header(record),
        _seen(record.before, scale),
        _strips(record, scale),
        _cloud(record),
        _optimisation(record),
        _doubts(record),
        _joints(record),
        _final(record),
        _stages(record),
        _provenance(record),
    ]
    title = html.escape(f"MVISTA-4D: {record.instruction}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{CSS}</style></head><body><main>"
        f"{''.join(parts)}</main></body></html>\n"
    )


def _depth_scale(record: RunRecord) -> DepthScale:
    """The range of the model's window where there is one: cameras also see the floor far behind."""
    windows = [part.depth_m for part in (record.rollout, record.reality) if part is not None]
    return DepthScale.of(windows or [frame.depth_m for frame in record.before])


def _header(record: RunRecord) -> str:
    if record.outcome != OK:
        badge = f'<span class="badge bad">{html.escape(record.outcome)}</span>'
    else:
        badge = '<span class="badge good">ran to the end</span>'
    total_s = sum(stage.seconds for stage in record.stages)
    message = f'<p class="error">{html.escape(record.message)}</p>' if record.message else ""
    return (
        f"<header><p class=eyebrow>MVISTA-4D on the simulated cell</p>"
        f"<h1>“{html.escape(record.instruction)}”</h1>"
        f"<p>{badge}{_success_badge(record)}<span class=meta>task {html.escape(record.task)} · "
        f"seed {record.seed} · {record.arm} arm · {total_s:.1f} s in all</span></p>{message}"
        "<p class=lead>From one RGB-D view and the sentence above, the world model imagines what "
        "three cameras will see; the actions that explain this imagination are inferred from it "
        "and carried out by the arm.</p></header>"
    )


def _success_badge(record: RunRecord) -> str:
    if record.success is None:
        return '<span class="badge none">not evaluated</span>'
    kind, words = ("good", "task succeeded") if record.success else ("bad", "task failed")
    return f'<span class="badge {kind}">{words}</span>'


def _section(title: str, text: str, body: str) -> str:
    return f"<section><h2>{title}</h2><p>{text}</p>{body}</section>"


def _seen(frames: Sequence[CameraFrame], scale: DepthScale) -> str:
    if not frames:
        return ""
    return _section(
        "What the cameras saw",
        "Colour and depth of every camera at the moment the task was asked for, before anything "
        "moved.",
        _camera_grid(frames, scale) + _scale_bar(scale),
    )


def _camera_grid(frames: Sequence[CameraFrame], scale: DepthScale) -> str:
    cells = [
        f"<figure>{_image(pictures.jpeg(frame.color), f'colour image of {frame.camera}')}"
        f"{_image(pictures.png(scale.paint(frame.depth_m)), f'depth image of {frame.camera}')}"
        f"<figcaption>{html.escape(frame.camera)}</figcaption></figure>"
        for frame in frames
    ]
    return f'<div class="cameras">{"".join(cells)}</div>'


def _scale_bar(scale: DepthScale) -> str:
    return (
        f'<p class="scale">depth {scale.near_m:.2f} m <img alt="depth colour scale" '
        f'src="{scale.bar()}"> {scale.far_m:.2f} m and beyond; dark grey: no depth</p>'
    )


def _strips(record: RunRecord, scale: DepthScale) -> str:
    rollout, reality = record.rollout, record.reality
    if rollout is None:
        return ""
    times = "".join(f"<span>{t:.1f} s</span>" for t in rollout.times_s)
    blocks = []
    for view, camera in enumerate(rollout.cameras):
        rows = [_row("imagined", pictures.strip(rollout.color[view]), f"colour, {camera}")]
        depth = scale.paint(rollout.depth_m[view])
        depth_rows = [_row("imagined depth", pictures.strip(depth), f"depth, {camera}")]
        if reality is not None:
            present = reality.present[view]
            image = pictures.strip(reality.color[view], present)
            rows.append(_row("happened", image, f"colour, {camera}"))
            image = pictures.strip(scale.paint(reality.depth_m[view]), present)
            depth_rows.append(_row("happened depth", image, f"depth, {camera}"))
        role = "the source: its first image was given" if view == 0 else "imagined from the source"
        blocks.append(
            f'<div class="view"><h3>{html.escape(camera)} <small>{role}</small></h3>'
            f'<div class="times"><i></i><div>{times}</div></div>{"".join(rows + depth_rows)}</div>'
        )
    text = (
        "Each strip runs from the observation to the end of the plan. Above what the model "
        "imagined before anything moved, below what the same camera then really saw at the same "
        "times, through the same window."
    )
    if reality is None:
        text = "What the model imagined before anything moved. Nothing was executed."
    else:
        text += _agreement(record)
    return _section("Imagined, and what then happened", text, "".join(blocks) + _scale_bar(scale))


def _agreement(record: RunRecord) -> str:
    """How far imagination and reality lie apart over the images there are."""
    rollout, reality = record.rollout, record.reality
    if rollout is None or reality is None or not reality.present.any():
        return ""
    seen = reality.present
    gap = rollout.color[seen].astype(np.float64) - reality.color[seen]
    psnr_db = 10.0 * np.log10(255.0**2 / max(float((gap**2).mean()), 1e-9))
    both = (rollout.depth_m[seen] > 0) & (reality.depth_m[seen] > 0)
    error_mm = 1000.0 * np.abs(rollout.depth_m[seen] - reality.depth_m[seen])[both]
    late_ms = 1000.0 * float(np.nanmax(np.abs(reality.late_s)))
    depth = f", median depth difference {np.median(error_mm):.0f} mm" if error_mm.size else ""
    return (
        f" Over all images: PSNR {psnr_db:.1f} dB{depth}. "
        f"The images below were taken within {late_ms:.0f} ms of the time above them."
    )


def _row(label: str, image: str, what: str) -> str:
    return f'<div class="row"><b>{label}</b>{_image(image, f"{label}: {what}")}</div>'


def _cloud(record: RunRecord) -> str:
    if not record.clouds:
        return ""
    points = ", ".join(f"{len(cloud.points_m):,}" for cloud in record.clouds)
    return _section(
        "The imagined scene as one point cloud",
        "The imagined RGB-D views, fused with the calibrated cameras in the arm's base frame: "
        f"from left to right over time, from two sides ({points} points).",
        _image(pictures.cloud_views(record.clouds), "fused imagined point clouds", "wide"),
    )


def _optimisation(record: RunRecord) -> str:
    title = "Which actions explain it?"
    if record.refined is None:
        return ""
    if not len(record.losses):
        return _section(
            title,
            "Those that the action head reads off the imagined rollout: no step of the latent "
            "optimisation was asked for, by these weights or by the call.",
            "",
        )
    gap = record.head_disagreement_rad
    health = (
        ""
        if gap is None
        else f" The optimised actions end {np.rad2deg(gap):.2f}° ({gap:.4f} rad) from the action "
        "head's on average."
    )
    start = record.refined.provenance.initialisation
    begun = {"head": "the action head's reading", "random": "a random draw"}.get(start, "its start")
    return _section(
        title,
        f"The trajectory latent, begun at {begun}, optimised through the frozen generator so that "
        f"it explains the imagined rollout.{health}",
        _image(pictures.loss_curve(record.losses), "loss per optimisation step", "narrow"),
    )


def _doubts(record: RunRecord) -> str:
    if not record.doubts:
        return ""
    rows = "".join(
        f"<tr><th>{html.escape(doubt.name)}</th><td>{html.escape(MEANINGS[doubt.name].words)}</td>"
        f"<td class=number>{doubt.value:.4f}</td>"
        f"<td class=number>at most {doubt.limit:.4f}</td></tr>"
        for doubt in record.doubts
    )
    return _section(
        "What speaks against it?",
        "Before anything moves a gate looks at these: 0 is right, more is worse, and a plan beyond "
        "a limit of these weights is not carried out.",
        f"<table>{rows}</table>",
    )


def _joints(record: RunRecord) -> str:
    if record.prior is None or record.refined is None:
        return ""
    image = pictures.joint_plots(record.prior, record.refined, record.sent, record.measured)
    corrected = not np.array_equal(record.prior.positions, record.refined.positions)
    plan = (
        "the refined plan is what the residual inverse dynamics model makes of it on the imagined "
        "clouds"
        if corrected
        else "this checkpoint has no residual inverse dynamics model, so the plan is the prior"
    )
    return _section(
        "Prior, refined and executed joints",
        f"The prior is the decoded latent; {plan}; executed is what the executor sent and what "
        "the arm measured. Zero is the plan's start; before it the arm approaches slowly where it "
        "has to.",
        _image(image, "joint positions over time", "wide"),
    )


def _final(record: RunRecord) -> str:
    if not record.final:
        return ""
    grid = [
        f"<figure>{_image(pictures.jpeg(frame.color), f'final image of {frame.camera}')}"
        f"<figcaption>{html.escape(frame.camera)}</figcaption></figure>"
        for frame in record.final
    ]
    detail = f" {html.escape(record.success_detail)}." if record.success_detail else ""
    why = f" {html.escape(missed(record))}" if record.success is False else ""
    return _section(
        "The end",
        f"{_success_badge(record)} The simulator's own state decides.{detail}{why}",
        f'<div class="cameras">{"".join(grid)}</div>',
    )


def _stages(record: RunRecord) -> str:
    longest = max((stage.seconds for stage in record.stages), default=0.0) or 1.0
    rows = [
        f"<tr><th>{html.escape(stage.name)}</th><td class=number>{stage.seconds:.2f} s</td>"
        f'<td class="bar"><span style="width:{100 * stage.seconds / longest:.1f}%"></span></td>'
        f"<td>{html.escape(stage.error) or 'ok'}</td></tr>"
        for stage in record.stages
    ]
    total_s = sum(stage.seconds for stage in record.stages)
    foot = (
        f"<tr class=total><th>all</th><td class=number>{total_s:.2f} s</td><td></td><td></td></tr>"
    )
    table = f"<table>{''.join(rows)}{foot}</table>"
    return _section("Time per stage", "Wall time; the bars compare the stages.", table)


def _provenance(record: RunRecord) -> str:
    facts = [Fact("weights sha256", record.weights_sha256 or "not loaded")]
    if record.refined is not None:
        facts.append(Fact("plan", record.refined.provenance.plan_id))
    if record.rollout is not None:
        facts.append(Fact("rollout", record.rollout.rollout_id))
    rows = [
        f"<tr><th>{html.escape(fact.name)}</th><td><code>{html.escape(fact.value)}</code></td></tr>"
        for fact in (*facts, *record.versions, *record.machine)
    ]
    text = "Enough to make this page again: weights, versions, machine."
    return _section("Made with", text, f'<table class="facts">{"".join(rows)}</table>')


def _image(uri: str, alt: str, kind: str = "") -> str:
    return f'<img class="{kind}" alt="{html.escape(alt, quote=True)}" src="{uri}">'
