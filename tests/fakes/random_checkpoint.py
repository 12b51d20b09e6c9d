"""A whole `tiny` checkpoint on random weights: `python -m tests.fakes.random_checkpoint DIR`.

Everything is the real thing but what was learned: the decoded actions are smooth, small motions
around the arm's home pose.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from mvista_core import weights
from mvista_core.arm import load_arm
from mvista_sim.tasks import TEMPLATES
from mvista_world.codec import StackedCodec
from mvista_world.config_file import save_config
from mvista_world.generator import MultiViewGenerator
from mvista_world.presets import preset
from mvista_world.text import InstructionEncoder, build_tokenizer
from mvista_world.trajectory import TrajectoryVae

ROOT = Path(__file__).parents[2]
MOTION_RAD = 0.003


def write_random_checkpoint(folder: Path, seed: int = 0, quick: bool = False) -> Path:
    """Write the checkpoint; returns its folder. No refiner: the prior is the plan. `quick`: of two
    steps of the solver and one of Eq. 11."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config, templates = preset("tiny"), tuple(TEMPLATES.values())
    if quick:
        steps = replace(config.sampler, steps=2), replace(config.optimisation, head_steps=1)
        config = replace(config, sampler=steps[0], optimisation=steps[1])
    tokenizer = build_tokenizer(templates)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    trajectory = TrajectoryVae(config.trajectory, len(config.joint_names))
    home = load_arm(ROOT / "config/arms/piper.yaml").home
    trajectory.mean.copy_(torch.from_numpy(home))
    trajectory.std.fill_(MOTION_RAD)
    trajectory.std[-1] = 1e-3
    modules = {
        "codec": StackedCodec(config.codec),
        "text": InstructionEncoder(config.text, tokenizer),
        "generator": MultiViewGenerator(config),
        "trajectory": trajectory,
    }
    for name, module in modules.items():
        state = {key: value.contiguous() for key, value in module.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")
    save_config(config, templates, folder / "config.json")
    names = [f"{name}.safetensors" for name in modules]
    weights.write_manifest(folder, [*names, "tokenizer.json", "config.json"])
    return folder


if __name__ == "__main__":
    print(write_random_checkpoint(Path(sys.argv[1])))
