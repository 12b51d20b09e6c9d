"""The report: self-contained, complete, honest about what was not reached; equal colours mean
equal depths; the plan's clock found in what was sent."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mvista_cli.demo import pictures, timeline
from mvista_cli.demo.pictures import DepthScale
from mvista_cli.demo.record import JointSeries, RunRecord, StageTime
from mvista_cli.demo.report import to_html, to_json, verdict, write_report
from mvista_core.records import ActionTrajectory, Provenance
from tests.cli.run_records import full_record, without_images

pytestmark = pytest.mark.slow

SECTIONS = (
    "What the cameras saw",
    "Imagined, and what then happened",
    "The imagined scene as one point cloud",
    "Which actions explain it?",
    "What speaks against it?",
    "Prior, refined and executed joints",
    "The end",
    "Time per stage",
    "Made with",
)


@pytest.fixture(scope="module")
def record() -> RunRecord:
    return full_record()


def picture(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_the_page_has_every_part_and_needs_nothing_from_elsewhere(
    record: RunRecord, tmp_path: Path
) -> None:
    page = write_report(record, tmp_path / "new").read_text(encoding="utf-8")
    assert [title for title in SECTIONS if f"<h2>{title}</h2>" not in page] == []
    sources = re.findall(r'src="([^"]*)"', page)
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert "://" not in page, "something lies elsewhere"
    assert page.count("<img") == page.count("alt=")
    # 4 cameras before (colour, depth) and after, 3 views of 4 strips, 2 scales, 3 charts.
    assert len(sources) == 8 + 4 + 12 + 2 + 3
    assert "0.0130" in page and "at most 0.0447" in page
    assert record.weights_sha256 in page and "one &amp; &lt;two&gt;" in page


def test_the_json_holds_the_facts(record: RunRecord) -> None:
    facts = json.loads(to_json(record))
    assert facts["outcome"] == "ok" and facts["success"] is True
    assert facts["task"] == "touch_cube" and facts["seed"] == 3
    assert (facts["imagined"], facts["imagined_with_seed"]) == (2, 4)
    assert facts["stages"][0] == {"name": "imagine", "seconds": 4.2, "error": ""}
    assert len(facts["weights_sha256"]) == 64 and facts["machine"] and facts["versions"]


def test_a_task_that_missed_says_why_it_can_and_what_can_be_done(record: RunRecord) -> None:
    missed = dataclasses.replace(record, success=False, success_detail="touched nothing")
    for told in (verdict(missed), to_html(missed)):
        assert "touched nothing" in told and "--best-of 8; here of 2" in told
        assert "the hand 13 mm apart (at most 45" in told and "MODEL_CARD.md" in told
    assert "--best-of" not in verdict(record) + to_html(record)


def test_a_plan_without_a_step_of_the_optimisation_is_not_told_as_optimised(
    record: RunRecord,
) -> None:
    read = to_html(dataclasses.replace(record, losses=np.zeros(0)))
    assert "action head reads off the imagined rollout" in read and "optimised" not in read
    assert "optimised through the frozen generator" in to_html(record)


def test_a_run_that_failed_at_the_start_still_has_a_page() -> None:
    stages = (StageTime("start", 2.0, "gone"),)
    failed = RunRecord(
        "open_drawer",
        "open the drawer",
        1,
        "emulated",
        "WeightsError",
        "<manifest> missing",
        stages,
    )
    page = to_html(failed)
    assert "&lt;manifest&gt; missing" in page and "not evaluated" in page
    assert "emulated arm" in page
    assert [t for t in SECTIONS if f"<h2>{t}</h2>" in page] == ["Time per stage", "Made with"]
    assert json.loads(to_json(failed))["success"] is None


def test_an_image_that_was_not_taken_is_left_blank(record: RunRecord) -> None:
    assert record.reality is not None
    gap = without_images(record.reality, view=0, index=8)
    tiles = picture(pictures.strip(gap.color[0], gap.present[0]))
    blank, shown = tiles[:, -190:], tiles[:, :190]
    assert np.abs(blank.astype(int) - pictures.MISSING_RGB).max() <= 6
    assert shown.std() > 20
    to_html(dataclasses.replace(record, reality=gap))


def test_depth_colours_are_monotone_clamped_and_mark_what_is_invalid() -> None:
    scale = DepthScale.of([np.linspace(0.5, 1.2, 1000, dtype=np.float32).reshape(10, 100)])
    assert scale.near_m == pytest.approx(0.5) and scale.far_m == pytest.approx(1.2)
    painted = scale.paint(np.array([[0.0, 0.4, 0.5, 1.2, 9.0]], dtype=np.float32))[0]
    assert tuple(painted[0]) == pictures.INVALID_RGB
    assert (painted[1] == painted[2]).all() and (painted[3] == painted[4]).all()
    assert DepthScale.of([np.zeros((2, 2), np.float32)]).far_m > 0


@given(delay_s=st.floats(0.0, 2.0), seed=st.integers(0, 50))
def test_the_plans_time_zero_is_found_in_what_was_sent(delay_s: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    times_s = np.arange(1, 97) / 15.0
    curve = np.sin(times_s[:, None] * rng.uniform(0.5, 2.0, 3) + rng.uniform(0, 6, 3))
    plan = ActionTrajectory(("a", "b", "c"), curve, times_s, Provenance("", "", 0))
    clock_s = np.arange(0.0, 6.4 + delay_s + 0.3, 0.005)
    sent = np.stack([np.interp(clock_s - delay_s, times_s, column) for column in curve.T], axis=1)
    series = JointSeries(("c", "a", "b"), clock_s, sent[:, [2, 0, 1]])
    assert timeline.start_offset(series, plan) == pytest.approx(delay_s, abs=0.011)


def test_an_image_far_from_the_wanted_time_does_not_show_it() -> None:
    stamps = [0, 66_000_000, 133_000_000]
    assert timeline.nearest(stamps, 70_000_000) == 66_000_000
    assert timeline.nearest(stamps, 283_000_001) is None
    assert timeline.nearest([], 0) is None
