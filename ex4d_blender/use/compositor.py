# SPDX-License-Identifier: GPL-3.0-or-later
"""Accept a take as Compositor: one node group with the picture, what is seen and invented in it, and its depth.

The group goes into the tree that the scene has; what the artist links to it stays linked when the take changes. Inside
are Image nodes, which the take changes, and what makes them fit the frame and the Blender scene, which stays.
"""

from pathlib import Path

import bpy

from .. import placed as footage
from ..errors import UserError
from ..project.paths import stored
from ..shots import Shot
from ..takes.folder import TakeFacts
from ..translation import translated
from ..versions import compositor, fcurves
from . import marks

USE = "COMPOSITOR"
OUTPUTS = (("Image", "Color"), ("Mask", "Float"), ("Invented", "Float"), ("Depth", "Float"))
"""Mask: 1 where the footage saw it, Invented: where it did not; Depth: as Blender's own Depth pass, in its units."""
FAR = 1e10
"""What Blender's own Depth pass has where there is nothing."""
_ROLE = "ex4d_role"
"""On the nodes in the group that a take changes."""
_PICTURE, _MASK = "picture", "mask"
_FITS = ("Fit Image", "Fit Mask", "Fit Depth")
_UNITS = "Depth to Blender Units"


def accept(context: bpy.types.Context, shot: Shot, facts: TakeFacts) -> str | None:
    """Bring a take into the scene's compositor; where its shot is there already, only what is shown changes.

    Returns:
        What the artist should know: that the take lacks something, or why the scene does not show it.

    Raises:
        UserError: a picture of the take is missing or damaged, or the scene's compositor belongs to another file.
    """
    camera = marks.required_camera(shot)
    _require(facts)
    scene = context.scene
    told = [compositor.told_of_switching(scene)]
    tree, is_new = compositor.ensure_tree(scene)
    placed = marks.filmed_by(scene, facts, camera) or footage.of_camera(scene, camera)
    node = node_of(tree, shot.key)
    group = find(shot.key) if node is None else node.node_tree
    if group is None:
        group = _new_group(f"EX-4D Take {shot.name}", camera)
        _measure(group, placed)
    else:
        _look_through(group, camera, placed)
    has_depth = _show(group, facts)
    marks.mark(group, USE, shot.key, facts)
    node = node or _insert(tree, group)
    target = compositor.output(tree)
    shown = node.outputs.get("Image")
    if shown is not None and (is_new or not target.is_linked):  # the artist may have removed the output
        tree.links.new(shown, target)
    if target.is_linked and not compositor.feeds(node, target):
        told.append(
            translated(
                "The compositor's output shows something else: link {take} to where you want it", take=group.name
            )
        )
    if not has_depth:
        told.append(translated("The take has no EXR files with depth, which Z Combine needs"))
    return ". ".join(filter(None, told)) or None


def replace(shot: str, facts: TakeFacts) -> int:
    """Let the groups of a shot, by its key, show another take; what is linked to them stays linked.

    Returns:
        How many groups.

    Raises:
        UserError: as `accept`.
    """
    groups = marks.marked(bpy.data.node_groups, USE, shot)
    if groups:
        _require(facts)
    for group in groups:
        _show(group, facts)
        marks.mark(group, USE, shot, facts)
    return len(groups)


def find(shot: str) -> bpy.types.NodeTree | None:
    """The group of a shot, by its key."""
    return next(iter(marks.marked(bpy.data.node_groups, USE, shot)), None)


def _require(facts: TakeFacts) -> None:
    facts.require_files()
    if not facts.has_exr:
        facts.require_mask()


def node_of(tree: bpy.types.NodeTree, shot: str) -> bpy.types.Node | None:
    """The node in a compositor tree that holds a group of the shot, by its key, or a copy of one."""
    groups = marks.marked(bpy.data.node_groups, USE, shot)
    return next((node for node in tree.nodes if getattr(node, "node_tree", None) in groups), None)


