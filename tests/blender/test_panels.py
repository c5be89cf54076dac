"""Every panel and list draws in this version: names of properties, operators, icons and options are Blender's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
import pytest
from conftest import EXTENSION, module


class Layout:
    """Stands for a UILayout, which background mode has none of: refuses what Blender's own would not know."""

    def __init__(self, seen: list[str]) -> None:
        self.__dict__["seen"] = seen

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in bpy.types.UILayout.bl_rna.properties, f"no layout has {name}"
        self.__dict__[name] = value

    def __getattr__(self, name: str) -> Any:
        functions = bpy.types.UILayout.bl_rna.functions
        assert name in functions, f"no layout has {name}"
        known = {parameter.identifier: parameter for parameter in functions[name].parameters}

        def call(*given: Any, **options: Any) -> Any:
            values = dict(zip([key for key in known if not known[key].is_output], given, strict=False)) | options
            assert set(values) <= {*known, "text_ctxt", "translate"}, f"{name} has no {set(values) - set(known)}"
            if "icon" in values:
                assert values["icon"] in known["icon"].enum_items, f"there is no icon {values['icon']}"
            self.seen.append(str(values.get("text") or values.get("operator") or values.get("property") or name))
            return getattr(Layout, f"_{name}", Layout._other)(self, values)

        return call

    def _other(self, values: dict[str, Any]) -> Layout:
        return Layout(self.seen)

    def _prop(self, values: dict[str, Any]) -> None:
        data, name = values["data"], values["property"]
        if name.startswith("["):
            data.path_resolve(name)
        else:
            assert name in data.bl_rna.properties, f"{data!r} has no {name}"

    def _operator(self, values: dict[str, Any]) -> Any:
        group, name = values["operator"].split(".")
        kind = getattr(getattr(bpy.ops, group), name).get_rna_type()  # KeyError if unknown

        class Settings:
            def __setattr__(self, name: str, value: Any) -> None:
                assert name in kind.properties, f"{kind.identifier} has no {name}"

        return Settings()

    def _operator_menu_enum(self, values: dict[str, Any]) -> Any:
        settings = self._operator(values)
        setattr(settings, values["property"], "")
        return settings

    def _menu(self, values: dict[str, Any]) -> None:
        assert hasattr(bpy.types, values["menu"])

    def _template_list(self, values: dict[str, Any]) -> None:
        kind = getattr(bpy.types, values["listtype_name"])
        assert values["active_propname"] in values["active_dataptr"].bl_rna.properties
        for item in getattr(values["dataptr"], values["propname"]):
            kind.draw_item(None, context(), Layout(self.seen), None, item, 0, None, "")

    def _progress(self, values: dict[str, Any]) -> None:
        assert 0 <= values["factor"] <= 1


def context() -> Any:
    """The context in a viewport's sidebar."""
    area = next(area for screen in bpy.data.screens for area in screen.areas if area.type == "VIEW_3D")
    names = ("scene", "object", "view_layer", "window_manager", "mode")
    found = {name: getattr(bpy.context, name, None) for name in names}
    found["preferences"] = SimpleNamespace(system=SimpleNamespace(ui_scale=1.0))  # 0 without windows
    return SimpleNamespace(**found, area=area, space_data=area.spaces.active, region=SimpleNamespace(width=300))


def classes(kind: type) -> Iterator[Any]:
    """The extension's panels or menus."""
    found = [sub for sub in kind.__subclasses__() if sub.__module__.startswith(EXTENSION) and sub.is_registered]
    assert found
    return iter(sorted(found, key=lambda sub: getattr(sub, "bl_order", 0)))


def drawn() -> list[str]:
    """Draws all that is to be seen; the texts and names."""
    seen: list[str] = []
    for kind in (*classes(bpy.types.Panel), *classes(bpy.types.Menu)):
        if not hasattr(kind, "poll") or kind.poll(context()):
            seen.append(kind.bl_label)
            own = {name: value for name, value in vars(kind).items() if not name.startswith("__")}
            panel = type("Panel", (), own)()
            panel.layout = Layout(seen)
            panel.draw(context())
    return seen


def test_an_empty_file() -> None:
    seen = drawn()
    assert [name for name in ("Footage", "Shots", "Sidecar") if name in seen] == ["Footage", "Shots", "Sidecar"]
    assert "DW-Mesh" not in seen
    assert "Start Sidecar" in seen


