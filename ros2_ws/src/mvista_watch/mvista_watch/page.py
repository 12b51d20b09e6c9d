"""The page: viser's server and what is on it. Knows records and words, no ROS.

Listens on one address. viser can also open a tunnel to a server of its makers when a page asks for
it; here it cannot.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from types import TracebackType
from typing import Any

import numpy as np
import viser

from mvista_core.errors import ConfigError, UnavailableError
from mvista_core.geometry import Array, quaternion_xyzw
from mvista_core.records import RigCalibration, UInt8
from mvista_watch.clouds import Cloud
from mvista_watch.drawing import Drawing, Shape
from mvista_watch.views import Sheet
from mvista_watch.words import TaskState, footer_html, heading_html, nodes_html, task_html

EYE_M, LOOK_AT_M = (1.15, -0.62, 0.72), (0.2, 0.0, 0.16)
"""Where one looks from at first, in the base frame: before the table, over its right edge."""
GHOST = (66, 135, 245)
FRUSTUM = (110, 118, 130)
POINT_M = 0.0035
MOVED = 2e-4
"""A link's pose that changed less in every element (m, or of a rotation) is not sent again."""
JPEG_QUALITY = 80
PANEL_PX = 400


class _LocalServer(viser.ViserServer):
    """viser's server without its tunnel, whoever asks for one."""

    def request_share_url(self, verbose: bool = True) -> None:
        """Nothing is shared."""
        return None


class Page:
    """What is shown to everybody who has the page open. Call from one thread; use `with`."""

    def __init__(
        self,
        drawing: Drawing,
        rig: RigCalibration,
        where: str,
        host: str,
        port: int,
        on_viewers: Callable[[], None],
    ) -> None:
        """`on_viewers` is called, on another thread, whenever somebody came or went.

        Raises:
            ConfigError: nothing here can listen at that host. UnavailableError: the port is taken.
        """
        _check_free(host, port)
        with _unsaid():
            self._server = _LocalServer(host=host, port=port, label="MVISTA-4D", verbose=False)
        if port and self.port != port:
            self.close()
            raise _taken(host, port)
        self._where, self._drawing, self._rig = where, drawing, rig
        self._told: dict[str, Any] = {}
        self._poses: dict[str, Array] = {}
        self._ghost: Drawn | None = None
        self._clouds: dict[str, viser.PointCloudHandle] = {}
        self._path: viser.LineSegmentsHandle | None = None
        self._set_the_stage()
        self._arm = Drawn(self._server, "/arm", drawing, None)
        self._build_panels()
        self._server.on_client_connect(lambda client: on_viewers())
        self._server.on_client_disconnect(lambda client: on_viewers())

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.get_port())

    @property
    def viewers(self) -> int:
        """How many browsers have it open."""
        return len(self._server.get_clients())

    def close(self) -> None:
        """Listen no more."""
        with _unsaid():
            self._server.stop()

    # ---- what is shown ---------------------------------------------------------------------

    def show_arm(self, positions: Mapping[str, float]) -> None:
        """The arm as measured: joint positions by name (rad, m)."""
        self._arm.place(positions)

    def show_planned(self, positions: Mapping[str, float]) -> None:
        """The arm as planned, see-through, at one moment of the plan."""
        if self._ghost is None:
            self._ghost = Drawn(self._server, "/planned/arm", self._drawing, GHOST)
        self._ghost.place(positions)

    def show_path(self, tip_m: Array) -> None:
        """The way of the gripper's tip that is planned: [T, 3] in the base frame, m."""
        segments = np.stack([tip_m[:-1], tip_m[1:]], axis=1).astype(np.float32)
        if self._path is not None:
            self._path.remove()
        self._path = self._server.scene.add_line_segments(
            "/planned/path", segments, GHOST, thickness=0.004
        )

    def show_cloud(self, name: str, cloud: Cloud) -> None:
        """ "seen" or "imagined": points in the base frame."""
        handle = self._clouds.get(name)
        if handle is None:
            self._clouds[name] = self._server.scene.add_point_cloud(
                f"/{name}/points",
                cloud.points_m,
                cloud.color,
                point_size=POINT_M,
                point_shape="circle",
                point_shading="flat",
            )
            return
        with self._server.atomic():
            handle.points, handle.colors = cloud.points_m, cloud.color

    def show_seen(self, sheet: UInt8) -> None:
        """The live views as one picture."""
        self._seen.image = sheet

    def show_imagined(self, sheet: UInt8, detail: str) -> None:
        """The imagined views at one moment as one picture."""
        self._imagined.visible = True
        self._imagined.image = sheet
        self._say(self._imagined_heading, heading_html("Imagined", detail))

    def show_task(self, task: TaskState, instruction: str) -> None:
        """Where the task is."""
        self._say(self._task, task_html(task, instruction))

    def show_nodes(self, nodes: Sequence[tuple[str, bytes, str]]) -> None:
        """How every node is: name, level, message."""
        self._say(self._nodes, nodes_html(nodes))

    def show_cost(self, cores: float | None) -> None:
        """What showing takes of one core."""
        self._say(self._footer, footer_html(self._where, cores))

    # ---- how it is built -------------------------------------------------------------------

    def _say(self, handle: viser.GuiHtmlHandle, text: str) -> None:
        if handle.content != text:
            handle.content = text

    def _set_the_stage(self) -> None:
        scene = self._server.scene
        scene.set_up_direction("+z")
        scene.configure_default_lights(cast_shadow=False)  # drawn twice for little, without a GPU
        self._server.initial_camera.position = EYE_M
        self._server.initial_camera.look_at = LOOK_AT_M
        self._server.initial_camera.fov = np.deg2rad(50.0)
        scene.add_grid(
            "/floor",
            2.4,
            2.4,
            cell_size=0.1,
            section_size=0.5,
            cell_color=(226, 229, 234),
            section_color=(196, 201, 210),
            position=(0.3, 0.0, -0.003),
        )
        scene.add_frame("/base", axes_length=0.1, axes_radius=0.0025, origin_radius=0.004)
        scene.add_frame("/cameras", show_axes=False)
        for camera in self._rig.cameras:
            lens, pose = camera.intrinsics, camera.base_from_camera
            scene.add_camera_frustum(
                f"/cameras/{camera.name}",
                fov=float(2.0 * np.arctan2(lens.height_px / 2.0, lens.fy_px)),
                aspect=lens.width_px / lens.height_px,
                scale=0.05,
                thickness=0.001,
                color=FRUSTUM,
                wxyz=_wxyz(pose),
                position=pose[:3, 3],
            )
            scene.add_label(f"/cameras/{camera.name}/name", camera.name, font_screen_scale=0.7)

    def _build_panels(self) -> None:
        gui = self._server.gui
        gui.configure_theme(
            show_logo=False, show_share_button=False, brand_color=GHOST, control_width="large"
        )
        views = gui.add_panel()
        with views.add_tab("Cameras"):
            gui.add_html(heading_html("Seen now", "colour, and depth (near is bright)"))
            sheet = Sheet(self._rig.names)
            self._seen = gui.add_image(sheet.drawn({}), format="jpeg", jpeg_quality=JPEG_QUALITY)
            self._imagined_heading = gui.add_html(heading_html("Imagined", "nothing yet"))
            self._imagined = gui.add_image(
                sheet.drawn({}), format="jpeg", jpeg_quality=JPEG_QUALITY, visible=False
            )
        views.dock_left()
        views.set_width(PANEL_PX)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(PANEL_PX)
        self._task = gui.add_html(task_html(TaskState(), ""))
        with gui.add_folder("Nodes"):
            self._nodes = gui.add_html(nodes_html(()))
        with gui.add_folder("Show"):
            self._add_switches()
        self._footer = gui.add_html(footer_html(self._where, None))

    def _add_switches(self) -> None:
        """What each viewer's eyes are spared; it changes the page only."""
        for word, hint, name in (
            ("Arm", "as measured", "/arm"),
            ("Plan", "the arm as planned, and the way of its tip", "/planned"),
            ("Seen", "the cloud of what the cameras see now", "/seen"),
            ("Imagined", "the cloud of what is imagined", "/imagined"),
            ("Cameras", "where they stand", "/cameras"),
        ):
            parent = self._server.scene.add_frame(name, show_axes=False)
            switch = self._server.gui.add_checkbox(word, initial_value=True, hint=hint)

            @switch.on_update
            def _(event: Any, parent: viser.FrameHandle = parent) -> None:
                parent.visible = bool(event.target.value)


