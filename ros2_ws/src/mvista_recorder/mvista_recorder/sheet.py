"""The contact sheet: a row of pictures per camera, spread over the episode."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, UnidentifiedImageError

KEPT = 8
WIDTH_PX, HEIGHT_PX = 160, 90


class ContactSheet:
    """Keeps every n-th picture of each camera; n doubles whenever that has become too many."""

    def __init__(self, cameras: Sequence[str]) -> None:
        self._kept: dict[str, list[bytes]] = {camera: [] for camera in cameras}
        self._seen = dict.fromkeys(cameras, 0)
        self._every = dict.fromkeys(cameras, 1)

    def offer(self, camera: str, jpeg: bytes) -> None:
        """One picture of a camera, as it is recorded."""
        if self._seen[camera] % self._every[camera] == 0:
            self._kept[camera].append(jpeg)
        self._seen[camera] += 1
        if len(self._kept[camera]) > KEPT:
            # How long an episode will be nobody knows: so the sheet is spread over all of it.
            self._kept[camera] = self._kept[camera][::2]
            self._every[camera] *= 2

    def jpeg(self) -> bytes:
        """The sheet; a picture that cannot be read is a grey field."""
        rows = [row for row in self._kept.values() if row]
        if not rows:
            rows = [[]]
        width = max(max(map(len, rows)), 1)
        sheet = Image.new("RGB", (width * WIDTH_PX, len(rows) * HEIGHT_PX), (64, 64, 64))
        for y, row in enumerate(rows):
            for x, data in enumerate(row):
                if (picture := _small(data)) is not None:
                    sheet.paste(picture, (x * WIDTH_PX, y * HEIGHT_PX))
        out = io.BytesIO()
        sheet.save(out, "JPEG", quality=85)
        return out.getvalue()


def _small(jpeg: bytes) -> Image.Image | None:
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            # libjpeg leaves out what so small a picture does not show.
            image.draft("RGB", (WIDTH_PX, HEIGHT_PX))
            return image.convert("RGB").resize((WIDTH_PX, HEIGHT_PX))
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
        return None
