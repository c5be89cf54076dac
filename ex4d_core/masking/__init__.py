"""Simulated masks: what a clip would lose if it were seen from elsewhere, without any second view of it.

A video model learns to fill what a re-shot clip lacks from pairs of a whole clip and the same clip with holes. Nobody
has such clips from two cameras. *Rendering masks* (`rendering`) look at the clip's own quads from a random path and ask
which of its pixels are still seen from there: the holes of a re-shoot, back in the view where their truth is known.
*Tracking masks* (`tracking`) cut patches out of the clip that stick to what they hide as it moves. `mixing` draws both.
"""

from ex4d_core.masking.mixing import Mixture, SimulatedMasks, simulated_masks
from ex4d_core.masking.rendering import Wander, rendering_masks, still_seen, wander
from ex4d_core.masking.statistics import MaskStatistics, mask_statistics
from ex4d_core.masking.tracking import LucasKanade, PointTracker, Tracks, tracking_masks

__all__ = [
    "LucasKanade",
    "MaskStatistics",
    "Mixture",
    "PointTracker",
    "SimulatedMasks",
    "Tracks",
    "Wander",
    "mask_statistics",
    "rendering_masks",
    "simulated_masks",
    "still_seen",
    "tracking_masks",
    "wander",
]