def _insert(tree: bpy.types.NodeTree, group: bpy.types.NodeTree) -> bpy.types.Node:
    lowest = min((node.location.y for node in tree.nodes), default=0.0)
    left = min((node.location.x for node in tree.nodes), default=0.0)
    place = (left, lowest - 350.0) if len(tree.nodes) > 1 else (left - 400.0, lowest)  # left of an output alone
    node = tree.nodes.new("CompositorNodeGroup")
    node.node_tree, node.location, node.width = group, place, 240.0
    return node


def _new_group(name: str, camera: bpy.types.Object) -> bpy.types.NodeTree:
    """The part that stays: fitting, scaling of depth, outputs; without pictures."""
    tree = bpy.data.node_groups.new(name, "CompositorNodeTree")
    for socket, kind in OUTPUTS:
        tree.interface.new_socket(socket, in_out="OUTPUT", socket_type=f"NodeSocket{kind}")
    end = tree.nodes.new("NodeGroupOutput")
    end.location = (700.0, 0.0)
    fits = {}
    for row, fit in enumerate(_FITS):
        node = compositor.transform(tree, smooth=fit != "Fit Depth")  # between the depths of two surfaces is nothing
        node.name = node.label = fit
        node.location = (150.0, -250.0 * row)
        fits[fit.removeprefix("Fit ")] = node.outputs[0]
        _drive_size(node.inputs["Scale"], camera)
    scale, invert = compositor.math(tree, "MULTIPLY"), compositor.math(tree, "SUBTRACT")
    scale.name = scale.label = _UNITS
    invert.name = invert.label = "Invented"
    scale.location, invert.location = (450.0, -500.0), (450.0, -250.0)
    invert.inputs[0].default_value = 1.0
    for feed, socket in (
        (fits["Image"], end.inputs["Image"]),
        (fits["Mask"], end.inputs["Mask"]),
        (fits["Mask"], invert.inputs[1]),
        (invert.outputs[0], end.inputs["Invented"]),
        (fits["Depth"], scale.inputs[0]),
        (scale.outputs[0], end.inputs["Depth"]),
    ):
        tree.links.new(feed, socket)
    return tree


def _size(facts: TakeFacts) -> str | None:
    """How large a pixel of a take is in the render: the frame without overscan fills what the camera sees.

    `x`, `y`, `percent` are the scene's resolution, `ax`, `ay` its pixel aspect, `fit` the camera's sensor fit (0 Auto,
    1 Horizontal, 2 Vertical); docs/blender/shots.md has the formulas of the camera.
    """

    def span(width: object, height: object) -> str:
        return f"({width} if fit == 1 or (fit == 0 and {width} * ax >= {height} * ay) else {height} * ay / ax)"

    return f"percent / 100 * {span('x', 'y')} / {span(*facts.frame_size)}"


def _drive_size(socket: bpy.types.NodeSocket, camera: bpy.types.Object) -> None:
    driver = socket.driver_add("default_value").driver
    settings = {"x": "resolution_x", "y": "resolution_y", "percent": "resolution_percentage"}
    for name, setting in (settings | {"ax": "pixel_aspect_x", "ay": "pixel_aspect_y"}).items():
        variable = driver.variables.new()
        variable.name, variable.type = name, "CONTEXT_PROP"
        target = variable.targets[0]  # the scene that is rendered: an appended group does not drag another along
        target.context_property, target.data_path = "ACTIVE_SCENE", f"render.{setting}"
        target.use_fallback_value, target.fallback_value = True, 1.0
    variable = driver.variables.new()
    variable.name, variable.type = "fit", "SINGLE_PROP"
    variable.targets[0].id, variable.targets[0].data_path = camera, "data.sensor_fit"


