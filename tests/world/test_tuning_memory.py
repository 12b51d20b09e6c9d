"""What a run of fine-tuning holds is known before it begins: arithmetic against what is counted."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.training_utils import EMAModel

from mvista_core.errors import ConfigError
from mvista_core.imaging import ModelWindow
from mvista_world.compute import Compute, choose
from mvista_world.config import CrossModalityConfig, CrossViewConfig, StyleConfig
from mvista_world.generator import MultiViewGenerator
from mvista_world.presets import preset
from mvista_world.training import backbone
from mvista_world.training.loop import trained
from mvista_world.training.memory import Budget, activation_bytes, budget_of, check_card
from mvista_world.training.tuned import Tuned, load_tuned, mark_trained
from mvista_world.training.tuning import PROFILES, SHARES, Tuning, load_tuning
from tests.world.tuning import CONFIG, make_place, velocity_of

ROOT = Path(__file__).parents[2]
CARD = Compute(torch.device("cuda"), torch.bfloat16, 1, "CUDA")
"""What a run on a card computes in; the arithmetic needs none."""
GIB = 2**30


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("memory")).start


def bytes_of(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize(
    "tuning",
    [Tuning(), Tuning(optimiser="adafactor", average=0.0), Tuning(lora_rank=4)],
    ids=["full", "adafactor", "lora"],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_arithmetic_is_what_is_counted(start: Path, tuning: Tuning, precision: str) -> None:
    compute = choose(precision)
    budget = budget_of(CONFIG, tuning, 1, compute)
    networks = Tuned(load_tuned(start, CONFIG, tuning, compute), lambda texts: torch.empty(0))
    average = EMAModel(trained(networks), decay=0.9) if tuning.average else None
    optimiser = backbone.make_optimiser(networks, tuning)
    for parameter in trained(networks):
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    state = [value for held in optimiser.state.values() for value in held.values()]
    assert budget.weights == bytes_of(list(networks.parameters()))
    assert budget.gradients == bytes_of([p.grad for p in trained(networks) if p.grad is not None])
    assert budget.optimiser == bytes_of([value for value in state if torch.is_tensor(value)])
    assert budget.average == (bytes_of(average.shadow_params) if average else 0)


WIDE = replace(
    CONFIG,
    window=ModelWindow(96, 96, 1),
    transformer=replace(CONFIG.transformer, attention_head_dim=128, ffn_dim=1194),
    cross_modality=CrossModalityConfig(64, 2),
    cross_view=CrossViewConfig(64, 2, 8),
    style=StyleConfig(64, 1),
)
"""Wide enough that what is kept goes by d and the feed-forward width, as at full size."""


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("rank", [0, 4])
def test_activations_are_at_most_what_is_said_and_not_far_below(
    checkpointing: bool, rank: int
) -> None:
    tuning = Tuning(lora_rank=rank, checkpointing=checkpointing, view_counts=(3,))
    generator = mark_trained(MultiViewGenerator(WIDE), tuning)
    if checkpointing:
        generator.backbone.enable_gradient_checkpointing()
    own = {p.untyped_storage().data_ptr() for p in generator.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answer = velocity_of(generator, 3)
    assert answer.requires_grad
    counted = sum(storage.nbytes() for storage in kept.values())
    said = activation_bytes(WIDE, tuning, choose("fp32"))
    # With checkpointing a block's own are made in the backward pass, one block at a time.
    least = 0.02 if checkpointing else 0.7
    assert least * said < counted <= said, (counted, said)


def test_a_card_too_small_is_refused_with_the_numbers() -> None:
    budget = Budget(10 * GIB, 4 * GIB, 8 * GIB, 0, 0, 2 * GIB, GIB)
    check_card(budget, 25 * GIB, "cuda:0")
    with pytest.raises(
        ConfigError,
        match=r"takes 25.0 GiB \(weights 10.0, gradients 4.0, optimiser 8.0, activations 2.0, "
        r"reserved 1.0\), cuda:0 has 24.0 GiB free: .*--lora.*docs/training.md",
    ):
        check_card(budget, 24 * GIB, "cuda:0")
    check_card(budget, 0, "what does not say")


def test_shards_are_counted_as_fsdp_cuts_them() -> None:
    one, eight = (budget_of(CONFIG, Tuning(), n, choose("fp32")) for n in (1, 8))
    assert one.weights / 8 <= eight.weights < one.weights / 4
    assert one.gathered == 0 < eight.gathered


TABLE = re.compile(r"^\| `(\w+)` \|((?: [\d.]+ \|)+)", re.M)


@pytest.mark.parametrize(
    ("name", "processes", "card_gib"),
    [
        ("lora_24gb", 1, 24),
        ("full_80gb", 1, 80),
        ("full_8x80gb", 8, 80),
    ],
)
def test_each_profile_fits_its_card_and_the_page_has_the_numbers(
    name: str, processes: int, card_gib: int
) -> None:
    """On the 30 layers of Wan2.2-TI2V-5B, by shapes alone."""
    tuning = load_tuning(ROOT / "config" / "training" / f"{name}.yaml")
    budget = budget_of(preset("wan22_ti2v_5b"), tuning, processes, CARD)
    assert budget.total < 0.97 * card_gib * GIB
    rows = dict(TABLE.findall((ROOT / "docs" / "training.md").read_text("utf-8")))
    told = [float(number) for number in rows[name].replace("|", " ").split()]
    parts = [getattr(budget, field) for field in Budget.__dataclass_fields__]
    assert told == [float(f"{size / GIB:.1f}") for size in (*parts, budget.total)]


def test_the_profiles_that_are_named_are_those_that_ship() -> None:
    shipped = {path.stem for path in (ROOT / "config" / "training").glob("*.yaml")}
    assert shipped == set(PROFILES)


def test_an_unknown_setting_lists_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("lora: 4\n")
    with pytest.raises(ConfigError, match=r"mine.yaml: unknown \['lora'\]; .*'lora_rank'"):
        load_tuning(path)
    path.write_text("steps: many\n")
    with pytest.raises(ConfigError, match="steps is 'many', not a number"):
        load_tuning(path)


@pytest.mark.parametrize("name", SHARES)
def test_what_is_no_share_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for share in ("-0.1", "1.01", "50"):
        path.write_text(f"{name}: {share}\n")
        with pytest.raises(ConfigError, match=rf"{name} {float(share)}: a share, from 0 to 1"):
            load_tuning(path)
    with pytest.raises(ConfigError, match=f"{name} nan"):
        Tuning(**{name: float("nan")})  # type: ignore[arg-type]
    path.write_text(f"{name}: 1\n")
    assert getattr(load_tuning(path), name) == 1.0
