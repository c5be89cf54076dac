# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artist knows of footage that is to be imported: its depth, its lens, the camera that took it."""

from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, StringProperty

from .. import sidecar
from ..errors import UserError
from ..versions.path_options import BLEND_RELATIVE
from .source import Source, find_sources

_SUGGESTED = ("embedded",)


def _estimators(
    _operator: bpy.types.Operator, _context: bpy.types.Context, text: str
) -> list[str] | list[tuple[str, str]]:
    """Depth estimators that the sidecar offers, with what it says of them."""
    offered = sidecar.connection().capabilities.get("depth_estimators") or [{"name": name} for name in _SUGGESTED]
    pairs = [(str(one["name"]), str(one.get("summary") or "")) for one in offered if one.get("name") != "file"]
    return [(name, summary) for name, summary in pairs if text.lower() in name.lower()]


class Knowledge:
    """Properties of an operator that imports footage."""

    depth: EnumProperty(
        name="Depth",
        items=(
            ("ESTIMATE", "Estimate", "The sidecar estimates depth from the pictures"),
            ("FILES", "Files", "Depth that another program has made"),
        ),
        default="ESTIMATE",
    )
    estimator: StringProperty(
        name="Estimator",
        description="Which of the sidecar's depth estimators; empty takes the best that needs nothing more",
        search=_estimators,
        search_options={"SUGGESTION"},
    )
    model_folder: StringProperty(
        name="Model Folder",
        description="A folder with the estimator's weights or checkout, on the sidecar's machine; "
        "empty takes what was downloaded",
        subtype="DIR_PATH",
        options={"SKIP_SAVE", *BLEND_RELATIVE},
    )
    depth_path: StringProperty(
        name="Depth Files",
        description="EXR, PNG, NPZ, NPY or video: a file, a folder, or a name with ####",
        subtype="FILE_PATH",
        options={"SKIP_SAVE", *BLEND_RELATIVE},
    )
    depth_kind: EnumProperty(
        name="Depth Means",
        items=(
            ("relative", "Relative", "Depth up to a scale"),
            ("metric", "Metres", "Depth in metres"),
            ("disparity", "Disparity", "One divided by depth"),
            ("depthcrafter", "DepthCrafter", "Disparity from 0 to 1, made depth as EX-4D does"),
        ),
        default="relative",
    )
    depth_channel: StringProperty(
        name="Channel",
        description="Of EXR or NPZ files, the one with depth; empty takes the one that is called so",
        options={"SKIP_SAVE"},
    )
    use_depth_range: BoolProperty(
        name="Depth Range", description="Say what 0 and the largest integer mean", options={"SKIP_SAVE"}
    )
    depth_low: FloatProperty(name="Zero Means", options={"SKIP_SAVE"})
    depth_high: FloatProperty(name="Largest Means", default=1.0, options={"SKIP_SAVE"})
    use_sharpen: BoolProperty(
        name="Sharpen Edges",
        description="Put the edges of the depth where the colour has them, for depth that bleeds over silhouettes",
        options={"SKIP_SAVE"},
    )
    lens: EnumProperty(
        name="Lens",
        items=(
            ("UNKNOWN", "From the Footage", "From its metadata or the estimator; else a usual lens is assumed"),
            ("FOV", "Field of View", "Horizontal, in degrees"),
            ("MILLIMETERS", "Millimeters", "Focal length and width of the sensor"),
            ("PIXELS", "Pixels", "Focal length in pixels of the footage"),
        ),
        default="UNKNOWN",
    )
    fov: FloatProperty(name="Field of View", subtype="ANGLE", default=0.9, min=0.01, max=3.1)
    focal_mm: FloatProperty(name="Focal Length", subtype="DISTANCE_CAMERA", default=35.0, min=0.1, max=5000.0)
    sensor_mm: FloatProperty(
        name="Sensor Width",
        description="Along the longer side of the picture",
        subtype="DISTANCE_CAMERA",
        default=36.0,
        min=0.1,
        max=500.0,
    )
    focal_px: FloatProperty(name="Focal Length", default=1000.0, min=1.0, max=1e6)
    camera: EnumProperty(
        name="Camera",
        items=(
            ("STILL", "Stands Still", "On a tripod; if it evidently moves, that is said"),
            ("ESTIMATE", "Estimate", "The sidecar finds its path"),
            ("SOLVE", "Solve", "A trajectory or a COLMAP folder; for FBX and Alembic see Footage Camera"),
        ),
        default="STILL",
    )
    solve_path: StringProperty(
        name="Solve",
        description="A trajectory (.json, .npz), or the folder with COLMAP's cameras and images",
        subtype="FILE_PATH",
        options={"SKIP_SAVE", *BLEND_RELATIVE},
    )

    def draw_knowledge(self, layout: bpy.types.UILayout) -> None:
        """The properties, as far as they matter now."""
        layout.prop(self, "depth")
        if self.depth == "ESTIMATE":
            layout.prop(self, "estimator")
            if self.estimator not in ("", *_SUGGESTED):
                layout.prop(self, "model_folder")
        else:
            layout.prop(self, "depth_path")
            layout.prop(self, "depth_kind")
            layout.prop(self, "depth_channel")
            layout.prop(self, "use_sharpen")
            layout.prop(self, "use_depth_range")
            if self.use_depth_range:
                layout.prop(self, "depth_low")
                layout.prop(self, "depth_high")
        layout.prop(self, "lens")
        for name in {"FOV": ("fov",), "MILLIMETERS": ("focal_mm", "sensor_mm"), "PIXELS": ("focal_px",)}.get(
            self.lens, ()
        ):
            layout.prop(self, name)
        layout.prop(self, "camera")
        if self.camera == "SOLVE":
            layout.prop(self, "solve_path")

    def known(self) -> dict[str, Any]:
        """As an import job has it, without the files."""
        options: dict[str, Any] = {}
        if self.depth == "FILES":
            options["depth_kind"] = self.depth_kind
            if self.depth_channel:
                options["depth_channel"] = self.depth_channel
            if self.use_sharpen:
                options["sharpen"] = True
            if self.use_depth_range:
                options["depth_range"] = [self.depth_low, self.depth_high]
        elif self.estimator:
            options["estimator"] = self.estimator
            if self.model_folder:
                options["depth_model_dir"] = {"path": str(Path(bpy.path.abspath(self.model_folder)).absolute())}
        if self.lens == "FOV":
            options["fov_degrees"] = self.fov * 57.29577951308232
        elif self.lens == "MILLIMETERS":
            options |= {"focal_mm": self.focal_mm, "sensor_mm": self.sensor_mm}
        elif self.lens == "PIXELS":
            options["focal_px"] = self.focal_px
        if self.camera == "ESTIMATE":
            options["source_camera"] = "estimate"
        return options

    def depth_source(self, clips: int) -> Source | None:
        """The depth files, for one clip. Raises: UserError."""
        if self.depth == "ESTIMATE":
            return None
        if not self.depth_path:
            raise UserError("No depth files were given: choose them, or let the sidecar estimate depth.")
        if clips > 1:
            raise UserError("One set of depth files cannot fit {count} clips: import them one by one.", count=clips)
        path = Path(bpy.path.abspath(self.depth_path)).absolute()
        try:
            return find_sources([path], as_sequence=True)[0]
        except UserError as error:
            raise UserError(
                "There are no Depth Files at {path}: choose a file, a folder, or a name with ####.", path=path
            ) from error

    def solve_source(self, clips: int) -> Source | None:
        """The solve, for one clip. Raises: UserError."""
        if self.camera != "SOLVE":
            return None
        if not self.solve_path:
            raise UserError("No solve was given: choose its file or folder, or let the sidecar estimate the camera.")
        if clips > 1:
            raise UserError("One solve cannot fit {count} clips: import them one by one.", count=clips)
        path = Path(bpy.path.abspath(self.solve_path)).absolute()
        if not path.exists():
            raise UserError("There is no solve at {path}: choose a trajectory or a COLMAP folder.", path=path)
        try:
            return find_sources([path], as_sequence=False)[0]
        except UserError as error:
            raise UserError("There is no solve in {path}, it is empty: choose COLMAP's folder.", path=path) from error
