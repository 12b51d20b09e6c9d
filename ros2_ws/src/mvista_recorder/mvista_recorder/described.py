"""What episodes hold, in words and as a document."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mvista_core.errors import EpisodeError
from mvista_recorder.layout import EPISODE, SHEET, is_finished
from mvista_recorder.manifest import Manifest, load_manifest

MIB = 1 << 20


def describe_episodes(folders: tuple[Path, ...]) -> tuple[str, dict[str, Any]]:
    """One episode at length, several in a line each; by their manifests, unchecked.

    Raises:
        EpisodeError: the only one has no manifest that can be read.
    """
    if len(folders) == 1:
        manifest = load_manifest(folders[0])
        return "\n".join(_at_length(folders[0], manifest)), _document(folders[0], manifest)
    lines, documents, kinds = [], [], Counter[str]()
    for folder in folders:
        try:
            manifest = load_manifest(folder)
        except EpisodeError as error:
            lines.append(f"{folder.name}: {error}")
            kinds["unreadable"] += 1
            continue
        kinds[manifest.label if is_finished(folder) else "torn"] += 1
        lines.append(_line(folder, manifest))
        documents.append(_document(folder, manifest))
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    lines.append(f"{len(folders)} episodes: {told}")
    return "\n".join(lines), {"episodes": documents, "kinds": dict(kinds)}


def _line(folder: Path, manifest: Manifest) -> str:
    state = manifest.label if is_finished(folder) else "torn: `mvista dataset repair` mends it"
    practice = ", practice" if manifest.practice else ""
    dropped = sum(stream.dropped for stream in manifest.streams.values())
    size = (folder / EPISODE).stat().st_size / MIB
    return (
        f'{folder.name}: "{manifest.instruction}", {state}{practice}, {manifest.duration_s:.1f} s, '
        f"{size:.1f} MiB, {dropped} dropped"
    )


def _at_length(folder: Path, manifest: Manifest) -> list[str]:
    lines = [_line(folder, manifest)]
    if manifest.ended_because:
        lines.append(f"  ended because {manifest.ended_because}")
    if manifest.repaired:
        lines.append(f"  repaired from {manifest.repaired.get('from')}")
    for name, stream in manifest.streams.items():
        lines.append(
            f"  {name}: {stream.count} messages, {stream.rate_hz:.2f} Hz, {stream.dropped} dropped"
        )
    for words, skew in _skews(manifest):
        lines.append(
            f"  {words}: p50 {skew['p50_ms']}, p95 {skew['p95_ms']}, max {skew['max_ms']} ms; "
            f"{len(skew['marked_ns'])} of {skew['count']} beyond {skew['bound_ms']} ms"
        )
    lines += [f"  event at {words}" for words in manifest.events]
    if (folder / SHEET).is_file():
        lines.append(f"  pictures: {folder / SHEET}")
    return lines


def _skews(manifest: Manifest) -> list[tuple[str, dict[str, Any]]]:
    found = (
        [("skew of the cameras", manifest.sync["cameras"])] if "cameras" in manifest.sync else []
    )
    joints = manifest.sync.get("joints", {})
    return found + [(f"gap of {topic} around images", gap) for topic, gap in joints.items()]


def _document(folder: Path, manifest: Manifest) -> dict[str, Any]:
    return {"folder": str(folder), "duration_s": manifest.duration_s, **asdict(manifest)}
