"""Before any process starts: all that this launch will need, looked at together.

`ros2 launch`, the supervisor (`mvista demo`) and `mvista doctor` ask the same function. Each thing
that is wrong comes with the line that mends it, and nothing is started while there is one.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvista_bringup.finding import Finding, Severity
from mvista_bringup.graph.spec import (
    DDS_PROFILE,
    CellUrdf,
    Entry,
    NodeSpec,
    ProcessSpec,
    Spec,
    Template,
    active_rows,
    started_rows,
)
from mvista_bringup.options import SHARE, RunOption, wrong_arguments
from mvista_core import instructions
from mvista_core.arm import load_arm
from mvista_core.errors import EpisodeError, InstructionError, MvistaError
from mvista_core.executor_settings import load_settings
from mvista_core.rig import load_rig
from mvista_core.weights import check_complete, read_templates
from mvista_description.urdf import cell_urdf
from mvista_ros.parameters import load_parameter_file

DEFAULT_ARM = "piper"
"""Where a graph has no option `arm`."""


def _read_checkpoint(folder: Path) -> tuple[str, ...]:
    """The instruction templates of a checkpoint that is whole. Its sums the planner checks."""
    check_complete(folder)
    return read_templates(folder)


def _read_episode(folder: Path) -> None:
    """That it is one; what it holds its reader checks."""
    if folder.name.endswith(".partial"):
        raise EpisodeError(f"{folder} was never finished: `mvista dataset repair {folder}`")
    if not (folder / "episode.mcap").is_file():
        raise EpisodeError(f"no episode at {folder}: it has no episode.mcap")


_READERS: dict[str, Callable[[Path], Any]] = {
    "arm_file": load_arm,
    "rig_file": load_rig,
    "executor_file": load_settings,
    "checkpoint": _read_checkpoint,
    "episode": _read_episode,
}
"""Parameters that name a file or folder, and what reads it as the node will."""

_FOLDERS = {
    "arm_file": "config/arms",
    "rig_file": "config/rigs",
    "checkpoint": "models/checkpoints",
}
_WAYS = {"rig_file": "`mvista calibrate`", "checkpoint": "`mvista train`"}


@dataclass(frozen=True)
class Call:
    """A launch as it was asked for. `by_ros`: `ros2 launch`, which also starts what apt brings."""

    graph: Sequence[Entry]
    options: Sequence[RunOption]
    chosen: Mapping[str, str]
    share: Path
    by_ros: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def usable(self) -> dict[str, str]:
        """The values, with the default in place of each that cannot be used."""
        wrong = {one.name for one in wrong_arguments(self.options, self.chosen)}
        good = {name: value for name, value in self.chosen.items() if name not in wrong}
        defaults = {option.name: option.default for option in self.options}
        return {**defaults, **good, SHARE: str(self.share)}


def look(call: Call) -> tuple[Finding, ...]:
    """All that is wrong with it, in the order in which one would mend it; () when nothing is."""
    values = call.usable
    rows = active_rows(call.graph, values) if call.by_ros else started_rows(call.graph, values)
    arguments = [
        Finding(one.name, Severity.FAIL, one.message, one.mend)
        for one in wrong_arguments(call.options, call.chosen)
    ]
    programs = dict.fromkeys(_programs(call.environment, rows)) if call.by_ros else ()
    return (*arguments, *look_at_rows(rows, values), *programs)


def look_at_rows(rows: Sequence[Spec], values: Mapping[str, str]) -> tuple[Finding, ...]:
    """What keeps these rows from working with these values, as far as files and names tell."""
    parts = (_files, _frames, _instruction, _clashes, _episodes)
    # Two rows may need the same file.
    return tuple(dict.fromkeys(check for part in parts for check in part(rows, values)))


def in_words(title: str, found: Sequence[Finding]) -> str:
    """What a person reads: a line for each, and below it the line that mends it."""
    things = "1 thing is" if len(found) == 1 else f"{len(found)} things are"
    lines = [f"{things} wrong with {title}; nothing was started"]
    for check in found:
        lines += [f"  {check.name}: {check.message}", f"      mend: {check.fix}"]
    return "\n".join(lines)


def _files(rows: Sequence[Spec], values: Mapping[str, str]) -> Iterator[Finding]:
    share = Path(values[SHARE])
    needed: dict[Path, tuple[str, str, Callable[[Path], Any]]] = {}
    for row in rows:
        if not isinstance(row, NodeSpec):
            continue
        if row.parameter_file:
            name = row.parameter_file
            needed[share / name] = ("", name, load_parameter_file)
        for name, value in _parameters(row):
            if name in _READERS:
                path = Path(str(_resolved(value, values)))
                needed[path] = (_option(value), name, _READERS[name])
    for path, (option, name, reader) in needed.items():
        try:
            reader(path)
        except (MvistaError, OSError, UnicodeDecodeError) as error:
            mend = _mend_file(share, option, name, path)
            yield Finding(option or name, Severity.FAIL, str(error), mend)
    if not (share / DDS_PROFILE).is_file():
        yield Finding(
            "DDS profile", Severity.FAIL, f"no {share / DDS_PROFILE}", _restore(DDS_PROFILE)
        )


def _parameters(row: NodeSpec) -> Iterator[tuple[str, Any]]:
    for name, value in row.parameters:
        if isinstance(value, CellUrdf):
            yield from value.arguments
        else:
            yield name, value


def _option(value: Any) -> str:
    """The option that a file's place is made of: "rig" of "{share}/config/rigs/{rig}.yaml"."""
    names = [text for ref, text in value.parts() if ref] if isinstance(value, Template) else []
    return next((name for name in names if name != SHARE), "")


