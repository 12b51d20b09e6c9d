"""Weights and rig: whole, unaltered, not too old."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from mvista_bringup.finding import Finding, Severity, good
from mvista_core.errors import RigError, WeightsError
from mvista_core.records import RigCalibration
from mvista_core.rig import load_rig
from mvista_core.timing import NS_PER_S
from mvista_core.weights import verify

OLDEST_RIG_DAYS = 30
SHOWN_DIGITS = 12


def check_weights(checkpoint: Path) -> Finding:
    """Every file of the checkpoint against its sha256."""
    try:
        digest = verify(checkpoint)
    except WeightsError as error:
        fix = f"git checkout -- {checkpoint}, or copy the checkpoint again"
        return Finding("weights", Severity.FAIL, str(error), fix)
    return good("weights", f"{checkpoint.name}, sha256 {digest[:SHOWN_DIGITS]}")


def check_rig(path: Path, now_ns: int) -> tuple[Finding, RigCalibration | None]:
    """The rig file and its age; the rig too, where it can be used."""
    try:
        rig = load_rig(path)
    except RigError as error:
        fix = "`mvista calibrate`, or choose one of config/rigs: --rig NAME"
        return Finding("rig", Severity.FAIL, str(error), fix), None
    said = f"{rig.name}: {len(rig.cameras)} cameras, calibrated {rig.date}"
    days = _age_days(rig.date, now_ns)
    if days is None:
        fix = "write it as YYYY-MM-DD, or calibrate anew"
        return Finding("rig", Severity.WARN, f"{said}: no date", fix), rig
    if days > OLDEST_RIG_DAYS:
        message = f"{said}, {days} days ago; {OLDEST_RIG_DAYS} are trusted"
        return Finding("rig", Severity.WARN, message, "`mvista calibrate`"), rig
    return good("rig", f"{said}, {days} days ago"), rig


def _age_days(date: str, now_ns: int) -> int | None:
    try:
        then = datetime.strptime(date[:10], "%Y-%m-%d").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return int((now_ns / NS_PER_S - then.timestamp()) // 86_400)
