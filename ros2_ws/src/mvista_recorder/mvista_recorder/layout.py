"""Where the parts of an episode lie, and what its topics are called.

    <root>/20261128T224431Z-4f1c09ab/            `.partial` at the end while it is being written
        episode.mcap     everything that was heard, profile ros2
        metadata.yaml    what rosbag2 reads beside it
        manifest.json    what it shows, how it went, counts, drops, skew, checksums
        rig.yaml         the rig file it was recorded with
        arm.yaml         the arm file it was recorded with
        sheet.jpg        a few pictures of it

Images follow `image_transport`: `<base>/compressed` is a JPEG, `<base>/compressedDepth` a PNG of
16 bits, and the `camera_info` lies beside the base topic.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mvista_core.errors import EpisodeError

EPISODE, METADATA, MANIFEST = "episode.mcap", "metadata.yaml", "manifest.json"
RIG, ARM, SHEET = "rig.yaml", "arm.yaml", "sheet.jpg"
PARTIAL = ".partial"
DISCARDED = ".discarded"
COMPRESSED_IMAGE, CAMERA_INFO = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
JOINT_STATE, TF = "sensor_msgs/msg/JointState", "tf2_msgs/msg/TFMessage"
# In the words of image_transport's plugins, which read the encoding out of them.
COLOR_FORMAT = "rgb8; jpeg compressed bgr8"
DEPTH_FORMAT = "16UC1; compressedDepth png"
TF_STATIC = "/tf_static"


@dataclass(frozen=True)
class Topic:
    """A topic of an episode: its full name, its type ("sensor_msgs/msg/JointState").

    `latched`: told once, and still told to who joins late (transient local).
    """

    name: str
    type: str
    latched: bool = False


@dataclass(frozen=True)
class CameraChannels:
    """The four topics of one camera."""

    color: Topic
    depth: Topic
    color_info: Topic
    depth_info: Topic

    @classmethod
    def of(cls, camera: str) -> CameraChannels:
        """By the camera's name, namespace and all ("cam0", "cell_a/cam0")."""
        return cls(
            Topic(f"/{camera}/color/image_raw/compressed", COMPRESSED_IMAGE),
            Topic(f"/{camera}/depth/native/compressedDepth", COMPRESSED_IMAGE),
            Topic(f"/{camera}/color/camera_info", CAMERA_INFO),
            Topic(f"/{camera}/depth/camera_info", CAMERA_INFO),
        )


def is_finished(folder: Path) -> bool:
    """Whether an episode's folder has its final name."""
    return folder.suffix not in (PARTIAL, DISCARDED)


def episode_folders(root: Path) -> tuple[Path, ...]:
    """The episodes below `root`, finished and torn, oldest first.

    Raises:
        EpisodeError: no such folder.
    """
    if not root.is_dir():
        raise EpisodeError(f"no folder {root}; `mvista record` writes episodes into one")
    return tuple(
        sorted(p.parent for p in root.glob(f"*/{EPISODE}") if p.parent.suffix != DISCARDED)
    )
