"""The persistent background: what a moving object hides at one time is seen at another (docs/depth/background.md).

`make_background` fuses it into layers while a clip is imported; `showing` puts them behind rendered frames.
"""

from ex4d_core.background.making import LEFT_OUT, make_background

__all__ = ["LEFT_OUT", "make_background"]