def _resolved(value: Any, values: Mapping[str, str]) -> Any:
    return value.resolve(values) if isinstance(value, Template) else value


def _mend_file(share: Path, option: str, parameter: str, path: Path) -> str:
    if parameter == "episode":
        return "episode:=FOLDER, one that `mvista dataset info build/episodes` lists"
    folder = _FOLDERS.get(parameter)
    if folder is None or not option:
        return _restore(os.path.relpath(path, share))
    there = sorted(
        found.name.removesuffix(".yaml")
        for found in (share / folder).glob("*")
        if found != path and (found.suffix == ".yaml" or (found / "manifest.json").is_file())
    )
    ways = [f"{option}:={name}" for name in there]
    ways += [_WAYS[parameter]] if parameter in _WAYS else []
    if path.exists():
        ways.insert(0, _restore(os.path.relpath(path, share)))
    return ", or ".join(ways) or f"write {path}"


def _restore(path: str) -> str:
    return f"git checkout -- {path}"


def _frames(rows: Sequence[Spec], values: Mapping[str, str]) -> Iterator[Finding]:
    """The rig's cameras hang on the base of the arm that acts, or there are two trees."""
    for row in rows:
        value = dict(row.parameters).get("rig_file") if isinstance(row, NodeSpec) else None
        if value is None:
            continue
        arm = values.get("arm", DEFAULT_ARM)
        try:
            rig = load_rig(str(_resolved(value, values)))
        except MvistaError:
            return  # said among the files
        if rig.base_frame != f"{arm}_base":
            fits = rig.base_frame.removesuffix("_base")
            ways = [f"arm:={fits}"] if "arm" in values else []
            ways.append(f"a rig whose base_frame is {arm}_base (`mvista calibrate`)")
            said = (
                f"rig '{rig.name}' is measured from {rig.base_frame}, the arm stands on "
                f"{arm}_base: cameras and arm would be two trees of frames"
            )
            yield Finding(_option(value) or "rig", Severity.FAIL, said, ", or ".join(ways))
        return


