"""Which views a request asks for, and whether they can be imagined: asked before any compute.

Cameras are the rig's, by name, or brought along by pose and intrinsics
(`ImagineOptions.cameras`): where nothing stands, a view is imagined all the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from mvista_core.camera_range import TrainedCameras
from mvista_core.errors import ConfigError, RigError
from mvista_core.records import CameraCalibration, ImagineOptions, RigCalibration
from mvista_world.cameras import check_cameras, look_at_point, window_cameras
from mvista_world.config import ModelConfig, SamplerConfig
from mvista_world.config_limits import VIEW_MODES
from mvista_world.view_passes import ViewPass, completed, passes
from mvista_world.views import ViewCameras

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""A camera's name names frames and topics too."""


@dataclass(frozen=True)
class RequestedViews:
    """The views of a request, the source first, and those of the generator's grid: `cameras` [1, G]
    as it is told them, and in which runs they are imagined.

    They are the same or, with a `vantage`, that in the source's place and the source as a view to
    complete at the end.
    """

    calibrations: tuple[CameraCalibration, ...]
    cameras: ViewCameras
    runs: tuple[ViewPass, ...]
    vantage: CameraCalibration | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(camera.name for camera in self.calibrations)

    @property
    def grid(self) -> tuple[CameraCalibration, ...]:
        """The views of the generator's grid, what is given first."""
        if self.vantage is None:
            return self.calibrations
        source, *targets = self.calibrations
        return (self.vantage, *targets, source)

    @property
    def source_at(self) -> int:
        """The source's place on the grid."""
        return 0 if self.vantage is None else len(self)

    @property
    def on_grid(self) -> tuple[int, ...]:
        """Places on the grid of the views asked for."""
        return (self.source_at, *range(1, len(self)))

    def __len__(self) -> int:
        """How many were asked for."""
        return len(self.calibrations)


class ViewFinder:
    """Finds the views of requests in a rig, for one model and what that was trained on."""

    def __init__(
        self,
        rig: RigCalibration,
        trained: TrainedCameras,
        config: ModelConfig,
        device: torch.device,
    ) -> None:
        self._rig = rig
        self._trained = trained
        self._config = config
        self._device = device
        poses, intrinsics = window_cameras(rig.cameras, config.window)
        # Eq. 6 over the whole rig, so that a camera's token does not depend on who else is asked.
        self._look_at_m = look_at_point(poses) if len(poses) > 1 else None
        if config.vantage is not None and len(poses) == 1:
            # A camera and its vantage look along lines that nearly meet anywhere: as in training.
            self._look_at_m = np.array(trained.centre_m)
        self._cameras = ViewCameras.of(poses[None], intrinsics[None], config).to(device)

    def find(self, source: str, targets: Sequence[str], options: ImagineOptions) -> RequestedViews:
        """The source, then the targets, then the cameras that the options bring.

        Raises:
            ConfigError: no source, a view named twice, too many views, or no such mode.
            RigError: a camera that is not the rig's, one nobody can be told (`check_cameras`), one
                where the source's vantage stands or of its name, or one outside the range that the
                weights were trained in, unless that is asked for.
        """
        if not source:
            raise ConfigError(
                f"no source view: name one of the cameras of rig '{self._rig.name}', "
                f"{list(self._rig.names)}"
            )
        self._check_names(options.cameras)
        names = [source, *targets, *(camera.name for camera in options.cameras)]
        sampler = self._sampler(options)
        runs = passes(len(names), sampler, self._config.max_views)
        if len(set(names)) != len(names):
            raise ConfigError(f"a view is named twice: source '{source}', targets {names[1:]}")
        brought = {camera.name: camera for camera in options.cameras}
        found = tuple(brought.get(name) or self._rig.camera(name) for name in names)
        window = self._config.window
        check_cameras(names, *window_cameras(found, window), window)
        if not options.allow_out_of_range:
            self._check_range(found)
        if self._config.vantage is None:
            return RequestedViews(found, self._told(names, options.cameras), runs)
        vantage = self._config.vantage.of(found[0], self._trained, window)
        if vantage.name in {*self._rig.names, *names}:
            raise RigError(
                f"camera '{vantage.name}' has the name of the view that '{source}' is read from; "
                "choose another"
            )
        on_grid = [vantage, *found[1:]]
        check_cameras([c.name for c in on_grid], *window_cameras(on_grid, window), window)
        told = self._told([vantage.name, *names[1:], source], (*options.cameras, vantage))
        runs += (completed(len(names), sampler, self._config.max_views),)
        return RequestedViews(found, told, runs, vantage)

    def _sampler(self, options: ImagineOptions) -> SamplerConfig:
        sampler = self._config.sampler
        if options.view_mode is None:
            return sampler
        if options.view_mode not in VIEW_MODES:
            raise ConfigError(f"view_mode {options.view_mode} is none of {list(VIEW_MODES)}")
        return replace(sampler, mode=options.view_mode)

    def _check_names(self, brought: Sequence[CameraCalibration]) -> None:
        for camera in brought:
            if not NAME.fullmatch(camera.name):
                raise RigError(
                    f"'{camera.name}' cannot name a camera: letters, digits and _, a letter first"
                )
            if camera.name in self._rig.names:
                raise RigError(
                    f"camera '{camera.name}' is the rig's already; choose another name than "
                    f"{list(self._rig.names)}"
                )

    def _check_range(self, cameras: Sequence[CameraCalibration]) -> None:
        for camera in cameras:
            lens = self._config.window.intrinsics(camera.intrinsics)
            if reason := self._trained.why_outside(camera.base_from_camera, lens):
                raise RigError(
                    f"camera '{camera.name}' is outside the range that these weights were trained "
                    f"in: {reason}; ask again with allow_out_of_range to see what they make of it"
                )

    def _told(self, names: Sequence[str], brought: Sequence[CameraCalibration]) -> ViewCameras:
        """Of the rig's cameras alone, once and for all; else of rig and guests."""
        rig = (*self._rig.cameras, *brought)
        all_told = self._cameras
        if brought:
            poses, intrinsics = window_cameras(rig, self._config.window)
            all_told = ViewCameras.of(
                poses[None], intrinsics[None], self._config, self._look_at_m
            ).to(self._device)
        places = [camera.name for camera in rig]
        return all_told.pick(0, [[places.index(name) for name in names]])
