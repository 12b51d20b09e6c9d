"""Every name of the Orbbec SDK that is used exists in the real one; the emulation adds none."""

from __future__ import annotations

import ast
import ctypes
import importlib
import inspect
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvista_cameras import orbbec
from mvista_cameras.emulator import sdk as emulated
from mvista_cameras.emulator.camera import EmulatedCamera
from mvista_cameras.orbbec import OrbbecDevice, load_sdk, serials
from mvista_cameras.records import RawImage, Stream
from mvista_core.errors import CameraError
from mvista_core.timing import ManualClock


@pytest.fixture(scope="module")
def sdk() -> Any:
    try:
        importlib.import_module("pyorbbecsdk")
    except ImportError as error:
        pytest.skip(f"the Orbbec SDK does not load here: {error}")
    return load_sdk()


def names_used() -> set[str]:
    """`OBFormat.RGB`, `Context`, ... as orbbec.py writes them after `sdk.`."""
    source = Path(inspect.getfile(orbbec)).read_text(encoding="utf-8")
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            for start in ("self._sdk.", "sdk."):
                if text.startswith(start):
                    found.add(text.removeprefix(start).split("(")[0])
    # Kept in a name of their own before their members are read.
    members = {
        "OBSensorType": ("COLOR_SENSOR", "DEPTH_SENSOR"),
        "OBFrameAggregateOutputMode": ("FULL_FRAME_REQUIRE", "ANY_SITUATION"),
        "OBFormat": ("RGB", "BGR", "MJPG", "YUYV", "Y16"),
        "OBMultiDeviceSyncMode": ("STANDALONE", "PRIMARY", "SECONDARY"),
        "OBConvertFormat": ("YUYV_TO_RGB888",),
        "OBCameraDistortionModel": orbbec.LENS_MODELS,
    }
    return found | {f"{kind}.{name}" for kind, names in members.items() for name in names}


def test_every_name_that_is_used_exists(sdk: Any) -> None:
    used = names_used()
    assert {"Context", "Pipeline", "Config", "OBError", "FormatConvertFilter"} <= used
    missing = []
    for name in sorted(used):
        found = sdk
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is None:
            missing.append(name)
    assert not missing


def test_every_method_that_is_called_exists_on_its_class(sdk: Any) -> None:
    """The contract suite drives orbbec.py over the emulation, so these are all it calls."""
    real = {"Frame": sdk.ColorFrame, "FrameSet": sdk.FrameSet}
    missing = []
    for name, kind in vars(emulated).items():
        own = inspect.isclass(kind) and kind.__module__ == emulated.__name__
        if not own or name in ("EmulatedSdk", "OBError") or name.startswith("OB"):
            continue
        theirs = real.get(name, getattr(sdk, name, None))
        assert theirs is not None, name
        methods = [m for m in vars(kind) if not m.startswith("_") and callable(getattr(kind, m))]
        missing += [f"{name}.{m}" for m in methods if not hasattr(theirs, m)]
    assert not [m for m in missing if m != "Frame.get_depth_scale"]
    assert hasattr(sdk.DepthFrame, "get_depth_scale")


def test_the_filters_have_the_methods_that_are_called(sdk: Any) -> None:
    assert hasattr(sdk.FormatConvertFilter, "set_format_convert_format")
    assert all(hasattr(f, "process") for f in (sdk.FormatConvertFilter, sdk.AlignFilter))
    assert hasattr(sdk.Frame, "as_frame_set") and hasattr(sdk.Pipeline, "enable_frame_sync")
    sdk.AlignFilter(align_to_stream=sdk.OBStreamType.COLOR_STREAM)


def test_records_of_the_sdk_have_the_fields_that_are_read(sdk: Any) -> None:
    sync = sdk.OBMultiDeviceSyncConfig()
    emulation = emulated.Device(EmulatedCamera("A", ManualClock())).get_multi_device_sync_config()
    for name in vars(emulation):
        assert hasattr(sync, name), name
    sync.mode = sdk.OBMultiDeviceSyncMode.SECONDARY
    assert sync.mode.name == "SECONDARY"
    lens, distortion = sdk.OBCameraIntrinsic(), sdk.OBCameraDistortion()
    assert all(hasattr(lens, name) for name in ("fx", "fy", "cx", "cy"))
    names = ("model", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    assert all(hasattr(distortion, name) for name in names)
    assert np.asarray(sdk.OBExtrinsic().rot).size == 9
    assert np.asarray(sdk.OBExtrinsic().transform).size == 3


def test_without_a_camera_the_real_sdk_says_so(sdk: Any, tmp_path: Path) -> None:
    if serials(sdk):
        pytest.skip("a camera is connected")
    with pytest.raises(CameraError, match=r"no camera XYZ; connected are none: .*12 V"):
        OrbbecDevice(sdk, "XYZ")


def filled(frame: Any, values: np.ndarray) -> Any:
    """Write into a frame of the real SDK (`get_data` hands out copies)."""
    python, capsule = ctypes.pythonapi, frame.get_data_pointer()
    python.PyCapsule_GetName.restype = ctypes.c_char_p
    python.PyCapsule_GetName.argtypes = [ctypes.py_object]
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    data = values.tobytes()
    assert frame.get_data_size() >= len(data)
    address = python.PyCapsule_GetPointer(capsule, python.PyCapsule_GetName(capsule))
    ctypes.memmove(address, data, len(data))
    return frame


def test_a_real_frame_becomes_an_image(sdk: Any) -> None:
    """Frames of the real SDK, filled by hand, through the code that reads them."""
    make, kinds, formats = sdk.Frame.create_video_frame, sdk.OBFrameType, sdk.OBFormat
    device = OrbbecDevice.__new__(OrbbecDevice)
    device._sdk, device._convert = sdk, None
    values = np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3)
    rgb = filled(make(kinds.COLOR_FRAME, formats.RGB, 8, 4, 0), values)
    np.testing.assert_array_equal(device._rgb(rgb), values)
    bgr = filled(make(kinds.COLOR_FRAME, formats.BGR, 8, 4, 0), values)
    np.testing.assert_array_equal(device._rgb(bgr), values[..., ::-1])
    grey_yuyv = np.tile(np.array([90, 128, 90, 128], dtype=np.uint8), 16)
    yuyv = filled(make(kinds.COLOR_FRAME, formats.YUYV, 8, 4, 0), grey_yuyv)
    pixels = device._rgb(yuyv)
    assert pixels.shape == (4, 8, 3) and np.ptp(pixels) == 0
    picture = np.full((48, 64, 3), (200, 60, 20), dtype=np.uint8)
    jpeg = io.BytesIO()
    Image.fromarray(picture).save(jpeg, "JPEG", quality=95)
    mjpg = make(kinds.COLOR_FRAME, formats.MJPG, 64, 48, 0)
    padded = np.zeros(mjpg.get_data_size(), dtype=np.uint8)
    padded[: len(jpeg.getvalue())] = np.frombuffer(jpeg.getvalue(), dtype=np.uint8)
    image = device._image(Stream.COLOR, filled(mjpg, padded))
    assert isinstance(image, RawImage) and (image.width_px, image.height_px) == (64, 48)
    assert image.jpeg == jpeg.getvalue()
    depth_mm = np.arange(32, dtype="<u2").reshape(4, 8)
    depth = filled(make(kinds.DEPTH_FRAME, formats.Y16, 8, 4, 0), depth_mm)
    depth.as_depth_frame().set_value_scale(1.0)
    np.testing.assert_array_equal(device._depth_mm(depth), depth_mm)
