"""`metadata.yaml`: what rosbag2 (version 9) and its relatives read beside a bag's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from mvista_recorder import schemas
from mvista_recorder.layout import EPISODE, TF_STATIC, Topic
from mvista_recorder.manifest import StreamRecord

VERSION = 9
# How rosbag2 writes a duration without end: 2^63 - 1 ns.
_UNBOUNDED = {"sec": 9223372036, "nsec": 854775807}


def offered_qos(topic: Topic) -> dict[str, Any]:
    """A topic's quality of service in rosbag2's words; file and metadata must say the same."""
    return {
        "history": "keep_last",
        "depth": 1 if topic.latched else 10,
        "reliability": "reliable",
        "durability": "transient_local" if topic.latched else "volatile",
        "deadline": dict(_UNBOUNDED),
        "lifespan": dict(_UNBOUNDED),
        "liveliness": "automatic",
        "liveliness_lease_duration": dict(_UNBOUNDED),
        "avoid_ros_namespace_conventions": False,
    }


def channel_metadata(topic: Topic) -> dict[str, str]:
    """What an MCAP channel says of its topic."""
    return {
        "offered_qos_profiles": yaml.safe_dump([offered_qos(topic)], sort_keys=False),
        "topic_type_hash": schemas.type_hash(topic.type),
    }


def bag_metadata(
    streams: Mapping[str, StreamRecord], first_ns: int, last_ns: int, file: str = EPISODE
) -> str:
    """The text of `metadata.yaml`; `first_ns` and `last_ns` are when messages were heard."""
    count = sum(stream.count for stream in streams.values())
    starting = {"nanoseconds_since_epoch": first_ns}
    duration = {"nanoseconds": max(last_ns - first_ns, 0)}
    topics = [
        {
            "topic_metadata": {
                "name": name,
                "type": stream.type,
                "serialization_format": "cdr",
                "offered_qos_profiles": [offered_qos(Topic(name, stream.type, name == TF_STATIC))],
                "type_description_hash": schemas.type_hash(stream.type),
            },
            "message_count": stream.count,
        }
        for name, stream in streams.items()
    ]
    document = {
        "version": VERSION,
        "storage_identifier": "mcap",
        "duration": duration,
        "starting_time": starting,
        "message_count": count,
        "topics_with_message_count": topics,
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file],
        "files": [
            {
                "path": file,
                "starting_time": starting,
                "duration": duration,
                "message_count": count,
            }
        ],
        "custom_data": None,
        # The distribution whose definitions and type hashes are written (`schemas.typestore`).
        "ros_distro": "kilted",
    }
    return yaml.safe_dump({"rosbag2_bagfile_information": document}, sort_keys=False)
