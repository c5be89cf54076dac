"""The clips of one or several datasets, parted into those to train on and those held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ex4d_core.errors import InputError
from ex4d_core.training.dataset import Dataset, Sample, open_dataset
from ex4d_core.training.dataset_format import Clip


@dataclass(frozen=True)
class Place:
    """A clip of a dataset."""

    dataset: Dataset
    number: int

    @property
    def clip(self) -> Clip:
        """What the index says of it."""
        return self.dataset.clips[self.number]

    def sample(self, variant: int) -> Sample:
        """See `Dataset.sample`."""
        return self.dataset.sample(self.number, variant)


@dataclass(frozen=True)
class Pool:
    """Clips to train on, and others to see what was learnt."""

    training: tuple[Place, ...]
    held_out: tuple[Place, ...]
    listed: int
    """Clips that the datasets' indexes list, the damaged ones too."""

    @property
    def damaged(self) -> tuple[str, ...]:
        """A line on each clip that was left aside when its dataset was opened."""
        datasets = {id(place.dataset): place.dataset for place in (*self.training, *self.held_out)}
        return tuple(f"{each.name}: {each.reason}" for dataset in datasets.values() for each in dataset.skipped)


def open_pool(folders: Sequence[Path], held_out: int, seed: int, apart: Sequence[Path] = ()) -> Pool:
    """Open datasets that the same models made; they may differ in size.

    Args:
        folders: of the datasets.
        held_out: clips that are not trained on, drawn by the seed.
        seed: of the training.
        apart: datasets to draw those from; none: from the ones that are trained on.

    Raises:
        InputError: a dataset cannot be used, the datasets do not go together, or no clip is left to train on.
    """
    datasets, others = ([open_dataset(folder) for folder in each] for each in (folders, apart))
    first = datasets[0]
    for other in (*datasets, *others):
        if other.index.models != first.index.models:
            raise InputError(
                f"{other.folder} and {first.folder} were made with different models: prepare them with the same ones,"
                " or train on one of them."
            )
    places = _places(datasets)
    drawn_from = _places(others) if apart else places
    if held_out > len(drawn_from) - (not apart):
        raise InputError(
            f"The dataset has {len(drawn_from)} clips that can be used, and {held_out} are to be held out of it:"
            " prepare more clips, or set validation_clips to less."
        )
    order = np.random.default_rng([seed, len(drawn_from)]).permutation(len(drawn_from))
    held = tuple(drawn_from[number] for number in order[:held_out])
    listed = sum(len(dataset.index.clips) for dataset in (*datasets, *others))
    return Pool(tuple(place for place in places if apart or place not in held), held, listed)


def _places(datasets: Sequence[Dataset]) -> list[Place]:
    return [Place(dataset, number) for dataset in datasets for number in range(len(dataset))]


def require_fitting(pool: Pool, transformer: Any) -> None:
    """Refuse datasets of other models than the one that is trained.

    Args:
        pool: the clips.
        transformer: of diffusers.

    Raises:
        InputError: latents, image tokens or text are of another size.
    """
    config = transformer.config
    wanted = (config.out_channels, config.image_dim, config.text_dim)
    for place in (*pool.training, *pool.held_out):
        index = place.dataset.index
        if (found := (index.latent_channels, index.image_tokens[1], index.text_width)) != wanted:
            told = "{} latent channels, image tokens of {} and text of {} numbers"
            raise InputError(
                f"{place.dataset.folder} has {told.format(*found)}, and the model takes {told.format(*wanted)}: prepare"
                " the dataset with the parts of this model."
            )