def _instruction(rows: Sequence[Spec], values: Mapping[str, str]) -> Iterator[Finding]:
    words = values.get("instruction", "")
    folders = [
        Path(str(_resolved(value, values)))
        for row in rows
        if isinstance(row, NodeSpec)
        for name, value in row.parameters
        if name == "checkpoint"
    ]
    if not words or not folders:
        return
    try:
        instructions.check(words, _read_checkpoint(folders[0]))
    except InstructionError as error:
        yield Finding("instruction", Severity.FAIL, str(error), "one of these, in quotes")
    except MvistaError:
        return  # said among the files


def _clashes(rows: Sequence[Spec], values: Mapping[str, str]) -> Iterator[Finding]:
    names = Counter(row.full_name for row in rows)
    if twice := [name for name, count in names.items() if count > 1]:
        said = f"two programs would be called {', and two '.join(twice)}"
        yield Finding("second_arm", Severity.FAIL, said, "another name, e.g. second_arm:=right")
    one_bus = values.get("wiring") == "bus"  # there a leader shares the bus of its follower
    ports = Counter(
        str(_resolved(row.arguments[row.arguments.index("--port") + 1], values))
        for row in rows
        if isinstance(row, ProcessSpec)
        and "--port" in row.arguments
        and not (one_bus and "--leader" in row.arguments)
    )
    other = "leader_can_port" if "leader_can_port" in values else "second_can_port"
    for port, count in ports.items():
        if count > 1:
            said = f"{count} emulated arms on UDP port {port} of one bus"
            yield Finding(other, Severity.FAIL, said, f"{other}:={int(port) + 1}")


def _episodes(rows: Sequence[Spec], values: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the recorder could write where it is told to, and has the room that it asks for."""
    for row in rows:
        if not isinstance(row, NodeSpec) or "root" not in dict(row.parameters):
            continue
        root = dict(row.parameters)["root"]
        folder = Path(str(_resolved(root, values))).absolute()
        there = next(each for each in (folder, *folder.parents) if each.exists())
        name = _option(root) or "root"
        if not there.is_dir() or not os.access(there, os.W_OK):
            yield Finding(
                name, Severity.FAIL, f"nothing can be written to {folder}", f"{name}:=FOLDER"
            )
            continue
        try:
            asked = load_parameter_file(Path(values[SHARE]) / row.parameter_file)
            least_gib = float(str(asked.get("least_free_gib", 0.0)))
        except (MvistaError, OSError, ValueError):
            return  # said among the files
        free_gib = shutil.disk_usage(there).free / (1 << 30)
        if free_gib < least_gib:
            said = f"{folder} has {free_gib:.1f} GiB free; {least_gib:g} are left to others"
            yield Finding(name, Severity.FAIL, said, f"free some, or {name}:=FOLDER elsewhere")


def _programs(environment: Mapping[str, str], rows: Sequence[Spec]) -> Iterator[Finding]:
    """What `ros2 launch` will look up: a program that is not there ends it half-way."""
    prefixes = [Path(p) for p in environment.get("AMENT_PREFIX_PATH", "").split(":") if p]
    distribution = environment.get("ROS_DISTRO", "$ROS_DISTRO")
    for row in rows:
        places = [prefix / "lib" / row.package / row.executable for prefix in prefixes]
        if any(os.access(place, os.X_OK) for place in places):
            continue
        said = f"no program {row.executable} of {row.package} in {len(prefixes)} ament prefixes"
        if isinstance(row, NodeSpec) and row.apt:
            package = row.package.replace("_", "-")
            fix = f"sudo apt-get install ros-{distribution}-{package}"
        else:
            fix = "colcon build --packages-up-to mvista_cli, then source install/setup.bash"
        yield Finding(row.package, Severity.FAIL, said, fix)


def build_urdf(urdf: CellUrdf, values: Mapping[str, str]) -> str:
    """The cell's URDF with these options.

    Raises:
        ConfigError: a file is missing or malformed.
    """
    arguments = {name: str(template.resolve(values)) for name, template in urdf.arguments}
    return cell_urdf(arguments.pop("arm_file"), arguments)
