"""Size of a study's sweep and an estimate of its duration; nothing is started or written."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search_spaces.match_checks import check_reachable
from search_spaces.matching import image_facts
from search_spaces.resources import AUTO, Resources
from search_spaces.study import Study
from sweep.disk_room import DiskRoom, disk_rooms
from sweep.engine import local_slots
from sweep.gpu_room import GpuRoom, gpu_rooms
from sweep.largest import step_flops
from sweep.mps import mps_of
from sweep.network_sizes import NetworkSize, network_sizes
from sweep.planned import PLANNED_TRIALS, PlannedTrial, first_config, planned_trials
from sweep.probe import ProbeResult, probe
from sweep.random_trial import ImageFacts, random_trial
from trainables.config import TrialConfig
from trainables.data.sources.registry import open_source
from trainables.data.usable import check_usable
from trainables.errors import UserError

if TYPE_CHECKING:
    from trainables.mixing.dose import Dose

_PROBE_IMAGES = 32
"""Largest batch of the speed measurement: it keeps one core busy and is small enough for a large network."""

DOSE_DRAWS = 16
"""Largest number of configurations over which an arm's dose is averaged, if the arm's space varies its mixing."""

PROBED_NETS = 8
"""Largest number of networks that are measured; all others get the harmonic mean of the measured speeds."""


SIZED_NETS = 16
"""Largest number of networks whose sizes are computed."""


@dataclass(frozen=True)
class Plan:
    """Size of a sweep.

    A pair is the smallest and the largest value over the trials.

    Attributes:
        networks: size of each network, in the order of the trials; of many, of the first ``SIZED_NETS``.
        n_trials: number of search trials of all arms.
        n_confirming: number of confirmation trials.
        max_epochs: total number of epochs if no trial stops early.
        n_train: training images per epoch, a pair.
        n_val: validation images per epoch, a pair.
        height_px: height of the images.
        width_px: width of the images.
        train_flops: floating-point operations of all training steps of a trial with these networks, a pair; validation
            is not counted.
        images_per_s: training speed of one trial, measured on this machine, a pair; several workers count as that
            many times the speed of one. None: no trial fits on this machine.
        slots: number of trials that run at the same time on this machine.
        seconds: estimated duration of the sweep on this machine if no trial stops early; None: no trial fits.
        no_time: why no trial fits on this machine; "" if one does.
        doses: dose by arm; if the arm's space varies its mixing, the mean over its first configurations.
        matched: arms with a matched dose.
        notes: what a user should know of the files of the data source, one sentence each.
        rooms: memory that each arm needs on a GPU; nothing if trials use no GPU.
        disk: disk that the images need, for each source whose images are files.
        measured: speed and memory of several trials at the same time; None: not asked for.
    """

    networks: tuple[NetworkSize, ...]
    n_trials: int
    n_confirming: int
    max_epochs: int
    n_train: tuple[int, int]
    n_val: tuple[int, int]
    height_px: int
    width_px: int
    train_flops: tuple[float, float]
    images_per_s: tuple[float, float] | None
    slots: int
    seconds: float | None
    no_time: str
    doses: dict[str, Dose]
    matched: tuple[str, ...]
    notes: tuple[str, ...]
    rooms: tuple[GpuRoom, ...]
    disk: tuple[DiskRoom, ...]
    measured: ProbeResult | None


def make_plan(study: Study, *, measure: bool = False, show: Callable[[str], None] = lambda _: None) -> Plan:
    """Return the size of a study's sweep, after a short measurement of the training speed.

    Args:
        study: the study.
        measure: whether several trials are measured at the same time, see :mod:`sweep.probe`; otherwise one.
        show: is called with what is measured next.

    Raises:
        UserError: the data source cannot be used, no image is left for training or for validation, the images do not
            fit on the disk, a trial does not fit on the GPU, or several trials shall be measured and none fits on this
            machine.

    Example:
        >>> from search_spaces.discover import load_study
        >>> plan = make_plan(load_study("quickstart", scale="smoke"))
        >>> plan.n_trials, plan.height_px
        (8, 32)
    """
    n_searching = study.trials_per_arm * len(study.arms)
    n_confirming = study.confirming_per_arm * len(study.arms)
    data = first_config(study).data
    source = open_source(data.source)
    notes = check_usable(source)
    check_reachable(study, max_trials=PLANNED_TRIALS)
    described = source.describe(data.image_size_px)
    trials = planned_trials(study)
    facts = ImageFacts(described.n_classes, described.height_px, described.width_px)
    slots, no_time = _slots(study.resources, needed=measure)  # the measurement uses the threads of a trial
    rooms, disk = gpu_rooms(study, trials, described), disk_rooms(study)
    measured, seconds, speeds = None, None, None
    if measure:
        measured = _measured(study, show)
        slots, seconds, speeds = measured.slots, 3600 * measured.hours, list(measured.speeds)
    elif slots:
        speeds = _speeds([trial.config for trial in trials], facts, study.resources)
        # n_val / 3: a forward pass takes about a third of a training step
        seconds = sum(
            trial.weight * trial.config.optimizer.max_epochs * (trial.n_train + trial.n_val / 3) / speed
            for trial, speed in zip(trials, speeds, strict=True)
        ) / min(slots, n_searching + n_confirming)
    sized = _first_networks(trials)
    flops = [_work(trial, facts) for trial in sized]
    n_trains, n_vals = zip(*((trial.n_train, trial.n_val) for trial in trials), strict=True)
    return Plan(
        networks=network_sizes([trial.config.model for trial in sized], described),
        n_trials=n_searching,
        n_confirming=n_confirming,
        max_epochs=round(sum(trial.weight * trial.config.optimizer.max_epochs for trial in trials)),
        n_train=(min(n_trains), max(n_trains)),
        n_val=(min(n_vals), max(n_vals)),
        height_px=described.height_px,
        width_px=described.width_px,
        train_flops=(min(flops), max(flops)),
        images_per_s=None if speeds is None else (min(speeds), max(speeds)),
        slots=slots,
        seconds=seconds,
        no_time=no_time,
        doses={arm: _dose(study, arm) for arm in study.arms},
        matched=tuple(arm for arm in study.arms if study.is_matched(arm)),
        notes=tuple(notes),
        rooms=rooms,
        disk=disk,
        measured=measured,
    )


def _slots(resources: Resources, *, needed: bool) -> tuple[int, str]:
    """Return the number of trials that fit on this machine, and why none does: a plan may be for another one."""
    try:
        return local_slots(resources), ""
    except UserError as error:
        if needed:
            raise
        return 0, str(error)


def _first_networks(trials: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """Return the trials with one of the first different networks: a width that is drawn gives thousands."""
    first = list(dict.fromkeys(trial.config.model for trial in trials))[:SIZED_NETS]
    return [trial for trial in trials if trial.config.model in first]


def _work(trial: PlannedTrial, facts: ImageFacts) -> float:
    """Return the floating-point operations of all training steps of a planned trial."""
    config, side_px = trial.config, trial.config.data.image_size_px
    if side_px is not None:  # which arms may set differently
        facts = replace(facts, height_px=side_px, width_px=side_px)
    return step_flops(config, facts) / config.data.batch_size * trial.n_train * config.optimizer.max_epochs


def _measured(study: Study, show: Callable[[str], None]) -> ProbeResult:
    """Measure several trials at the same time, with MPS if trials that share a GPU would use it."""
    mps = mps_of(study.resources.model_copy(update={"trials_per_gpu": AUTO})) if study.resources.gpus else None
    if mps is None:
        return probe(study, show=show)
    with mps.running():
        return probe(study, environment=mps.environment(), show=show)


def check_price(study: Study, price_per_gpu_hour: float | None, *, measure: bool) -> None:
    """Check that a sweep has a cost: its GPU hours are measured.

    Raises:
        UserError: they are not measured, or trials use no GPU.
    """
    if price_per_gpu_hour is None:
        return
    if not measure:
        raise UserError("--price-per-gpu-hour needs --measure: the cost follows from the measured speed")
    if not study.resources.gpus:
        raise UserError("--price-per-gpu-hour needs trials on a GPU, and this study uses none: add --gpus 1")


def _speeds(configs: Sequence[TrialConfig], facts: ImageFacts, resources: Resources) -> list[float]:
    """Return the training images per second of every trial.

    Each network with its attack, its passes for maps, the kinds of its changes of images and the size of its JPEGs is
    measured once, on one worker. Other costs of mixing, and those of the communication between workers, are neglected.
    """
    nets = [
        (config.model, config.adversarial, config.augment.kinds, config.mix.map_kinds, config.data.stored_short_px)
        for config in configs
    ]
    example = dict(zip(nets, configs, strict=True))
    measured = {net: measure_speed(example[net], facts, resources) for net in list(dict.fromkeys(nets))[:PROBED_NETS]}
    mean = statistics.harmonic_mean(list(measured.values()))
    return [resources.workers * measured.get(net, mean) for net in nets]


def _dose(study: Study, arm: str) -> Dose:
    from trainables.mixing.dose import mean_dose, measure_dose

    varies = any(path == "mix" or path.startswith("mix.") for path in study.space_of(arm))
    numbers = range(min(DOSE_DRAWS, study.trials_per_arm)) if varies else range(1)
    configs = [study.trial_config(arm, study.draw(arm, number), replicate=0) for number in numbers]
    return mean_dose([measure_dose(config.mix, **image_facts(config)) for config in configs])


def measure_speed(config: TrialConfig, facts: ImageFacts, resources: Resources) -> float:
    """Train on a few random images; return the training images per second of one worker."""
    import torch

    batch = min(config.data.batch_size, _PROBE_IMAGES)
    values = config.model_dump()
    values["data"]["batch_size"] = batch
    small = TrialConfig.model_validate(values)
    before = torch.get_num_threads()
    torch.set_num_threads(resources.cpus)
    try:
        device = "cuda" if resources.gpus else "cpu"
        trial = random_trial(small, facts, n_train=4 * batch, n_val=batch, device=device)
        trial.run_epoch()  # not measured: kernels are chosen at the first step
        return trial.run_epoch().images_per_s
    finally:
        torch.set_num_threads(before)
