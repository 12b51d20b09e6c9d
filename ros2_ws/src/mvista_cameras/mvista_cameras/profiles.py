"""Which stream profile to ask for, from the list that the device offers on this link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mvista_cameras.records import StreamProfile
from mvista_core.errors import CameraError

COLOR_FORMATS = ("MJPG", "RGB", "BGR", "YUYV")
"""In order of liking. MJPG is what crosses the cable: decoded only for those who want pixels.
Of the others the SDK decodes every image."""

DEPTH_FORMATS = ("Y16",)


@dataclass(frozen=True)
class StreamRequest:
    """The size and the rate that the stack needs of a stream."""

    width_px: int
    height_px: int
    rate_hz: int

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px}@{self.rate_hz}"


@dataclass(frozen=True)
class ProfileChoice:
    """A pair that runs at one rate; every `keep_every`-th capture is kept."""

    color: StreamProfile
    depth: StreamProfile
    keep_every: int


def choose_profiles(
    color_offers: Sequence[StreamProfile],
    depth_offers: Sequence[StreamProfile],
    color: StreamRequest,
    depth: StreamRequest,
) -> ProfileChoice:
    """The pair of profiles of exactly the sizes asked for, at one and the same rate.

    The rate is the one asked for, or else its smallest whole multiple (30 for 15), thinned out
    again: another size or rate is never taken in silence. Colour and depth of a Femto Bolt run at
    one rate, or they are not synchronised.

    Raises:
        CameraError: no such pair; names what the device offers. A USB 2 link offers fewer.
    """
    colors = _fitting(color_offers, color, COLOR_FORMATS)
    depths = _fitting(depth_offers, depth, DEPTH_FORMATS)
    rates = sorted(
        rate
        for rate in {p.rate_hz for p in colors} & {p.rate_hz for p in depths}
        if rate % color.rate_hz == 0
    )
    if not rates:
        raise CameraError(
            f"no colour {color} with depth {depth.width_px}x{depth.height_px} at one rate; "
            f"the device offers colour {_listed(color_offers, COLOR_FORMATS)} and depth "
            f"{_listed(depth_offers, DEPTH_FORMATS)}; check the USB 3 link, or change "
            "width_px, height_px, rate_hz in config/cameras.yaml"
        )
    return ProfileChoice(
        _liked(colors, rates[0], COLOR_FORMATS),
        _liked(depths, rates[0], DEPTH_FORMATS),
        rates[0] // color.rate_hz,
    )


def _fitting(
    offers: Sequence[StreamProfile], request: StreamRequest, formats: Sequence[str]
) -> list[StreamProfile]:
    size = (request.width_px, request.height_px)
    return [p for p in offers if (p.width_px, p.height_px) == size and p.pixel_format in formats]


def _liked(offers: Sequence[StreamProfile], rate_hz: int, formats: Sequence[str]) -> StreamProfile:
    at_rate = [profile for profile in offers if profile.rate_hz == rate_hz]
    return min(at_rate, key=lambda profile: formats.index(profile.pixel_format))


def _listed(offers: Sequence[StreamProfile], formats: Sequence[str]) -> str:
    usable = sorted(
        {(p.width_px, p.height_px, p.rate_hz) for p in offers if p.pixel_format in formats}
    )
    return ", ".join(f"{w}x{h}@{r}" for w, h, r in usable) or "nothing"
