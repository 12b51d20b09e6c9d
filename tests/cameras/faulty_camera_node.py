"""The real camera node over an emulated camera whose faults another process sets.

python -m tests.cameras.faulty_camera_node FAULTS.json --ros-args ...: the file holds attributes of
`EmulatedCamera`, which are set whenever it changes. What the node decodes and registers is counted
in FAULTS.counts.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from mvista_cameras import camera_node, femto_bolt
from mvista_cameras.emulator.sdk import EmulatedSdk
from mvista_cameras.femto_bolt import FemtoBolt
from mvista_cameras.settings import CameraSettings
from mvista_cameras.sources import OrbbecOpener
from mvista_core.ports import Clock
from mvista_core.records import UInt8, UInt16
from mvista_core.registration import Registration
from mvista_core.timing import seconds_to_ns
from mvista_ros.convert.jpeg import decode_jpeg
from tests.cameras.emulated import SmallCamera

LOOK_S = 0.02
COUNTS = {"decoded": 0, "registered": 0}


def _open(camera: str, settings: CameraSettings, clock: Clock) -> FemtoBolt:
    body = SmallCamera("FAULTY", clock, color_formats=("MJPG",))
    _set_faults(body)
    threading.Thread(target=_watch, args=(body, clock), daemon=True).start()
    return FemtoBolt(camera, settings, clock, OrbbecOpener(EmulatedSdk([body]), settings))


def _watch(body: SmallCamera, clock: Clock) -> None:
    while True:
        _set_faults(body)
        aside = Path(f"{sys.argv[1]}.aside")
        aside.write_text(json.dumps(COUNTS), encoding="utf-8")
        aside.replace(f"{sys.argv[1]}.counts")
        clock.sleep_until(clock.monotonic_ns() + seconds_to_ns(LOOK_S))


def _set_faults(body: SmallCamera) -> None:
    for name, value in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")).items():
        setattr(body, name, tuple(value) if isinstance(value, list) else value)


def _count() -> None:
    register = Registration.register

    def counted_decode(data: bytes) -> UInt8:
        COUNTS["decoded"] += 1
        return decode_jpeg(data)

    def counted_register(self: Registration, depth_mm: UInt16) -> UInt16:
        COUNTS["registered"] += 1
        return register(self, depth_mm)

    setattr(femto_bolt, "decode_jpeg", counted_decode)  # noqa: B010 - what FemtoBolt imports
    setattr(Registration, "register", counted_register)  # noqa: B010


def main() -> None:
    _count()
    setattr(camera_node, "open_source", _open)  # noqa: B010 - what the node itself imports
    camera_node.main()


if __name__ == "__main__":
    main()
