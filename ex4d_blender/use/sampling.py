# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of a take in materials: sampled between the four nearest pixels, as the plate is."""

from collections.abc import Iterable
from functools import partial

import bpy

from ..errors import UserError
from ..mesh import bilinear_group, plate_material
from ..takes.folder import TakeFacts
from . import marks, picture

_PARTS = ("TEX_IMAGE", "GROUP")
_SIZE = "ex4d_size"
"""On the node group that samples the pictures: the size that it was built for."""


def build(name: str, image: bpy.types.Image, facts: TakeFacts) -> plate_material.Picture:
    """A take as materials show it.

    Args:
        name: of the node group.
        image: made by `picture.load`.
        facts: the take.
    """
    sampler = bilinear_group.build(name, image, tuple(image.size), partial(_show, facts))
    sampler[_SIZE] = facts.width, facts.height
    return plate_material.Picture(image, sampler, partial(_show, facts))


def mask(image: bpy.types.Image, facts: TakeFacts) -> plate_material.Mask:
    """A take's mask as materials read it; `image` was made by `picture.load_mask`."""
    return plate_material.Mask(image, partial(_show, facts), (facts.width, facts.height))


def require_whole(materials: Iterable[bpy.types.Material | None]) -> None:
    """Look whether materials that show a take, others are left alone, still have its pictures and node groups.

    Raises:
        UserError: one has not, so another take would not show in it.
    """
    for material in filter(None, materials):
        if not material.get(marks.USE):
            continue
        groups = [node.node_tree for node in material.node_tree.nodes if node.type == "GROUP"]
        if not all(tree and _is_whole(tree) for tree in (material.node_tree, *groups)):
            raise UserError(
                "{material} has lost pictures or nodes of its take: delete the plane or the modifier that shows it, "
                "then accept the take again.",
                material=material.name,
            )


def _is_whole(tree: bpy.types.NodeTree) -> bool:
    parts = [node.image if node.type == "TEX_IMAGE" else node.node_tree for node in tree.nodes if node.type in _PARTS]
    return bool(parts) and all(parts)


def follow(use: str, shot: str, facts: TakeFacts) -> None:
    """Let all images, node groups and materials of a use and a shot, by its key, show another take."""
    for image in marks.marked(bpy.data.images, use, shot):
        picture.swap(image, facts)
    for sampler in marks.marked(bpy.data.node_groups, use, shot):
        if tuple(sampler[_SIZE]) != (facts.width, facts.height):
            _resize(sampler, use, shot, facts)
    materials = marks.marked(bpy.data.materials, use, shot)
    trees = marks.marked(bpy.data.node_groups, use, shot)
    for tree in (*trees, *(material.node_tree for material in materials)):
        for node in tree.nodes:
            if node.type == "TEX_IMAGE" and node.image is not None and node.image.get(marks.USE) == use:
                _show(facts, tree, node)
    for thing in (*materials, *trees):
        marks.mark(thing, use, shot, facts)


def _resize(sampler: bpy.types.NodeTree, use: str, shot: str, facts: TakeFacts) -> None:
    """Put a sampler for the take's size in the place of one for another: it counts in pixels."""
    image = next((node.image for node in sampler.nodes if node.type == "TEX_IMAGE"), None)
    if image is None:  # of a plane that was deleted: nothing shows it
        return
    name = sampler.name
    made = build(name, image, facts).sampler
    marks.mark(made, use, shot, facts)
    sampler.user_remap(made)
    bpy.data.node_groups.remove(sampler)
    made.name = name


def _show(facts: TakeFacts, _tree: bpy.types.NodeTree, node: bpy.types.Node) -> None:
    picture.show(node.image_user, facts, movie=node.image.source == "MOVIE")