def _measure(group: bpy.types.NodeTree, placed: footage.Placed | None) -> None:
    """Drive the factor from scene units to Blender's by the empty's size in the world."""
    socket = group.nodes[_UNITS].inputs[1]
    socket.default_value = 1.0
    if placed is None:
        return
    driver = socket.driver_add("default_value").driver
    variable = driver.variables.new()
    variable.name, variable.type = "scale", "TRANSFORMS"
    target = variable.targets[0]
    target.id, target.transform_type, target.transform_space = placed.empty, "SCALE_AVG", "WORLD_SPACE"
    driver.expression = "scale"


def _look_through(group: bpy.types.NodeTree, camera: bpy.types.Object, placed: footage.Placed | None) -> None:
    """Let the drivers that the artist has left ask this camera and this footage: the shot may have had others."""
    asked = {"fit": camera, "scale": placed.empty if placed else None}
    for curve in fcurves.drivers(group):
        for variable in curve.driver.variables:
            if asked.get(variable.name) is not None:
                variable.targets[0].id = asked[variable.name]


def _show(group: bpy.types.NodeTree, facts: TakeFacts) -> bool:
    """Put a take's pictures into the group's Image nodes, these in where there are none; whether there is depth."""
    for curve in fcurves.drivers(group):
        if any(f'"{fit}"' in curve.data_path for fit in _FITS):  # one that the artist has removed stays away
            curve.driver.expression = _size(facts)
    picture = _image_node(group, _PICTURE, 0)
    _load(picture, facts.exr(0) if facts.has_exr else facts.png(0), facts, "" if facts.has_exr else "sRGB")
    mask = _image_node(group, _MASK, 1) if not facts.has_exr else _taken_out(group, _MASK)
    if mask is not None:
        _load(mask, facts.mask, facts, None)
    feeds = {
        "Fit Image": picture.outputs[0],
        "Fit Mask": picture.outputs.get("mask") if mask is None else mask.outputs[0],
        "Fit Depth": picture.outputs.get("depth"),
    }
    for name, feed in feeds.items():
        node = group.nodes.get(name)
        if node is None:
            continue
        socket = node.inputs["Image"]
        if feed is None:
            for link in socket.links:
                group.links.remove(link)
            socket.default_value = (FAR,) * 3 + (1.0,)
        elif not socket.is_linked or socket.links[0].from_node.get(_ROLE):
            group.links.new(feed, socket)
    return feeds["Fit Depth"] is not None


def _image_node(group: bpy.types.NodeTree, role: str, row: int) -> bpy.types.Node:
    for node in group.nodes:
        if node.get(_ROLE) == role:
            return node
    node = group.nodes.new("CompositorNodeImage")
    node[_ROLE], node.name, node.label = role, f"Take {role.capitalize()}", f"Take {role.capitalize()}"
    node.location = (-250.0, -350.0 * row)
    return node


def _taken_out(group: bpy.types.NodeTree, role: str) -> None:
    for node in [node for node in group.nodes if node.get(_ROLE) == role]:
        image = node.image
        group.nodes.remove(node)
        _forget(image)


def _load(node: bpy.types.Node, path: Path, facts: TakeFacts, space: str | None) -> None:
    """Let an Image node show a file of the take on the take's frames; `space` None are numbers, empty is the file's."""
    before = node.image
    try:
        image = bpy.data.images.load(str(path), check_existing=False)
    except RuntimeError:
        raise UserError("{path} cannot be read: generate the shot again, or choose another take.", path=path) from None
    image.name = f"{facts.name} {node.label}"
    if image.source != "MOVIE":
        image.source = "SEQUENCE"
    image.filepath_raw = stored(path)
    if space is None:
        image.colorspace_settings.is_data = True
    elif space:
        image.colorspace_settings.name = space
    node.image = image
    # Files count from 0, Blender's frames of a sequence from 1; those of a movie have no numbers.
    node.frame_start, node.frame_duration = facts.frame_start, facts.frames
    node.frame_offset = 0 if image.source == "MOVIE" else -1
    node.use_cyclic, node.use_auto_refresh = False, True
    _forget(before)


def _forget(image: bpy.types.Image | None) -> None:
    if image is not None and image.users == 0:
        bpy.data.images.remove(image)
