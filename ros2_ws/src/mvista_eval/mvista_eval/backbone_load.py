"""What a plan of a large model would take here, on random weights of a chosen depth.

Measured parts, and a floor at the depth of the preset: an estimate, named so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mvista_core.errors import ConfigError
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock
from mvista_eval.cell import rig_file
from mvista_eval.figures import Measured
from mvista_world.backbone_cost import BackboneCost, Measuring, measure_cost
from mvista_world.compute import choose
from mvista_world.config import ModelConfig
from mvista_world.paper_rigs import filmed_for
from mvista_world.presets import preset


@dataclass(frozen=True)
class BackboneLoad:
    """A preset at `depth` layers (0: its own) and `frames` (0: its own), on `device`."""

    preset: str
    depth: int
    views: int
    frames: int
    repeats: int
    precision: str
    device: str
    threads: int
    checkpointing: bool = False
    compiled: bool = False

    def config(self) -> ModelConfig:
        """The preset at these sizes.

        Raises:
            ConfigError: no such preset, or one without Wan's backbone; sizes that do not fit.
        """
        whole = preset(self.preset)
        if whole.codec.kind != "wan":
            raise ConfigError(
                f"--random-weights measures Wan's backbone, not '{self.preset}', which ships its "
                "weights: see --checkpoint"
            )
        if self.depth < 0 or self.repeats < 1 or not 1 <= self.views <= whole.max_views:
            raise ConfigError(
                f"--depth {self.depth} --plans {self.repeats} --views {self.views}: at least 1 "
                f"layer (0: the preset's), 1 plan, and 1 to {whole.max_views} views"
            )
        layers = self.depth or whole.transformer.num_layers
        shallow = replace(whole.transformer, num_layers=layers)
        frames = self.frames or whole.frame_count
        return replace(whole, transformer=shallow, frame_count=frames)


def measure_backbone(load: BackboneLoad, rig: Path | None = None) -> Measured:
    """Words and document; there is no bound, since the machine is anyone's.

    Raises:
        ConfigError, RigError: see `BackboneLoad.config` and `measure_cost`.
    """
    config, compute = load.config(), choose(load.precision, load.device, threads=load.threads)
    measuring = Measuring(compute, SystemClock(), load.repeats)
    cameras = filmed_for(config, load_rig(rig or rig_file()))
    cost = measure_cost(config, cameras, load.views, measuring, load.checkpointing, load.compiled)
    return as_measured(load, config, cost, str(compute))


def as_measured(
    load: BackboneLoad, config: ModelConfig, cost: BackboneCost, compute: str
) -> Measured:
    """The bench's words and document."""
    layers, depth = config.transformer.num_layers, preset(load.preset).transformer.num_layers
    forwards = config.sampler.steps
    floors = {
        "imagine_s": cost.floor_s(forwards, 0, layers, depth),
        "imagine_guided_s": cost.floor_s(2 * forwards, 0, layers, depth),
        "eq11_15_steps_s": cost.floor_s(0, 15, layers, depth),
        "eq11_100_steps_s": cost.floor_s(0, 100, layers, depth),
    }
    window = config.window
    words = [
        f"{config.name} at {layers} of {depth} layers, {cost.parameters / 1e6:.0f} M parameters of "
        f"the generator, random; {load.views} views of {config.frame_count} frames, "
        f"{window.width_px}x{window.height_px}, {cost.tokens} tokens; {compute}",
        f"  one evaluation      {cost.forward_s:9.3f} s  {cost.forward_flop / 1e12:9.3f} TFLOP",
        f"  guided, one batch   {cost.guided_s:9.3f} s  words and no words",
        f"  one step of Eq. 11  {cost.step_s:9.3f} s  {cost.step_flop / 1e12:9.3f} TFLOP",
        f"  encode one frame    {cost.encode_s:9.3f} s",
        f"  decode one video    {cost.decode_s:9.3f} s, two a view",
        f"  at most {cost.peak_bytes / 2**30:.1f} GiB",
        f"  matrices here: {cost.matrix_flops / 1e12:.3f} TFLOP/s",
        f"  ESTIMATE, no measurement: the least that {depth} layers take at that speed",
        *(f"    {name.removesuffix('_s'):18s} {value:9.2f} s" for name, value in floors.items()),
    ]
    document = {
        "load": asdict(load),
        "networks": compute,
        "layers": layers,
        **asdict(cost),
        "estimate_not_measured": {"layers": depth, "forwards": forwards, **floors},
    }
    return Measured("a backbone of random weights", "\n".join(words), document, ())
