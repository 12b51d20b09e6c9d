"""What a set-point asks of an arm, whoever obeys it."""

from __future__ import annotations

import numpy as np

from mvista_core.errors import TrajectoryError
from mvista_core.records import Float64, JointCommand


def positions_of(command: JointCommand, names: tuple[str, ...], held: Float64) -> Float64:
    """Positions [J] in the order of `names`; joints the command leaves out keep `held`.

    Raises:
        TrajectoryError: empty, not finite, a joint the arm lacks or one named twice.
    """
    if not command.names:
        raise TrajectoryError(TrajectoryError.EMPTY, "the command names no joint")
    if len(command.positions) != len(command.names):
        raise TrajectoryError(
            TrajectoryError.SHAPE,
            f"{len(command.names)} names with {len(command.positions)} positions",
        )
    if not np.isfinite(command.positions).all():
        raise TrajectoryError(TrajectoryError.NOT_FINITE, "the command holds NaN or infinity")
    unknown = [name for name in command.names if name not in names]
    if unknown:
        raise TrajectoryError(
            TrajectoryError.UNKNOWN_JOINT, f"no joints {unknown}; the arm has {list(names)}"
        )
    if len(set(command.names)) < len(command.names):
        raise TrajectoryError(
            TrajectoryError.REPEATED_JOINT, f"a joint is named twice in {list(command.names)}"
        )
    wanted = held.copy()
    wanted[[names.index(name) for name in command.names]] = command.positions
    return wanted
