"""Procedural materials: no image files, so that everything here is ours."""

from __future__ import annotations

from dataclasses import dataclass, field

import bpy

Colour = tuple[float, float, float]


def srgb(code: str) -> Colour:
    """Linear colour of an sRGB hex code such as 'd9b27c'."""
    channels = [int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return (r, g, b)


@dataclass
class Shader:
    """A material under construction: one Principled BSDF and what feeds it."""

    material: bpy.types.Material
    bsdf: bpy.types.Node = field(init=False)

    def __post_init__(self) -> None:
        self.material.use_nodes = True
        self.bsdf = self.material.node_tree.nodes["Principled BSDF"]

    def node(self, kind: str, inputs: dict | None = None, **settings) -> bpy.types.Node:
        """Add a node; `inputs` are values or sockets to link by input name or index."""
        made = self.material.node_tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(made, name, value)
        for name, value in (inputs or {}).items():
            self.feed(made.inputs[name], value)
        return made

    def feed(self, socket: bpy.types.NodeSocket, value: object) -> None:
        """Set an input to a number, a colour, or another node's output."""
        if isinstance(value, bpy.types.NodeSocket):
            self.material.node_tree.links.new(value, socket)
        elif isinstance(value, tuple) and socket.type == "RGBA" and len(value) == 3:
            socket.default_value = (*value, 1.0)
        else:
            socket.default_value = value

    def set(self, **inputs: object) -> None:
        """Set inputs of the Principled BSDF; underscores stand for spaces."""
        for name, value in inputs.items():
            self.feed(self.bsdf.inputs[name.replace("_", " ")], value)

    def coordinates(self, space: str = "Object") -> bpy.types.NodeSocket:
        """Texture coordinates: `Object` (metres, moves along) or `Generated`."""
        return self.node("ShaderNodeTexCoord").outputs[space]

    def stretched(self, vector: bpy.types.NodeSocket, scale: Colour) -> bpy.types.NodeSocket:
        """Coordinates scaled by axis."""
        return self.node("ShaderNodeMapping", {"Vector": vector, "Scale": scale}).outputs[0]

    def noise(self, vector: bpy.types.NodeSocket, scale: float, detail: float = 4.0, distortion: float = 0.0):
        """Fractal noise, 0..1."""
        values = {"Vector": vector, "Scale": scale, "Detail": detail, "Distortion": distortion}
        return self.node("ShaderNodeTexNoise", values).outputs[0]

    def ramp(self, value: bpy.types.NodeSocket, *stops: tuple[float, Colour]) -> bpy.types.NodeSocket:
        """Colour by value."""
        made = self.node("ShaderNodeValToRGB", {"Fac": value})
        elements = made.color_ramp.elements
        while len(elements) < len(stops):
            elements.new(0.5)
        for element, (position, colour) in zip(elements, stops, strict=True):
            element.position, element.color = position, (*colour, 1.0)
        return made.outputs[0]

    def mix(self, factor: object, a: object, b: object, blend: str = "MIX") -> bpy.types.NodeSocket:
        """Mix two colours."""
        made = self.node("ShaderNodeMix", data_type="RGBA", blend_type=blend)
        self.feed(made.inputs[0], factor)
        self.feed(made.inputs[6], a)
        self.feed(made.inputs[7], b)
        return made.outputs[2]

    def math(self, operation: str, a: object, b: object = 0.0) -> bpy.types.NodeSocket:
        """One arithmetic operation."""
        made = self.node("ShaderNodeMath", operation=operation)
        self.feed(made.inputs[0], a)
        self.feed(made.inputs[1], b)
        return made.outputs[0]

    def relief(self, height: bpy.types.NodeSocket, distance: float, strength: float = 1.0) -> None:
        """Bump the surface by a height field, `distance` in metres."""
        bump = self.node("ShaderNodeBump", {"Height": height, "Distance": distance, "Strength": strength})
        self.set(Normal=bump.outputs[0])


def _shader(name: str) -> Shader:
    return Shader(bpy.data.materials.new(name))


def painted(name: str, colour: str, roughness: float = 0.35, *, wear: float = 0.06, coat: float = 0.0):
    """Paint with a little unevenness; `coat` adds clear enamel."""
    s = _shader(name)
    base = srgb(colour)
    dark = tuple(c * (1 - 3 * wear) for c in base)
    s.set(Base_Color=s.ramp(s.noise(s.coordinates(), 7.0), (0.35, dark), (0.65, base)))
    s.set(Roughness=roughness, Coat_Weight=coat, Coat_Roughness=0.08)
    return s.material


def plaster(name: str, light: str, dark: str):
    """Old lime plaster: broad stains, darker and damp towards the ground, trowel marks."""
    s = _shader(name)
    where = s.node("ShaderNodeNewGeometry").outputs["Position"]
    stains = s.ramp(s.noise(where, 0.9, 8.0, 0.6), (0.3, srgb(dark)), (0.62, srgb(light)))
    height = s.node("ShaderNodeSeparateXYZ", {0: where}).outputs[2]
    ragged = s.math("ADD", height, s.math("MULTIPLY", s.noise(where, 2.2, 6.0), -0.9))
    damp = s.ramp(ragged, (0.0, (0.55, 0.47, 0.4)), (0.55, (1.0, 1.0, 1.0)))
    s.set(Base_Color=s.mix(1.0, stains, damp, "MULTIPLY"), Roughness=0.9)
    s.relief(s.noise(where, 9.0, 8.0), 0.02, 0.7)
    return s.material


def paving(name: str = "paving"):
    """Warm stone slabs with sunken joints, no two of the same shade."""
    s = _shader(name)
    where = s.node("ShaderNodeNewGeometry").outputs["Position"]
    wobble = s.node("ShaderNodeTexNoise", {"Vector": where, "Scale": 1.7}).outputs[1]
    bent = s.node("ShaderNodeMix", {0: 0.035}, data_type="VECTOR")
    s.feed(bent.inputs[4], where)
    s.feed(bent.inputs[5], wobble)
    slabs = s.node(
        "ShaderNodeTexBrick",
        {
            "Vector": bent.outputs[1],
            "Color1": (0.0, 0.0, 0.0),
            "Color2": (1.0, 1.0, 1.0),
            "Mortar": (0.5, 0.5, 0.5),
            "Scale": 1.0,
            "Mortar Size": 0.013,
            "Mortar Smooth": 0.25,
            "Brick Width": 0.62,
            "Row Height": 0.42,
        },
        offset=0.43,
    )
    shade = s.ramp(
        slabs.outputs[0],
        (0.0, srgb("b08a66")),
        (0.35, srgb("c9a27a")),
        (0.7, srgb("d8b78f")),
        (1.0, srgb("b99a80")),
    )
    grain = s.ramp(s.noise(where, 6.0, 8.0), (0.3, (0.72, 0.7, 0.68)), (0.65, (1.0, 1.0, 1.0)))
    stone = s.mix(1.0, shade, grain, "MULTIPLY")
    s.set(Base_Color=s.mix(slabs.outputs[1], stone, srgb("7c6650")), Roughness=0.75)
    height = s.math("SUBTRACT", s.math("MULTIPLY", s.noise(where, 14.0, 6.0), 0.35), slabs.outputs[1])
    s.relief(height, 0.02, 0.8)
    return s.material


def wood(name: str, light: str, dark: str, *, along: str = "x", roughness: float = 0.6):
    """Planks' grain running along one axis of the object."""
    s = _shader(name)
    scale = {"x": (0.7, 9.0, 9.0), "y": (9.0, 0.7, 9.0), "z": (9.0, 9.0, 0.7)}[along]
    grain = s.noise(s.stretched(s.coordinates(), scale), 2.2, 6.0, 1.2)
    s.set(Base_Color=s.ramp(grain, (0.33, srgb(dark)), (0.62, srgb(light))), Roughness=roughness)
    s.relief(grain, 0.008, 0.6)
    return s.material


def clay(name: str, light: str = "cc7a4d", dark: str = "9d5433"):
    """Terracotta with chalky blooms."""
    s = _shader(name)
    where = s.coordinates()
    base = s.ramp(s.noise(where, 4.0, 6.0), (0.32, srgb(dark)), (0.6, srgb(light)))
    bloom = s.ramp(s.noise(where, 9.0, 8.0), (0.58, (0.0, 0.0, 0.0)), (0.72, (0.3, 0.3, 0.3)))
    s.set(Base_Color=s.mix(bloom, base, srgb("e5c9b0")), Roughness=0.85)
    s.relief(s.noise(where, 30.0, 4.0), 0.004, 0.5)
    return s.material


def leaves(name: str, *shades: str, roughness: float = 0.42):
    """Leaves that let light through; the point attribute `tint` picks the shade of each."""
    s = _shader(name)
    tint = s.node("ShaderNodeAttribute", attribute_name="tint").outputs["Fac"]
    stops = [(i / max(len(shades) - 1, 1), srgb(code)) for i, code in enumerate(shades)]
    colour = s.ramp(tint, *stops)
    s.set(Base_Color=colour, Roughness=roughness)
    through = s.node("ShaderNodeBsdfTranslucent", {"Color": colour})
    both = s.node("ShaderNodeMixShader", {0: 0.28, 1: s.bsdf.outputs[0], 2: through.outputs[0]})
    output = s.material.node_tree.nodes["Material Output"]
    s.feed(output.inputs[0], both.outputs[0])
    return s.material


def striped(name: str, a: str, b: str, width: float):
    """Cloth striped along x, `width` metres each."""
    s = _shader(name)
    x = s.node("ShaderNodeSeparateXYZ", {0: s.coordinates()}).outputs[0]
    wave = s.math("GREATER_THAN", s.math("FRACT", s.math("DIVIDE", x, 2 * width)), 0.5)
    s.set(Base_Color=s.mix(wave, srgb(a), srgb(b)), Roughness=0.85)
    s.relief(s.noise(s.coordinates(), 60.0, 2.0), 0.003, 0.4)
    return s.material


def glowing(name: str, colour: str, strength: float):
    """A lamp's or a screen's own light."""
    s = _shader(name)
    s.set(Base_Color=srgb(colour), Emission_Color=srgb(colour), Emission_Strength=strength)
    return s.material


def glass(name: str, colour: str = "10181c"):
    """Dark shiny glass, opaque so that depth has one meaning."""
    s = _shader(name)
    s.set(Base_Color=srgb(colour), Roughness=0.06, Coat_Weight=1.0, Coat_Roughness=0.03)
    return s.material


def metal(name: str, colour: str, roughness: float = 0.3):
    """Bare metal."""
    s = _shader(name)
    s.set(Base_Color=srgb(colour), Metallic=1.0, Roughness=roughness)
    return s.material


def distant(name: str, low: str, high: str, bottom: float, top: float):
    """Hills in haze: colour by height in metres, rough."""
    s = _shader(name)
    where = s.node("ShaderNodeNewGeometry").outputs["Position"]
    height = s.node("ShaderNodeSeparateXYZ", {0: where}).outputs[2]
    level = s.math("DIVIDE", s.math("SUBTRACT", height, bottom), top - bottom)
    patches = s.ramp(s.noise(where, 0.35, 8.0), (0.4, (0.86, 0.86, 0.86)), (0.6, (1.0, 1.0, 1.0)))
    colour = s.mix(1.0, s.ramp(level, (0.0, srgb(low)), (1.0, srgb(high))), patches, "MULTIPLY")
    s.set(Base_Color=colour, Roughness=1.0)
    return s.material
