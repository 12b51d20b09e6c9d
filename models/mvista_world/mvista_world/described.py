"""A small network's weights with a description beside them: its own sizes, and their sum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mvista_core.errors import ConfigError, WeightsError

M = TypeVar("M", bound=nn.Module)

_FORMAT = 1


@dataclass(frozen=True)
class DescribedFiles:
    """Of one kind of network: `weights` and `description` are file names, in a folder of its own
    or a checkpoint's; `command` trains it."""

    kind: str
    weights: str
    description: str
    command: str

    @property
    def names(self) -> tuple[str, str]:
        return self.weights, self.description

    def are_in(self, directory: Path) -> bool:
        """Whether a folder has such a network."""
        return (directory / self.weights).is_file()

    def save(
        self, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], directory: Path
    ) -> Path:
        """Write both; returns where the weights are."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / self.weights
        save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        document = {"format": _FORMAT, "sha256": sha256, "config": dict(config)}
        text = json.dumps(document, indent=2) + "\n"
        (directory / self.description).write_text(text, encoding="utf-8")
        return path

    def load(self, directory: Path, make: Callable[[dict[str, Any]], M]) -> M:
        """The network that `make` builds of the described sizes, with its weights, in evaluation
        mode.

        Raises:
            WeightsError: a file is missing, truncated or altered, or fits not its description.
        """
        path, description = directory / self.weights, directory / self.description
        for each in (path, description):
            if not each.is_file():
                raise WeightsError(f"no {self.kind} at {each}; train it with `{self.command}`")
        try:
            document = json.loads(description.read_text(encoding="utf-8"))
            expected = str(document["sha256"])
            model = make(document["config"])
        except (ValueError, KeyError, TypeError, AttributeError, OSError, ConfigError) as error:
            raise WeightsError(
                f"{description} is not a {self.kind}'s description ({error!r})"
            ) from None
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise WeightsError(f"{path} has sha256 {found}, expected {expected}; fetch it again")
        try:
            model.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError) as error:
            raise WeightsError(f"{path} does not fit {description}: {error}") from None
        return model.eval()


def halved(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as they are stored: float16 what was float32. What is in double is a fact (the arm of
    `arm_points`), and stays."""
    return {
        key: (value.half() if value.dtype == torch.float32 else value).cpu().contiguous()
        for key, value in tensors.items()
    }
