"""What a world model is made of, in one frozen record, with the traps checked in one place.

The backbone drops rows and frames that do not fit its strides without a word (a 15-row latent
loses its last row); here such a configuration is refused. Values that the paper leaves open are
marked "our choice".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mvista_core.episode_shape import TINY, EpisodeShape
from mvista_core.errors import ConfigError
from mvista_core.imaging import ModelWindow
from mvista_core.vantage import Vantage
from mvista_world.config_limits import ACTION_HEADS, TRAJECTORIES, validate

INITIALISATIONS = ("head", "random", "null")
"""Where Eq. 11 may start: at the action head's reading, at N(0, 1) as in Sec. 4.4, or at the null
token as in App. A."""
CAMERAS = ("cam1", "cam2", "cam0")
"""Source first, then what is imagined beside it, in the order that the results were measured in:
which noise a view starts from is its place."""
JOINT_NAMES = ("joint1", "joint2", "joint3", "joint4", "joint5", "joint6", "gripper")
FUSION = ("cross_modality", "cross_view", "source_render", "source_points", "arm_points")
"""Fields of the modules that join modalities and views. Each may be absent (None), and weights to
start from may lack it: at zero it adds nothing. With `source_render` the network's output means
another thing, and begins at zero too."""
ADDED = tuple(name for name in FUSION if name != "source_render")
"""Those whose output is added to what is there: a model is the same without them and with them at
zero, so that both can be trained from the same weights on to see what one pays."""
RENEWABLE = (*ADDED, "spherical", "latents")
"""What training can begin anew: these and how Eq. 7's token is told, at zero; and what reads and
writes the trajectory latent, at random."""
LEFT_OUT = (*FUSION, "vantage", "offsets", "spherical", "depth_tokens", "tcn_vae")
"""What a preset can be made without, for ablations: modules of `FUSION`; the place that a source is
brought to, without which it is read from where it stands; Eq. 8's offsets, which
leaves plain epipolar attention (Table 2's "EA"); Eq. 7's spherical token, which leaves flattened
extrinsics (Table 10's "Flatten Cam"); tokens of its own for depth, which leaves one for both maps
of a place (Table 5's "cat depth") and takes cross_modality along; the TCN-VAE, which leaves actions
themselves as the trajectory latent (Table 5)."""


@dataclass(frozen=True)
class DepthConfig:
    """Metric range of the depth codec (our choice; the paper is silent)."""

    near_m: float = 0.3
    far_m: float = 2.0


@dataclass(frozen=True)
class CodecConfig:
    """The video autoencoder behind `codec.VideoCodec`."""

    kind: str = "stacked2d"
    latent_channels: int = 24
    spatial_stride: int = 8
    temporal_stride: int = 4
    width: int = 64


@dataclass(frozen=True)
class TransformerConfig:
    """Arguments of diffusers' WanTransformer3DModel."""

    num_layers: int = 6
    num_attention_heads: int = 8
    attention_head_dim: int = 32
    ffn_dim: int = 768
    freq_dim: int = 128
    patch: tuple[int, int, int] = (1, 2, 2)
    qk_norm: str = "rms_norm_across_heads"


@dataclass(frozen=True)
class CrossModalityConfig:
    """Local cross-modality attention (Eq. 3-5). The paper gives no numbers: all are our choice.

    `window` is k of the k x k neighbourhood (r = k // 2), `width` the reduced one of App. A.
    """

    width: int = 32
    heads: int = 2
    window: int = 3


@dataclass(frozen=True)
class CrossViewConfig:
    """Deformable cross-view attention (Eq. 8). The paper gives no numbers: all are our choice.

    `samples` is K on each epipolar line, `max_offset` Eq. 8's bound in token-grid pixels. `width`
    is reduced as that of cross-modality attention.
    """

    width: int = 32
    heads: int = 2
    samples: int = 4
    max_offset: float = 1.0


@dataclass(frozen=True)
class SourceRenderConfig:
    """What the source's first frame shows of every view, drawn from that view's camera and given
    beside the noise. Ours, not the paper's: a small model is told where the still scene is and has
    to learn only what moves and what was hidden. `width` is that of its one hidden layer.
    `seen_std` and `unseen_std` say how far latents lie from it, root mean square, where the source
    shows a place and where not; of standardised latents, which spread by 1 by themselves."""

    width: int = 128
    seen_std: float = 0.7
    unseen_std: float = 1.25


@dataclass(frozen=True)
class SourcePointsConfig:
    """Where what `source_render` shows lies, in the base frame. Ours, not the paper's: Eq. 7's
    token says neither where the look-at point is nor how long a lens, so that only the arm's looks
    tell where a thing stands for the arm. `width` is that of its one hidden layer."""

    width: int = 128


@dataclass(frozen=True)
class ArmPointsConfig:
    """Where the arm is in every view, before the motion and as z will have it. Ours, not the
    paper's: its style cross-attention leaves it to the generator to learn where a motion shows.
    `width` is that of its one hidden layer, `links` the arm's; `near_cells` and `far_cells` are
    how wide a point is drawn (standard deviations, in cells of the latent grid)."""

    width: int = 128
    links: int = 6
    near_cells: float = 0.75
    far_cells: float = 3.0


@dataclass(frozen=True)
class StyleConfig:
    """The style cross-attention of every block (Sec. 4.3). `width` and `heads` None are the
    backbone's own; at 5B that is 1.13 B parameters, and 0.19 B at 512 (our choice there)."""

    width: int | None = None
    heads: int | None = None


@dataclass(frozen=True)
class TextConfig:
    """The instruction encoder; `kind` "bert" is trained with the model, "umt5" is Wan's own.

    Features of "umt5" are computed once (`text_cache`); `encoder_sha256` says by which encoder.
    """

    kind: str = "bert"
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    max_tokens: int = 12
    encoder_sha256: str = ""


@dataclass(frozen=True)
class TrajectoryConfig:
    """The TCN-VAE of Eq. 9-10: `action_count` actions to `tokens` x `channels` (C = 32, paper).

    `kind` "actions" has none: z is the standardised actions themselves, those of a stretch one
    token (Table 5's "w/o TCN-VAE"); `channels` is then 2^stages of every joint.

    What is decoded jitters by a few milliradians, which at 15 Hz asks for tens of rad/s^2: it is
    smoothed over `smoothing_actions` (standard deviation) and led from the measured pose into the
    decoded motion over `anchor_s` (both our choice; the paper only says "interpolate").
    """

    action_count: int = TINY.action_count
    action_rate_hz: float = TINY.action_rate_hz
    stages: int = 4
    channels: int = 32
    width: int = 64
    beta: float = 5e-3
    smoothing_actions: float = 3.0
    anchor_s: float = 1.2
    kind: str = TRAJECTORIES[0]

    @property
    def tokens(self) -> int:
        """S, our choice: one token per 2^stages actions."""
        return self.action_count // 2**self.stages


@dataclass(frozen=True)
class SamplerConfig:
    """Solver of the probability flow (our choice: `solver` of `SOLVERS`, steps and shift).

    `mode` is the paper's (Sec. 5.1): 1 imagines all views in one run; 2, its default, imagines
    `reference_views` first (the source among them; how many is our choice), then the others with
    those frozen. `guidance` above 1 is the scale of classifier-free guidance against empty words
    (Ho & Salimans 2021; Wan's own is 5), where the noise level t is within `guidance_low` and
    `guidance_high` (Kynkaanniemi et al. 2024; Wan's: everywhere). `step_cache` above 0 leaves out
    a step's blocks after the first where that one did nearly the same as before (`step_cache`).
    """

    steps: int = 10
    shift: float = 3.0
    mode: int = 2
    reference_views: int = 2
    solver: str = "euler"
    guidance: float = 1.0
    guidance_low: float = 0.0
    guidance_high: float = 1.0
    step_cache: float = 0.0

    @property
    def guided(self) -> bool:
        """Whether empty words are asked too."""
        return self.guidance != 1.0


@dataclass(frozen=True)
class OptimisationConfig:
    """Eq. 11: Adam on z; `lambda_z` is the paper's lambda (value our choice).

    Below `t_low` the noised rollout shows its motion by itself and z hardly matters. From the
    head's reading, which is near, steps are small (`head_learning_rate`). `still_weight` is the
    weight of latents where the rollout does not move, against 1 where all pixels do.
    `head_steps` and `random_steps` are how many are taken from the head's reading and from the
    other starts (the paper's: 100). `action_head` is one of `ACTION_HEADS`. `literal` takes Eq. 11
    as it is written instead: the request's own words, t over all of [0, 1], both norms as plain
    sums of squares, no weight of motion.
    """

    learning_rate: float = 0.1
    head_learning_rate: float = 0.02
    lambda_z: float = 3e-3
    t_low: float = 0.6
    t_high: float = 1.0
    draws: int = 2
    still_weight: float = 0.03
    head_draws: int = 6
    head_t_low: float = 0.3
    head_t_high: float = 0.7
    head_steps: int = 15
    random_steps: int = 100
    action_head: str = ACTION_HEADS[0]
    literal: bool = False

    def steps_from(self, initialisation: str) -> int:
        """How many steps are taken from one of `INITIALISATIONS` where nobody says."""
        return self.head_steps if initialisation == INITIALISATIONS[0] else self.random_steps


@dataclass(frozen=True)
class ModelConfig:
    """One preset: everything that shapes tensors or the method.

    `cameras` are the views of a request that names none: the source, then the imagined ones.
    `cross_modality` and `cross_view` None leave the module out of every block (the paper's
    "w/o Mod" and "w/o view"); `tiny` was trained without either, and without `source_render` and
    `source_points`, which the paper does not have; nor has it `vantage`, a place that the source's
    RGB-D is drawn at before it is read, whatever camera it comes from. `flat_cameras`: a view is
    told by its flattened extrinsics and an MLP instead of Eq. 7's token (Table 10's "Flatten Cam").
    `joined_depth`: both maps of a place are one token (Table 5's "cat depth"; `joined_depth.py`).
    """

    name: str
    window: ModelWindow = TINY.window
    frame_count: int = TINY.frame_count
    frame_period_s: float = TINY.frame_period_s
    max_views: int = 3
    joint_names: tuple[str, ...] = JOINT_NAMES
    cameras: tuple[str, ...] = CAMERAS
    depth: DepthConfig = field(default_factory=DepthConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    cross_modality: CrossModalityConfig | None = field(default_factory=CrossModalityConfig)
    cross_view: CrossViewConfig | None = field(default_factory=CrossViewConfig)
    source_render: SourceRenderConfig | None = None
    source_points: SourcePointsConfig | None = None
    arm_points: ArmPointsConfig | None = None
    vantage: Vantage | None = None
    flat_cameras: bool = False
    joined_depth: bool = False
    style: StyleConfig = field(default_factory=StyleConfig)
    text: TextConfig = field(default_factory=TextConfig)
    trajectory: TrajectoryConfig = field(default_factory=TrajectoryConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    optimisation: OptimisationConfig = field(default_factory=OptimisationConfig)

    def __post_init__(self) -> None:
        validate(self)

    @property
    def episode(self) -> EpisodeShape:
        """When pictures are imagined and actions are due, and what of a camera's image is seen."""
        z = self.trajectory
        return EpisodeShape(
            self.window, self.frame_count, self.frame_period_s, z.action_count, z.action_rate_hz
        )

    @property
    def latent_frames(self) -> int:
        return 1 + (self.frame_count - 1) // self.codec.temporal_stride

    @property
    def latent_size(self) -> tuple[int, int]:
        """(h, w) of one modality of one view on the latent grid."""
        stride = self.codec.spatial_stride
        return self.window.height_px // stride, self.window.width_px // stride

    @property
    def token_grid(self) -> tuple[int, int]:
        """(rows, columns) of tokens of one modality of one view."""
        _, down, across = self.transformer.patch
        return self.latent_size[0] // down, self.latent_size[1] // across

    @property
    def row_tokens(self) -> int:
        """Tokens of a row of one view: those of both maps, side by side, or `joined_depth`'s."""
        return self.token_grid[1] * (1 if self.joined_depth else 2)

    def lacks(self, name: str) -> bool:
        """Whether it is without one of `LEFT_OUT`."""
        if name == "spherical":
            return self.flat_cameras
        if name == "depth_tokens":
            return self.joined_depth
        if name == "tcn_vae":
            return self.trajectory.kind == "actions"
        if name == "offsets":
            return self.cross_view is None or self.cross_view.max_offset == 0.0
        return getattr(self, name) is None

    def without(self, names: Sequence[str]) -> ModelConfig:
        """The same without these of `LEFT_OUT`.

        Raises:
            ConfigError: a name that is not there, or what is left cannot be.
        """
        unknown = sorted(set(names) - set(LEFT_OUT))
        if unknown:
            raise ConfigError(f"no module {unknown}; what can be left out is {list(LEFT_OUT)}")
        changed: dict[str, Any] = dict.fromkeys(
            name for name in names if name in (*FUSION, "vantage")
        )
        if "spherical" in names:
            changed["flat_cameras"] = True
        if "depth_tokens" in names:
            changed |= {"joined_depth": True, "cross_modality": None}
        if "tcn_vae" in names:
            channels = 2**self.trajectory.stages * len(self.joint_names)
            own = replace(self.trajectory, kind="actions", channels=channels)
            changed["trajectory"] = own
        if "offsets" in names:
            if self.cross_view is None or "cross_view" in names:
                raise ConfigError("offsets are those of cross_view, which is left out itself")
            changed["cross_view"] = replace(self.cross_view, max_offset=0.0)
        return replace(self, **changed)

    @property
    def inner_dim(self) -> int:
        return self.transformer.num_attention_heads * self.transformer.attention_head_dim
