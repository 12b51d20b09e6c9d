"""The one table of what can be trained: `mvista train` lists it, and runs a row of it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from mvista_core.errors import ConfigError
from mvista_world.config import LEFT_OUT, RENEWABLE
from mvista_world.presets import PRESETS, preset
from mvista_world.training.request import TrainingRequest


@dataclass(frozen=True)
class Recipe:
    """`mvista train <network>` runs `run(request)` of `mvista_world.training.<network>`.

    `text` says what it writes. The module is imported when it runs: torch takes seconds.
    """

    network: str
    text: str

    def run(self, asked: TrainingRequest) -> None:
        """Carry it out; see the module for what it raises."""
        import_module(f"mvista_world.training.{self.network}").run(asked)


RECIPES = (
    Recipe("codec", "the video autoencoder, on single views of recorded episodes"),
    Recipe("trajectory", "the TCN-VAE between actions and the trajectory latent (Eq. 9-10)"),
    Recipe("generator", "generator and instruction encoder; needs codec and trajectory"),
    Recipe("distill", "a checkpoint (--start) that imagines in four steps, in OUT/distilled"),
    Recipe("held_out", "the generator's losses on episodes that no step saw; writes no weights"),
    Recipe("reader", "what reads a motion off a future; needs codec, trajectory and generator"),
    Recipe("priors", "what a packed checkpoint infers on training scenes, for refine"),
    Recipe("refine", "the residual refiner; takes real priors where they are"),
    Recipe("retouch", "what corrects the pictures that a packed checkpoint decodes"),
    Recipe("pack", "the checkpoint folder and its manifest, of what was trained"),
)
WITH_RECIPES = ("generator", "held_out", "refine")
"""Which of them can be trained as the shipped model was, or by the paper's letter."""
WITHOUT = ("generator", "held_out")
"""Which of them can leave parts of a recipe out; what is held out is asked as it was trained."""

WITH_MODULES = ("generator", "held_out", "reader", "pack")
"""Which of them make or read a generator without some of `config.LEFT_OUT`; trajectory is another
without the TCN-VAE alone."""
WITH_START = ("codec", "trajectory", "generator", "distill")
"""Which of them can take a checkpoint's weights, or go on from them."""


def run(network: str, asked: TrainingRequest) -> None:
    """Train one network, try it on what it never saw, or `pack` it into a checkpoint folder.

    Raises:
        ConfigError: a network that is not in the table, or none of Wan's size; what a recipe
            cannot work with; a choice that this network does not offer.
    """
    named = {recipe.network: recipe for recipe in RECIPES}
    if network not in named:
        raise ConfigError(f"no network '{network}'; there are {sorted(named)}")
    if (asked.recipe is not None and network not in WITH_RECIPES) or (
        asked.without and network not in WITHOUT
    ):
        raise ConfigError(
            f"network '{network}' has one recipe; --recipe is of {', '.join(WITH_RECIPES)}, "
            f"--without of {' and '.join(WITHOUT)}"
        )
    if network not in WITH_MODULES and asked.config.name in PRESETS:
        whole = preset(asked.config.name)
        left = [name for name in LEFT_OUT if asked.config.lacks(name) and not whole.lacks(name)]
        if network == "trajectory" and "tcn_vae" in left:
            left.remove("tcn_vae")
        if left:
            raise ConfigError(
                f"network '{network}' is the same with and without {left}; --without is of "
                f"{', '.join(WITH_MODULES)}"
            )
    if asked.start is not None and network not in WITH_START:
        raise ConfigError(
            f"network '{network}' starts from no checkpoint; --start is of {', '.join(WITH_START)}"
        )
    _check_renewed(network, asked)
    # Told by the autoencoder: Wan's own is never trained here, `tiny`'s is.
    if asked.config.codec.kind == "wan":
        _run_wan(network, asked)
        return
    named[network].run(asked)


def _check_renewed(network: str, asked: TrainingRequest) -> None:
    """Only what is there can begin again, and only in a run that starts from weights."""
    if asked.batch is not None and network != "generator":
        raise ConfigError(f"network '{network}' has batches of its own; --batch is of generator")
    if not asked.renew:
        return
    there = [name for name in RENEWABLE if name not in LEFT_OUT or not asked.config.lacks(name)]
    wrong = sorted(set(asked.renew) - set(there))
    if network != "generator" or asked.start is None or wrong:
        raise ConfigError(
            f"--renew {','.join(asked.renew)}: of generator with --start, and of {there} of preset "
            f"'{asked.config.name}'"
        )


def _run_wan(network: str, asked: TrainingRequest) -> None:
    """Of a preset of Wan's size: its generator is fine-tuned, its TCN-VAE trained as any other."""
    modules = {"generator": "backbone", "trajectory": "trajectory"}
    if network not in modules:
        raise ConfigError(
            f"preset '{asked.config.name}' is of Wan's size: what is trained of it is "
            f"{' and '.join(sorted(modules))}; its autoencoder and text encoder are Wan's own, and "
            "generator writes a whole folder"
        )
    import_module(f"mvista_world.training.{modules[network]}").run(asked)
