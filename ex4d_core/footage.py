"""The frames of a scene, made ready to be seen from other cameras."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass

from ex4d_core.background.showing import SourceFrame
from ex4d_core.camera import Camera
from ex4d_core.frame import RenderedFrame, Solid, render_solid
from ex4d_core.mesh import build_mesh
from ex4d_core.occluder import BRIDGE_REACH
from ex4d_core.progress import Cancelled, stop_if
from ex4d_core.quads import Quads, build_quads, render_quads
from ex4d_core.scene import Scene


@dataclass(frozen=True, eq=False)
class Filmed:
    """One frame of the footage, built."""

    source: SourceFrame
    solid: Quads | Solid

    def seen_from(self, camera: Camera, resolution: bool) -> RenderedFrame:
        """What a camera sees, posed in the space of the source camera; see `render_frame`."""
        if isinstance(self.solid, Quads):
            return render_quads(self.solid, camera, resolution=resolution, threads=1)
        return render_solid(self.source.color, self.solid, camera, resolution=resolution, threads=1)


class Footage:
    """Builds the frames of a scene by one method, for threads that may share it.

    The one asked for last is kept: where time stands still or goes slowly, samples in a row show the same frame.

    Args:
        scene: the clip with depth.
        method: one of `ex4d_core.methods.METHODS`.
        bridge_reach: see `render_frame`.
    """

    def __init__(self, scene: Scene, method: str, bridge_reach: float = BRIDGE_REACH) -> None:
        self.scene, self.method, self._bridge_reach = scene, method, bridge_reach
        self._lock = threading.Lock()
        self._last = -1, Future[Filmed]()

    def frame(self, number: int, unwanted: Cancelled) -> Filmed:
        """A frame of the clip, built now or still there; waits where another thread is building it.

        Raises:
            InputError: the frame of the scene is damaged.
            CancelledError: `unwanted` said so.
        """
        with self._lock:
            asked, built = self._last
            if asked != number:
                built = Future[Filmed]()
                self._last = number, built
        if asked != number:
            try:
                built.set_result(self._build(number, unwanted))
            except BaseException as error:
                built.set_exception(error)
        return built.result()

    def _build(self, number: int, unwanted: Cancelled) -> Filmed:
        depth, color = self.scene.depth(number), self.scene.color(number)
        source = SourceFrame(number, color, depth, self.scene.source_camera(number))
        stop_if(unwanted)
        lens = source.camera.intrinsics
        if self.method == "quads":
            return Filmed(source, build_quads(color, depth, lens))
        return Filmed(source, Solid.of(build_mesh(depth, lens, self.method), self._bridge_reach))
