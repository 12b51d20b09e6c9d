"""From an episode to a LeRobot data set and back, by `pyarrow` and `av` alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from mvista_cli.cli import main
from mvista_core.errors import ConfigError, EpisodeError
from mvista_core.records import Intrinsics
from mvista_core.registration import Registration, StreamCalibration
from mvista_recorder.lerobot_export import LeRobotJob, convert_to_lerobot
from mvista_recorder.lerobot_frames import FrameRules, frame_rate_hz
from mvista_recorder.training_shards import chosen_episodes
from tests.recorder.made import START_NS
from tests.recorder.test_training_shards import (
    AHEAD_NS,
    CAMERAS,
    NAMES,
    OFFSET,
    PERIOD_NS,
    Images,
    positions_at,
    recorded,
)

pytestmark = pytest.mark.slow

SMALL = StreamCalibration(
    Intrinsics(64, 36, 42.0, 42.0, 31.5, 17.5), Intrinsics(40, 32, 27.0, 27.0, 19.5, 15.5), OFFSET
)
BRIGHTNESS = np.array([0.299, 0.587, 0.114])
COUNT, RULES = 9, FrameRules(5)
LEAST_PSNR_DB = 36.0
"""Of the videos' brightness beside the camera's own JPEG; their colour has half its pixels."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Images]]:
    """Two good episodes of unlike tasks, one failure between them; and the export of all three."""
    root = tmp_path_factory.mktemp("lerobot")
    said = (("open the drawer", "success"), ("touch the cube", "failure"), ("touch it", "success"))
    images = []
    for k, (words, label) in enumerate(said):
        _, found = recorded(
            root / "episodes",
            count=COUNT,
            calibration=SMALL,
            label=label,
            id=f"0000000{k}",
            instruction=words,
        )
        images.append(found)
    command = ["dataset", "convert", str(root / "episodes"), "--to", "lerobot"]
    labels = ["--labels", "success", "failure", "--workers", "1"]
    assert main([*command, "--out", str(root / "out"), *labels]) == 0
    return root / "episodes", root / "out", images


def frames_of(path: Path, form: str) -> list[np.ndarray]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format=form) for frame in file.decode(video=0)]


def action_at(at_ns: int) -> np.ndarray:
    """The last set-point sent at or before a moment, float32 [J]."""
    since_ns = START_NS - 3_333_333
    sent_ns = since_ns + (at_ns - since_ns) // 10_000_000 * 10_000_000
    return positions_at(sent_ns + AHEAD_NS).astype(np.float32)


def rows(out: Path) -> Any:
    return pq.read_table(out / "data/chunk-000/file-000.parquet")


