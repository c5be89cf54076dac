"""Which channel of an EXR image holds depth, by the names that renderers and compositors give.

Measured on real files: Blender 4.5 writes `ViewLayer.Depth.Z` beside `ViewLayer.Mist.Z`, `ViewLayer.Normal.Z` and
`ViewLayer.Denoising Depth.Z`; its file output node `Depth.V`, or `V` alone, or grey R, G, B; Blender 5 has a part for
each pass. Nuke and most renderers write `depth.Z` or `Z`, V-Ray a grey `VRayZDepth.R`, `.G`, `.B`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

_DEPTH_WORDS = frozenset({"depth", "zdepth", "vrayzdepth", "depthz"})
_DISPARITY_WORDS = frozenset({"disparity", "disp"})
_NO_DEPTH = ("mist", "denoising", "crypto", "alpha", "mask")
"""Words of passes that are called Z or V too."""
_MOST_NAMED = 12


def depth_candidates(names: Sequence[str]) -> tuple[str, ...]:
    """The channels that may hold depth, of the likeliest kind that there is.

    Args:
        names: full names, dotted.

    Returns:
        In the order given: one if the names tell; several if they do not; none if nothing is called so.
    """
    plain = [name for name in names if not _is_other(name, names)]
    if len(names) == 1:
        return tuple(plain)
    ranks: tuple[Callable[[list[str]], bool], ...] = (
        lambda words: not _DEPTH_WORDS.isdisjoint(words) or words == ["z"],
        lambda words: words[-1] == "z",
        lambda words: not _DISPARITY_WORDS.isdisjoint(words),
        # Beside others a picture or a mask; `V` is how Blender names the one channel of a value.
        lambda words: words[-1] in ("y", "v"),
    )
    for is_wanted in ranks:
        found = [name for name in plain if is_wanted(_words(name))]
        if found:
            return tuple(_without_alpha(found))
    return ()


def named(names: Sequence[str]) -> str:
    """The names for a sentence, not too many."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def is_mist(name: str) -> bool:
    """Whether a channel is Blender's mist: fog from 0 to 1, which is no depth."""
    return "mist" in _words(name)


def _words(name: str) -> list[str]:
    return name.lower().split(".")


def _is_other(name: str, names: Sequence[str]) -> bool:
    """Whether it is known to be something else: another pass, or a component of a vector."""
    *layer, last = _words(name)
    if any(word.startswith(other) for word in layer for other in _NO_DEPTH) or is_mist(name):
        return True
    prefix = name[: len(name) - len(last)].lower()
    vector = {other.lower() for other in names}
    return {prefix + "x", prefix + "y"} <= vector


def _without_alpha(names: list[str]) -> list[str]:
    """Of a grey layer (R, G, B, A) the alpha goes; its R stands for the others, which the reader compares."""
    layers = {name.rpartition(".")[0] for name in names if name.lower().endswith(".r")}
    return [n for n in names if n.rpartition(".")[0] not in layers or n.lower().endswith(".r")]
