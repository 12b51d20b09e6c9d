"""`mvista eval generation`: imagined views against filmed ones on held-out scenes (Sec. 5.1)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_bringup import paths
from mvista_cli import repeat_choices, view_choices
from mvista_sim.tasks import TEMPLATES
from mvista_world.choices import MethodChoices

EPILOG = (
    "LPIPS is not computed: no library here brings its weights. FVD, which the paper also gives, "
    "is computed where --i3d names the weights of an I3D trained on Kinetics-400, which are not "
    "here; another network's numbers would compare with nobody's."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("--task", choices=sorted(TEMPLATES), default="touch_cube")
    parser.add_argument("--episodes", type=int, default=16, help="scenes")
    parser.add_argument("--seed", type=int, default=10_000, help="first held-out seed")
    parser.add_argument(
        "--told", action="store_true",
        help="tell the filmed motion too, instead of the words alone: its errors are of pictures, "
        "not of another motion that the words allow",
    )  # fmt: skip
    parser.add_argument(
        "--camera", action="append", default=[], metavar="AZIMUTH,PITCH,DISTANCE",
        help="ask for the first imagined view from here instead (degrees, degrees, m round the "
        "rig's look-at point); more than once for a table; 'standard': the trained camera, "
        "azimuth 0, 44 and 90, pitch 30, distance 1 m",
    )  # fmt: skip
    parser.add_argument(
        "--rig", type=Path, default=paths.config_file("rigs", "sim_cell.yaml"),
        help="a rig file whose cameras are asked for, by the checkpoint's names",
    )  # fmt: skip
    view_choices.add_drawn(parser)
    view_choices.add_mode(parser)
    parser.add_argument("--i3d", type=Path, help="TorchScript I3D of the FVD tools, for FVD")
    parser.add_argument("--pictures", type=Path, help="write film strips of the first scene here")
    parser.add_argument("--checkpoint", type=Path, default=paths.checkpoint_dir())
    repeat_choices.add(parser)
    parser.add_argument("--json", type=Path, help="write the table here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.figures import write_json
    from mvista_eval.generation.pictures import write_sheets
    from mvista_eval.generation.table import GenerationRequest, in_words, measure, scenes
    from mvista_eval.generation.viewpoints import viewpoints_of

    asked = GenerationRequest(
        args.task, args.episodes, args.seed, args.checkpoint, args.rig, viewpoints_of(args.camera),
        args.told, args.i3d, view_choices.drawn_of(args), MethodChoices(args.mode),
    )  # fmt: skip
    rows, document = measure(asked, repeat_choices.how_of(args))
    sys.stdout.write(in_words(asked, rows, document) + "\n")
    write_json(args.json, document)
    if args.pictures is not None:
        for path in write_sheets(scenes(asked)[:: args.episodes], args.pictures):
            sys.stdout.write(f"{path}\n")
    return 0
