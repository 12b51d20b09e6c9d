"""What stands in for an apt ROS's own messages has their type hashes, or the two never meet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from control_msgs.action import FollowJointTrajectory

ROOT = Path(__file__).parents[2]
RECORDED: dict[str, dict[str, str]] = yaml.safe_load(
    (Path(__file__).parent / "type_hashes.yaml").read_text(encoding="utf-8")
)
WHEELS = "kilted"
"""The distribution that the ROS wheels of the Python package index are built from."""
SINCE_6_3 = {"", "_Feedback", "_FeedbackMessage"}
"""What `index` and `multi_dof_index` changed; kilted has them, jazzy has not."""


def built() -> dict[str, str]:
    """Type -> hash of everything in the underlay, as rosidl wrote it."""
    found: dict[str, str] = {}
    for package in sorted((ROOT / "ros2_ws" / "pip_underlay").glob("*/package.xml")):
        share = ROOT / "ros2_ws" / "install" / "share" / package.parent.name
        for path in share.glob("*/*.json"):
            hashes = json.loads(path.read_text(encoding="utf-8"))["type_hashes"]
            found |= {entry["type_name"]: entry["hash_string"] for entry in hashes}
    return found


def test_the_underlay_is_that_of_the_wheels() -> None:
    found = {name: digest for name, digest in built().items() if name in RECORDED[WHEELS]}
    assert found == RECORDED[WHEELS]


def test_everything_in_the_underlay_is_recorded() -> None:
    packages = tuple(p.parent.name for p in (ROOT / "ros2_ws/pip_underlay").glob("*/package.xml"))
    ours = {name for name in built() if name.startswith(packages)}
    assert ours == set(RECORDED[WHEELS]) and len(ours) > 10


@pytest.mark.parametrize("distribution", RECORDED)
def test_what_differs_between_distributions_is_known(distribution: str) -> None:
    """Goals and results are the same everywhere: only a client's feedback depends on its age."""
    other, same = RECORDED[distribution], RECORDED[WHEELS]
    differing = {name for name in same if other[name] != same[name]}
    action = "control_msgs/action/FollowJointTrajectory"
    assert differing == (set() if distribution == WHEELS else {action + end for end in SINCE_6_3})


def test_the_feedback_has_what_kilted_added() -> None:
    fields = FollowJointTrajectory.Feedback.get_fields_and_field_types()
    assert (fields["index"], fields["multi_dof_index"]) == ("int32", "int32")
