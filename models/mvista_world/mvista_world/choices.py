"""What whoever loads a checkpoint may choose instead of what its config says."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mvista_world.config import ModelConfig


@dataclass(frozen=True)
class MethodChoices:
    """`view_mode` is one of `VIEW_MODES`, None for the checkpoint's own; `literal_eq11` as in
    `OptimisationConfig.literal`; `action_head` is one of `ACTION_HEADS`, None for the checkpoint's.
    """

    view_mode: int | None = None
    literal_eq11: bool = False
    action_head: str | None = None

    def applied_to(self, config: ModelConfig) -> ModelConfig:
        """The config with what was chosen.

        Raises:
            ConfigError: no such mode, or no such head.
        """
        sampler, optimisation = config.sampler, config.optimisation
        if self.view_mode is not None:
            sampler = replace(sampler, mode=self.view_mode)
        if self.literal_eq11:
            optimisation = replace(optimisation, literal=True)
        if self.action_head is not None:
            optimisation = replace(optimisation, action_head=self.action_head)
        return replace(config, sampler=sampler, optimisation=optimisation)


AS_CHECKPOINT = MethodChoices()
"""The checkpoint's own method."""
