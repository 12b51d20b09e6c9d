"""What teleoperation says of itself, as far as whoever looks at an episode must know it."""

from __future__ import annotations

from mvista_core.errors import MvistaError
from mvista_recorder import schemas

TELEOP_STATE = "mvista_interfaces/msg/TeleopState"
# In the order of TeleopState.msg's numbers; its class would need ROS.
_NAMES = ("waiting", "aligned", "ramping", "following", "paused", "lost", "listening")
_LOST = _NAMES.index("lost")


class TeleopWatch:
    """Hears every state; the only small messages that are read: ten a second."""

    def __init__(self) -> None:
        self._lost = False

    def change(self, data: bytes) -> str:
        """What is to be told of a serialised state: a side was lost, or is back; "" nothing."""
        try:
            message = schemas.read(data, TELEOP_STATE)
        # Recorded all the same: it is the sender's news, not the episode's.
        except MvistaError:
            return ""
        before, self._lost = self._lost, message.state == _LOST
        if self._lost and not before:
            return f"teleoperation is lost: {message.outcome.message}"
        if before and not self._lost:
            name = _NAMES[message.state] if message.state < len(_NAMES) else str(message.state)
            return f"teleoperation is lost no more: {name}"
        return ""
