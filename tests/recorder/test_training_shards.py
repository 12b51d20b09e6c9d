"""From an episode to training data: every sample is what an independent projection gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from mvista_core.arm import load_arm
from mvista_core.episode_shape import TINY, EpisodeShape
from mvista_core.errors import ConfigError, EpisodeError
from mvista_core.geometry import pose_from
from mvista_core.imaging import ModelWindow
from mvista_core.records import Intrinsics
from mvista_core.registration import Registration, StreamCalibration
from mvista_core.rig import load_rig
from mvista_core.timing import NS_PER_S, ManualClock
from mvista_recorder import schemas
from mvista_recorder.bag_export import convert_to_bag
from mvista_recorder.camera_feed import FRAMES
from mvista_recorder.episode_writer import EpisodeWriter
from mvista_recorder.layout import COLOR_FORMAT, DEPTH_FORMAT, JOINT_STATE, CameraChannels, Topic
from mvista_recorder.many import in_parallel
from mvista_recorder.recorded_cameras import EpisodeCamera
from mvista_recorder.training_shards import TrainingJob, chosen_episodes, convert_to_training
from mvista_ros.convert.depth_png import depth_to_transport
from mvista_ros.convert.jpeg import encode_jpeg
from mvista_ros.convert.stamps import depth_optical_frame, optical_frame
from tests.recorder.made import ARM, JOINTS, RIG, START_NS, head

pytestmark = pytest.mark.slow

COLOR = Intrinsics(640, 360, 420.0, 420.0, 319.5, 179.5)
DEPTH = Intrinsics(160, 120, 110.0, 110.0, 79.5, 59.5)
OFFSET = pose_from(np.eye(3), np.array([0.03, 0.0, 0.0]))
CALIBRATION = StreamCalibration(COLOR, DEPTH, OFFSET)
CAMERAS = ("cam0", "cam1")
PERIOD_NS = NS_PER_S // 5
IMAGES = 42
COMMANDS = Topic("/piper/joint_command", JOINT_STATE)
AHEAD_NS = 30_000_000
"""What is commanded is where the joints are so much later."""
NAMES = load_arm(ARM).joint_names


def positions_at(at_ns: int) -> np.ndarray:
    """Joints that move evenly, so that what lies between samples is known."""
    return np.arange(1.0, 8.0) * 0.01 * (at_ns - START_NS) / NS_PER_S


def joints(stamp_ns: int, at_ns: int | None = None) -> bytes:
    types = schemas.typestore().types
    time = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, NS_PER_S))
    header = types["std_msgs/msg/Header"](time, "")
    values = positions_at(stamp_ns if at_ns is None else at_ns)
    # Backwards: whoever trusts the order of joints is found out.
    message = types[JOINTS.type](
        header, list(NAMES)[::-1], values[::-1].copy(), np.zeros(0), np.zeros(0)
    )
    return bytes(schemas.typestore().serialize_cdr(message, JOINTS.type))


def camera_messages(
    name: str, calibration: StreamCalibration, jpeg: bytes, depth: np.ndarray, stamp_ns: int
) -> dict[Topic, bytes]:
    """One capture as its four messages; depth is a millisecond late."""
    topics, late_ns = CameraChannels.of(name), stamp_ns + 1_000_000
    frame, depth_frame = optical_frame(name), depth_optical_frame(name)
    coded = depth_to_transport(depth)
    picture, lens = schemas.picture_to_bytes, schemas.lens_to_bytes
    return {
        topics.color: picture(COLOR_FORMAT, jpeg, stamp_ns, frame),
        topics.color_info: lens(calibration.color, stamp_ns, frame),
        topics.depth: picture(DEPTH_FORMAT, coded, late_ns, depth_frame),
        topics.depth_info: lens(calibration.depth, stamp_ns, depth_frame),
    }


Images = dict[tuple[str, int], tuple[bytes, np.ndarray]]


def recorded(
    root: Path,
    gap: bool = False,
    count: int = IMAGES,
    calibration: StreamCalibration = CALIBRATION,
    farthest_mm: int = 1500,
    label: str = "success",
    lonely: bool = False,
    **other: object,
) -> tuple[Path, Images]:
    """An episode, and what it was made of: (camera, stamp) -> JPEG and native depth.

    `lonely`: of cam0's third capture a second colour image, 12 ms later, whose depth was lost.
    """
    lens, depth_lens = calibration.color, calibration.depth
    clock, rng, images = ManualClock(START_NS), np.random.default_rng(0), {}
    writer = EpisodeWriter(root, head(cameras=CAMERAS, **other), clock)
    frames = {
        (optical_frame(name), depth_optical_frame(name)): calibration.color_from_depth
        for name in CAMERAS
    }
    writer.open(FRAMES)
    writer.add(FRAMES.name, START_NS, START_NS, schemas.transforms_to_bytes(frames, START_NS))
    for topic in (JOINTS, COMMANDS):
        writer.open(topic)
    for k in range(count):
        for name in CAMERAS:
            stamp_ns = START_NS + k * PERIOD_NS + (3_000_000 if name == "cam1" else 0)
            pixels = np.kron(
                rng.integers(0, 255, (18, 32, 3), dtype=np.uint8),
                np.ones((lens.width_px // 32,) * 2 + (1,), np.uint8),
            )
            depth = rng.integers(
                500, farthest_mm, (depth_lens.height_px, depth_lens.width_px)
            ).astype(np.uint16)
            depth[rng.random(depth.shape) < 0.2] = 0
            jpeg = encode_jpeg(pixels)
            images[name, stamp_ns] = jpeg, depth
            told = camera_messages(name, calibration, jpeg, depth, stamp_ns)
            for topic, data in told.items():
                writer.open(topic)
                writer.add(topic.name, clock.now_ns(), schemas.stamp_ns(data), data)
            if lonely and (name, k) == ("cam0", 2):
                topics, late_ns = CameraChannels.of(name), stamp_ns + 12_000_000
                data = schemas.picture_to_bytes(COLOR_FORMAT, jpeg, late_ns, optical_frame(name))
                writer.add(topics.color.name, clock.now_ns(), late_ns, data)
        for n in range(20):
            stamp_ns = START_NS + k * PERIOD_NS + n * PERIOD_NS // 20 - 3_333_333
            if not (gap and k == 2):
                writer.add(JOINTS.name, clock.now_ns(), stamp_ns, joints(stamp_ns))
                ahead = joints(stamp_ns, stamp_ns + AHEAD_NS)
                writer.add(COMMANDS.name, clock.now_ns(), stamp_ns, ahead)
        clock.advance(0.2)
    return writer.finish(label), images


def independent(image: tuple[bytes, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Colour and depth (mm) of the model's window, pixel by pixel from the camera's own image."""
    color = cv2.imdecode(np.frombuffer(image[0], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    depth = Registration(CALIBRATION).register(image[1])
    small = np.rint(color.reshape(180, 2, 320, 2, 3).mean(axis=(1, 3)).astype(np.float32))
    width, height, reduce = TINY.window.width_px, TINY.window.height_px, TINY.window.reduce
    top, left = (180 - height * reduce) // 2, (320 - width * reduce) // 2
    rows, columns = slice(top, top + height * reduce), slice(left, left + width * reduce)
    blocks = small[rows, columns].reshape(height, reduce, width, reduce, 3)
    cut = depth[2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop]
    final_mm = middles(middles(cut, 2), reduce)
    return np.rint(blocks.mean(axis=(1, 3)).astype(np.float32)).astype(np.uint8), final_mm


def middles(image: np.ndarray, side: int) -> np.ndarray:
    """The lower of the middle valid depths of each block, one block after the other."""
    found = np.zeros((image.shape[0] // side, image.shape[1] // side), np.uint16)
    for v, u in np.ndindex(*found.shape):
        block = image[side * v : side * (v + 1), side * u : side * (u + 1)]
        valid = sorted(block[block > 0].tolist())
        found[v, u] = valid[(len(valid) - 1) // 2] if valid else 0
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Images]:
    root = tmp_path_factory.mktemp("root")
    folder, images = recorded(root)
    out = root / "shards"
    (report,) = convert_to_training(TrainingJob((folder,), out), 1)
    assert (report.kept, report.dropped) == (2, 0), report.words
    return folder, out, images


def test_a_sample_is_an_independent_projection_bit_for_bit(
    made: tuple[Path, Path, Images],
) -> None:
    _, out, images = made
    with np.load(out / "shard-00000.npz") as shard:
        color, depth, stamps = shard["color"], shard["depth_mm"], shard["capture_ns"]
    assert color.shape == (2, 2, 9, 64, 96, 3) and depth.shape == (2, 2, 9, 64, 96)
    for n, view, t in ((0, 0, 0), (1, 1, 8), (0, 1, 4)):
        wanted = independent(images[CAMERAS[view], int(stamps[n, view, t])])
        assert np.array_equal(color[n, view, t], wanted[0])
        assert np.array_equal(depth[n, view, t], wanted[1])
    begin = START_NS + 3_000_000 + 1_600_000_000 * np.arange(2)
    due = begin[:, None] + np.round(TINY.frame_times_s * NS_PER_S).astype(np.int64)
    assert np.abs(stamps - due[:, None]).max() <= 3_000_000


def test_joints_are_those_of_their_moment_and_in_the_arm_files_order(
    made: tuple[Path, Path, Images],
) -> None:
    with np.load(made[1] / "shard-00000.npz") as shard:
        actions, initial, poses = shard["actions"], shard["initial"], shard["base_from_camera"]
    for n in range(2):
        begin = START_NS + 3_000_000 + n * 1_600_000_000
        due = begin + np.round(TINY.action_times_s * NS_PER_S)
        assert np.allclose(actions[n], [positions_at(at) for at in due], atol=1e-6)
        assert np.allclose(initial[n], positions_at(begin), atol=1e-6)
    rig = load_rig(RIG)
    assert np.array_equal(poses[1], [rig.camera(name).base_from_camera for name in CAMERAS])


def test_the_trainers_own_reader_takes_it(made: tuple[Path, Path, Images]) -> None:
    from mvista_eval.dataset import describe
    from mvista_world.training.data_sets import find_data_sets
    from mvista_world.training.recordings import load_shard, shard_paths

    (path,) = shard_paths([made[1]])
    shard = load_shard(path)
    assert shard.instructions == (("open the drawer",),) * 2 and shard.actions.shape[2:] == (96, 7)
    (found,) = find_data_sets(made[1])
    assert found.templates == ("open the drawer",) and found.cameras == CAMERAS
    found.require_rig(load_rig(RIG))
    assert "2 episodes" in describe(made[1])[0] or "episodes 2" in describe(made[1])[0]


def test_the_same_bytes_again_and_nothing_is_made_twice(
    made: tuple[Path, Path, Images], tmp_path: Path
) -> None:
    folder, out, _ = made
    before = (out / "shard-00000.npz").stat().st_mtime_ns
    (report,) = convert_to_training(TrainingJob((folder,), out), 1)
    assert report.words == "made before" and report.kept == 2
    assert (out / "shard-00000.npz").stat().st_mtime_ns == before
    list(convert_to_training(TrainingJob((folder,), tmp_path), 1))
    for path in out.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    with pytest.raises(ConfigError, match="another data set"):
        list(convert_to_training(TrainingJob((folder,), out, stride_s=0.8), 1))


def test_half_a_conversion_is_gone_on_with_and_one_of_other_choices_is_refused(
    made: tuple[Path, Path, Images], tmp_path: Path
) -> None:
    folder = made[0]
    short, _ = recorded(tmp_path / "root", count=2, id="0000aaaa")
    job = TrainingJob((folder, short), tmp_path / "out")
    interrupted = convert_to_training(job, 1)
    next(interrupted)
    del interrupted
    assert (job.out / "shard-00000.npz").is_file()
    assert not (job.out / "manifest.json").exists(), "half a data set is none"
    views = EpisodeShape(ModelWindow(128, 80, 2), 9, 0.8, 96, 15.0)
    for other in (replace(job, shape=views), replace(job, folders=(folder,))):
        with pytest.raises(ConfigError, match="differs in.*choose another folder"):
            list(convert_to_training(other, 1))
    told = [report.words for report in convert_to_training(job, 1)]
    assert told[0] == "made before" and "no window" in told[1]
    whole = replace(job, out=tmp_path / "whole")
    list(convert_to_training(whole, 1))
    names = sorted(path.name for path in job.out.iterdir())
    assert names == ["manifest.json", "shard-00000.npz"]
    assert all((job.out / n).read_bytes() == (whole.out / n).read_bytes() for n in names)
    (whole.out / "manifest.json").unlink()
    with pytest.raises(ConfigError, match="holds 1 shards and neither"):
        list(convert_to_training(whole, 1))


def test_a_depth_image_is_of_one_colour_image_the_nearest() -> None:
    ms = 1_000_000
    camera = EpisodeCamera(
        "cam0", CALIBRATION, np.array([0, 12, 67, 81]) * ms, np.array([1, 74]) * ms
    )
    stamps, there = camera.depths_for(camera.color_ns)
    assert (stamps[there].tolist(), there.tolist()) == ([ms, 74 * ms], [True, False, True, False])
    assert camera.depth_for(0) == ms
    with pytest.raises(EpisodeError, match="12000000 ns has no depth"):
        camera.depth_for(12 * ms)


def test_a_window_across_a_gap_of_joints_is_left_out_and_counted(tmp_path: Path) -> None:
    folder, _ = recorded(tmp_path / "root", gap=True)
    (report,) = convert_to_training(TrainingJob((folder,), tmp_path / "out"), 1)
    assert (report.kept, report.dropped) == (1, 1)


def test_only_what_is_labelled_and_of_one_rig_is_taken(
    made: tuple[Path, Path, Images], tmp_path: Path
) -> None:
    folder, _ = recorded(tmp_path, count=2, id="0000aaaa", practice=True)
    other, _ = recorded(tmp_path, count=2, id="0000bbbb", rig=RIG.read_bytes() + b"\n")
    assert chosen_episodes([made[0], folder]) == (made[0],)
    assert chosen_episodes([made[0], folder], practice=True) == (made[0], folder)
    with pytest.raises(EpisodeError, match="2 rigs"):
        chosen_episodes([made[0], other])
    with pytest.raises(EpisodeError, match="labelled failure"):
        chosen_episodes([made[0]], ["failure"])


def test_a_bag_has_registered_depth_for_any_viewer(
    made: tuple[Path, Path, Images], tmp_path: Path
) -> None:
    folder, _, images = made
    (_, (good, line)), *_ = in_parallel(convert_to_bag, [(folder, tmp_path)], 1)
    assert good, line
    seen = 0
    with AnyReader([tmp_path / folder.name]) as bag:
        topics = [c for c in bag.connections if c.topic == "/cam1/depth/image_raw"]
        for _, _, data in bag.messages(topics):
            message: Any = bag.deserialize(data, topics[0].msgtype)
            stamp_ns = message.header.stamp.sec * NS_PER_S + message.header.stamp.nanosec
            seen += 1
            if seen > 3:
                continue
            wanted = Registration(CALIBRATION).register(images["cam1", stamp_ns - 1_000_000][1])
            assert message.encoding == "16UC1"
            assert np.array_equal(message.data.view(np.uint16).reshape(360, 640), wanted)
        names = {connection.topic for connection in bag.connections}
    assert seen == IMAGES and "/cam1/color/image_raw/compressed" in names
    assert not any("native" in name for name in names)
    assert convert_to_bag((folder, tmp_path))[1].endswith("made before")
