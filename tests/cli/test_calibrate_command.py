"""`mvista calibrate solve|verify` as a user runs it: a process, its exit code, words and files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from mvista_bringup.paths import share_root
from mvista_calibration.session.reader import load_session
from mvista_cli import cli
from mvista_core.geometry import invert, rotation_angle_rad
from mvista_core.rig import load_rig
from tests.calibration.sessions import LENS, cameras_m, small_session

pytestmark = pytest.mark.slow

PYTHONS_WORDS = (
    "object has no attribute", "not subscriptable", "Traceback", "Error(", "invalid literal",
    "could not convert", "indices must be", "unexpected keyword", "argument must be",
)  # fmt: skip


def mvista(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mvista_cli.cli", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras; already searched once."""
    folder = small_session(tmp_path_factory.mktemp("recorded") / "small")
    load_session(folder)
    return folder


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    """A copy that may be spoiled."""
    return Path(shutil.copytree(recorded, tmp_path / "small"))


@pytest.fixture
def new_rig() -> Iterator[str]:
    """A name that config/rigs does not know; the file goes afterwards."""
    name = f"test_of_{os.getpid()}"
    file = share_root() / "config" / "rigs" / f"{name}.yaml"
    assert not file.exists()
    yield name
    file.unlink(missing_ok=True)


def test_the_readmes_line_writes_a_new_rig(folder: Path, new_rig: str) -> None:
    assert "mvista calibrate solve" in (share_root() / "README.md").read_text()
    done = mvista("calibrate", "solve", folder, "--rig", new_rig)
    assert done.returncode == cli.EXIT_OK, done.stderr
    file = share_root() / "config" / "rigs" / f"{new_rig}.yaml"
    assert f"rig file: {file}" in done.stdout and "Passed" in done.stdout
    rig = load_rig(file)
    assert (rig.name, rig.verdict, rig.names) == (new_rig, "pass", ("cam0", "cam1"))
    for camera, true in zip(rig.cameras, cameras_m(2), strict=True):
        away = invert(true) @ camera.base_from_camera
        assert np.linalg.norm(away[:3, 3]) < 0.01
        assert rotation_angle_rad(away[:3, :3]) < 0.01
    assert (folder / "result" / "report.html").is_file()

    again = mvista("calibrate", "verify", folder, "--rig", file)
    assert again.returncode == cli.EXIT_OK, again.stderr
    assert f"rig '{new_rig}' holds" in again.stdout


def test_a_rig_of_one_camera(tmp_path: Path) -> None:
    folder = small_session(tmp_path / "one", cameras=1)
    done = mvista("calibrate", "solve", folder)
    assert done.returncode == cli.EXIT_OK, done.stderr
    rig = load_rig(folder / "result" / "small.yaml")
    away = invert(cameras_m(1)[0]) @ rig.cameras[0].base_from_camera
    assert np.linalg.norm(away[:3, 3]) < 0.01
    done = mvista("calibrate", "verify", folder, "--rig", folder / "result" / "small.yaml")
    assert done.returncode == cli.EXIT_REFUSED
    assert "one camera and no arm" in done.stderr


def edit(file: Path, change: Callable[[Any], Any]) -> None:
    document = yaml.safe_load(file.read_text())
    found = change(document)
    file.write_text(yaml.safe_dump(document if found is None else found))


