"""The bodies of the HTTP interface: what a job is asked for, and what the sidecar tells about it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from ex4d_core.camera import TrajectoryDocument, trajectory_from_document
from ex4d_core.errors import Ex4dError
from ex4d_core.methods import DEFAULT_METHOD, METHODS, PASSES
from ex4d_core.presets import Move
from ex4d_server.names import Id
from ex4d_server.problems import Problem

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
TERMINAL: tuple[State, ...] = ("succeeded", "failed", "cancelled")
MAX_PIXELS = 16384
Seconds = float

_REQUEST = ConfigDict(extra="forbid", frozen=True)
# Strict: the JSON types that the OpenAPI document names, and nothing that merely looks like them ("1", true, 0).
_Int = Annotated[int, Field(strict=True)]
_Bool = Annotated[bool, Field(strict=True)]
_Side = Annotated[_Int, Field(ge=2, le=MAX_PIXELS)]
_Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Positive = Annotated[_Finite, Field(gt=0)]
_Degrees = Annotated[_Finite, Field(ge=-3600, le=3600)]
_Share = Annotated[_Finite, Field(ge=-1000, le=1000)]
_Rate = Annotated[_Int, Field(ge=1, le=1_000_000)]
_Text = Annotated[str, Field(max_length=10_000)]


def _trajectory(document: TrajectoryDocument) -> TrajectoryDocument:
    """Also what only the numbers tell: rigid poses, finite values."""
    try:
        trajectory_from_document(document.model_dump(by_alias=True), "The trajectory")
    except Ex4dError as error:
        raise ValueError(str(error)) from error
    return document


TrajectoryBody = Annotated[TrajectoryDocument, AfterValidator(_trajectory)]
"""`trajectory.json`."""


def _method(name: str) -> str:
    if name not in METHODS:
        raise ValueError(f"there is no method {name!r}, choose one of {', '.join(METHODS)}")
    return name


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _pass(name: str) -> str:
    if name not in PASSES:
        raise ValueError(f"there is no pass {name!r}, choose from {', '.join(PASSES)}")
    return name


class FromUpload(BaseModel):
    """A file that was uploaded."""

    model_config = _REQUEST
    upload: Id


class FromPath(BaseModel):
    """A file or folder on this machine, for clients on the same machine."""

    model_config = _REQUEST
    path: str = Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*$", description="Absolute.")


Media = FromUpload | FromPath


class ImportFields(BaseModel):
    """The options of `ex4d import`; names as in `ex4d_core.ingest.import_scene`."""

    model_config = _REQUEST
    depth: Media | None = None
    depth_kind: Literal["metric", "relative", "disparity", "depthcrafter"] = "relative"
    depth_range: tuple[_Finite, _Finite] | None = None
    depth_channel: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="EXR channel or NPZ array with depth; default the one that is called so."
    )
    estimator: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="One of the capabilities' `depth_estimators`."
    )
    depth_model_dir: FromPath | None = Field(
        default=None,
        description="A folder with the estimator's weights or checkout, for clients on the same machine; default the "
        "downloaded ones.",
    )
    sharpen: _Bool | None = Field(
        default=None, description="Put the depth's edges where the colour has them; default for networks' depth."
    )
    fov_degrees: Annotated[_Finite, Field(gt=0, lt=180)] | None = None
    focal_mm: _Positive | None = None
    sensor_mm: _Positive | None = None
    sensor: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="A camera or format instead, as `ex4d import --sensors` lists them."
    )
    focal_px: _Positive | None = None
    source_camera: TrajectoryBody | Media | Literal["static", "estimate"] | None = Field(
        default=None,
        description="The camera that took the footage: its path, a file or folder with a solve, `estimate` to find it, "
        "or `static`, the default.",
    )
    start: _Int = Field(default=0, ge=0, le=10_000_000)
    frames: Annotated[_Int, Field(ge=1, le=1_000_000)] | None = None
    size: tuple[_Side, _Side] | None = None
    max_side: _Side | None = None
    fps: tuple[_Rate, _Rate] | None = None
    plate: _Bool = False


class RenderFields(BaseModel):
    """The options of `ex4d render`."""

    model_config = _REQUEST
    method: Annotated[str, Field(max_length=100), AfterValidator(_method)] = DEFAULT_METHOD
    background: _Bool = True
    passes: Annotated[
        tuple[Annotated[str, Field(max_length=100), AfterValidator(_pass)], ...],
        Field(max_length=16),
        AfterValidator(_unique),
    ] = ()
    allow_unseen: _Bool = False


class GenerateFields(BaseModel):
    """The options of `ex4d generate`."""

    model_config = _REQUEST
    engine: str = Field(default="draft", max_length=100)
    seed: _Int = Field(default=0, ge=0, le=2**63 - 1)
    prompt: _Text = ""
    quality: str = Field(default="", max_length=100, description="One that the engine names; empty: its default.")
    keep_source: _Bool = Field(default=False, description="Only where the engine names it.")
    model_dir: FromPath | None = Field(
        default=None, description="A folder with models, for clients on the same machine; default the downloaded ones."
    )
    memory: str = Field(default="", max_length=100, description="Rung of the VRAM ladder; empty: what fits.")
    attention: str = Field(default="", max_length=100, description="Attention backend; empty: the fastest.")
    cache: str = Field(default="", max_length=100, description="first-block or taylorseer, with the quality cached.")
    steps: _Int = Field(default=0, ge=0, le=1000, description="Denoising steps; 0: the quality's own.")
    exr: _Bool = Field(default=False, description="Also exr/000000.exr ...: linear half, with mask and depth.")


class MoveDocument(BaseModel):
    """A named camera move; the options of `ex4d camera`."""

    model_config = _REQUEST
    preset: str = Field(max_length=100, examples=["orbit"])
    yaw: _Degrees | None = None
    pitch: _Degrees | None = None
    amount: _Share | None = None
    zoom: _Positive | None = None
    turns: _Share | None = None
    look_at: tuple[_Finite, _Finite, _Finite] | None = None
    easing: str = Field(default="linear", max_length=100)
    there_and_back: _Bool = False
    radius: _Positive | None = None
    follow: _Bool = False
    freeze: Annotated[_Finite, Field(ge=0)] | None = None
    speed: _Positive = 1.0
    frames: Annotated[_Int, Field(ge=1, le=100_000)] | None = None

    @model_validator(mode="after")
    def _possible(self) -> MoveDocument:
        shape = self.model_dump(exclude={"radius", "follow", "freeze", "speed", "frames"})
        try:
            Move(**shape)
        except Ex4dError as error:
            raise ValueError(str(error)) from error
        return self


class ImportJob(ImportFields):
    """Footage in, a scene folder out."""

    kind: Literal["import"]
    footage: Media
    scene: Id | None = Field(default=None, description="Id to give the scene; default the job's.")


class RenderJob(RenderFields):
    """A scene from a trajectory: colour, mask, passes."""

    kind: Literal["render"]
    scene: Id
    trajectory: TrajectoryBody


class GenerateJob(GenerateFields):
    """Fill what an earlier job's shot never saw."""

    kind: Literal["generate"]
    shot: Id = Field(description="A job that rendered a shot.")


