"""`mvista eval generation`: what is compared, and that the command does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvista_cli import cli
from mvista_core.camera_range import TRAINED
from mvista_core.errors import ConfigError
from mvista_core.records import Rollout
from mvista_eval.cell import DRAWN, HELD_OUT, rig_file
from mvista_eval.generation.answers import ANSWERS, DECODED, IMAGINED, REPROJECTED, STILL
from mvista_eval.generation.beside import SCENES, differences
from mvista_eval.generation.pictures import write_sheets
from mvista_eval.generation.scores import ALL_VIEWS, FIGURES, FIRST, WHOLE, compare, of_the_film
from mvista_eval.generation.table import GenerationRequest, fvd_of, measure, rows_of, scenes
from mvista_eval.generation.trials import (
    AS_NEAREST,
    FILM,
    FilmedScene,
    ViewScore,
    asked_rig,
)
from mvista_eval.generation.viewpoints import (
    STANDARD,
    beside_trained,
    moved_to,
    nearest_camera,
    parse_viewpoint,
)
from mvista_world.cameras import look_at_point, spherical
from mvista_world.choices import MethodChoices
from tests.world.tiny import CONFIG, RIG, write_checkpoint

pytestmark = pytest.mark.slow

PSNR, SSIM, ABS_REL, RMSE, DELTA1, VALID, CHAMFER, EMD, *_ = range(len(FIGURES))


def filmed() -> Rollout:
    """Two views of a plane of noise within the workspace."""
    rng = np.random.default_rng(0)
    cameras = [RIG.camera(name) for name in CONFIG.cameras[:2]]
    shape = (2, 3, CONFIG.window.height_px, CONFIG.window.width_px)
    return Rollout(
        "r",
        "open the drawer",
        CONFIG.cameras[:2],
        tuple(CONFIG.window.intrinsics(camera.intrinsics) for camera in cameras),
        np.stack([camera.base_from_camera for camera in cameras]),
        rng.integers(0, 256, (*shape, 3), dtype=np.uint8),
        rng.uniform(0.8, 1.0, shape).astype(np.float32),
        np.array([0.0, 0.8, 1.6]),
        0,
        0,
    )


SEEN = np.zeros((2, CONFIG.window.height_px, CONFIG.window.width_px), bool)
SEEN[:, 4:20, 8:40] = True


def scores_of(imagined: Rollout, part: str = WHOLE) -> dict[str, tuple[float, ...]]:
    found = compare(imagined, filmed(), SEEN)
    return {view: values for (view, named), values in found.items() if named == part}


def test_what_is_imagined_exactly_is_right_in_every_figure() -> None:
    scores = scores_of(filmed())
    assert list(scores) == [*filmed().cameras, ALL_VIEWS]
    for values in scores.values():
        assert np.isinf(values[PSNR])
        expected = {SSIM: 1.0, ABS_REL: 0.0, RMSE: 0.0, DELTA1: 1.0, VALID: 1.0, CHAMFER: 0.0}
        for figure, value in expected.items():
            assert values[figure] == pytest.approx(value, abs=1e-9)


def test_an_error_counts_in_its_own_view_and_after_the_first_frame_only() -> None:
    truth = filmed()
    depth_m = truth.depth_m.copy()
    depth_m[0, 0] *= 3.0
    depth_m[1, 1:] *= 1.1
    scores = scores_of(replace(truth, depth_m=depth_m))
    first, second = (scores[name] for name in truth.cameras)
    assert first[ABS_REL] == 0.0 and first[CHAMFER] == 0.0
    assert second[ABS_REL] == pytest.approx(0.1, rel=1e-4)
    assert second[RMSE] == pytest.approx(0.09, rel=0.05) and second[DELTA1] == 1.0
    assert second[CHAMFER] > 0.005
    assert scores[ALL_VIEWS][ABS_REL] == pytest.approx(0.05, rel=1e-4)


def test_an_error_counts_in_its_own_part_only() -> None:
    truth = filmed()
    depth_m = truth.depth_m.copy()
    depth_m[:, :, ~SEEN[0]] *= 1.1
    wrong = replace(truth, depth_m=depth_m)
    found = compare(wrong, truth, SEEN)
    abs_rel = {part: values[ABS_REL] for (view, part), values in found.items() if view == "cam1"}
    for seen, not_seen in (("seen", "not seen"), ("first frame, seen", "first frame, not seen")):
        assert abs_rel[seen] == 0.0
        assert abs_rel[not_seen] == pytest.approx(0.1, rel=1e-4)
    assert 0.0 < abs_rel[WHOLE] < 0.1
    # Frames of noise have nearly nothing but motion.
    assert abs_rel["moving"] == pytest.approx(abs_rel[WHOLE], rel=0.02)


def test_a_view_without_points_has_no_distance_and_does_not_count() -> None:
    truth = filmed()
    depth_m = truth.depth_m.copy()
    depth_m[0] = 0.0
    values = scores_of(replace(truth, depth_m=depth_m))[truth.cameras[0]]
    assert np.isnan(values[CHAMFER]) and np.isnan(values[ABS_REL]) and values[VALID] == 0.0
    whole = ViewScore(
        "rig", "imagined", "cam1", WHOLE, tuple(float(i) for i in range(len(FIGURES)))
    )
    (row,) = rows_of([whole, replace(whole, values=values), whole])
    found = row.figure("chamfer_m")
    assert (found.value, found.count, found.low) == (CHAMFER, 2, CHAMFER)


def test_the_film_itself_has_the_floors_of_sampling_and_of_pixels() -> None:
    floors = dict(zip(FIGURES, of_the_film(filmed()), strict=True))
    assert floors["emd_m"] > 0.0 and floors["chamfer_m"] == 0.0
    # Depths of noise agree nowhere.
    assert floors["cross_view_m"] > 0.01


def test_fvd_is_between_features_of_answers_and_of_films() -> None:
    rng = np.random.default_rng(0)
    blank = (np.nan,) * len(FIGURES)
    scores = [
        ViewScore("rig", name, "cam1", WHOLE, blank, tuple(shift + rng.normal(size=3)))
        for name, shift in (("imagined", 5.0), ("autoencoder", 0.0), (FILM, 0.0))
        for _ in range(30)
    ]
    found = fvd_of(scores)["rig"]
    assert set(found) == {"imagined", "autoencoder"}
    assert found["imagined"] == pytest.approx(75.0, rel=0.3) and found["autoencoder"] < 5.0


def test_an_asked_camera_stands_where_it_was_asked_and_the_trained_one_is_filmed_beside() -> None:
    viewpoint = parse_viewpoint("44,30,0.9")
    rig = moved_to(RIG, "cam2", viewpoint)
    centre = look_at_point(np.stack([c.base_from_camera for c in RIG.cameras]))
    yaw, pitch, roll, rho = spherical(rig.camera("cam2").base_from_camera, centre)
    asked = (np.deg2rad(44.0), np.deg2rad(30.0), 0.0, 0.9)
    np.testing.assert_allclose((yaw, pitch, roll, rho), asked, atol=1e-6)
    assert rig.content_hash != RIG.content_hash and rig.camera("cam1") is RIG.camera("cam1")
    wide, films = beside_trained(rig, RIG, ("cam1", "cam2"))
    assert films == {"cam1": "cam1", "cam2": "trained_cam2"}
    assert wide.names == (*RIG.names, "trained_cam2")
    cameras = [RIG.camera(name) for name in ("cam1", "cam2", "cam0")]
    assert nearest_camera(rig.camera("cam2"), cameras, centre) == "cam2"
    # Never itself: for a trained camera it is the next one.
    assert nearest_camera(RIG.camera("cam2"), cameras, centre) == "cam1"


def test_the_standard_table_begins_at_the_trained_camera() -> None:
    wide, films = beside_trained(moved_to(RIG, "cam2", STANDARD[0]), RIG, CONFIG.cameras)
    assert wide.names == RIG.names and films["cam2"] == "cam2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("44,46", "three numbers"),
        ("44,46,a", "three numbers"),
        ("44,90,0.7", "pitch 90 is not in 5..85"),
        ("200,46,0.7", "azimuth 200"),
        ("44,46,nan", "distance nan"),
    ],
)
def test_a_camera_that_cannot_be_asked_for_is_refused_with_what_can(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_viewpoint(text)


def test_a_camera_where_another_stands_is_refused() -> None:
    with pytest.raises(ConfigError, match="'cam1' of rig 'sim_cell' stands there already"):
        moved_to(RIG, "cam2", parse_viewpoint("-22,46,0.74"))


def test_one_scene_has_no_spread_and_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        measure(GenerationRequest("touch_cube", 1, 0, Path("none"), Path("none")))


@pytest.mark.parametrize("drawn", DRAWN)
def test_drawn_rigs_are_the_seeds_own_and_held_out_where_that_is_asked(drawn: str) -> None:
    scene = FilmedScene("touch_cube", 10_000, Path("none"), False, rig_file(), drawn=drawn)
    rig, again = (asked_rig(scene, CONFIG) for _ in range(2))
    other = asked_rig(replace(scene, seed=10_001), CONFIG)
    for name in CONFIG.cameras:
        pose = rig.camera(name).base_from_camera
        assert bool(TRAINED.why_held_out(pose)) == (drawn == HELD_OUT)
        np.testing.assert_array_equal(pose, again.camera(name).base_from_camera)
        assert not np.array_equal(pose, other.camera(name).base_from_camera)
    wide, films = beside_trained(rig, RIG, CONFIG.cameras)
    assert wide.names == (*rig.names, *films.values())


def test_what_is_asked_for_reaches_every_scene() -> None:
    choices = MethodChoices(2)
    asked = GenerationRequest(
        "touch_cube", 2, 10_000, Path("none"), rig_file(), drawn=HELD_OUT, choices=choices
    )
    for scene in scenes(asked):
        assert (scene.drawn, scene.choices) == (HELD_OUT, choices)


def test_drawn_rigs_and_a_camera_of_ones_own_are_refused_together() -> None:
    request = GenerationRequest("touch_cube", 2, 0, Path("none"), rig_file(), STANDARD[:1])
    with pytest.raises(ConfigError, match="no --camera beside"):
        measure(replace(request, drawn=HELD_OUT))


def test_the_help_says_why_there_is_no_fvd(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["eval", "generation", "--help"])
    assert "Kinetics-400" in capsys.readouterr().out


def test_the_command_measures_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MVISTA_OUTPUT", str(tmp_path))
    folder, table = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "table.json"
    words = ["eval", "generation", "--task", "open_drawer", "--episodes", "2", "--json", str(table)]
    assert cli.main([*words, "--checkpoint", str(folder), "--camera", "44,30,0.9"]) == 0
    document = json.loads(table.read_text())
    assert (document["first_seed"], document["episodes"]) == (10_000, 2)
    assert document["fvd"].startswith("not computed: weights missing")
    rows = {(row["answer"], row["view"], row["part"]): row for row in document["rows"]}
    assert {row["camera"] for row in document["rows"]} == {"azimuth 44, pitch 30, 0.9 m"}
    # This checkpoint has no retoucher.
    given = {*ANSWERS} - {DECODED}
    assert {answer for answer, *_ in rows} == {*given, AS_NEAREST, FILM}
    for answer in given:
        mean, low, high, count = rows[answer, "cam2", WHOLE]["psnr_db"]
        assert count == 2 and low <= mean <= high and 0.0 < mean < 100.0
        assert rows[answer, ALL_VIEWS, WHOLE]["emd_m"][0] > 0.0
    # Scene by scene the same: of itself nothing differs, and means differ as the rows' do.
    itself = differences(document, document, STILL, STILL)
    assert itself and not any(abs(one.beyond.value) > 0.0 for one in itself)
    (gap,) = (
        one.beyond
        for one in differences(document, document, IMAGINED, REPROJECTED)
        if (one.place, one.figure) == (f"{ALL_VIEWS}, {WHOLE}", "abs_rel")
    )
    ours, theirs = (rows[name, ALL_VIEWS, WHOLE]["abs_rel"][0] for name in (IMAGINED, REPROJECTED))
    assert gap.count == 2 and gap.value == pytest.approx(ours - theirs, abs=2e-6)
    capsys.readouterr()
    assert cli.main(["eval", "beside", str(table), str(table), "--than", REPROJECTED]) == 0
    assert f"{100 * gap.value:+.3f}" in capsys.readouterr().out
    # The film of the first frame is the truth, and so is its reprojection where it is seen.
    assert rows[STILL, "cam2", FIRST]["psnr_db"][0] == "inf"
    seen = rows[REPROJECTED, "cam2", "first frame, seen"]
    not_seen = rows[REPROJECTED, "cam2", "first frame, not seen"]
    assert 3 * seen["abs_rel"][0] < not_seen["abs_rel"][0] and seen["abs_rel"][0] < 0.01
    assert seen["psnr_db"][0] > 20.0


def test_sheets_show_every_view_of_a_scene(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    scene = FilmedScene("open_drawer", 10_000, folder, False, rig_file())
    paths = write_sheets([scene], tmp_path / "pictures")
    assert [path.stem.rpartition("_")[2] for path in paths] == list(CONFIG.cameras)
    for path in paths:
        image = np.asarray(Image.open(path))
        assert image.shape[2] == 3 and image.std() > 20


def test_what_scenes_share_is_no_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wide over scenes, narrow between two: the interval is of what differs."""
    shared = np.array([0.1, 0.5, 0.9, 0.3])

    def document(values: list[float], episodes: int = 4) -> dict[str, object]:
        answers = {IMAGINED: {"all views, whole": {"abs_rel": values}}}
        return {"task": "t", "episodes": episodes, SCENES: {"cell": answers}}

    alone = document(shared.tolist())
    more = document((shared + np.array([0.010, 0.012, 0.008, 0.010])).tolist())
    (found,) = differences(more, alone, IMAGINED, IMAGINED)
    assert found.beyond.value == pytest.approx(0.010)
    assert found.beyond.low > 0.006
    with pytest.raises(ConfigError, match="episodes is 4 in one and 5 in the other"):
        differences(alone, document(shared.tolist(), 5), IMAGINED, IMAGINED)
    with pytest.raises(ConfigError, match="no answer 'dreamt' of cell; there are"):
        differences(alone, more, "dreamt", IMAGINED)
    one = tmp_path / "one.json"
    one.write_text(json.dumps({"rows": []}))
    assert cli.main(["eval", "beside", str(one), str(one)]) == 2
    assert "has no 'scenes'" in capsys.readouterr().err
