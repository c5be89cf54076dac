"""The names of mesh methods and render passes, for those who only need the names."""

METHODS = ("reference", "dwmesh")
"""How depth becomes a mesh; see `ex4d_core.mesh`."""

PASSES = ("depth", "risk", "risk-exr")
"""What can be written beside colour and mask; see `ex4d_core.rendering`."""