class ReshootJob(ImportFields, RenderFields, GenerateFields):
    """All of it: import (unless `scene` is given), render, generate."""

    kind: Literal["reshoot"]
    scene: Id | None = Field(default=None, description="A scene that is there; with `footage`: id to give it.")
    footage: Media | None = None
    trajectory: TrajectoryBody | None = None
    move: MoveDocument | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> ReshootJob:
        if self.footage is None and self.scene is None:
            raise ValueError("a reshoot needs footage or a scene, give one")
        if (self.trajectory is None) == (self.move is None):
            raise ValueError("say how the camera moves with either trajectory or move")
        return self


class ModelsJob(BaseModel):
    """Download the weights of a model."""

    model_config = _REQUEST
    kind: Literal["models"]
    model: str = Field(min_length=1, max_length=200, description="One of the capabilities' `models`.")
    accept_licence: _Bool = Field(default=False, description="Needed where the licence allows no commercial work.")


JobRequest = Annotated[ImportJob | RenderJob | GenerateJob | ReshootJob | ModelsJob, Field(discriminator="kind")]
"""What a job is asked for."""


class SceneSource(BaseModel):
    """Where a scene comes from: an uploaded zip of a scene folder, or a scene folder on this machine."""

    model_config = _REQUEST | ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["upload"], "properties": {"upload": {"type": "string"}, "path": {"type": "null"}}},
                {"required": ["path"], "properties": {"path": {"type": "string"}, "upload": {"type": "null"}}},
            ]
        }
    )
    upload: Id | None = None
    path: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")] | None = None

    @model_validator(mode="after")
    def _one(self) -> SceneSource:
        if (self.upload is None) == (self.path is None):
            raise ValueError("a scene comes from either an upload or a path, give one")
        return self


