"""The scenes of `scripts/make_benchmark.py`: geometry in NumPy, which Blender colours and Embree measures.

World: metres, z up, the base camera near the origin looking along y. This package runs in Blender's Python too, so
it imports NumPy and nothing of ours.
"""
