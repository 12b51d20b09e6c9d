"""Where the networks compute, in which numbers, and on how many threads: asked here, once.

bf16 halves the time where the processor multiplies it (AMX, avx512_bf16, a CUDA card). Elsewhere
oneDNN and ATen emulate it, at 13 times the time of fp32 (170 s of CPU for a plan instead of 13).
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from mvista_core.errors import ConfigError
from mvista_core.machine import CPUINFO, available_cores, available_memory, native_bf16, peak_memory

PRECISIONS = ("auto", "bf16", "fp32")
PROCESSOR, CARD, AUTO = "cpu", "cuda", "auto"
"""Devices by name; also "cuda:1" and so on. AUTO is a card where there is one."""
BESIDE = torch.device(PROCESSOR)
"""Where weights wait that a card brings over one block at a time."""
KEPT_FREE = 1
"""Cores that an arm's 200 Hz processes and the middleware need beside the networks."""


@dataclass(frozen=True)
class Compute:
    """One choice of device, number format and threads, handed to all that runs a network."""

    device: torch.device
    dtype: torch.dtype
    threads: int
    """Of the processor, for all networks of this process."""
    capability: str
    """What the processor multiplies natively beside fp32, e.g. "avx512_bf16"; empty for nothing."""

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which networks run; does nothing in fp32."""
        mixed = self.dtype != torch.float32
        return torch.autocast(self.device.type, self.dtype, enabled=mixed)

    @property
    def explicit_attention(self) -> bool:
        """Whether softmax(q k) v written out beats the fused kernel, forward and backward.

        In bf16 on a processor it does; in fp32 the fused one takes a fifth less CPU for a plan.
        """
        return self.on_processor and self.dtype != torch.float32

    @property
    def on_processor(self) -> bool:
        """Whether no accelerator card takes part."""
        return self.device.type == PROCESSOR

    @property
    def mixed_precision(self) -> str:
        """The same choice in accelerate's words."""
        return "no" if self.dtype == torch.float32 else "bf16"

    def free_bytes(self) -> int:
        """What the card, or this machine, has left for weights now."""
        if not self.on_processor:
            return int(torch.cuda.mem_get_info(self.device)[0])
        return available_memory()

    def take_card(self) -> None:
        """Make the card what this process means where it names none."""
        if not self.on_processor:
            torch.cuda.set_device(self.device)

    def give_back(self) -> None:
        """Return to the card what this process holds of it and does not use."""
        if not self.on_processor:
            torch.cuda.empty_cache()

    def peak_bytes(self) -> int:
        """The most that this process held there."""
        if not self.on_processor:
            return int(torch.cuda.max_memory_allocated(self.device))
        return peak_memory()

    def wait(self) -> None:
        """Until all that was asked of the device is done; a processor is done at once."""
        if not self.on_processor:
            torch.cuda.synchronize(self.device)

    def __str__(self) -> str:
        """One line for logs, reports and every timing."""
        precision = "fp32" if self.dtype == torch.float32 else "bf16"
        native = self.capability or "no native bf16"
        return f"{precision} on {self.device}, {self.threads} threads ({native})"


def choose(
    precision: str = AUTO,
    device: str = PROCESSOR,
    cpuinfo: Path = CPUINFO,
    threads: int | None = None,
) -> Compute:
    """The precision asked for, or (AUTO) bf16 where the device multiplies it and else fp32.

    `threads` sets how many processor threads all networks of this process take; 0 is one less
    than there are cores, at least one; None leaves torch's own choice.

    Raises:
        ConfigError: a precision that is none of `PRECISIONS`, or a device that is not there.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision '{precision}' is none of {list(PRECISIONS)}")
    where = _device(device)
    if threads is not None:
        # torch keeps one number for the whole process: the last call holds for all networks.
        torch.set_num_threads(threads or max(1, available_cores() - KEPT_FREE))
    native = _multiplied_on_card() if where.type == CARD else native_bf16(cpuinfo)
    wanted = precision == "bf16" or (precision == AUTO and bool(native))
    dtype = torch.bfloat16 if wanted else torch.float32
    return Compute(where, dtype, torch.get_num_threads(), native)


def _multiplied_on_card() -> str:
    # Cards before Ampere take bf16 and emulate it: what it is chosen for would be lost.
    return "CUDA" if torch.cuda.is_bf16_supported(including_emulation=False) else ""


def own_card(name: str) -> str:
    """The device of this process among those that `torchrun` started on this machine: each has a
    card of its own; "cpu" and a card named by its number stay what they are."""
    local = os.environ.get("LOCAL_RANK")
    there = torch.cuda.is_available() if name == AUTO else name == CARD
    return f"{CARD}:{local}" if there and local is not None else name


def _device(name: str) -> torch.device:
    if name == AUTO:
        return torch.device(CARD if torch.cuda.is_available() else PROCESSOR)
    # torch.device takes any number, and a card that is not there fails at the first tensor.
    there = [PROCESSOR, *(f"{CARD}:{k}" for k in range(torch.cuda.device_count()))]
    if name not in there and not (name == CARD and len(there) > 1):
        version = torch.version.cuda
        built = f"built for CUDA {version}" if version else "built without CUDA"
        raise ConfigError(
            f"device '{name}' is not here; allowed: {[AUTO, *there]}. torch {torch.__version__} "
            f"({built}) finds {len(there) - 1} cards, `nvidia-smi` lists them"
        )
    return torch.device(name)
