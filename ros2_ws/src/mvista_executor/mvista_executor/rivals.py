"""Does anything else command this arm? Two streams of set-points tear it to and fro."""

from __future__ import annotations

from collections.abc import Callable

from mvista_core.errors import RivalWritersError

COMMAND, SERVER = "joint_command", "follow_joint_trajectory"


class Rivals:
    """What else is on the graph in this executor's place: counted, and said as an error.

    Each count is of all there are, this executor's own one included.
    """

    def __init__(self, writers: Callable[[], int], servers: Callable[[], int]) -> None:
        self._writers, self._servers = writers, servers
        self.writers = self.servers = 0

    def look(self) -> RivalWritersError | None:
        """Count afresh; what is wrong, if anything."""
        self.writers, self.servers = max(0, self._writers() - 1), max(0, self._servers() - 1)
        if not self.writers and not self.servers:
            return None
        return RivalWritersError(
            f"{self.writers} other publishers of {COMMAND} and {self.servers} other servers of "
            f"{SERVER} are on this domain: no goal is taken and no set-point sent until they are "
            f"gone (`ros2 topic info --verbose {COMMAND}` names them; of a process that was killed "
            "the middleware lets go after its lease: 4 s by config/dds/fastdds.xml, else 20 s)"
        )
