"""The names of mesh methods and render passes, for those who only need the names."""

MESHES = ("reference", "dwmesh")
"""How depth becomes a `DWMesh`; see `ex4d_core.mesh`."""

METHODS = ("reference", "dwmesh", "quads")
"""How depth is seen from another camera: one of the meshes, or `ex4d_core.quads`."""

DEFAULT_METHOD = "quads"

PASSES = ("depth", "risk", "risk-exr")
"""What can be written beside colour and mask; see `ex4d_core.rendering`."""
