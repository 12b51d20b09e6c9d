"""DDP, FSDP2 by the block and `torch.compile` by the block: each gives the one-process result."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel

from mvista_world.compiled import compile_blocks
from mvista_world.flow import denoising_error
from mvista_world.generator import Conditions, KeptContext, MultiViewGenerator
from tests.world.tiny import make_conditions, make_generator, make_latents, source_mask

pytestmark = pytest.mark.slow
BATCH, VIEWS, PROCESSES = 4, 3, 2


class Objective(nn.Module):
    """A loss that needs every weight of the generator, as a module's forward."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = make_generator().requires_grad_(True)

    def forward(self, rows: slice) -> torch.Tensor:
        generator: MultiViewGenerator = self.generator
        told = conditions_of(rows)
        # The null style is a weight too.
        told = replace(told, style=told.style + generator.null(len(told.style)))
        x0, noise = make_latents(BATCH, VIEWS)[rows], make_latents(BATCH, VIEWS, seed=9)[rows]
        t = torch.linspace(0.2, 0.9, BATCH)[rows]
        error, shown = denoising_error(generator, x0, noise, t, source_mask(VIEWS), told)
        return error.mean() + generator.head(shown.hidden).square().mean()


def conditions_of(rows: slice) -> Conditions:
    whole = make_conditions(BATCH, VIEWS)
    every = torch.arange(BATCH)[rows, None]
    cameras = whole.cameras.pick(every, torch.arange(VIEWS)[None])
    return Conditions(whole.text[rows], cameras, whole.style[rows])


def gradients(objective: nn.Module) -> dict[str, torch.Tensor]:
    found = {}
    for name, parameter in objective.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, name
        whole = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
        found[name.removeprefix("module.")] = whole.clone()
    return found


def as_one_of_two(rank: int, folder: str) -> None:
    """One process: its half of the batch by DDP, then by FSDP2; the first writes the gradients."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES
    )
    rows = slice(rank * BATCH // PROCESSES, (rank + 1) * BATCH // PROCESSES)
    parallel = DistributedDataParallel(Objective())
    sharded = Objective()
    mesh = init_device_mesh("cpu", (PROCESSES,))
    for block in sharded.generator.backbone.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    for name, objective in (("ddp", parallel), ("fsdp", sharded)):
        loss = objective(rows)
        loss.backward()
        loss = loss.detach()
        dist.all_reduce(loss)
        found = {"loss": loss / PROCESSES, **gradients(objective)}
        if rank == 0:
            torch.save(found, Path(folder) / f"{name}.pt")
    dist.destroy_process_group()


@pytest.mark.timeout(300)
def test_two_processes_give_the_gradients_of_one(tmp_path: Path) -> None:
    one = Objective()
    loss = one(slice(None))
    loss.backward()
    wanted = {"loss": loss.detach(), **gradients(one)}
    # The networks are imported once, in a process that has not computed anything, and forked there.
    multiprocessing.set_forkserver_preload([__name__])
    start_processes(as_one_of_two, (str(tmp_path),), PROCESSES, start_method="forkserver")
    for name in ("ddp", "fsdp"):
        found = torch.load(tmp_path / f"{name}.pt")
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value, atol=1e-6, rtol=1e-4, msg=f"{name} {key}")


@pytest.mark.timeout(300)
def test_a_compiled_block_is_one_graph_with_the_same_numbers() -> None:
    one, compiled = Objective(), Objective()
    # Traced forward and backward as ever; what inductor makes of the graph takes it minutes.
    compile_blocks(compiled.generator, backend="aot_eager")
    losses = [objective(slice(0, 1)) for objective in (one, compiled)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[1], losses[0], atol=1e-5, rtol=1e-5)
    wanted = gradients(one)
    for name, gradient in gradients(compiled).items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-5, rtol=1e-4, msg=name)
    # As a solver asks, with what it keeps.
    told, x, t = conditions_of(slice(0, 1)), make_latents(1, VIEWS), torch.tensor([0.5])
    with torch.no_grad():
        plain = one.generator(x, t, source_mask(VIEWS), told).velocity
        quick = compiled.generator(x, t, source_mask(VIEWS), told, KeptContext()).velocity
    assert float((quick - plain).abs().max() / plain.abs().max()) < 1e-6
