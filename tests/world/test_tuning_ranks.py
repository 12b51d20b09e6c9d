"""A LoRA that several processes train: the adapters of one, also where frozen weights are bf16."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch.multiprocessing.spawn import start_processes

from mvista_world.training.request import TrainingRequest
from tests.world.test_tuning import PROCESSES, free_port
from tests.world.tuning import Place, as_rank, make_place, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NATIVE = {"fp32": "", "bf16": "avx512_bf16"}
"""What the processor is said to multiply, by the precision that follows from it."""
APART = {"fp32": 1e-5, "bf16": 1e-3}
"""bf16 has 8 bits, and two processes add up in another order."""
MOVED = 5e-3
"""What the adapters move by at least: two that did not share gradients would be as far apart."""


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        with mock.patch("mvista_world.compute.native_bf16", return_value=NATIVE[precision]):
            yield
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("ranks"))


def as_one_of_two(rank: int, asked: TrainingRequest, precision: str, port: int) -> None:
    as_rank(rank, PROCESSES, port)
    with computing_in(precision):
        train(asked)


@pytest.mark.parametrize("precision", NATIVE)
def test_two_processes_train_the_adapters_of_one(place: Place, precision: str) -> None:
    one, two = (
        place.request(f"{name}-{precision}", average=0.9, lora=4, steps=8)
        for name in ("one", "two")
    )
    with computing_in(precision):
        train(one)
    multiprocessing.set_forkserver_preload([__name__])
    told = (two, precision, free_port())
    start_processes(as_one_of_two, told, PROCESSES, start_method="forkserver")
    for name in ("lora.safetensors", "additions.safetensors"):
        ours, theirs = (load_file(asked.out / "lora" / name) for asked in (two, one))
        assert ours.keys() == theirs.keys() and ours
        for key, value in theirs.items():
            torch.testing.assert_close(
                ours[key], value, rtol=0.0, atol=APART[precision], msg=f"{name} {key}"
            )
    moved = load_file(one.out / "lora/lora.safetensors")
    assert max(float(value.abs().max()) for key, value in moved.items() if "lora_B" in key) > MOVED
    files = [{path.name for path in (asked.out / "lora").iterdir()} for asked in (one, two)]
    assert files[0] == files[1] and {"lora.safetensors", "manifest.json"} <= files[0]
