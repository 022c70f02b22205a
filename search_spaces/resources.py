"""What a trial occupies while it runs: cores, a GPU or a share of it, and workers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from trainables.errors import UserError, format_value
from trainables.strict import Frozen

MAX_WORKERS = 1_000
"""Largest number of workers that train one trial."""

MAX_PER_GPU = 48
"""Largest number of trials on one GPU: so many processes can share it by MPS."""

AUTO: Literal["auto"] = "auto"
"""Value of ``trials_per_gpu``: the number is measured before the first trial."""

_UNITS = 10_000
"""Ray counts a GPU in so many parts, and rounds a fraction to the nearest number of parts."""


def share_of(trials_per_gpu: int) -> float:
    """Return the fraction of a GPU of each of several trials, rounded down so that all of them fit.

    Examples:
        >>> share_of(4), share_of(6), 6 * share_of(6) <= 1
        (0.25, 0.1666, True)
    """
    return math.floor(_UNITS / trials_per_gpu) / _UNITS


class Resources(Frozen):
    """What a trial occupies while it runs.

    Attributes:
        cpus: cores of each worker, also the number of its threads.
        gpus: fraction of a GPU of each worker, at most one; several trials then share the GPU. Each of them may use
            this fraction of its memory. Fractions are rounded down to 0.0001.
        trials_per_gpu: number of trials that share a GPU, in place of ``gpus``; ``auto``: the smallest number whose
            speed, all trials together, is within 5 % of the best one, measured when the sweep starts; None: by
            ``gpus``.
        mps: whether NVIDIA's Multi-Process Service runs trials of one GPU side by side; otherwise they take turns.
            ``auto``: on nodes that have it, if trials share a GPU.
        workers: processes that train one trial together, on one node or on several, each with a share of the rows of
            each batch. Their number changes no random draw, and losses only by rounding.
        checkpoint_s: seconds between two states of a trial that are written while it trains, in a folder or an object
            store: a kill loses this time. None: 30, or 20 times the time that writing takes if this is longer, and at
            most 300. 0: each epoch waits until its state is written. States at the end and before a pause are extra.

    Examples:
        >>> Resources(cpus=8, gpus=1.0, workers=4).describe()
        '4 workers with 8 CPU and 1 GPU each'
        >>> Resources(trials_per_gpu=6).gpus
        0.1666
    """

    cpus: int = Field(default=1, ge=1)
    gpus: float = Field(default=0.0, ge=0, le=1)
    trials_per_gpu: Annotated[int, Field(ge=1, le=MAX_PER_GPU)] | Literal["auto"] | None = None
    mps: Literal["off", "auto", "on"] = "off"
    workers: int = Field(default=1, ge=1, le=MAX_WORKERS)
    checkpoint_s: float | None = Field(default=None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _share_of_trials(cls, values: Any) -> Any:
        """Set ``gpus`` to the share that follows from ``trials_per_gpu``."""
        number = values.get("trials_per_gpu") if isinstance(values, Mapping) else None
        if number == AUTO:
            share = 1.0
        elif isinstance(number, int) and 1 <= number <= MAX_PER_GPU:
            share = share_of(number)
        else:
            return values
        if values.get("gpus", share) != share:
            raise ValueError(
                f"gpus is {values['gpus']} and trials_per_gpu is {number}: they say the same in two ways, give only one"
            )
        return {**values, "gpus": share}

    @field_validator("trials_per_gpu", mode="before")
    @classmethod
    def _number_or_auto(cls, number: Any) -> Any:
        is_number = isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= MAX_PER_GPU
        if number not in (None, AUTO) and not is_number:
            raise ValueError(
                f"it must be a whole number from 1 to {MAX_PER_GPU}, or {AUTO}, got {format_value(number)}"
            )
        return number

    @field_validator("gpus", mode="before")
    @classmethod
    def _one_gpu_per_worker(cls, gpus: Any) -> Any:
        if isinstance(gpus, int | float) and 1 < gpus <= MAX_WORKERS:
            raise ValueError(
                f"a worker uses at most one GPU, got {gpus:g}: for {math.ceil(gpus)} GPUs per trial set "
                f"resources.gpus to 1 and resources.workers to {math.ceil(gpus)}"
            )
        return gpus

    @field_validator("gpus")
    @classmethod
    def _in_units_of_ray(cls, gpus: float) -> float:
        rounded = math.floor(gpus * _UNITS + 1e-6) / _UNITS
        if gpus and not rounded:
            raise ValueError(f"the smallest fraction of a GPU is {1 / _UNITS:g}, got {gpus:g}")
        return rounded

    @model_validator(mode="after")
    def _whole_gpus_of_a_group(self) -> Resources:
        if self.workers > 1 and self.trials_per_gpu == AUTO:
            raise ValueError(
                f"with {self.workers} workers each one needs a GPU of its own: set gpus to 1, got trials_per_gpu: auto"
            )
        if self.workers > 1 and 0 < self.gpus < 1:
            raise ValueError(
                f"with {self.workers} workers each one needs a GPU of its own, or none: set gpus to 1 or 0, got "
                f"{self.gpus:g}"
            )
        return self

    @model_validator(mode="after")
    def _gpu_for_mps(self) -> Resources:
        if self.mps == "on" and not self.gpus:
            raise ValueError("mps is on, but trials use no GPU: set gpus or trials_per_gpu, or leave mps out")
        return self

    @property
    def workers_per_gpu(self) -> int:
        """Number of workers that share one GPU; 0 if they use none."""
        return _UNITS // round(_UNITS * self.gpus) if self.gpus else 0

    def with_whole_gpus(self) -> Resources:
        """Return the same resources, but a whole GPU instead of a fraction."""
        return self.model_copy(update={"gpus": 1.0, "trials_per_gpu": None}) if self.gpus else self

    def with_trials_per_gpu(self, number: int) -> Resources:
        """Return the same resources with another number of trials that share a GPU."""
        return self.model_copy(update={"gpus": share_of(number), "trials_per_gpu": number})

    def describe(self) -> str:
        """Return what a trial occupies, in words.

        Examples:
            >>> Resources(cpus=2).describe(), Resources(cpus=2, trials_per_gpu=4, mps="auto").describe()
            ('2 CPU and 0 GPU', '2 CPU and 0.25 GPU (4 trials per GPU, mps: auto)')
            >>> Resources(trials_per_gpu="auto").describe()
            '1 CPU and a share of a GPU that is measured at the start (trials_per_gpu: auto)'
        """
        if self.trials_per_gpu == AUTO:
            gpu, notes = "a share of a GPU that is measured at the start", ["trials_per_gpu: auto"]
        else:
            gpu, notes = f"{self.gpus:g} GPU", []
            if self.trials_per_gpu is not None:
                notes.append(f"{self.trials_per_gpu} trials per GPU")
        if self.mps != "off":
            notes.append(f"mps: {self.mps}")
        each = f"{self.cpus} CPU and {gpu}" + (f" ({', '.join(notes)})" if notes else "")
        return each if self.workers == 1 else f"{self.workers} workers with {each} each"


def check_one_share(gpus: float | None, trials_per_gpu: int | str | None) -> None:
    """Check that the share of a GPU that each trial has is given in one way.

    Raises:
        UserError: it is given in two ways.
    """
    if gpus is not None and trials_per_gpu is not None:
        raise UserError(
            f"--gpus {gpus:g} and --trials-per-gpu {trials_per_gpu} say the same in two ways: give only one of them"
        )


def without_other_share(values: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of a study without the share of a GPU that ``changes`` gives in another way.

    Examples:
        >>> without_other_share({"resources": {"gpus": 1.0, "cpus": 2}}, {"resources": {"trials_per_gpu": 4}})
        {'resources': {'cpus': 2}}
    """
    before, after = values.get("resources"), changes.get("resources")
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return values
    others = {"gpus": "trials_per_gpu", "trials_per_gpu": "gpus"}
    given = [name for name in others if after.get(name) is not None]
    replaced = {others[name] for name in given} - set(given)
    return {**values, "resources": {name: value for name, value in before.items() if name not in replaced}}
