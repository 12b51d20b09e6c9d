"""Opens an export in LeRobot itself and tells what it gives back, as one JSON document.

LeRobot 0.6.1 wants Python 3.12 and libraries that the stack does not have, so this runs in a Python
of its own, and imports nothing of the stack:

    PYTHON_WITH_LEROBOT tests/recorder/lerobot_reader.py EXPORT [EPISODE ...] > told.json

With EPISODEs only those are opened. `depth_sha256` is of a frame's depth as uint16 millimetres.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from typing import Any


def told(root: str, episodes: list[int] | None) -> dict[str, Any]:
    """What LeRobot makes of the export: its metadata, and every frame."""
    opened = importlib.import_module("lerobot.datasets").LeRobotDataset("mvista/export", root=root)
    meta, chosen = opened.meta, opened
    good = meta.filter_episodes(lambda row: row["label"] == "success")
    if episodes is not None:
        chosen = type(opened)("mvista/export", root=root, episodes=episodes)
    return {
        "lerobot": importlib.import_module("lerobot").__version__,
        "fps": meta.fps,
        "frames": len(chosen),
        "episodes": chosen.num_episodes,
        "depth_keys": sorted(meta.depth_keys),
        "bounds": [[row["dataset_from_index"], row["dataset_to_index"]] for row in meta.episodes],
        "labelled_success": good,
        "state_mean": meta.stats["observation.state"]["mean"].tolist(),
        "rows": [_frame(chosen[k], meta.depth_keys) for k in range(len(chosen))],
    }


def _frame(item: dict[str, Any], depth_keys: list[str]) -> dict[str, Any]:
    numpy = importlib.import_module("numpy")
    found: dict[str, Any] = {"task": item["task"]}
    for key, value in item.items():
        if not key.startswith("observation.images."):
            found[key] = value if isinstance(value, str) else value.tolist()
        elif key in depth_keys:
            depth = value.numpy()[0]
            found[key] = {
                "exact": bool((depth == numpy.round(depth)).all()),
                "shape": list(depth.shape),
                "depth_sha256": hashlib.sha256(depth.astype("<u2").tobytes()).hexdigest(),
            }
        else:
            found[key] = {"shape": list(value.shape), "mean": float(value.mean())}
    return found


if __name__ == "__main__":
    print(json.dumps(told(sys.argv[1], [int(word) for word in sys.argv[2:]] or None)))
