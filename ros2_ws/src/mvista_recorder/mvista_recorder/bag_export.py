"""Episodes as bags that RViz and Foxglove show: depth registered to colour and not compressed.

`/<cam>/depth/image_raw` (16UC1, mm) takes the place of the native, compressed depth and of its
`camera_info`; every other message stays as it is.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mvista_core.errors import MvistaError, RecordingError
from mvista_core.files import make_folder, replace_file
from mvista_recorder import schemas
from mvista_recorder.bag_metadata import bag_metadata
from mvista_recorder.episode_file import EpisodeFile
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.episode_writer import publish_folder
from mvista_recorder.layout import EPISODE, METADATA, PARTIAL, TF_STATIC, CameraChannels, Topic
from mvista_recorder.recorded_cameras import EpisodeCamera, recorded_cameras
from mvista_recorder.scan import RecordedMessage
from mvista_recorder.tally import Tally
from mvista_ros.convert.depth_png import depth_from_transport
from mvista_ros.convert.image_bytes import image_to_bytes
from mvista_ros.convert.stamps import optical_frame

IMAGE = "sensor_msgs/msg/Image"


def convert_to_bag(job: tuple[Path, Path]) -> tuple[bool, str]:
    """One episode (folder, folder for bags): whether its bag is there, and a line about it.

    A bag that is there is left as it is; the same episode gives the same bytes.
    """
    folder, out = job
    final, aside = out / folder.name, out / f"{folder.name}{PARTIAL}"
    try:
        if (final / METADATA).is_file():
            return True, f"{folder.name}: made before"
        # What an interrupted conversion left is of no use: it begins anew.
        shutil.rmtree(aside, ignore_errors=True)
        make_folder(aside, RecordingError)
        count = _write(EpisodeReader(folder), aside)
        publish_folder(aside, final)
        return True, f"{folder.name}: {count} messages"
    except MvistaError as error:
        shutil.rmtree(aside, ignore_errors=True)
        return False, f"{folder.name}: [{error.code}] {error}"


def _write(reader: EpisodeReader, aside: Path) -> int:
    cameras = recorded_cameras(reader)
    channels = {name: CameraChannels.of(name) for name in cameras}
    depths = {topics.depth.name: cameras[name] for name, topics in channels.items()}
    left_out = {topics.depth_info.name for topics in channels.values()}
    # Time stands still: chunks end by size alone, and the same episode gives the same bytes.
    file, tally = EpisodeFile(aside / EPISODE, 0, reserve_bytes=0), Tally()
    try:
        for message in reader.messages():
            if message.topic in left_out:
                continue
            camera = depths.get(message.topic)
            shown = message if camera is None else _registered(message, camera)
            file.open(Topic(shown.topic, shown.type, shown.topic == TF_STATIC))
            tally.open(shown.topic, shown.type)
            file.add(
                shown.topic, shown.log_ns, shown.capture_ns, shown.data, shown.sequence, now_ns=0
            )
            tally.add(shown.topic, shown.log_ns, shown.capture_ns)
        file.finish()
    finally:
        file.close()
    text = bag_metadata(tally.streams(), tally.first_ns, tally.last_ns)
    replace_file(aside / METADATA, text, RecordingError)
    return tally.count


def _registered(message: RecordedMessage, camera: EpisodeCamera) -> RecordedMessage:
    native = depth_from_transport(schemas.picture_from_bytes(message.data).data)
    depth_mm = camera.calibration.register(native)
    data = image_to_bytes(depth_mm, "16UC1", message.capture_ns, optical_frame(camera.name))
    return RecordedMessage(
        f"/{camera.name}/depth/image_raw",
        IMAGE,
        message.log_ns,
        message.capture_ns,
        message.sequence,
        data,
    )
