"""The weights that engines load: what they are, what they cost, and whether they are whole on this machine.

Told without torch and without huggingface_hub; `model_download` fetches, verifies and removes them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.model_store import Record, is_downloading, places, read_record, repository, snapshot

State = Literal["absent", "downloading", "incomplete", "ready"]
Part = Literal["base", "transformer", "adapter", "distilled", "preview"]


@dataclass(frozen=True)
class Model:
    """Weights that are downloaded and removed as one."""

    name: str
    """For commands and requests."""
    title: str
    """For people."""
    hub_id: str
    """Owner and name on huggingface.co."""
    revision: str
    """Commit hash; empty where none could be established: the first download's is kept to (`model_store.Record`)."""
    patterns: tuple[str, ...]
    """Which files of the repository, as in `fnmatch`."""
    bytes: int
    """Of the download."""
    licence: str
    """SPDX identifier, or what is known."""
    commercial: bool
    """Whether the licence is known to allow commercial work; else it has to be accepted."""
    engines: tuple[str, ...]
    part: Part = "base"
    """Models of one engine with the same part take each other's place; the first is the default."""
    optional: bool = False
    """The engine runs without it."""
    approximate: bool = False
    """`bytes` is an estimate, from counts of parameters."""
    sha256: dict[str, str] = field(default_factory=dict[str, str], hash=False)
    """Hashes of files, where they are known from elsewhere than the hub that serves them."""

    @property
    def where(self) -> str:
        """The page that tells more about it."""
        return f"https://huggingface.co/{self.hub_id}"

    def holds(self, path: str) -> bool:
        """Whether a file of the repository belongs to it."""
        return any(fnmatch(path, pattern) for pattern in self.patterns)


_I2V, _I2V_REVISION = "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers", "b184e23a8a16b20f108f727c902e769e873ffc73"
_GGUF, _GGUF_REVISION = "city96/Wan2.1-I2V-14B-480P-gguf", "5a9ff59cf29e06024c25933ae48c1c6d418325e9"
_PIPELINE = ("model_index.json", "scheduler/*", "text_encoder/*", "tokenizer/*", "vae/*")

