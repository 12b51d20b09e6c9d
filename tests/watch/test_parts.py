"""The page's parts without a browser: the drawing, the cloud, the views, the words, the cost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_bringup.paths import config_file
from mvista_cli import cli
from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError
from mvista_core.geometry import invert, project, transform_points
from mvista_core.rig import load_rig
from mvista_core.timing import ManualClock
from mvista_description.urdf import cell_urdf
from mvista_watch.clouds import LOWER_M, UPPER_M, LiveCloud
from mvista_watch.cost import Cost
from mvista_watch.drawing import Drawing
from mvista_watch.views import TILE_PX, Sheet, View, depth_in_color
from mvista_watch.words import End, TaskState, footer_html, nodes_html, task_html

ARM_FILE = config_file("arms", "piper.yaml")
ARM, RIG = load_arm(ARM_FILE), load_rig(config_file("rigs", "sim_cell.yaml"))
DRAWING = Drawing.of(cell_urdf(ARM_FILE))


@given(st.integers(0, 2**32 - 1))
def test_the_drawn_arm_stands_where_the_arm_file_says(seed: int) -> None:
    positions = np.random.default_rng(seed).uniform(ARM.lower, ARM.upper)
    poses = DRAWING.root_from_links(dict(zip(ARM.joint_names, positions.tolist(), strict=True)))
    assert np.allclose(poses["piper_link6"], ARM.base_from_flange(positions), atol=1e-9)
    assert np.allclose(poses["piper_tip"], ARM.base_from_tip(positions), atol=1e-9)
    left, right = (poses[f"piper_finger_{side}"][:3, 3] for side in ("left", "right"))
    # 18 mm between the middles of the closed fingers.
    assert np.isclose(np.linalg.norm(left - right), positions[-1] + 0.018)


def test_every_solid_of_the_urdf_is_drawn() -> None:
    urdf = cell_urdf(ARM_FILE)
    assert len(DRAWING.shapes) == urdf.count("<visual>")
    assert {shape.kind for shape in DRAWING.shapes} == {"box", "cylinder", "sphere"}
    assert set(DRAWING.links) <= set(DRAWING.root_from_links({}))


@pytest.mark.parametrize(
    ("urdf", "words"),
    [
        ("<robot", "not a URDF"),
        ("<robot/>", "one root"),
        (
            '<robot><link name="a"><visual><geometry><mesh/></geometry></visual></link>'
            '<joint name="j" type="fixed"><parent link="a"/><child link="b"/></joint></robot>',
            "'a' is drawn as mesh",
        ),
        ('<robot><joint name="j" type="fixed"><child link="b"/></joint></robot>', "'j'"),
    ],
)
def test_a_urdf_that_cannot_be_drawn_is_refused(urdf: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Drawing.of(urdf)


def test_points_lie_in_the_box_and_under_the_pixels_they_came_from() -> None:
    camera = RIG.cameras[0]
    lens = camera.intrinsics
    rng = np.random.default_rng(0)
    depth_mm = rng.integers(0, 1500, (lens.height_px, lens.width_px), np.uint16)
    color = np.zeros((*depth_mm.shape, 3), np.uint8)
    color[..., 0] = np.arange(lens.width_px) % 256
    cloud = LiveCloud(RIG).of(camera.name, color, depth_mm)
    assert 1000 < len(cloud.points_m) <= depth_mm.size // 4
    assert (cloud.points_m > LOWER_M).all() and (cloud.points_m < UPPER_M).all()
    pixels = project(transform_points(invert(camera.base_from_camera), cloud.points_m), lens.matrix)
    assert np.allclose(pixels, np.rint(pixels), atol=1e-2)
    assert (np.rint(pixels[:, 0]).astype(int) % 256 == cloud.color[:, 0]).all()


def test_images_of_no_known_lens_or_of_two_sizes_give_no_points() -> None:
    fused = LiveCloud(RIG)
    assert not len(fused.of("cam0", np.zeros((10, 10, 3), np.uint8), np.ones((10, 10), "u2")).color)
    depth_mm = np.full((180, 320), 600, np.uint16)
    assert not len(fused.of("cam0", np.zeros((90, 160, 3), np.uint8), depth_mm).color)


def test_a_view_has_its_place_whatever_the_size_of_its_images() -> None:
    width, height = TILE_PX
    red = np.zeros((720, 1280, 3), np.uint8)
    red[..., 0] = 200
    grey = np.full((height, width), 90, np.uint8)
    views = {"cam1": View(red, np.full((720, 1280), 500, np.uint16)), "cam2": View(grey)}
    drawn = Sheet(("cam0", "cam1", "cam2")).drawn(views)
    assert drawn.shape == (3 * height, 2 * width, 3)
    assert (drawn[height + 40 : 2 * height, :width] == (200, 0, 0)).all()
    assert (drawn[2 * height + 40 :, :width] == 90).all()
    assert (drawn[height + 40 : 2 * height, width:] == depth_in_color(np.full((1, 1), 500))).all()


def test_nearer_is_brighter_and_invalid_is_empty() -> None:
    light = depth_in_color(np.array([[300, 600, 900, 1200]])).astype(int).sum(axis=-1)[0]
    assert (np.diff(light) < 0).all()
    assert not (depth_in_color(np.array([[0]])) == depth_in_color(np.array([[1]]))).all()


def test_what_nodes_say_cannot_write_the_page() -> None:
    evil = "<script>alert(1)</script>&"
    task = TaskState(End.RUNNING, evil, 0.5)
    for page in (
        nodes_html([(evil, b"\x02", evil)]),
        task_html(task, evil),
        footer_html(evil, 0.1),
    ):
        assert "<script" not in page and "&lt;script&gt;" in page


def test_a_task_is_followed_from_its_stages_to_its_end() -> None:
    task = TaskState().heard_end(End.RUNNING)
    assert task.end is End.RUNNING and task.stage == ""
    task = task.heard_feedback("imagine", 0.4)
    assert "imagine 40%" in task_html(task, "open the drawer")
    task = task.heard_health("at stage infer")
    assert (task.stage, task.fraction) == ("infer", 0.0)
    assert task.heard_health("idle") == task
    done = task.heard_feedback("execute", 1.0).heard_end(End.DONE)
    assert "carried out" in task_html(done, "open the drawer")
    assert done.heard_health("at stage execute") == done, "an old word"
    assert done.heard_feedback("execute", 1.0) == done, "said before the end, heard after it"
    assert done.heard_end(End.RUNNING) == TaskState(End.RUNNING), "the next task begins anew"


def test_the_cost_is_told_apart_by_whether_somebody_looked() -> None:
    clock, used = ManualClock(), [0.0]
    cost = Cost(lambda: used[0], clock)
    for watched, cpu_s, wall_s in ((False, 0.1, 10.0), (True, 2.0, 8.0), (False, 0.1, 10.0)):
        clock.advance(wall_s)
        used[0] += cpu_s
        assert np.isclose(cost.add(watched), cpu_s / wall_s)
    assert str(cost) == (
        "1.0% of one core while nobody looked (20 s), 25.0% of one core while somebody looked (8 s)"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "80"], "--port is 80; allowed: 1024 to 65535"),
        (["--rig", "nowhere"], "no file"),
        (["--arm", "left"], "--arm piper"),
        (["--arm", ""], "--arm is ''"),
        (["--namespace", "cell a"], "--namespace is 'cell a'; allowed: a ROS name"),
        (["--domain", "999"], "--domain is 999; allowed: 0 to 232"),
        (["--host", "no such host"], "--host no such host"),
    ],
)
def test_a_wrong_call_is_refused_with_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["watch", *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("mvista: ") and said in told and told.count("\n") == 1, told


@pytest.mark.parametrize("size", [(180, 320), (720, 1280)])
def test_a_grey_camera_is_shown_whatever_its_size(size: tuple[int, int]) -> None:
    sheet = Sheet(("cam0",)).drawn({"cam0": View(np.full(size, 77, np.uint8))})
    assert (sheet[100:, :320] == 77).all()
