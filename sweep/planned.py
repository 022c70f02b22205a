"""The trials that a study plans, before any of them runs: their configurations and their numbers of images."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from search_spaces.study import Study
from trainables.config import TrialConfig
from trainables.data.config import Data
from trainables.data.places import place_of
from trainables.data.sources.base import Description, Source
from trainables.data.sources.registry import open_source
from trainables.data.splits import split_sizes
from trainables.errors import UserError
from trainables.seeds import generator

PLANNED_TRIALS = 2_000
"""Largest number of trials for which a configuration is built; a random sample stands for more trials."""


@dataclass(frozen=True)
class PlannedTrial:
    """A trial of a study, or a trial that stands for several.

    Attributes:
        arm: name of its arm.
        config: its configuration as declared, before any matching of the dose.
        weight: number of trials that it stands for.
        n_train: number of training images.
        n_val: number of validation images.
    """

    arm: str
    config: TrialConfig
    weight: float
    n_train: int
    n_val: int

    @property
    def work(self) -> float:
        """Number of images that are trained on, if no trial stops early."""
        return self.weight * self.config.optimizer.max_epochs * self.n_train


def first_config(study: Study) -> TrialConfig:
    """Return the configuration of the first trial: all trials read the images of its source, in its size."""
    arm = next(iter(study.arms))
    return study.declared_config(arm, study.draw(arm, 0), replicate=0)


def planned_trials(study: Study) -> list[PlannedTrial]:
    """Return the trials of the search and of the confirmation; the data source must be usable.

    The winners are not known yet: the first configurations of each arm stand for them.

    Raises:
        UserError: no image is left for training or for validation.

    Examples:
        >>> from search_spaces.discover import load_study
        >>> trials = planned_trials(load_study("quickstart", scale="smoke"))
        >>> sum(trial.weight for trial in trials), trials[0].arm, trials[0].n_train > trials[0].n_val > 0
        (16.0, 'off', True)
    """
    first = first_config(study)
    drawn = [*_trials(study, study.trials_per_arm), *_trials(study, study.confirming_per_arm)]
    configs = [study.declared_config(arm, study.draw(arm, number), replicate=0) for arm, number, _ in drawn]
    source = open_source(place_of(first.data.source).source)
    described = source.describe(first.data.image_size_px)
    sizes = _sizes([config.data for config in configs], source, described)
    if min(sizes)[0] < 1:
        raise UserError(f"study '{study.name}': data.train_frac is so small that no image is left for training")
    return [
        PlannedTrial(arm, config, weight, n_train, n_val)
        for (arm, _, weight), config, (n_train, n_val) in zip(drawn, configs, sizes, strict=True)
    ]


def _trials(study: Study, per_arm: int) -> Iterator[tuple[str, int, float]]:
    """Yield arm, number and weight of trials that stand for ``per_arm`` trials of each arm: all, or a sample."""
    n_sampled = min(per_arm, max(1, PLANNED_TRIALS // len(study.arms)))
    numbers = np.arange(per_arm)
    if n_sampled < per_arm:
        numbers = np.sort(generator(study.seed, "plan").choice(per_arm, n_sampled, replace=False))
    for arm in study.arms:
        for number in numbers:
            yield arm, int(number) % study.trials_per_arm, per_arm / n_sampled


def _sizes(every: Sequence[Data], source: Source, described: Description) -> list[tuple[int, int]]:
    """Return the number of training images and of validation images for each configuration, as ``run`` draws them.

    Raises:
        UserError: a class would have no image to train on, or no class would have an image to validate on.
    """
    counts, repeats = source.class_counts(), source.images_per_original

    @functools.cache
    def sizes(train_frac: float, val_frac: float) -> tuple[int, int]:
        if counts is None:
            used = described.n_train * train_frac
            n_val = round(used * val_frac)
            return round(used) - n_val, n_val
        n_train, n_val = split_sizes(counts, train_frac=train_frac, val_frac=val_frac)
        return n_train * repeats, n_val * repeats

    return [sizes(data.train_frac, data.val_frac) for data in every]