def episodes(out: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet").to_pylist())


def of_episode(out: Path, k: int) -> Iterator[tuple[int, dict[str, Any]]]:
    row = episodes(out)[k]
    part = rows(out).slice(row["dataset_from_index"], row["length"])
    yield from enumerate(part.to_pylist())


def test_depth_is_exact_and_nothing_stays_nothing(made: tuple[Path, Path, list[Images]]) -> None:
    _, out, images = made
    for k, name in ((0, "cam0"), (2, "cam1")):
        path = out / f"videos/observation.images.{name}_depth/chunk-000/file-{k:03d}.mp4"
        found = frames_of(path, "gray12le")
        for n, row in of_episode(out, k):
            stamp = row["observation.capture_ns"][CAMERAS.index(name)]
            wanted = Registration(SMALL).register(images[k][name, stamp][1])
            assert np.array_equal(found[n], wanted), (k, name, n)
            assert (wanted == 0).any() and wanted.max() > 1000
        assert len(found) == COUNT


def test_colour_is_the_cameras_own_but_for_the_codec(
    made: tuple[Path, Path, list[Images]],
) -> None:
    _, out, images = made
    found = frames_of(out / "videos/observation.images.cam1/chunk-000/file-001.mp4", "rgb24")
    assert len(found) == COUNT
    for n, row in of_episode(out, 1):
        jpeg = images[1]["cam1", row["observation.capture_ns"][1]][0]
        wanted = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        error = np.mean(((found[n].astype(float) - wanted) @ BRIGHTNESS) ** 2)
        assert 10 * np.log10(255**2 / error) > LEAST_PSNR_DB


def test_joints_actions_and_stamps_are_those_of_the_moment(
    made: tuple[Path, Path, list[Images]],
) -> None:
    _, out, images = made
    for k in range(3):
        stamps = sorted(stamp for camera, stamp in images[k] if camera == "cam0")
        for n, row in of_episode(out, k):
            at_ns = stamps[n]
            assert row["observation.capture_ns"] == [at_ns, at_ns + 3_000_000]
            state = np.float32(positions_at(at_ns))
            np.testing.assert_allclose(row["observation.state"], state, rtol=0, atol=1e-6)
            assert row["action"] == action_at(at_ns).tolist()
            assert row["timestamp"] == np.float32(n / 5) and row["frame_index"] == n


def test_the_tables_are_those_of_the_format(made: tuple[Path, Path, list[Images]]) -> None:
    _, out, _ = made
    info = json.loads((out / "meta/info.json").read_text())
    counts = info["total_episodes"], info["total_frames"], info["total_tasks"]
    assert (info["codebase_version"], info["fps"], *counts) == ("v3.0", 5, 3, 3 * COUNT, 3)
    assert info["features"]["action"]["names"] == list(NAMES)
    assert info["features"]["action"]["dtype"] == "float32"
    depth = info["features"]["observation.images.cam0_depth"]
    assert depth["shape"] == [36, 64, 1] and depth["info"]["is_depth_map"] is True
    told = {key: depth["info"][f"video.{key}"] for key in ("use_log", "depth_min", "depth_max")}
    assert told == {"use_log": False, "depth_min": 0.0, "depth_max": 4.095}
    table = rows(out)
    assert table["index"].to_pylist() == list(range(3 * COUNT))
    assert table["episode_index"].to_pylist() == [k for k in range(3) for _ in range(COUNT)]
    found = episodes(out)
    assert [row["label"] for row in found] == ["success", "failure", "success"]
    bounds = [(row["dataset_from_index"], row["dataset_to_index"]) for row in found]
    assert bounds == [(k * COUNT, (k + 1) * COUNT) for k in range(3)]
    tasks = pq.read_table(out / "meta/tasks.parquet").to_pylist()
    assert [row["task"] for row in tasks] == [row["tasks"][0] for row in found]
    for row in found:
        for name in ("cam0", "cam1_depth"):
            key = f"videos/observation.images.{name}"
            assert (row[f"{key}/from_timestamp"], row[f"{key}/to_timestamp"]) == (0.0, COUNT / 5)
            file = f"chunk-{row[f'{key}/chunk_index']:03d}/file-{row[f'{key}/file_index']:03d}.mp4"
            assert (out / f"videos/observation.images.{name}" / file).is_file()


def test_statistics_are_of_what_is_there(made: tuple[Path, Path, list[Images]]) -> None:
    _, out, images = made
    stats = json.loads((out / "meta/stats.json").read_text())
    states = np.stack(rows(out)["observation.state"].to_numpy(zero_copy_only=False))
    for key, wanted in (("mean", states.mean(0)), ("std", states.std(0)), ("max", states.max(0))):
        np.testing.assert_allclose(stats["observation.state"][key], wanted, atol=1e-5)
    depth = stats["observation.images.cam0_depth"]
    everything = [
        Registration(SMALL).register(native)
        for found in images
        for (camera, _), (_, native) in found.items()
        if camera == "cam0"
    ]
    assert depth["count"] == [3 * COUNT] and np.shape(depth["q50"]) == (1, 1, 1)
    np.testing.assert_allclose(np.ravel(depth["mean"]), np.mean(everything), rtol=1e-6)
    assert np.ravel(depth["max"]) == np.max(everything)
    color = stats["observation.images.cam0"]
    assert np.shape(color["mean"]) == (3, 1, 1) and 0 < np.min(color["mean"]) < 1
    every = set(json.loads((out / "meta/info.json").read_text())["features"])
    assert set(stats) == every and all("q99" in found for found in stats.values())


def contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_the_same_bytes_again_on_two_processes_and_after_an_interruption(
    made: tuple[Path, Path, list[Images]], tmp_path: Path
) -> None:
    root, out, _ = made
    job = LeRobotJob(chosen_episodes(sorted(root.iterdir()), ("success", "failure")), out, RULES)
    assert frame_rate_hz(job.folders) == RULES.rate_hz
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert {report.words for report in convert_to_lerobot(job, 1)} == {"made before"}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    other = replace(job, out=tmp_path / "other")
    interrupted = convert_to_lerobot(other, 1)
    next(interrupted)
    del interrupted
    (first,) = (other.out / ".unfinished").iterdir()
    assert not (other.out / "meta/info.json").exists(), "half an export is none"
    told = [report.words for report in convert_to_lerobot(other, 2)]
    assert told == ["made before", "9 of 9 frames", "9 of 9 frames"] and not first.exists()
    assert contents(other.out) == contents(out)
    with pytest.raises(ConfigError, match="differs in.*choose another folder"):
        list(convert_to_lerobot(replace(job, rules=FrameRules(5, "joints")), 1))


def test_depth_beyond_twelve_bits_is_refused_or_marked(tmp_path: Path) -> None:
    folder, images = recorded(tmp_path / "root", count=3, calibration=SMALL, farthest_mm=5000)
    command = ["dataset", "convert", str(folder), "--to", "lerobot"]
    assert main([*command, "--out", str(tmp_path / "marked")]) == 2
    assert not list((tmp_path / "marked").iterdir()), "what is refused leaves nothing"
    assert main([*command, "--out", str(tmp_path / "marked"), "--mark-far"]) == 0
    path = tmp_path / "marked/videos/observation.images.cam0_depth/chunk-000/file-000.mp4"
    found = frames_of(path, "gray12le")
    for n, row in of_episode(tmp_path / "marked", 0):
        wanted = Registration(SMALL).register(images["cam0", row["observation.capture_ns"][0]][1])
        assert np.array_equal(found[n], np.where(wanted > 4095, 0, wanted))


def test_what_is_missing_is_left_out_counted_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, images = recorded(tmp_path / "root", gap=True, count=6, calibration=SMALL)
    (report,) = convert_to_lerobot(LeRobotJob((folder,), tmp_path / "out", RULES), 1)
    assert (report.kept, report.dropped) == (5, 1)
    stamps = sorted(stamp for camera, stamp in images if camera == "cam0")
    seen = [row["observation.capture_ns"][0] for _, row in of_episode(tmp_path / "out", 0)]
    assert seen == [stamp for stamp in stamps if stamp != START_NS + 2 * PERIOD_NS]
    # Where no set-point was sent, as with both arms on one bus, other actions are named.
    assert main(["dataset", "convert", str(folder), "--to", "lerobot", "--action", "leader",
                 "--out", str(tmp_path / "none")]) == 2  # fmt: skip
    told = capsys.readouterr().err
    assert "/leader/joint_states" in told and "--action" in told and "none of 1 episodes" in told


def test_an_image_without_a_depth_of_its_own_costs_that_frame_and_no_other(tmp_path: Path) -> None:
    folder, images = recorded(tmp_path / "root", count=4, calibration=SMALL, lonely=True)
    (report,) = convert_to_lerobot(LeRobotJob((folder,), tmp_path / "out", RULES), 1)
    assert (report.kept, report.dropped) == (4, 1), report.words
    seen = [row["observation.capture_ns"][0] for _, row in of_episode(tmp_path / "out", 0)]
    assert seen == sorted(stamp for camera, stamp in images if camera == "cam0")


def test_images_of_several_sizes_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, wide = tmp_path / "root", replace(SMALL, color=SMALL.color.scaled(2.0))
    recorded(root, count=3, calibration=SMALL, id="0000aaaa")
    recorded(root, count=3, calibration=wide, id="0000bbbb")
    command = ["dataset", "convert", str(root), "--to", "lerobot", "--workers", "1"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "0000bbbb: cam0 took images of 128x72, in" in told and "of 64x36" in told
    assert not list((tmp_path / "out").rglob("*")), "what is refused leaves nothing"


def test_images_that_are_not_of_their_lens_are_refused(tmp_path: Path) -> None:
    taller = replace(SMALL, color=replace(SMALL.color, height_px=48))
    folder, _ = recorded(tmp_path / "root", count=3, calibration=taller)
    job = LeRobotJob((folder,), tmp_path / "out", RULES)
    told = convert_to_lerobot(job, 1)
    assert "an image of 64x36, where the lens is of 64x48" in next(told).words
    with pytest.raises(EpisodeError, match="none of 1 episodes"):
        next(told)
    assert not list((tmp_path / "out").rglob("*.mp4"))


def test_an_altered_episode_is_named_and_the_others_are_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    altered, _ = recorded(root, count=3, calibration=SMALL, id="0000aaaa")
    recorded(root, count=3, calibration=SMALL, id="0000bbbb")
    content = bytearray((altered / "episode.mcap").read_bytes())
    content[len(content) // 2] ^= 1
    (altered / "episode.mcap").write_bytes(content)
    out = tmp_path / "out"
    command = ["dataset", "convert", str(root), "--to", "lerobot", "--out", str(out)]
    assert main([*command, "--workers", "1"]) == 2
    told = capsys.readouterr()
    assert "at byte" in told.err and len(told.err.splitlines()) == 1
    assert "3 frames, 0 left out, of 2 episodes" in told.out
    (row,) = episodes(out)
    assert row["source"].endswith("0000bbbb") and row["episode_index"] == 0
    assert next(of_episode(out, 0))[1]["index"] == 0


def test_the_action_may_be_the_next_pose(tmp_path: Path) -> None:
    folder, _ = recorded(tmp_path / "root", count=4, calibration=SMALL)
    rules = FrameRules(5, "joints")
    (report,) = convert_to_lerobot(LeRobotJob((folder,), tmp_path / "out", rules), 1)
    assert (report.kept, report.dropped) == (3, 1), "nothing comes after the last image"
    for _, row in of_episode(tmp_path / "out", 0):
        later = positions_at(row["observation.capture_ns"][0] + PERIOD_NS)
        np.testing.assert_allclose(row["action"], later, atol=1e-6)


def test_episodes_of_unlike_rates_are_refused(tmp_path: Path) -> None:
    one, _ = recorded(tmp_path, count=3, calibration=SMALL)
    still, _ = recorded(tmp_path, count=1, calibration=SMALL, id="0000aaaa")
    with pytest.raises(EpisodeError, match=r"0000aaaa: .* 0\.0 images a second, most took 0"):
        frame_rate_hz([still])
    with pytest.raises(EpisodeError, match=r"0000aaaa: .* most took 5; an export has one rate"):
        frame_rate_hz(
            [one, still, recorded(tmp_path, count=3, calibration=SMALL, id="0000bbbb")[0]]
        )
    assert frame_rate_hz([one]) == 5
