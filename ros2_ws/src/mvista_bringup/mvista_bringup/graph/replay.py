"""An episode on the topics it was recorded from; what moves an arm is `mvista replay --on-arm`."""

from __future__ import annotations

from mvista_bringup.graph.spec import NodeSpec, Template
from mvista_bringup.options import FALSE, NAMESPACE_OPTION, TRUE, Kind, RunOption

REPLAY_OPTIONS = (
    RunOption("episode", "", "the folder of an episode"),
    RunOption("speed", "1.0", "1 is as recorded", kind=Kind.NUMBER, bounds=(0.05, 20)),
    RunOption("loop", FALSE, "begin again at the end", (TRUE, FALSE)),
    RunOption(
        "restamp", TRUE, "stamps of now; false: as recorded, old for every consumer", (TRUE, FALSE)
    ),
    NAMESPACE_OPTION,
)

REPLAY: tuple[NodeSpec, ...] = (
    NodeSpec(
        "mvista_recorder",
        "episode_replay_node",
        "replay",
        parameters=(
            ("episode", Template("{episode}")),
            ("speed", Template("{speed}", float)),
            ("loop", Template("{loop}", bool)),
            ("restamp", Template("{restamp}", bool)),
        ),
    ),
)
