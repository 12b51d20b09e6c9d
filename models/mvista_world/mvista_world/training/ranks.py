"""The processes that train together: `torchrun` starts them, one to a card or to a processor.

They talk over gloo beside whatever moves gradients, so that a mistake is told on a machine without
cards as on one with eight.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist

from mvista_core.errors import ConfigError

V = TypeVar("V", float, str)


@dataclass(frozen=True)
class Ranks:
    """This process is number `rank` of `world`; `group` is None where it is alone."""

    rank: int = 0
    world: int = 1
    group: dist.ProcessGroup | None = None

    @staticmethod
    def joined() -> Ranks:
        """Those of the process group that accelerate has made, or one process alone."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return Ranks()
        return Ranks(dist.get_rank(), dist.get_world_size(), dist.new_group(backend="gloo"))

    @property
    def leads(self) -> bool:
        """Whether this one writes what is written once."""
        return self.rank == 0

    @property
    def here(self) -> int:
        """How many of them share this machine."""
        # `torchrun` says it; where it did not start them all are taken to be on this machine.
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.world)) if self.world > 1 else 1

    def wait(self) -> None:
        """Until all have come here."""
        if self.group is not None:
            dist.barrier(self.group)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Of all, in the order of ranks: every process gets the same."""
        found = self._from_all(dict(values))
        return {key: sum(each[key] for each in found) / len(found) for key in values}

    def require_alike(self, facts: Mapping[str, str]) -> None:
        """Refuse to begin where two would train on different things.

        Raises:
            ConfigError: in every process, with what differs where.
        """
        found = self._from_all(dict(facts))
        # All go through the same list, so that all refuse: none is left waiting for one that ended.
        for rank, other in enumerate(found):
            differing = [name for name, value in found[0].items() if other.get(name) != value]
            if differing:
                name = differing[0]
                theirs, ours = (str(of.get(name, ""))[:12] for of in (other, found[0]))
                raise ConfigError(
                    f"rank {rank} has {name} {theirs}, rank 0 {ours} ({len(differing)} of "
                    f"{list(found[0])} differ): all ranks train one model on one data set; give "
                    "every machine the same files and options"
                )

    def _from_all(self, mine: dict[str, V]) -> list[dict[str, V]]:
        if self.group is None:
            return [mine]
        found: list[dict[str, V]] = [{}] * self.world
        dist.all_gather_object(found, mine, group=self.group)
        return found
