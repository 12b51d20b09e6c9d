"""Counting of `mvista bench capture`: what was lost, late or repeated, by stamp."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mvista_cli import cli
from mvista_eval.capture.counts import compare, read_arrivals, read_sent

PERIOD_NS = 66_666_666
WINDOW_NS = (1000 * PERIOD_NS, 1100 * PERIOD_NS)


def sent(count: int) -> np.ndarray:
    stamps = (np.arange(count) + 1000) * PERIOD_NS
    return np.column_stack([stamps, stamps + 1_000_000])


def arrived(count: int, after_ns: int) -> np.ndarray:
    out = sent(count)
    return np.column_stack([out[:, 0], out[:, 1] + after_ns])


def test_all_that_was_sent_and_came_is_counted_once() -> None:
    figures, latency_ms = compare("t", sent(100), arrived(100, 5_000_000), WINDOW_NS, PERIOD_NS)
    assert (figures.sent, figures.received, figures.lost) == (100, 100, 0)
    assert (figures.late, figures.repeated) == (0, 0)
    np.testing.assert_allclose(latency_ms, 5.0)


def test_what_did_not_come_is_lost_and_what_came_late_is_late() -> None:
    arrivals = arrived(100, 5_000_000)
    arrivals[7, 1] += 2 * PERIOD_NS
    arrivals = np.delete(arrivals, [3, 50, 99], axis=0)
    figures, _ = compare("t", sent(100), arrivals, WINDOW_NS, PERIOD_NS)
    assert (figures.received, figures.lost, figures.late) == (97, 3, 1)


def test_only_the_window_counts() -> None:
    figures, _ = compare("t", sent(140), arrived(140, 1), WINDOW_NS, PERIOD_NS)
    assert (figures.sent, figures.received) == (100, 100)


def test_repeats_are_seen_and_the_first_is_timed() -> None:
    twice = np.vstack([arrived(10, 4_000_000), arrived(2, 90_000_000)])
    figures, latency_ms = compare("t", sent(10), twice, WINDOW_NS, PERIOD_NS)
    assert (figures.received, figures.repeated) == (10, 2)
    np.testing.assert_allclose(latency_ms, 4.0)


def test_nothing_that_came_is_all_lost() -> None:
    figures, _ = compare("t", sent(5), np.empty((0, 2), dtype=np.int64), WINDOW_NS, PERIOD_NS)
    assert (figures.received, figures.lost, figures.latency_ms.count) == (0, 5, 0)


def test_the_logs_are_read(tmp_path: Path) -> None:
    (tmp_path / "cam0.csv").write_text("stamp_ns,sent_ns\n5,7\n11,13\n")
    np.testing.assert_array_equal(read_sent(tmp_path / "cam0.csv"), [[5, 7], [11, 13]])
    rows = np.array([[5, 9, 1]], dtype=np.int64)
    np.savez(tmp_path / "a.npz", **{"cam0|color|image_raw": rows})  # type: ignore[arg-type]
    arrivals = read_arrivals(tmp_path / "a.npz")
    np.testing.assert_array_equal(arrivals["cam0/color/image_raw"], [[5, 9]])


@pytest.mark.parametrize("words", [["--size", "huge"], ["--cameras", "0"], ["--fps", "0"]])
def test_questions_that_make_no_sense_are_refused(words: list[str]) -> None:
    assert cli.main(["bench", "capture", *words]) == 2


@pytest.mark.system
@pytest.mark.timeout(180)
def test_what_a_camera_costs_is_told_by_who_reads_it(tmp_path: Path) -> None:
    report = tmp_path / "readers.json"
    words = ["--what", "readers", "--cameras", "1", "--fps", "5", "--seconds", "2"]
    cli.main(["bench", "capture", *words, "--json", str(report)])
    phases = {phase["readers"]: phase for phase in json.loads(report.read_text())["phases"]}
    assert list(phases) == ["nobody", "tap", "tap, another sticks", "topics"]
    assert phases["nobody"]["received"] == 0 < phases["tap"]["received"]
    assert all(phase["captures"] > 0 and phase["lost"] == 0 for phase in phases.values())
    assert phases["nobody"]["cpu_ms_per_capture"] < phases["topics"]["cpu_ms_per_capture"]


@pytest.mark.system
@pytest.mark.timeout(180)
def test_two_small_cameras_arrive_across_processes(tmp_path: Path) -> None:
    """Real processes, counted; how many arrive on a loaded machine is the benchmark's business."""
    report = tmp_path / "capture.json"
    words = ["--cameras", "2", "--size", "320x180", "--fps", "5", "--seconds", "3"]
    cli.main(["bench", "capture", *words, "--json", str(report)])
    text = report.read_text()
    assert '"backend": "synthetic"' in text
    assert '"cam1/depth/image_raw"' in text
