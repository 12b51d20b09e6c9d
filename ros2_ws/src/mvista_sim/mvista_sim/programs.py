"""The programs of this package; each imports what it runs only when it is called."""

from __future__ import annotations

from mvista_core.process import executable

sim_node = executable("mvista_sim.sim_node")
simulated_leader_node = executable("mvista_sim.simulated_leader_node")