def halved(folder: Path) -> None:
    """cam1's second picture as a JPEG of which half arrived: cv2.imread shows half a picture."""
    file = folder / "shots/0001/cam1.png"
    whole = cv2.imencode(".jpg", cv2.imread(str(file)))[1].tobytes()
    file.unlink()
    file.with_suffix(".jpg").write_bytes(whole[: len(whole) * 2 // 3])
    read = cv2.imread(str(file.with_suffix(".jpg")))
    assert read is not None and read.shape == (720, 1280, 3)


def apart(document: Any) -> None:
    document["stamps_ns"]["cam1"] += 10_000_000_000


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "half a JPEG": (halved, "cam1.jpg is no image, or only a part of one"),
    "half a PNG": (
        lambda f: (f / "shots/0001/cam1.png").write_bytes(
            (f / "shots/0001/cam1.png").read_bytes()[:9000]
        ),
        "only a part of one (9000 bytes)",
    ),
    "stamps 10 s apart": (
        lambda f: edit(f / "shots/0002/shot.yaml", apart),
        "shot 2: cam1's picture is 10.0 s later than cam0's, at most 5 s",
    ),
    "two pictures": (
        lambda f: shutil.copy(f / "shots/0001/cam1.png", f / "shots/0001/cam1.JPG"),
        "cam1.JPG and cam1.png: which one",
    ),
    "a list for a shot": (
        lambda f: (f / "shots/0001/shot.yaml").write_text("[1, 2]"),
        "shot.yaml is a list of 2, not a mapping",
    ),
    "a list for the session": (
        lambda f: (f / "session.yaml").write_text("[]"),
        "session.yaml is a list of 0, not a mapping",
    ),
    "cameras by name": (
        lambda f: edit(f / "session.yaml", lambda d: d.update(cameras={"cam0": {}})),
        "session.yaml: cameras is a mapping, not a list",
    ),
    "a camera without a body": (
        lambda f: edit(f / "session.yaml", lambda d: d.update(cameras=["cam0"])),
        "session.yaml: cameras[0] is 'cam0', not a mapping",
    ),
    "stamps as a list": (
        lambda f: edit(f / "shots/0000/shot.yaml", lambda d: d.update(stamps_ns=[1])),
        "shot.yaml: stamps_ns is a list of 1, not a mapping",
    ),
    "depth in words": (
        lambda f: edit(f / "session.yaml", lambda d: d.update(depth="no")),
        "session.yaml: depth is 'no', not true or false",
    ),
    "a name with folders": (
        lambda f: edit(f / "session.yaml", lambda d: d["cameras"][0].update(name="../cam0")),
        "named '../cam0'",
    ),
    "not YAML": (lambda f: (f / "session.yaml").write_text("a: [1,\nb"), "is not YAML: line"),
    "bytes": (lambda f: (f / "session.yaml").write_bytes(b"\xff\xfe\x00"), "session.yaml is not"),
    "a huge board": (
        lambda f: edit(f / "session.yaml", lambda d: d["board"].update(squares_x=10**9)),
        "board.squares_x is 1000000000, not within 3 to 1000",
    ),
    "a flat pose": (
        lambda f: edit(f / "session.yaml", lambda d: d.update(base_from_board=[[1], [2, 3]])),
        "session.yaml: base_from_board is a list of 2, not 4x4 numbers",
    ),
    "two shots of one number": (
        lambda f: shutil.copytree(f / "shots/0001", f / "shots/1"),
        "shots/0001 and shots/1 have one number",
    ),
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_what_cannot_be_is_refused_in_words(
    folder: Path, spoil: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = SPOILED[spoil]
    change(folder)
    assert cli.main(["calibrate", "solve", str(folder)]) == cli.EXIT_REFUSED
    said = capsys.readouterr().err
    last = said.strip().splitlines()[-1]
    assert words in last, last
    assert not [word for word in PYTHONS_WORDS if word in said]
    assert not (folder / "result").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rig", "a/b"), "give a name of letters"),
        (("--rig", "mine.yaml"), "give a name of letters"),
        (("--width", "1000"), "1000 px wide does not divide"),
        (("--base-frame", ""), "base_frame is empty"),
        (("--truth", "/nowhere/truth.yaml"), "no file /nowhere/truth.yaml"),
    ],
)
def test_what_is_asked_wrongly_is_refused_before_anything_is_read(
    folder: Path, words: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["calibrate", "solve", str(folder), *words]) == cli.EXIT_REFUSED
    heard = capsys.readouterr().err
    assert said in heard and "detect" not in heard


@pytest.mark.parametrize(
    "text", ["[]", "cameras: [1]", "cameras: {cam0: 3}", "{", "name: x", "cameras: {cam0: {}}"]
)
def test_what_is_no_rig_file_is_refused_in_words(
    folder: Path, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rig.yaml"
    file.write_text(text)
    assert cli.main(["calibrate", "verify", str(folder), "--rig", str(file)]) == cli.EXIT_REFUSED
    said = capsys.readouterr().err
    assert ("rig.yaml" in said and "config/rigs/sim_cell.yaml" in said) or "not YAML" in said
    assert not [word for word in PYTHONS_WORDS if word in said]


def test_endings_in_capitals_are_found(folder: Path) -> None:
    file = folder / "shots/0001/cam1.png"
    cv2.imwrite(str(folder / "shots/0001/cam1.JPG"), cv2.imread(str(file)))
    file.unlink()
    other = folder / "shots/0002/cam0.png"
    other.rename(other.with_suffix(".PNG"))
    session = load_session(folder)
    assert len(session.views) == 16
    assert {"shots/0001/cam1.JPG", "shots/0002/cam0.PNG"} <= {view.source for view in session.views}


def test_a_session_that_fails_leaves_the_rig_as_it_was(folder: Path, new_rig: str) -> None:
    file = share_root() / "config" / "rigs" / f"{new_rig}.yaml"
    file.write_text("somebody's\n")
    for shot in range(3, 8):
        shutil.rmtree(folder / f"shots/{shot:04d}")
    done = mvista("calibrate", "solve", folder, "--rig", new_rig)
    assert done.returncode == cli.EXIT_REFUSED
    assert "FAILED" in done.stdout and "was left as it was" in done.stderr
    assert file.read_text() == "somebody's\n"
    assert load_rig(folder / "result" / f"{new_rig}.yaml", allow_failed=True).verdict == "fail"


def test_a_lens_from_a_sessions_views(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small_session(tmp_path / "many", cameras=1, shots=24)
    told = tmp_path / "lens.json"
    words = ["calibrate", "intrinsics", str(folder), "--plain", "--json", str(told)]
    assert cli.main(words) == cli.EXIT_OK, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "px on views held out" in said
    (line,) = [row for row in said.splitlines() if "for session.yaml: intrinsics:" in row]
    found = yaml.safe_load(line.split("intrinsics:", 1)[1])
    sigma_px = json.loads(told.read_text())["cam0"]["sigma_px"]
    names = ("fx_px", "fy_px", "cx_px", "cy_px")
    for name, sigma in zip(names, sigma_px, strict=True):
        assert abs(found[name] - getattr(LENS, name)) < 5 * sigma + 0.5


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--camera", "cam7"], "no camera 'cam7' in session 'small'; it has ('cam0', 'cam1')"),
        (["--camera", "cam1"], "cam1: fx is"),
    ],
)
def test_a_lens_that_cannot_be_told(
    words: list[str], why: str, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No such camera; eight views that leave the focal length unsure."""
    assert cli.main(["calibrate", "intrinsics", str(recorded), *words]) == cli.EXIT_REFUSED
    assert f"mvista: {why}" in capsys.readouterr().err
