"""Size of a study's sweep and an estimate of its duration; nothing is started or written."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from search_spaces.match_checks import check_reachable
from search_spaces.matching import image_facts
from search_spaces.resources import Resources
from search_spaces.study import Study
from sweep.engine import local_slots
from trainables.config import TrialConfig
from trainables.data.config import Data
from trainables.data.sources.base import Description, Source
from trainables.data.sources.registry import open_source
from trainables.data.splits import split_sizes
from trainables.data.usable import check_usable
from trainables.errors import UserError
from trainables.seeds import generator

if TYPE_CHECKING:
    from trainables.mixing.dose import Dose

_PROBE_IMAGES = 32
"""Largest batch of the speed measurement: it keeps one core busy and is small enough for a large network."""

DOSE_DRAWS = 16
"""Largest number of configurations over which an arm's dose is averaged, if the arm's space varies its mixing."""

PLANNED_TRIALS = 2_000
"""Largest number of trials for which a configuration is built; a random sample stands for more trials."""

PROBED_NETS = 8
"""Largest number of networks that are measured; all others get the harmonic mean of the measured speeds."""


@dataclass(frozen=True)
class Plan:
    """Size of a sweep.

    A pair is the smallest and the largest value over the trials.

    Attributes:
        n_trials: number of search trials of all arms.
        n_confirming: number of confirmation trials.
        max_epochs: total number of epochs if no trial stops early.
        n_train: training images per epoch, a pair.
        n_val: validation images per epoch, a pair.
        height_px: height of the images.
        width_px: width of the images.
        images_per_s: training speed of one trial, measured on this machine, a pair; several workers count as that
            many times the speed of one.
        slots: number of trials that run at the same time on this machine.
        seconds: estimated duration of the sweep on this machine if no trial stops early.
        doses: dose by arm; if the arm's space varies its mixing, the mean over its first configurations.
        matched: arms with a matched dose.
        notes: what a user should know of the files of the data source, one sentence each.
    """

    n_trials: int
    n_confirming: int
    max_epochs: int
    n_train: tuple[int, int]
    n_val: tuple[int, int]
    height_px: int
    width_px: int
    images_per_s: tuple[float, float]
    slots: int
    seconds: float
    doses: dict[str, Dose]
    matched: tuple[str, ...]
    notes: tuple[str, ...]


def make_plan(study: Study) -> Plan:
    """Return the size of a study's sweep, after a short measurement of the training speed.

    Raises:
        UserError: the data source cannot be used, or no image is left for training or for validation.

    Example:
        >>> from search_spaces.discover import load_study
        >>> plan = make_plan(load_study("quickstart", scale="smoke"))
        >>> plan.n_trials, plan.height_px
        (8, 32)
    """
    n_searching = study.trials_per_arm * len(study.arms)
    n_confirming = study.confirming_per_arm * len(study.arms)
    # the winners are not known yet: the first configurations of each arm stand for them
    trials = [*_trials(study, study.trials_per_arm), *_trials(study, study.confirming_per_arm)]
    configs = [study.declared_config(arm, study.draw(arm, number), replicate=0) for arm, number, _ in trials]
    weights = [weight for _, _, weight in trials]
    source = open_source(configs[0].data.source)
    notes = check_usable(source)
    check_reachable(study, max_trials=PLANNED_TRIALS)
    described = source.describe(configs[0].data.image_size_px)
    sizes = _sizes([config.data for config in configs], source, described)
    if min(sizes)[0] < 1:
        raise UserError(f"study '{study.name}': data.train_frac is so small that no image is left for training")
    slots = local_slots(study.resources)  # before the measurement, which uses the threads of a trial
    speeds = _speeds(configs, described, study.resources)
    # n_val / 3: a forward pass takes about a third of a training step
    seconds = sum(
        weight * config.optimizer.max_epochs * (n_train + n_val / 3) / speed
        for config, (n_train, n_val), speed, weight in zip(configs, sizes, speeds, weights, strict=True)
    )
    max_epochs = sum(weight * config.optimizer.max_epochs for config, weight in zip(configs, weights, strict=True))
    n_trains, n_vals = zip(*sizes, strict=True)
    return Plan(
        n_trials=n_searching,
        n_confirming=n_confirming,
        max_epochs=round(max_epochs),
        n_train=(min(n_trains), max(n_trains)),
        n_val=(min(n_vals), max(n_vals)),
        height_px=described.height_px,
        width_px=described.width_px,
        images_per_s=(min(speeds), max(speeds)),
        slots=slots,
        seconds=seconds / min(slots, n_searching + n_confirming),
        doses={arm: _dose(study, arm) for arm in study.arms},
        matched=tuple(arm for arm in study.arms if study.is_matched(arm)),
        notes=tuple(notes),
    )


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


def _speeds(configs: Sequence[TrialConfig], described: Description, resources: Resources) -> list[float]:
    """Return the training images per second of every trial.

    Each network with its attack is measured once, on one worker. The costs of mixing and of the communication between
    workers are neglected.
    """
    nets = [(config.model, config.adversarial) for config in configs]
    example = dict(zip(nets, configs, strict=True))
    measured = {
        net: probe(
            example[net],
            n_classes=described.n_classes,
            height_px=described.height_px,
            width_px=described.width_px,
            resources=resources,
        )
        for net in list(dict.fromkeys(nets))[:PROBED_NETS]
    }
    mean = statistics.harmonic_mean(list(measured.values()))
    return [resources.workers * measured.get(net, mean) for net in nets]


def _dose(study: Study, arm: str) -> Dose:
    from trainables.mixing.dose import mean_dose, measure_dose

    varies = any(path == "mix" or path.startswith("mix.") for path in study.space_of(arm))
    numbers = range(min(DOSE_DRAWS, study.trials_per_arm)) if varies else range(1)
    configs = [study.trial_config(arm, study.draw(arm, number), replicate=0) for number in numbers]
    return mean_dose([measure_dose(config.mix, **image_facts(config)) for config in configs])


def probe(config: TrialConfig, *, n_classes: int, height_px: int, width_px: int, resources: Resources) -> float:
    """Train on a few random images; return the training images per second of one worker."""
    import torch

    from trainables.data.image_set import ImageSet
    from trainables.data.prepared import TrialData
    from trainables.trial import Trial

    batch = min(config.data.batch_size, _PROBE_IMAGES)
    count, pad_px = 4 * batch, config.data.pad_px
    rng = np.random.default_rng(0)
    padded = rng.integers(256, size=(count, height_px + 2 * pad_px, width_px + 2 * pad_px, 3), dtype=np.uint8)
    padded.flags.writeable = False
    images = ImageSet(
        images=padded[:, pad_px : pad_px + height_px, pad_px : pad_px + width_px],
        labels=rng.integers(n_classes, size=count),
        classes=tuple(str(index) for index in range(n_classes)),
        boxes=None,
        mean=np.full(3, 0.5, dtype=np.float32),
        std=np.full(3, 0.25, dtype=np.float32),
    )
    rows = np.arange(count)
    values = config.model_dump()
    values["data"]["batch_size"] = batch
    small = TrialConfig.model_validate(values)
    before = torch.get_num_threads()
    torch.set_num_threads(resources.cpus)
    try:
        device = "cuda" if resources.gpus else "cpu"
        trial = Trial(small, TrialData(images, padded, rows, rows[:batch], flip=True), device=device)
        trial.run_epoch()  # not measured: kernels are chosen at the first step
        return trial.run_epoch().images_per_s
    finally:
        torch.set_num_threads(before)