class UploadStatus(BaseModel):
    """How far an upload is."""

    id: str
    name: str
    size: int = Field(description="Bytes of the whole file.")
    sha256: str
    received: int = Field(description="Bytes from the start that are here; the next piece starts there.")
    complete: bool


class SceneStatus(BaseModel):
    """A scene that is here."""

    id: str
    content_hash: str
    bytes: int
    path: str | None = Field(description="Its folder, for a client on the same machine.")
    document: dict[str, JsonValue] = Field(description="scene.json")


class SceneList(BaseModel):
    """All scenes."""

    scenes: list[SceneStatus]


class FileStatus(BaseModel):
    """A file of a scene or a result."""

    name: str
    size: int
    etag: str


class FileList(BaseModel):
    """Files of a scene or a result."""

    files: list[FileStatus]


class StageStatus(BaseModel):
    """A stage of a job that is finished."""

    name: str
    cached: bool = Field(description="Answered from disk.")
    seconds: Seconds


class JobResult(BaseModel):
    """Where a succeeded job's result is."""

    kind: Literal["scene", "shot"]
    scene: str | None = Field(description="Id of the scene.")
    path: str | None = Field(description="Its folder, for a client on the same machine.")
    content_hash: str | None = Field(default=None, description="Of the scene.")


class JobStatus(BaseModel):
    """A job."""

    id: str
    number: int = Field(description="Jobs run in this order.")
    kind: str
    state: State
    stage: str | None = Field(description="depth, scene, render, generate, exr or models")
    fraction: float | None = Field(ge=0, le=1)
    eta_s: Seconds | None
    message: str = Field(description="What goes on, for people.")
    preview_url: str | None
    problem: Problem | None
    attempt: int
    stages: list[StageStatus]
    result: JobResult | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    last_event: int


class JobRequestBack(BaseModel):
    """What a job was asked for."""

    request: dict[str, JsonValue] = Field(description="The body of its PUT, defaults filled in.")


class JobList(BaseModel):
    """Some jobs, in order."""

    jobs: list[JobStatus]
    next: int | None = Field(description="`after` of the next page; null at the end.")


class EventData(BaseModel):
    """The data of a server-sent event."""

    job: str
    state: State
    stage: str | None
    fraction: float | None
    eta_s: Seconds | None
    message: str
    preview_url: str | None
    problem: Problem | None


class Health(BaseModel):
    """Whether the sidecar can work."""

    status: Literal["starting", "ready", "busy", "failed"]
    detail: str
    version: str
    api: int


