"""Which clip and which of its masks are trained on when: told by the seed and the number of the sample alone.

Samples are numbered from 0 over the whole training, and each step takes the next ones, whichever process computes
them. So two processes draw what one would, never the same, and who goes on after a break goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ex4d_core.errors import InputError
from ex4d_core.training.dataset import Sample
from ex4d_core.training.pool import Pool

_LOG = logging.getLogger(__name__)
_ORDER, _NOISE, _INSTEAD = range(3)  # what random numbers are for, so that none are used twice


@dataclass(frozen=True)
class Draw:
    """What one sample is."""

    clip: int
    variant: int


def draw(variants: Sequence[int], seed: int, number: int, attempt: int = 0) -> Draw:
    """Choose a sample: each epoch has every clip once, in an order of its own, with one of its variants.

    Args:
        variants: how many each clip has.
        seed: of the training.
        number: of the sample, from 0.
        attempt: above 0: another clip in its stead, drawn from all.
    """
    epoch, place = divmod(number, len(variants))
    order = np.random.default_rng([_ORDER, seed, epoch])
    clips = order.permutation(len(variants))
    chosen = order.random(len(variants))  # a variant of each clip
    if attempt:
        instead = np.random.default_rng([_INSTEAD, seed, number, attempt])
        clip = int(instead.integers(len(variants)))
    else:
        clip = int(clips[place])
    return Draw(clip, int(chosen[clip] * variants[clip]))


def noise_of(seed: int, number: int) -> torch.Generator:
    """What level and noise of a sample are drawn from, on the CPU."""
    entropy = np.random.SeedSequence([_NOISE, seed, number]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(entropy[0]))


class Reader:
    """Reads the samples; another one in the stead of a clip that turns out to be damaged."""

    def __init__(self, pool: Pool, seed: int, allowed: float) -> None:
        """Read nothing yet.

        Args:
            pool: the clips.
            seed: of the training.
            allowed: share of all clips that may be damaged.

        Raises:
            InputError: more are already.
        """
        self._pool, self._seed, self._allowed = pool, seed, allowed
        self._variants = [len(place.clip.variants) for place in pool.training]
        self._damaged = dict.fromkeys(pool.damaged)
        self.skipped = 0
        """Samples that another one was taken for."""
        self._require_enough()

    @property
    def damaged(self) -> tuple[str, ...]:
        """A line on each damaged clip that was met."""
        return tuple(self._damaged)

    def sample(self, number: int) -> Sample:
        """Read a sample.

        Raises:
            InputError: too many clips are damaged.
        """
        attempt = 0
        while True:
            chosen = draw(self._variants, self._seed, number, attempt)
            try:
                return self._pool.training[chosen.clip].sample(chosen.variant)
            except InputError as error:
                self.skipped += 1
                attempt += 1
                if str(error) not in self._damaged:
                    _LOG.warning("Another sample is taken in its stead: %s", error)
                    self._damaged[str(error)] = None
                self._require_enough()

    def _require_enough(self) -> None:
        """Stop where too little is left.

        Raises:
            InputError: it is.
        """
        count = len(self._damaged)
        if count > self._allowed * self._pool.listed:
            raise InputError(
                f"{count} of {self._pool.listed} clips are damaged or missing ({self.damaged[-1].rstrip('.')}): mend"
                " the dataset with `ex4d train prepare`, or set max_damaged to more."
            )