# The revisions are those that independent public projects pin. Sizes: the whole of Wan2.1-I2V is 90,104,322,037 bytes,
# of which 16.395 G float32 parameters are the transformer; files of one piece are exact.
CATALOGUE = (
    Model(
        name="wan2.1-i2v-14b-480p",
        title="Wan2.1 I2V 14B 480P: text and image encoders, VAE",
        hub_id=_I2V,
        revision=_I2V_REVISION,
        patterns=(*_PIPELINE, "image_encoder/*", "image_processor/*", "transformer/config.json"),
        bytes=24_520_000_000,
        licence="Apache-2.0",
        commercial=True,
        engines=("ex4d",),
        approximate=True,
    ),
    Model(
        name="wan2.1-i2v-14b-480p-transformer",
        title="Wan2.1 I2V 14B 480P: transformer, full precision",
        hub_id=_I2V,
        revision=_I2V_REVISION,
        patterns=("transformer/diffusion_pytorch_model*",),
        bytes=65_580_000_000,
        licence="Apache-2.0",
        commercial=True,
        engines=("ex4d",),
        part="transformer",
        approximate=True,
    ),
    Model(
        name="wan2.1-i2v-14b-480p-q8",
        title="Wan2.1 I2V 14B 480P: transformer, GGUF 8 bits",
        hub_id=_GGUF,
        revision=_GGUF_REVISION,
        patterns=("wan2.1-i2v-14b-480p-Q8_0.gguf",),
        bytes=18_144_640_384,
        licence="Apache-2.0",
        commercial=True,
        engines=("ex4d",),
        part="transformer",
        approximate=True,  # that of the 720P model of the same shape
    ),
    Model(
        name="wan2.1-i2v-14b-480p-q4",
        title="Wan2.1 I2V 14B 480P: transformer, GGUF 4 bits",
        hub_id=_GGUF,
        revision=_GGUF_REVISION,
        patterns=("wan2.1-i2v-14b-480p-Q4_K_M.gguf",),
        bytes=11_341_184_384,
        licence="Apache-2.0",
        commercial=True,
        engines=("ex4d",),
        part="transformer",
        sha256={"wan2.1-i2v-14b-480p-Q4_K_M.gguf": "d91f7139acadb42ea05cdf97b311e5099f714f11fbe4d90916500e2f53cbba82"},
    ),
    Model(
        name="ex4d-lora",
        title="EX-4D: LoRA and geometry encoder",
        hub_id="yihouxiang/EX-4D",
        revision="",
        patterns=("ex4d.ckpt",),
        bytes=400_000_000,
        licence="none stated for the weights (code: Apache-2.0)",
        commercial=False,
        engines=("ex4d",),
        part="adapter",
        approximate=True,
    ),
    Model(
        name="wan2.1-i2v-4step-lora",
        title="LightX2V: step-distilled LoRA for the quality fast",
        hub_id="lightx2v/Wan2.1-Distill-Loras",
        revision="27ae38da91014b947dd39cc3fa78b97cd7b386dd",
        patterns=("wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors",),
        bytes=739_472_104,
        licence="Apache-2.0",
        commercial=True,
        engines=("ex4d",),
        part="distilled",
        optional=True,
        sha256={
            "wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors": (
                "8833bd4fd7c8eabebf0bc8ee5cfaf47f4f310ce116928a02c1adf8941dd4b0f1"
            )
        },
    ),
    Model(
        name="wan2.1-vace-1.3b",
        title="Wan2.1 VACE 1.3B",
        hub_id="Wan-AI/Wan2.1-VACE-1.3B-diffusers",
        revision="ec4d2cb062b548996b179d493fdd05340de702a1",
        patterns=(*_PIPELINE, "transformer/*"),
        bytes=19_040_000_000,
        licence="Apache-2.0",
        commercial=True,
        engines=("vace-1.3b",),
        approximate=True,
    ),
    Model(
        name="wan2.1-vace-14b",
        title="Wan2.1 VACE 14B",
        hub_id="Wan-AI/Wan2.1-VACE-14B-diffusers",
        revision="db79b90c60bbb45ceec9e41b9d5a4df934538ac4",
        patterns=(*_PIPELINE, "transformer/*"),
        bytes=75_100_000_000,
        licence="Apache-2.0",
        commercial=True,
        engines=("vace-14b",),
        approximate=True,
    ),
    Model(
        name="taew2.1",
        title="TAEHV for Wan2.1: small decoder for previews",
        hub_id="ionden/taew2.1",  # the same bytes as madebyollin/taehv, which is on GitHub only
        revision="2ac5ae1c3291a8607a2d6c423b9a0337cef45f2b",
        patterns=("taew2_1.safetensors",),
        bytes=22_642_902,
        licence="MIT",
        commercial=True,
        engines=("ex4d", "vace-1.3b", "vace-14b"),
        part="preview",
        optional=True,
        sha256={"taew2_1.safetensors": "04766eac0221b5390b985ae3fdcca652cbb4b1e8b82b28ea7ff89dfad1b1a93f"},
    ),
)
"""All that there is to download."""


def known_model(name: str) -> Model:
    """The model of that name.

    Raises:
        InputError: there is none.
    """
    found = next((model for model in CATALOGUE if model.name == name), None)
    if found is None:
        raise InputError(f"There is no model {name!r}: choose one of {', '.join(m.name for m in CATALOGUE)}.")
    return found


def needed(engine: str) -> tuple[Model, ...]:
    """The models that an engine cannot do without; of those that take each other's place, one that is ready or else
    the default."""
    of_engine = [model for model in CATALOGUE if engine in model.engines and not model.optional]
    parts = list(dict.fromkeys(model.part for model in of_engine))
    alternatives = [[model for model in of_engine if model.part == part] for part in parts]
    return tuple(next((m for m in same if state(m) == "ready"), same[0]) for same in alternatives)


def folders(engine: str) -> list[Path]:
    """Where the models of an engine lie that are ready, each folder once; see `model_files.find_files`."""
    found = [location(model) for model in CATALOGUE if engine in model.engines]
    return list(dict.fromkeys(folder for folder in found if folder is not None))


