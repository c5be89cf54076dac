# SPDX-License-Identifier: GPL-3.0-or-later
"""A scene's compositor: `scene.node_tree` with a Composite node up to 4.5, from 5.0 on a group with a Group Output.

Nodes that were renamed, and sockets that were reordered, are found here; nothing that a tree holds is taken away.
"""

from dataclasses import dataclass

import bpy

from ..errors import UserError
from ..translation import translated
from . import strips

_GROUPS = bpy.app.version >= (5, 0, 0)
_MENUS = _GROUPS
"""Whether the settings of compositor nodes are sockets."""

Socket = bpy.types.NodeSocket


@dataclass(frozen=True)
class Layered:
    """A node that puts one picture on another."""

    node: bpy.types.Node
    below: Socket
    above: Socket
    result: Socket


def tree_of(scene: bpy.types.Scene) -> bpy.types.NodeTree | None:
    """The compositor tree that a render of the scene goes through, if there is one."""
    if _GROUPS:
        return scene.compositing_node_group
    return scene.node_tree if scene.use_nodes else None


def ensure_tree(scene: bpy.types.Scene) -> tuple[bpy.types.NodeTree, bool]:
    """The scene's compositor tree, switched on and made where there is none, and whether it was made now.

    Raises:
        UserError: the tree belongs to another file.
    """
    had = require_own_tree(scene)
    if not _GROUPS:
        scene.use_nodes = True  # gives a new tree Render Layers and Composite
        return scene.node_tree, had is None
    if had is None:
        scene.compositing_node_group = bpy.data.node_groups.new(f"{scene.name} Compositor", "CompositorNodeTree")
        output(scene.compositing_node_group)
    return scene.compositing_node_group, had is None


def require_own_tree(scene: bpy.types.Scene) -> bpy.types.NodeTree | None:
    """The compositor tree of a scene, switched on or not. Raises: UserError if it belongs to another file."""
    had = scene.compositing_node_group if _GROUPS else scene.node_tree
    if had is not None and had.library is not None:
        raise UserError(
            "The compositor of {scene} is linked from another file: make it local first, in the Outliner.",
            scene=scene.name,
        )
    return had


def told_of_switching(scene: bpy.types.Scene) -> str:
    """What to say where `ensure_tree` will switch on nodes that the artist has switched off (up to 4.5); else empty."""
    if _GROUPS or scene.node_tree is None or scene.use_nodes:
        return ""
    return translated("The compositor's nodes were switched off: renders go through them again")


def told_of_render(scene: bpy.types.Scene) -> str:
    """What to say where renders of a scene do not go through its compositor; empty where they do."""
    if strips.are_rendered(scene):
        return translated(
            "Renders show the sequencer's strips and nothing else: switch Sequencer off in the Output properties "
            "(Post Processing)"
        )
    if not scene.render.use_compositing:
        return translated(
            "Renders leave out the compositor: switch Compositing on in the Output properties (Post Processing)"
        )
    return ""


def output(tree: bpy.types.NodeTree) -> Socket:
    """The input that takes the finished picture; made where there is none."""
    kind = "NodeGroupOutput" if _GROUPS else "CompositorNodeComposite"
    found = [node for node in tree.nodes if node.bl_idname == kind]
    if not found:
        found = [tree.nodes.new(kind)]
        found[0].location = (600.0, 0.0)
    node = next((node for node in found if getattr(node, "is_active_output", False)), found[0])
    if not any(socket.type == "RGBA" for socket in node.inputs):
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    return next(socket for socket in node.inputs if socket.type == "RGBA")


def feeds(node: bpy.types.Node, target: Socket) -> bool:
    """Whether what a node gives comes to an input, through whatever nodes there are."""
    waiting, seen = [target], set()
    while waiting:
        for link in waiting.pop().links:
            if link.from_node == node:
                return True
            if link.from_node.name not in seen:
                seen.add(link.from_node.name)
                waiting += link.from_node.inputs
    return False


def math(tree: bpy.types.NodeTree, operation: str) -> bpy.types.Node:
    """A Math node; its inputs are the first two."""
    node = tree.nodes.new("ShaderNodeMath" if _GROUPS else "CompositorNodeMath")
    node.operation = operation
    return node


def alpha_over(tree: bpy.types.NodeTree) -> Layered:
    """An Alpha Over node for premultiplied pictures."""
    return layered(tree.nodes.new("CompositorNodeAlphaOver"))


def mix(tree: bpy.types.NodeTree, how: str) -> Layered:
    """A node that mixes colours, such as `MULTIPLY` or `DARKEN`; the alpha is that of the one below."""
    if _GROUPS:
        node = tree.nodes.new("ShaderNodeMix")
        node.data_type = "RGBA"
        factor = next(socket for socket in node.inputs if socket.identifier == "Factor_Float")
    else:
        node = tree.nodes.new("CompositorNodeMixRGB")
        factor = node.inputs[0]
    node.blend_type, factor.default_value = how, 1.0
    return layered(node)


def layered(node: bpy.types.Node) -> Layered:
    """A node of `alpha_over` or `mix`, found again."""
    below, above = (socket for socket in node.inputs if socket.type == "RGBA")  # the background comes first in all
    return Layered(node, below, above, next(socket for socket in node.outputs if socket.type == "RGBA"))


def transform(tree: bpy.types.NodeTree, *, smooth: bool) -> bpy.types.Node:
    """A Transform node; where not `smooth` it only ever gives values that the picture has."""
    node = tree.nodes.new("CompositorNodeTransform")
    if _MENUS:
        node.inputs["Interpolation"].default_value = "Bilinear" if smooth else "Nearest"
    else:
        node.filter_type = "BILINEAR" if smooth else "NEAREST"
    return node


def source(socket: Socket) -> Socket | None:
    """The output that feeds an input, seen through reroutes."""
    while socket.is_linked:
        found = socket.links[0].from_socket
        if found.node.bl_idname != "NodeReroute":
            return found
        socket = found.node.inputs[0]
    return None
