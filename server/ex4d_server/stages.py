"""The stages of a job: scene, render, generate, exr; each found in the cache by what it depends on, or made.

Moving the camera changes the key of the render, not that of the scene; the same request changes none.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, TypeAdapter
from sqlalchemy import RowMapping

from ex4d_core import __version__
from ex4d_core.engines import EngineSetup, engine_facts
from ex4d_core.errors import InputError, MissingDependencyError, SpaceError
from ex4d_core.footprint import (
    estimating_bytes,
    exr_bytes,
    generate_bytes,
    render_bytes,
    scene_bytes,
    scratch_bytes,
)
from ex4d_server.cache import Cache
from ex4d_server.documents import JobRequest, canonical
from ex4d_server.estimators import estimator_lacks
from ex4d_server.folders import Kind
from ex4d_server.preflight import DISK_MARGIN, DoesNotFit, disk_shortage, engine_shortages
from ex4d_server.progress import JobProgress
from ex4d_server.results import read_scene_document
from ex4d_server.setups import SETUP_FIELDS, setup_of
from ex4d_server.uploads import Uploads, file_of

JOB_STAGES: dict[str, tuple[Kind, ...]] = {
    "import": ("scene",),
    "render": ("render",),
    "generate": ("generate",),
    "reshoot": ("scene", "render", "generate"),
}
"""By kind of job; "exr" follows where it is asked for."""
_OPTIONS = (
    *("depth", "depth_kind", "depth_range", "depth_channel", "estimator", "depth_model_dir", "sharpen"),
    *("fov_degrees", "focal_mm", "sensor_mm", "sensor", "focal_px", "source_camera"),
    *("start", "frames", "size", "max_side", "fps", "plate"),
)
_REQUESTS: TypeAdapter[BaseModel] = TypeAdapter(JobRequest)
_RENDER_OPTIONS = ("method", "background", "passes", "allow_unseen")
_GENERATE_OPTIONS = ("engine", "seed", "prompt", "quality", "keep_source", *SETUP_FIELDS)


class Ask(Protocol):
    """Lets a worker perform an operation (see `operations`)."""

    def __call__(
        self, operation: str, arguments: dict[str, Any], stage: Kind, grace_seconds: float, progress: JobProgress
    ) -> dict[str, Any]:
        """Its result.

        Raises:
            Ex4dError: as the operation.
            WorkerDied: see `worker_process`.
        """
        ...


@dataclass
class JobRun:
    """One run of a job; `run` gives its result, and leaves what it did in `stages`."""

    job: RowMapping
    cache: Cache
    uploads: Uploads
    ask: Ask
    on_stage: Callable[[Kind, list[dict[str, Any]], float, str], None]
    """Told the stage, the stages finished, the fraction, and a message."""
    stages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    progress: JobProgress = field(init=False)
    _request: dict[str, Any] = field(init=False)
    _names: tuple[Kind, ...] = field(init=False)
    """The stages that this job has."""
    _zips: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        # An earlier version may have stored it, without what is new since: that gets its defaults.
        self._request = request = canonical(_REQUESTS.validate_python(self.job["request"]))
        stages = JOB_STAGES[self.job["kind"]]
        if request.get("footage") is None and "scene" in stages and self.job["kind"] == "reshoot":
            stages = stages[1:]
        self._names = (*stages, "exr") if request.get("exr") else stages
        self.progress = JobProgress(self._names)

    def run(self) -> dict[str, Any]:
        """Do it all.

        Returns:
            What `jobs.result` keeps: kind, key and disk_kind of the result, scene, content_hash, render_key.

        Raises:
            Ex4dError: the request cannot be carried out.
            WorkerDied: see `worker_process`.
        """
        request = self._request
        match self.job["kind"]:
            case "import":
                return self._scene(request)
            case "render":
                return self._render(request, request["scene"], request["trajectory"])
            case "generate":
                return self._generate(request, self._shot(request["shot"]))
            case _:
                return self._reshoot(request)

    def _reshoot(self, request: dict[str, Any]) -> dict[str, Any]:
        scene: str = self._scene(request)["scene"] if request["footage"] else request["scene"]
        trajectory = request["trajectory"]
        if trajectory is None:
            arguments = {"move": request["move"], "scene": str(self._scene_folder(scene)[1])}
            trajectory = self._asked("path", arguments, "render", _CPU_GRACE)["trajectory"]
        rendered = self._render(request, scene, trajectory)
        return self._generate(request, rendered)

    def _scene(self, request: dict[str, Any]) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "footage": self._media(request["footage"]),
            "options": {name: request[name] for name in _OPTIONS},
            "depth_cache": str(self.cache.folder.cache("depth")),
        }
        arguments["options"]["depth"] = None if request["depth"] is None else self._media(request["depth"])
        if _is_media(request["source_camera"]):
            arguments["options"]["source_camera"] = self._media(request["source_camera"])
        facts = self._asked("identify", arguments, "scene", _CPU_GRACE)
        key: str = facts["key"]

        def fits() -> None:
            plate = tuple(facts["plate"]) if facts["plate"] else None
            size = (facts["width"], facts["height"], facts["frames"])
            needed = scene_bytes(*size, plate, bit_depth=facts["bit_depth"])
            needed += 0 if request["depth"] else estimating_bytes(*size)
            if lacks := estimator_lacks(request):
                raise MissingDependencyError(lacks[0])
            self._check_disk(needed, "The scene")
            self._check_engine(0, 0, 0)

        path = self._stage("scene", key, "import", arguments, fits, _CPU_GRACE)
        self.cache.adopt("depth")
        for unpacked in self._zips:  # they have grown
            self.cache.add("upload", unpacked)
        scene: str = request.get("scene") or self.job["id"]
        self.cache.store.name_scene(scene, key)
        return {"kind": "scene", "disk_kind": "scene", "key": key, "scene": scene, "content_hash": _hash_of(path)}

    def _render(self, request: dict[str, Any], scene: str, trajectory: dict[str, Any]) -> dict[str, Any]:
        scene_key, folder = self._scene_folder(scene)
        content_hash = _hash_of(folder)
        expected = trajectory.get("scene_hash")
        if expected and expected != content_hash:
            raise InputError(
                f"The trajectory was made for another version of the scene {scene!r}: export it again, or leave out "
                "its scene_hash."
            )
        options = {name: request[name] for name in _RENDER_OPTIONS}
        path_of_camera = {name: value for name, value in trajectory.items() if name != "scene_hash"}
        key = _key("render", content_hash, path_of_camera, options)
        frames, width, height = len(trajectory["frames"]), trajectory["width"], trajectory["height"]

        def fits() -> None:
            self._check_disk(render_bytes(width, height, frames, tuple(request["passes"])), "The render")
            self._check_engine(width, height, frames)

        arguments = {"scene": str(folder), "trajectory": trajectory, **options}
        self._stage("render", key, "render", arguments, fits, _CPU_GRACE)
        size = {"width": width, "height": height, "frames": frames}
        facts = {"scene": scene, "scene_key": scene_key, "content_hash": content_hash, "render_key": key, **size}
        return {"kind": "shot", "disk_kind": "render", "key": key, **facts}

    def _generate(self, request: dict[str, Any], shot: dict[str, Any]) -> dict[str, Any]:
        engine: str = request["engine"]
        grace = engine_facts(engine).cancel_seconds
        options = {name: request[name] for name in _GENERATE_OPTIONS}
        setup = setup_of(options)
        # Where the models lie makes no difference, what they are does.
        models = _models(engine, request["quality"], setup)
        key = _key("generate", shot["render_key"], {**options, "model_dir": None}, models)
        size = (shot["width"], shot["height"], shot["frames"])

        def fits() -> None:
            self._check_disk(generate_bytes(*size) + scratch_bytes(*size) + render_bytes(*size, ()), "The shot")
            self._check_engine(*size)

        conditioning = self.cache.find(shot["disk_kind"], shot["key"])
        if conditioning is None:
            raise InputError("The shot to generate from is no longer on disk: render it again.")
        preview = self.cache.folder.job(self.job["id"]) / "preview.jpg"
        arguments = {"shot": str(conditioning), "preview": str(preview), **options}
        path = self._stage("generate", key, "generate", arguments, fits, grace)
        generated = {**shot, "kind": "shot", "disk_kind": "generate", "key": key}
        return self._exr(generated, path) if request["exr"] else generated

    def _check_engine(self, width: int, height: int, frames: int) -> None:
        """Refuse a shot that its engine cannot make here, before the work on what leads to it.

        Args:
            width: of the shot, pixels; 0 where it is not known yet, likewise the next two.
            height: see `width`.
            frames: see `width`.
        """
        request = self._request
        if "engine" not in request:
            return
        found = engine_shortages(request["engine"], width, height, frames, setup_of(request), request["quality"])
        if found:
            raise DoesNotFit(found[0].message)

    def _exr(self, shot: dict[str, Any], generated: Path) -> dict[str, Any]:
        """A stage of its own, so that hours of an engine are never done again for other files of the same pictures."""
        key, size = _key("exr", shot["key"]), (shot["width"], shot["height"], shot["frames"])

        def fits() -> None:
            self._check_disk(exr_bytes(*size) + generate_bytes(*size) + render_bytes(*size, ()), "The EXR files")

        self._stage("exr", key, "exr", {"shot": str(generated)}, fits, _CPU_GRACE)
        return {**shot, "disk_kind": "exr", "key": key}

    def _stage(
        self,
        kind: Kind,
        key: str,
        operation: str,
        arguments: dict[str, Any],
        fits: Callable[[], None],
        grace_seconds: float,
    ) -> Path:
        """Find a stage or have it made; its folder."""
        last = kind == self._names[-1]
        started = time.monotonic()
        # A shot refers to its scene: that is kept with it.
        self.cache.use(self.job["id"], key, keeps=last or kind == "scene")
        with self.cache.making(key):
            path = self.cache.find(kind, key)
            cached = path is not None
            if path is None:
                fits()
                path = self.cache.folder.entry(kind, key)
                self.progress.restart_clock()
                self._asked(operation, {**arguments, "out": str(path)}, kind, grace_seconds)
                self.cache.add(kind, key)
        seconds = round(time.monotonic() - started, 3)
        self.stages.append({"name": kind, "cached": cached, "seconds": seconds})
        done = "found on disk" if cached else "finished"
        self.on_stage(kind, self.stages, self.progress.finish(kind), f"{kind} {done}")
        return path

    def _asked(self, operation: str, arguments: dict[str, Any], stage: Kind, grace_seconds: float) -> dict[str, Any]:
        return self.ask(operation, arguments, stage, grace_seconds, self.progress)

    def _scene_folder(self, scene: str) -> tuple[str, Path]:
        key = self.cache.store.scene_key(scene)
        folder = None
        if key is not None:
            self.cache.use(self.job["id"], key, keeps=True)
            folder = self.cache.find("scene", key)
        if key is None or folder is None:
            raise InputError(f"There is no whole scene {scene!r} on disk: import it, or import it again.")
        return key, folder

    def _shot(self, job: str) -> dict[str, Any]:
        row = self.cache.store.job(job)
        if row is None or row["state"] != "succeeded" or row["result"]["kind"] != "shot":
            raise InputError(f"The job {job!r} has no shot to generate from: give one that rendered a shot.")
        shot = row["result"]
        self.cache.use(self.job["id"], shot["key"])
        self.cache.use(self.job["id"], shot["scene_key"], keeps=True)
        return shot

    def _media(self, media: dict[str, str]) -> dict[str, str]:
        """Where footage or depth lies: `path`, or `zip` of an image sequence that was uploaded."""
        if "path" in media:
            return media
        key = self.uploads.key(media["upload"])
        self.cache.use(self.job["id"], key)
        entry = self.cache.find("upload", key)
        if entry is None:
            raise InputError(f"The upload {media['upload']!r} is no longer on disk: send it again.")
        file = file_of(entry)
        if file.suffix.lower() != ".zip":
            return {"path": str(file)}
        self._zips.append(key)
        return {"zip": str(file)}

    def _check_disk(self, needed: int, what: str) -> None:
        """Refuse what does not fit before anything is evicted for it."""
        self.cache.make_room(needed + DISK_MARGIN)
        shortage = disk_shortage(self.cache.folder.root, needed, what)
        if shortage is not None:
            raise SpaceError(shortage.message)
        if needed <= self.cache.limit_bytes:
            self.cache.evict(self.cache.limit_bytes - needed)


def _is_media(value: Any) -> bool:
    """Whether a value of a request is a file or folder."""
    return isinstance(value, dict) and bool({"path", "upload"} & value.keys())


_CPU_GRACE = 1.0
"""Seconds until a worker that does not notice a cancel is ended; what it did stays for the next run."""


def _models(engine: str, quality: str, setup: EngineSetup) -> dict[str, str]:
    """What weights an engine would load."""
    if not engine_facts(engine).reads_setup:
        return {}
    from ex4d_core.generate.revisions import model_revisions  # half a second, and memory, for those who need it

    return model_revisions(engine, quality, setup)


def _key(*parts: Any) -> str:
    """What a stage depends on, as a name; another version makes everything anew."""
    text = json.dumps([__version__, *parts], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _hash_of(scene: Path) -> str:
    """The content hash that a scene in the cache states; it was checked when it came in."""
    return read_scene_document(scene)["content_hash"]