def test_footage_and_a_shot(small_scene: Path) -> None:
    bpy.ops.ex4d.import_scene(directory=str(small_scene))
    assert {"DW-Mesh", "Footage in the Scene", "ex4d.set_source_time", "Make a shot to measure it"} <= set(drawn())
    bpy.ops.ex4d.new_shot(preset="ORBIT")
    shot = module("shots").active_shot(bpy.context.scene)
    bpy.context.scene.camera = shot.camera
    seen = drawn()
    assert {"name", "1 - 8", "Measure Coverage", "ex4d.export_trajectory"} <= set(seen)
    bpy.ops.ex4d.set_source_time()
    bpy.ops.ex4d.blend_to_source()
    bpy.context.scene.render.resolution_x = 999
    shot.camera.data.dof.use_dof = True
    module("placed").required(bpy.context).empty.scale = (1, 2, 1)
    bpy.context.view_layer.update()
    seen = drawn()
    assert {"Blend to Source", "ex4d.take_render_size", "ex4d.keep_scene", "ex4d.clear_source_time"} <= set(seen)
    assert "Depth of field, motion blur and stereo are ignored" in seen
    assert "one positive scale" in " ".join(seen)
    shot.camera.data.type = "ORTHO"
    assert "Only perspective cameras make shots" in drawn()


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "failed", "cancelled"])
def test_jobs_in_every_state(own_sidecar: Any, state: str) -> None:
    document = {"id": "clip-1", "number": 1, "kind": "import", "state": state, "fraction": 0.4, "eta_s": 90.0}
    document |= {"problem": {"detail": "The disk is full: free some."}} if state == "failed" else {}
    document |= {"result": {"kind": "scene", "content_hash": "a" * 64, "path": "/x"}} if state == "succeeded" else {}
    now = module("sidecar").connection()
    now.learn(document)
    wish = bpy.context.scene.ex4d_imports.add()
    wish.job, wish.name = "clip-1", "clip"
    for each in ("off", "starting", "ready", "lost", "failed"):
        now.state, now.message = each, "A sentence."
        assert "clip" in drawn()
    assert (state == "failed") == ("The disk is full: free some." in " ".join(drawn()))
    assert ("ex4d.retry_job" in drawn()) == (state in ("failed", "cancelled"))
    wish.job = "unknown"
    now.state = "ready"
    assert "ex4d.send_import" in drawn()


def test_names_that_blender_does_not_know_are_noticed() -> None:
    for wrong in (
        lambda layout: layout.label(text="x", icon="NO_SUCH_ICON"),
        lambda layout: layout.label(txt="x"),
        lambda layout: layout.prop(bpy.context.scene, "no_such_property"),
        lambda layout: layout.operator("ex4d.no_such_operator"),
        lambda layout: setattr(layout.operator("ex4d.cancel_job"), "jop", ""),
        lambda layout: layout.no_such_thing(),
    ):
        with pytest.raises((AssertionError, KeyError)):
            wrong(Layout([]))


CHANGING = (
    "import_scene import_footage place_import forget_import new_shot apply_move use_active_camera shots_from_markers",
    "duplicate_shot remove_shot move_shot solo_shot take_render_size blend_to_source match_scene keep_scene retime",
    "set_scale set_ground follow_camera release_camera relink move_beside set_view_standard fit_plate set_source_time",
    "clear_source_time keep_coverage generate generate_all keep_take take_job forget_take regenerate_take",
    "choose_engine halve_shot set_up_cg",
)


def operators() -> list[Any]:
    """Blender's description of each operator of the extension."""
    return [
        getattr(bpy.ops.ex4d, name).get_rna_type() for name in sorted(dir(bpy.ops.ex4d)) if not name.startswith("_")
    ]


def test_every_operator_has_a_title_and_a_tooltip() -> None:
    found = operators()
    assert len(found) > 40
    for kind in found:
        assert kind.name[0].isupper(), kind.identifier
        assert len(kind.description.split()) >= 3, f"{kind.identifier}: {kind.description!r}"
        assert not kind.description.endswith("."), f"{kind.identifier}: Blender adds the stop itself"
        for each in kind.properties:
            hidden = each.is_hidden or each.identifier in ("rna_type", "filepath", "directory", "files")
            assert hidden or each.name != each.identifier, f"{kind.identifier}.{each.identifier} has no name"


def test_what_changes_datablocks_can_be_undone() -> None:
    for line in CHANGING:
        for name in line.split():
            assert "UNDO" in options(name), name


def options(name: str) -> set[str]:
    """`bl_options` of an operator, by its name after `ex4d.`."""
    for kind in bpy.types.Operator.__subclasses__():
        if kind.__module__.startswith(EXTENSION) and kind.is_registered and kind.bl_idname == f"ex4d.{name}":
            return set(kind.bl_options)
    raise AssertionError(f"there is no operator {name}")


def test_several_dropped_clips_are_one_clear_choice() -> None:
    kind = next(
        sub for sub in bpy.types.Operator.__subclasses__() if getattr(sub, "bl_idname", "") == "ex4d.import_footage"
    )
    for depth in ("ESTIMATE", "FILES"):
        for lens in ("UNKNOWN", "FOV", "MILLIMETERS", "PIXELS"):
            seen: list[str] = []
            files = [SimpleNamespace(name=name) for name in ("a.mp4", "b.mov")]
            values = {"files": files, "filepath": "", "depth": depth, "lens": lens, "use_depth_range": True}
            values |= {"estimator": "", "camera": "STILL"}
            drawn = {name: getattr(kind, name) for name in ("draw", "draw_knowledge", "_only_images")}
            dialog = type("Dialog", (), {**drawn, **values})()
            dialog.bl_rna, dialog.layout = bpy.ops.ex4d.import_footage.get_rna_type(), Layout(seen)
            dialog.draw(context())
            assert seen[seen.index("Each clip becomes a scene of its own:") :][1:3] == ["a.mp4", "b.mov"]
            assert ("depth_path" in seen) == (depth == "FILES")
            assert ("focal_px" in seen) == (lens == "PIXELS")
