"""Scripts that run a model in a Python of its own; see `depth.worker`. They import nothing of ex4d_core."""