class Shortage(BaseModel):
    """Something that a job needs and this machine lacks."""

    what: Literal["disk", "vram", "ram", "engine", "estimator"]
    needed_bytes: int | None
    free_bytes: int | None
    message: str
    choices: list[str] = Field(description="What would fit.")


class Preflight(BaseModel):
    """Whether a job fits this machine."""

    fits: bool
    shortages: list[Shortage]


class EngineStatus(BaseModel):
    """A generator."""

    name: str
    summary: str
    licence: str
    available: bool
    missing: list[str] = Field(description="What this machine lacks, one sentence each.")
    packages: list[str]
    models: list[str]
    quality_models: dict[str, list[str]] = Field(description="Models that a quality needs beyond `models`.")
    qualities: list[str] = Field(description="What `quality` may say, the default first; empty: there is only one.")
    prompt: bool = Field(description="Whether it reads `prompt`.")
    seed: bool = Field(description="Whether it reads `seed`.")
    keep_source: bool = Field(description="Whether it knows `keep_source`.")
    setup: bool = Field(description="Whether it reads `model_dir`, `memory`, `attention`, `cache` and `steps`.")


class ModelStatus(BaseModel):
    """Weights that an engine or an estimator needs."""

    name: str
    title: str = Field(description="For people.")
    size_bytes: int
    left_bytes: int = Field(description="What a download would still bring; 0 of what is ready.")
    licence: str = Field(description="An SPDX identifier, or the licence's name.")
    commercial: bool = Field(description="Whether the licence allows commercial work.")
    where: str = Field(description="Where it comes from.")
    folder: str = Field(description="Where it goes, or is, on the sidecar's machine.")
    state: Literal["absent", "downloading", "incomplete", "ready"]


class EstimatorStatus(BaseModel):
    """A depth estimator."""

    name: str
    summary: str
    licence: str = Field(description="Of code and weights.")
    commercial: bool = Field(description="Whether it allows commercial work.")
    ready: bool
    missing: list[str] = Field(description="What this machine lacks, one sentence each.")
    is_default: bool = Field(description="Whether it is the one of jobs that name none and give no depth.")
    packages: list[str]
    models: list[str]
    download_bytes: int = Field(description="What its models take to download.")
    folder: bool = Field(description="Whether it needs `depth_model_dir`, a folder of the user's.")
    device: Literal["CPU", "CPU or GPU", "GPU"] = Field(description="What it is meant to run on.")
    units: Literal["metric", "relative", "as given"] = Field(description="Of the depth.")
    per_frame: bool = Field(description="Whether it looks at single frames, whose depth is then made steady.")
    intrinsics: bool = Field(description="Whether it tells the lens.")
    poses: bool = Field(description="Whether it tells the camera's path.")
    parity: Literal["own", "library", "tested", "untested"] = Field(
        description="Own method; the library's own code; compared with the official code's numbers, or not yet."
    )


class Device(BaseModel):
    """Something that runs stages."""

    name: str
    total_bytes: int | None = Field(description="VRAM; null for a CPU.")
    free_bytes: int | None
    worker: Literal["starting", "idle", "busy", "failed"]


class Disk(BaseModel):
    """The disk of the data folder."""

    free_bytes: int
    cache_bytes: int
    cache_limit_bytes: int


class Capabilities(BaseModel):
    """What this sidecar can do on this machine."""

    version: str
    api: int
    job_kinds: list[str]
    methods: list[str]
    passes: list[str]
    engines: list[EngineStatus]
    depth_estimators: list[EstimatorStatus]
    devices: list[Device]
    disk: Disk
    models: list[ModelStatus] = Field(description="Weights that this sidecar knows.")
    upload_piece_bytes: int = Field(description="Largest piece of an upload.")
    upload_bytes: int = Field(description="Largest upload.")


def canonical(request: BaseModel) -> dict[str, Any]:
    """The form in which a request is stored and compared with a repetition."""
    return request.model_dump(mode="json", by_alias=True)
