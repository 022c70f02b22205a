"""What a study would run, and about how long it would take: nothing is started or written."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from search_spaces.match_checks import check_reachable
from search_spaces.matching import image_facts
from search_spaces.study import Resources, Study
from sweep.engine import local_slots
from trainables.config import TrialConfig
from trainables.data.config import Data
from trainables.data.sources.base import Description
from trainables.data.sources.registry import open_source
from trainables.errors import UserError

if TYPE_CHECKING:
    from trainables.mixing.dose import Dose

_PROBE_IMAGES = 32
"""Images of the probe's batch at most: enough to fill one core, little enough for a large net."""

DOSE_DRAWS = 16
"""Draws from an arm's space that its dose is averaged over."""


PROBED_NETS = 8
"""Networks whose speed is measured at most; further ones are taken to be as fast as these on average."""


@dataclass(frozen=True)
class Plan:
    """Size of a sweep.

    Where trials differ in images or speed, both extremes are given, the smaller one first.

    Attributes:
        n_trials: trials of all arms' searches.
        n_confirming: trials that confirm winners after them.
        max_epochs: epochs of all trials together if none stops early.
        n_train: images trained on in an epoch.
        n_val: images validated on after it.
        height_px: height of the images.
        width_px: width of the images.
        images_per_s: training speed of one trial, measured on this machine.
        slots: trials at a time on this machine.
        seconds: estimated duration of the sweep on this machine if no trial stops early.
        doses: how strongly each arm mixes, of an arm whose space varies its mixing the mean over its first draws.
        matched: arms whose dose is made equal.
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


def make_plan(study: Study) -> Plan:
    """Measure the trials' speed for a moment and add up.

    Raises:
        UserError: the data source cannot be used.
    """
    configs = [
        study.declared_config(arm, study.draw(arm, number), replicate=0)
        for arm in study.arms
        for number in range(study.trials_per_arm)
    ]
    n_trials = len(configs)
    # who will win is not known: the arm's first configurations stand for them
    configs += [
        study.declared_config(arm, study.draw(arm, number % study.trials_per_arm), replicate=0)
        for arm in study.arms
        for number in range(study.confirming_per_arm)
    ]
    source = open_source(configs[0].data.source)
    source.check()
    check_reachable(study)
    described = source.describe(configs[0].data.image_size_px)
    sizes = [_sizes(config.data, described.n_train) for config in configs]
    if min(sizes)[0] < 1:
        raise UserError(f"study '{study.name}': data.train_frac leaves no image to train on")
    speeds = _speeds(configs, described, study.resources)
    # a forward pass is about a third of a training step
    seconds = sum(
        config.optimizer.max_epochs * (n_train + n_val / 3) / speed
        for config, (n_train, n_val), speed in zip(configs, sizes, speeds, strict=True)
    )
    slots = local_slots(study.resources)
    n_trains, n_vals = zip(*sizes, strict=True)
    return Plan(
        n_trials=n_trials,
        n_confirming=len(configs) - n_trials,
        max_epochs=sum(config.optimizer.max_epochs for config in configs),
        n_train=(min(n_trains), max(n_trains)),
        n_val=(min(n_vals), max(n_vals)),
        height_px=described.height_px,
        width_px=described.width_px,
        images_per_s=(min(speeds), max(speeds)),
        slots=slots,
        seconds=seconds / min(slots, len(configs)),
        doses={arm: _dose(study, arm) for arm in study.arms},
        matched=tuple(arm for arm in study.arms if study.is_matched(arm)),
    )


def _sizes(data: Data, n_images: int) -> tuple[int, int]:
    """Return how many of the source's images are trained on and how many are validated on."""
    used = n_images * data.train_frac
    n_val = round(used * data.val_frac)
    return round(used) - n_val, n_val


def _speeds(configs: Sequence[TrialConfig], described: Description, resources: Resources) -> list[float]:
    """Return the images a second of every trial; each network and attack is measured once, and mixing held for free."""
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
    return [measured.get(net, mean) for net in nets]


def _dose(study: Study, arm: str) -> Dose:
    from trainables.mixing.dose import mean_dose, measure_dose

    varies = any(path == "mix" or path.startswith("mix.") for path in study.space_of(arm))
    numbers = range(min(DOSE_DRAWS, study.trials_per_arm)) if varies else range(1)
    configs = [study.trial_config(arm, study.draw(arm, number), replicate=0) for number in numbers]
    return mean_dose([measure_dose(config.mix, **image_facts(config)) for config in configs])


def probe(config: TrialConfig, *, n_classes: int, height_px: int, width_px: int, resources: Resources) -> float:
    """Train on a few random images and return the images a second of one trial."""
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
        trial.run_epoch()  # warms up: kernels are chosen at the first step
        return trial.run_epoch().images_per_s
    finally:
        torch.set_num_threads(before)