class Drawn:
    """A robot's shapes in the scene, and where each link was last put."""

    def __init__(
        self,
        server: viser.ViserServer,
        name: str,
        drawing: Drawing,
        ghost: tuple[int, int, int] | None,
    ) -> None:
        """A `ghost` is see-through and all of one colour."""
        self._server, self._drawing = server, drawing
        self._last: dict[str, Array] = {}
        self._links = {
            link: server.scene.add_frame(f"{name}/{link}", show_axes=False)
            for link in drawing.links
        }
        for number, shape in enumerate(drawing.shapes):
            _add_shape(server.scene, f"{name}/{shape.link}/{number}", shape, ghost)
        self.place({})

    def place(self, positions: Mapping[str, float]) -> None:
        """Move the links; what stands where it stood is not sent."""
        poses = self._drawing.root_from_links(positions)
        with self._server.atomic():
            for link, handle in self._links.items():
                pose, last = poses[link], self._last.get(link)
                if last is not None and np.abs(pose - last).max() < MOVED:
                    continue
                self._last[link] = pose
                handle.wxyz, handle.position = _wxyz(pose), pose[:3, 3]


def _add_shape(
    scene: viser.SceneApi, name: str, shape: Shape, ghost: tuple[int, int, int] | None
) -> None:
    look: dict[str, Any] = {
        "color": ghost or shape.color,
        "opacity": 0.35 if ghost else None,
        "cast_shadow": ghost is None,
        "wxyz": _wxyz(shape.link_from_shape),
        "position": shape.link_from_shape[:3, 3],
    }
    if shape.kind == "box":
        scene.add_box(name, dimensions=np.array(shape.size_m), **look)
    elif shape.kind == "cylinder":
        scene.add_cylinder(name, radius=shape.size_m[0], height=shape.size_m[1], **look)
    else:
        scene.add_icosphere(name, radius=shape.size_m[0], **look)


def _wxyz(pose: Array) -> Array:
    return np.roll(quaternion_xyzw(pose[:3, :3]), 1)


def _unsaid() -> redirect_stdout[io.StringIO]:
    """viser greets and takes its leave on standard output, whatever `verbose` says."""
    return redirect_stdout(io.StringIO())


def _check_free(host: str, port: int) -> None:
    """viser takes the next port where this one is taken, and nobody would find the page."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (socket.gaierror, OverflowError) as error:
            raise ConfigError(f"--host {host} --port {port}: {error}") from None
        except PermissionError:
            raise ConfigError(f"--port {port} is the system's; allowed: 1024 to 65535") from None
        except OSError as error:
            with suppress(OSError):
                socket.inet_aton(host)
                probe.bind((host, 0))
                raise _taken(host, port) from None
            raise ConfigError(f"--host {host}: no address of this machine ({error})") from None


def _taken(host: str, port: int) -> UnavailableError:
    return UnavailableError(
        f"port {port} of {host} is taken by another program (another `mvista watch`?); name a free "
        f"one: --port {port + 1}"
    )
