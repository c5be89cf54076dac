# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scene's shots are generated with. What an engine can do, the sidecar says; without one there is `draft`."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from .. import sidecar
from ..engine.models import absent_models, lacks_packages
from ..errors import UserError
from ..shots.properties import Shot
from ..wording import for_artists

MAX_SEED = 2**31 - 1
_DRAFT = {"name": "draft", "summary": "Previs in seconds, on any machine", "available": True}
_DEFAULT = "DEFAULT"
"""In a menu, where the settings have no name: Blender takes an item with an empty identifier for a heading."""
_listed: dict[str, list[tuple[str, str, str]]] = {}
"""Items of the menus as Blender last got them: it does not keep their texts alive itself."""


def engines() -> list[dict[str, Any]]:
    """The engines that the sidecar has, as its `capabilities` tell."""
    found = sidecar.connection().capabilities.get("engines")
    return [one for one in found if isinstance(one, dict) and "name" in one] if found else [_DRAFT]


def engine_facts(name: str) -> dict[str, Any]:
    """What the sidecar says of an engine; empty if it has none of that name."""
    return next((one for one in engines() if one["name"] == name), {})


def qualities(engine: str) -> list[str]:
    """The qualities that an engine names."""
    return [str(each) for each in engine_facts(engine).get("qualities") or ()]


@dataclass(frozen=True)
class Chosen:
    """What one take is generated with."""

    engine: str
    quality: str
    prompt: str
    seed: int
    keep_source: bool
    overscan: float
    """A share: 0.1 makes the picture 1.1 times as wide and high as the frame."""
    exr: bool
    background: bool
    """Whether the background that was seen at another time counts as seen."""

    @classmethod
    def of(cls, record: str) -> "Chosen":
        """The settings that a take or a wish keeps, see `record`; what is missing is as in a new scene.

        Raises:
            UserError: one is not what it should be, or a seed that Blender cannot hold.
        """
        known = json.loads(record)
        usual = cls("draft", quality="", prompt="", seed=0, keep_source=False, overscan=0.0, exr=True, background=True)
        found = {name: known[name] for name in asdict(usual) if name in known}
        for name, value in found.items():
            kind = type(getattr(usual, name))
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise UserError(
                    "The take's {name} is {value!r}, which cannot be: set up the shot by hand.", name=name, value=value
                )
        if not 0 <= found.get("seed", 0) <= MAX_SEED:
            raise UserError(
                "The take's seed {seed} is none that Blender can hold: set up the shot by hand, with one up to {most}.",
                seed=found["seed"],
                most=MAX_SEED,
            )
        return replace(usual, **found)

    def reads(self, what: str) -> bool:
        """Whether its engine reads the `prompt`, the `seed`, or can do `keep_source`."""
        return bool(engine_facts(self.engine).get(what, what != "keep_source"))

    def request(self) -> dict[str, Any]:
        """The fields of a job, without what its engine has no use for: then an earlier result is found again."""
        fields: dict[str, Any] = {"engine": self.engine}
        if self.exr:
            fields["exr"] = True
        if not self.background:
            fields["background"] = False
        if self.reads("prompt"):
            fields["prompt"] = self.prompt
        if self.reads("seed"):
            fields["seed"] = self.seed
        if self.quality in qualities(self.engine):
            fields["quality"] = self.quality
        if self.keep_source and self.reads("keep_source"):
            fields["keep_source"] = True
        return fields

    def record(self, shot: Shot) -> dict[str, Any]:
        """The settings that a take keeps; `size` is that of the shot's frame, pixels, without overscan."""
        handles = [shot.handle_before, shot.handle_after]
        return asdict(self) | {"handles": handles, "size": [shot.width, shot.height]}

    def check(self) -> None:
        """Require an engine that the sidecar has, and that can work. Raises: UserError."""
        found = engine_facts(self.engine)
        if not found:
            known = ", ".join(str(one["name"]) for one in engines())
            raise UserError(
                "The sidecar has no engine {engine!r}: choose one of {known}.", engine=self.engine, known=known
            )
        if not found.get("available", True) and found.get("missing"):
            raise _lack(found)
        if self.keep_source and not self.reads("keep_source"):
            raise UserError(
                "The engine {engine} cannot keep the source: leave Keep Source out, or choose another engine.",
                engine=self.engine,
            )
        if self.quality and self.quality not in qualities(self.engine):
            raise UserError(
                "The engine {engine} has no quality {quality!r}: leave it out, or choose another engine.",
                engine=self.engine,
                quality=self.quality,
            )


