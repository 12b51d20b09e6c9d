"""The gate of a plan: what speaks against a future, each number against the limit of these weights.

Limits come of futures that were right (`mvista eval gate`), and lie beside the weights that they
were measured with: `gate.json`, which names them by the manifest's sha256.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mvista_core.errors import ConfigError, GateError, WeightsError
from mvista_core.files import replace_file
from mvista_core.records import Doubt

if TYPE_CHECKING:
    from mvista_world.plausibility import Doubts

GATE_FILE = "gate.json"
SURE_SHARE = 0.5
"""Of its limit that a goal gap may be for a future to be sure of the goal. The limit is set beyond
the worst of right futures; a good one is far within."""
MOST_AS_NEEDED = 4
"""Rollouts of one request that asks for as many as it takes."""
MOST_AS_NEEDED_S = 20.0
"""No further one after so long: a plan is of an observation, which grows old meanwhile."""


@dataclass(frozen=True)
class Meaning:
    """Of one number: `GateError`'s reason, its unit, and what it says when it is large."""

    reason: int
    unit: str
    words: str


MEANINGS = {
    "goal_gap_m": Meaning(
        GateError.GOAL, "m", "the future and the words alone disagree on where the hand must end"
    ),
    "cross_view_m": Meaning(
        GateError.VIEWS, "m", "the imagined views disagree on where surfaces are"
    ),
    "outside_m": Meaning(GateError.WORKSPACE, "m", "the planned tip leaves the workspace"),
    "source_first_rms": Meaning(
        GateError.SOURCE, "of the range", "the first imagined frame is not the observed one"
    ),
    "targets_first_abs_rel": Meaning(
        GateError.TARGETS, "of the depth", "the other views do not begin with what was observed"
    ),
}
"""Of every field of `Doubts`. The task node checks with them, and has no networks."""


def judged(found: Doubts, limits: Mapping[str, float]) -> tuple[Doubt, ...]:
    """Each number beside its limit; NaN for the limit of one that has none."""
    return tuple(
        Doubt(name, value, limits.get(name, math.nan)) for name, value in asdict(found).items()
    )


def check(doubts: Sequence[Doubt]) -> None:
    """`GateError` with every number that is beyond its limit; its reason is the first one's."""
    beyond = [doubt for doubt in doubts if doubt.beyond]
    if beyond:
        told = "; ".join(_in_words(doubt) for doubt in beyond)
        raise GateError(f"{told}: try another seed, or look again", _meaning(beyond[0]).reason)


def likelihood(doubts: Sequence[Doubt]) -> tuple[int, float]:
    """A rollout's place among several: refusals first, then how near its numbers are to limits, in
    sum. The smallest is the likeliest."""
    shares = [doubt.value / doubt.limit for doubt in doubts if doubt.limit > 0]
    return sum(doubt.beyond for doubt in doubts), math.fsum(s for s in shares if not math.isnan(s))


def enough(doubts: Sequence[Doubt], after_s: float) -> bool:
    """Whether no further future is needed, `after_s` the first was begun: one is sure, or late."""
    return after_s > MOST_AS_NEEDED_S or sure_of_goal(doubts)


def sure_of_goal(doubts: Sequence[Doubt]) -> bool:
    """Whether a future ends clearly where the words alone end; not where no limit was fitted.

    The other numbers are no reason to imagine again: what was observed and asked for makes them.
    """
    # NaN compares false: where gap or limit is unknown, no future is sure.
    return all(d.value <= SURE_SHARE * d.limit for d in doubts if d.name == "goal_gap_m")


def check_comparable(limits: Mapping[str, float]) -> None:
    """`ConfigError` where no limits were fitted: metres and shares have no common measure then."""
    if not limits:
        raise ConfigError(
            f"rollouts cannot be compared: these weights have no {GATE_FILE}; fit one with "
            "`mvista eval gate --write`, or ask for one rollout"
        )


def load_limits(folder: Path, weights_sha256: str) -> dict[str, float]:
    """The limits in a checkpoint's folder; empty where none were fitted.

    Raises:
        WeightsError: they are of other weights, or the file cannot be read.
    """
    path = folder / GATE_FILE
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        of, limits = str(document["weights_sha256"]), dict(document["limits"])
        # All of them or none: a number without a limit would never refuse.
        found = {name: float(limits[name]) for name in MEANINGS}
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: not the limits of a gate ({error!r})") from None
    if of != weights_sha256:
        raise WeightsError(
            f"{path} is of weights {of[:12]}, these are {weights_sha256[:12]}; fit it again with "
            "`mvista eval gate --write`, or remove it"
        )
    return found


def save_limits(
    folder: Path, weights_sha256: str, limits: Mapping[str, float], fitted: Mapping[str, object]
) -> Path:
    """Write `gate.json`; `fitted` says on what. Returns its path."""
    path = folder / GATE_FILE
    document = {"weights_sha256": weights_sha256, "limits": dict(limits), "fitted": dict(fitted)}
    replace_file(path, json.dumps(document, indent=1) + "\n", ConfigError)
    return path


def _in_words(doubt: Doubt) -> str:
    meaning = _meaning(doubt)
    return (
        f"{meaning.words} ({doubt.name} {doubt.value:.4f} {meaning.unit}, at most "
        f"{doubt.limit:.4f})"
    )


def _meaning(doubt: Doubt) -> Meaning:
    return MEANINGS.get(doubt.name, Meaning(0, "", doubt.name))
