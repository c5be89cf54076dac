# SPDX-License-Identifier: GPL-3.0-or-later
"""The compositor stack of a CG set-up: plate times shadow, and CG over it. What the tree holds already stays.

The plate is the take that was accepted as Compositor, else the view layer *Plate*.
"""

from collections.abc import Callable
from functools import partial

import bpy

from ..shots import Shot
from ..use import compositor as takes
from ..versions import compositor
from ..versions.compositor import Layered, Socket
from .layers import CG, PLATE, SHADOW

_PART = "ex4d_cg"
"""On the nodes of a stack: the name of the view layer, or what the node does."""
_SHADE, _MULTIPLY, _OVER = "Only Shade", "Plate and Shadow", "CG over Plate"
PASS = "Shadow Catcher"
_PLACES = {
    PLATE: (0, 0),
    SHADOW: (0, -350),
    CG: (0, -700),
    _SHADE: (350, -350),
    _MULTIPLY: (600, 0),
    _OVER: (850, -150),
}


def build(scene: bpy.types.Scene, shot: Shot | None, *, shadow: bool) -> bool:
    """Bring the stack into a scene's compositor, or up to date there.

    Args:
        scene: has the view layers.
        shot: whose take is the plate, where one was accepted as Compositor.
        shadow: whether the view layer *Shadow* is rendered.

    Returns:
        Whether the output shows the stack; not where it shows something of the artist's own.

    Raises:
        UserError: the compositor belongs to another file.
    """
    tree, is_new = compositor.ensure_tree(scene)
    target = compositor.output(tree)
    over = _layered(tree, _OVER, compositor.alpha_over)
    product = _layered(tree, _MULTIPLY, partial(compositor.mix, how="MULTIPLY"))
    product.node.mute = not shadow
    if shadow:
        # The pass also holds light that CG throws on the plate: where no lamp shines it has no bounds, and sparkles.
        shade = _layered(tree, _SHADE, partial(compositor.mix, how="DARKEN"))
        shade.above.default_value = (1.0, 1.0, 1.0, 1.0)
        _feed(tree, _render_layer(tree, scene, SHADOW).outputs[PASS], shade.below)
        _feed(tree, shade.result, product.above)
    _feed(tree, _plate(tree, scene, shot), product.below)
    _feed(tree, product.result, over.below)
    _feed(tree, _render_layer(tree, scene, CG).outputs["Image"], over.above)
    if is_new or _is_ours_to_feed(target):
        tree.links.new(over.result, target)
        target.node.location.x = max(target.node.location.x, over.node.location.x + 250.0)  # links go to the right
    return compositor.source(target) == over.result


def _is_ours_to_feed(target: Socket) -> bool:
    """Whether the output shows nothing, or a view layer or take as it is: nothing that an artist has made."""
    source = compositor.source(target)
    if source is None:
        return True
    node = source.node
    return node.bl_idname == "CompositorNodeRLayers" or _is_take(node) or _PART in node


def _is_take(node: bpy.types.Node) -> bool:
    group = getattr(node, "node_tree", None)
    return group is not None and group.get(takes.marks.USE) == takes.USE


def _feed(tree: bpy.types.NodeTree, source: Socket, target: Socket) -> None:
    """Link, unless the artist has put something between."""
    before = compositor.source(target)
    if before is None or _PART in before.node or _is_take(before.node):
        tree.links.new(source, target)


def _plate(tree: bpy.types.NodeTree, scene: bpy.types.Scene, shot: Shot | None) -> Socket:
    node = takes.node_of(tree, shot.key) if shot is not None else None
    return (node or _render_layer(tree, scene, PLATE)).outputs["Image"]


def _render_layer(tree: bpy.types.NodeTree, scene: bpy.types.Scene, name: str) -> bpy.types.Node:
    node = _part(tree, name)
    if node is None:
        node = _mark(tree, tree.nodes.new("CompositorNodeRLayers"), name)
        node.scene = scene
    node.layer = name
    return node


def _layered(tree: bpy.types.NodeTree, part: str, make: Callable[[bpy.types.NodeTree], Layered]) -> Layered:
    node = _part(tree, part)
    if node is None:
        made = make(tree)
        _mark(tree, made.node, part)
        return made
    return compositor.layered(node)


def _part(tree: bpy.types.NodeTree, part: str) -> bpy.types.Node | None:
    return next((node for node in tree.nodes if node.get(_PART) == part), None)


def _mark(tree: bpy.types.NodeTree, node: bpy.types.Node, part: str) -> bpy.types.Node:
    """Note what a new node is for, and put it below what there is."""
    others = [each for each in tree.nodes if each != node and _PART not in each]
    own = [each for each in tree.nodes if _PART in each]
    x, y = _PLACES[part]
    if own:
        there = _PLACES[own[0][_PART]]
        corner = own[0].location.x - there[0], own[0].location.y - there[1]
    else:
        corner = (
            min((each.location.x for each in others), default=0.0),
            min((each.location.y for each in others), default=0.0) - 450.0,
        )
    node[_PART], node.location = part, (corner[0] + x, corner[1] + y)
    node.label = part
    return node