def _lack(engine: dict[str, Any]) -> UserError:
    """What an engine that cannot work lacks, of all its models in one sentence."""
    absent = absent_models(engine)
    wanted = [model for model in absent if model.state != "downloading"]
    if absent and not wanted and not lacks_packages(engine):
        return UserError(
            "The engine {engine} waits for {models}: that is being downloaded, see the Engine panel.",
            engine=engine["name"],
            models=", ".join(model.title for model in absent),
        )
    if len(wanted) < 2 or lacks_packages(engine):
        return UserError(for_artists(str(engine["missing"][0])))
    return UserError(
        "The engine {engine} lacks {count} models: download all of them, {size:.1f} GB.",
        engine=engine["name"],
        count=len(wanted),
        size=sum(model.left_bytes for model in wanted) / 1e9,
    )


def _menu(of: str, names: Callable[[bpy.types.PropertyGroup], list[tuple[str, str]]]) -> Any:
    """A menu for a text property: its items come and go with the sidecar, and what was chosen stays as it is."""

    def items(owner: bpy.types.PropertyGroup, _context: bpy.types.Context | None) -> list[tuple[str, str, str]]:
        found = names(owner)
        if getattr(owner, of) not in (name for name, _ in found):
            found.append((getattr(owner, of), "This sidecar does not have it"))
        _listed[of] = [(name or _DEFAULT, name or "Default", summary) for name, summary in found]
        return _listed[of]

    def get(owner: bpy.types.PropertyGroup) -> int:
        return [name for name, _, _ in items(owner, None)].index(getattr(owner, of) or _DEFAULT)

    def choose(owner: bpy.types.PropertyGroup, index: int) -> None:
        name = items(owner, None)[index][0]
        setattr(owner, of, "" if name == _DEFAULT else name)

    return EnumProperty(name=of.capitalize(), items=items, get=get, set=choose, options={"SKIP_SAVE"})


def _engine_names(_owner: bpy.types.PropertyGroup) -> list[tuple[str, str]]:
    return [(str(one["name"]), str(one.get("summary") or "")) for one in engines()]


def _quality_names(owner: bpy.types.PropertyGroup) -> list[tuple[str, str]]:
    return [("", "What the engine takes by itself"), *((name, "") for name in qualities(owner.engine))]


class EX4D_Generate(bpy.types.PropertyGroup):
    """Settings of a scene."""

    engine: StringProperty(name="Engine", description="What fills what the footage never showed", default="draft")
    engine_menu: _menu("engine", _engine_names)
    quality: StringProperty(name="Quality", description="Empty is what the engine takes by itself")
    quality_menu: _menu("quality", _quality_names)
    keep_source: BoolProperty(
        name="Keep Source", description="Put the pixels that the footage shows back over what the engine has made"
    )
    prompt: StringProperty(name="Prompt", description="What the picture shows, in a sentence or two")
    seed: IntProperty(name="Seed", description="Another number, another invention", min=0)
    overscan: FloatProperty(
        name="Overscan",
        description="How much wider and higher than the frame the picture is generated, for stabilizing and lens work",
        subtype="PERCENTAGE",
        min=0.0,
        max=100.0,
        soft_max=30.0,
        precision=0,
    )
    use_exr: BoolProperty(
        name="EXR",
        description="Also get linear 16-bit EXR images with mask and depth, for compositing",
        default=True,
    )
    use_background: BoolProperty(
        name="Background of Other Times",
        description="Show what moving things hide at the moment where the footage saw it at another time, instead of "
        "inventing it; needs a camera that stands still, or is solved or estimated",
        default=True,
    )


def chosen(scene: bpy.types.Scene, **instead: Any) -> Chosen:
    """What a scene's shots are generated with.

    Args:
        instead: fields of `Chosen` that are to be other than the scene has them.
    """
    kept = scene.ex4d_generate
    found = {
        "engine": kept.engine,
        "quality": kept.quality,
        "prompt": kept.prompt,
        "seed": kept.seed,
        "keep_source": kept.keep_source,
        "overscan": round(kept.overscan / 100, 6),
        "exr": kept.use_exr,
        "background": kept.use_background,
    } | instead
    if "quality" not in instead and found["quality"] not in qualities(found["engine"]):
        found["quality"] = ""  # of another engine
    made = Chosen(**found)
    if "keep_source" not in instead and not made.reads("keep_source"):
        made = replace(made, keep_source=False)  # likewise
    return made


def restore(scene: bpy.types.Scene, chosen: Chosen) -> None:
    """Give a scene the settings of a take."""
    kept = scene.ex4d_generate
    kept.engine, kept.quality, kept.prompt = chosen.engine, chosen.quality, chosen.prompt
    kept.seed, kept.keep_source = chosen.seed, chosen.keep_source
    kept.overscan, kept.use_exr, kept.use_background = chosen.overscan * 100, chosen.exr, chosen.background


_register_classes, _unregister_classes = bpy.utils.register_classes_factory((EX4D_Generate,))


def register() -> None:
    """Scenes get settings."""
    _register_classes()
    bpy.types.Scene.ex4d_generate = PointerProperty(type=EX4D_Generate)


def unregister() -> None:
    """See `register`; what files hold stays in them."""
    del bpy.types.Scene.ex4d_generate
    _unregister_classes()
