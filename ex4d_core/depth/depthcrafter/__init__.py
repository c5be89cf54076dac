"""DepthCrafter: depth of a whole clip by video diffusion, as the reference system uses it.

`estimator` is the estimator; `pipeline` takes a clip through its three stages, each of which keeps what it finishes.
The weights of DepthCrafter may not be used commercially, so it runs only where it is asked for by name.
"""
