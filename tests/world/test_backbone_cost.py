"""What is counted is what the networks do; the floor is named an estimate and grows with depth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mvista_core.timing import SystemClock
from mvista_world.backbone_cost import BackboneCost, Measuring, measure_cost
from mvista_world.compute import choose
from mvista_world.config import ModelConfig, OptimisationConfig
from tests.world.tiny import RIG
from tests.world.wan_folder import SMALL

VIEWS = 2


def cost_of(config: ModelConfig) -> BackboneCost:
    one = replace(config, frame_count=1, optimisation=OptimisationConfig(draws=1))
    return measure_cost(one, RIG, VIEWS, Measuring(choose("fp32"), SystemClock(), 1))


@pytest.fixture(scope="module")
def cost() -> BackboneCost:
    return cost_of(SMALL)


def wan_block_flop(tokens: int, config: ModelConfig) -> int:
    """Two operations a product: projections, feed-forward, attention among tokens and to words."""
    d, ffn, n = config.inner_dim, config.transformer.ffn_dim, config.text.max_tokens
    linear = tokens * (6 * d * d + 2 * d * ffn) + 2 * n * d * d
    return 2 * (linear + 2 * tokens * tokens * d + 2 * tokens * n * d)


def test_operations_are_those_of_the_block_and_what_is_added(cost: BackboneCost) -> None:
    rows, columns = SMALL.token_grid
    assert cost.tokens == VIEWS * rows * 2 * columns
    own = wan_block_flop(cost.tokens, SMALL)
    assert own < cost.block_flop < 2.5 * own
    assert 2 * cost.block_flop < cost.forward_flop < 3 * cost.block_flop
    # Backward as far as the first block's style: half of two blocks, and the weights are frozen.
    assert 1.2 * cost.forward_flop < cost.step_flop < 2 * cost.forward_flop
    assert min(cost.forward_s, cost.step_s, cost.encode_s, cost.decode_s, cost.matrix_flops) > 0


def test_the_floor_of_a_deeper_model_is_what_it_would_count(cost: BackboneCost) -> None:
    deeper = replace(SMALL, transformer=replace(SMALL.transformer, num_layers=5))
    found = cost_of(deeper)
    assert found.block_flop == cost.block_flop
    estimated = cost.floor_s(1, 0, layers=2, depth=5) * cost.matrix_flops
    assert estimated == pytest.approx(found.forward_flop, rel=1e-6)
    steps = cost.floor_s(0, 1, layers=2, depth=5) * cost.matrix_flops
    # Words have no gradient: of the whole block that is little, of this small one 6 %.
    assert steps == pytest.approx(found.step_flop, rel=0.1)
