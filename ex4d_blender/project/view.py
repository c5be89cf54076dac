# SPDX-License-Identifier: GPL-3.0-or-later
"""The view transform: under *Standard* the plate is shown as it was filmed, under Filmic through its inverse.

The scene's view is never changed unasked; the operators here are the offers.
"""

import bpy

from ..errors import SaysErrors, UserError
from ..placed import FOOTAGE_ID, ROLE, Placed, all_placed
from ..said_once import unsaid
from ..translation import translated

STANDARD, FILMIC = "Standard", "Filmic"
PLATE_SPACES = {STANDARD: "sRGB", FILMIC: "Filmic sRGB"}
"""View transform -> the colour space under which a plate comes out as it was."""
PLATE_IMAGE = "plate"
"""Role of the images that hold the plate."""


def plates(placed: Placed) -> list[bpy.types.Image]:
    """The images that show the plate."""
    return [i for i in bpy.data.images if i.get(FOOTAGE_ID) == placed.id and i.get(ROLE) == PLATE_IMAGE]


def plain(scene: bpy.types.Scene) -> bool:
    """Whether nothing grades the view on top of its transform."""
    view = scene.view_settings
    return view.look in ("None", "") and view.exposure == 0 and view.gamma == 1 and not view.use_curve_mapping


def exact(scene: bpy.types.Scene, placed: Placed) -> bool:
    """Whether the plate is shown as it was filmed."""
    space = PLATE_SPACES.get(scene.view_settings.view_transform)
    return space is not None and plain(scene) and all(i.colorspace_settings.name == space for i in plates(placed))


def fit_plates(scene: bpy.types.Scene, placed: Placed) -> None:
    """Give the plate's images the colour space that fits the scene's view; sRGB where none does.

    Raises:
        UserError: this Blender's colour configuration lacks it.
    """
    space = PLATE_SPACES.get(scene.view_settings.view_transform, PLATE_SPACES[STANDARD])
    for image in plates(placed):
        if image.library is None:
            _set(image.colorspace_settings, "name", space)
            # The background in the camera view must go through the same transform, else it shows the inverse alone.
            image.use_view_as_render = space != PLATE_SPACES[STANDARD]


def set_standard(scene: bpy.types.Scene) -> None:
    """*Set View to Standard*, for the scene and all footage in it.

    Raises:
        UserError: this Blender's colour configuration has no such view.
    """
    view = scene.view_settings
    _set(view, "view_transform", STANDARD)
    _set(view, "look", "None")
    view.exposure, view.gamma, view.use_curve_mapping = 0.0, 1.0, False
    for placed in all_placed(scene):
        fit_plates(scene, placed)


def _set(settings: object, name: str, value: str) -> None:
    try:
        setattr(settings, name, value)
    except TypeError:
        raise UserError(
            "This Blender's colour configuration has no {value!r}: start Blender without an OCIO of your own.",
            value=value,
        ) from None


def told(scene: bpy.types.Scene, placed: Placed) -> str:
    """What to say once in a scene, when footage was placed; empty where the plate is exact."""
    if exact(scene, placed) or not unsaid(scene, scene.view_settings.view_transform):
        return ""
    return translated(
        "The view transform {view} changes the footage's colours: Set View to Standard shows them as filmed",
        view=scene.view_settings.view_transform,
    )


class SetViewStandard(SaysErrors, bpy.types.Operator):
    """Set View to Standard."""

    bl_idname = "ex4d.set_view_standard"
    bl_label = "Set View to Standard"
    bl_description = "Show and render the scene without a film look, so that the footage's colours are as filmed"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `set_standard`."""
        set_standard(context.scene)


class FitPlate(SaysErrors, bpy.types.Operator):
    """Fit Plate to View."""

    bl_idname = "ex4d.fit_plate"
    bl_label = "Fit Plate to View"
    bl_description = "Give the plate the colour space that undoes the scene's view transform (Filmic)"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `fit_plates`."""
        for placed in all_placed(context.scene):
            fit_plates(context.scene, placed)


register, unregister = bpy.utils.register_classes_factory((SetViewStandard, FitPlate))