def require(engine: str) -> list[Path]:
    """As `folders`, of an engine that can run.

    Raises:
        MissingDependencyError: a model that it needs is not there; the sentence names the command and the gigabytes.
    """
    lacking = [model for model in needed(engine) if state(model) != "ready"]
    if len(lacking) == 1:
        raise MissingDependencyError(absence(lacking[0]))
    if lacking:
        accept = "" if all(model.commercial for model in lacking) else " --accept"
        raise MissingDependencyError(
            f"{len(lacking)} models of the engine {engine} are not on this machine: run `ex4d models download {engine}"
            f"{accept}` ({gigabytes(sum(model.bytes for model in lacking))})."
        )
    return folders(engine)


def absences(engine: str) -> tuple[str, ...]:
    """What an engine lacks of its models, a sentence each."""
    return tuple(absence(model) for model in needed(engine) if state(model) != "ready")


def absence(model: Model) -> str:
    """What to say where a model is not there."""
    accept = "" if model.commercial else " --accept"
    return (
        f"The model {model.name} is not on this machine: run `ex4d models download {model.name}{accept}` "
        f"({gigabytes(model.bytes)})."
    )


def state(model: Model, folder: Path | None = None) -> State:
    """How much of a model is on this machine.

    Args:
        model: one of the catalogue.
        folder: look only there; default: in all `places`.
    """
    if location(model, folder) is not None:
        return "ready"
    if is_downloading(model.name):
        return "downloading"
    return "incomplete" if any(_begun(model, cache) for cache in places(model.name, folder)) else "absent"


def location(model: Model, folder: Path | None = None) -> Path | None:
    """The folder that holds all files of a model; None where there is none.

    Args:
        model: one of the catalogue.
        folder: look only there; default: in all `places`.
    """
    record = read_record(model.name)
    for cache in places(model.name, folder):
        found = snapshot(cache, model.hub_id, revision_of(model))
        if found is not None and _is_whole(model, found, record):
            return found
    return None


def bytes_left(model: Model) -> int:
    """What a download of a model would still bring, and take on disk; an estimate before it has begun."""
    if state(model) == "ready":
        return 0
    record, folder = read_record(model.name), repository(places(model.name)[0], model.hub_id)
    if record is None or not record.files:
        return model.bytes
    here = 0
    for path, facts in record.files.items():
        blob = folder / "blobs" / facts.blob
        found = (folder / "snapshots" / record.revision / path, blob, blob.with_name(f"{blob.name}.incomplete"))
        here += next((size for file in found if (size := _size(file)) >= 0), 0)
    return max(sum(facts.bytes for facts in record.files.values()) - here, 0)


def revision_of(model: Model) -> str:
    """The commit that a model is kept to; empty before the first download of one without a pinned commit."""
    record = read_record(model.name)
    return model.revision or (record.revision if record is not None else "")


def gigabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"


def _is_whole(model: Model, folder: Path, record: Record | None) -> bool:
    if record is not None and record.files and record.revision == folder.name:
        return all(_size(folder / path) == facts.bytes for path, facts in record.files.items())
    # Somebody else's download: nobody told us its files, but a list of shards names the large ones.
    for pattern in model.patterns:
        if not any(_size(path) >= 0 for path in folder.glob(pattern)):
            return False
    return all(_size(index.parent / shard) >= 0 for index in _indices(model, folder) for shard in _shards(index))


def _begun(model: Model, cache: Path) -> bool:
    """Whether a cache holds some of a model."""
    record = read_record(model.name)
    found = snapshot(cache, model.hub_id, revision_of(model))
    if found is not None and any(_size(path) >= 0 for pattern in model.patterns for path in found.glob(pattern)):
        return True
    blobs = repository(cache, model.hub_id) / "blobs"
    return record is not None and any(any(blobs.glob(f"{facts.blob}*")) for facts in record.files.values())


def _indices(model: Model, folder: Path) -> list[Path]:
    found = folder.rglob("*.safetensors.index.json")
    return [path for path in found if model.holds(path.relative_to(folder).as_posix())]


def _shards(index: Path) -> set[str]:
    try:
        return set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError):
        return {"unreadable list of shards"}  # a file that is not there


def _size(path: Path) -> int:
    """Of a file or what a link leads to; -1 where there is none."""
    try:
        return path.stat().st_size if path.is_file() else -1
    except OSError:
        return -1
