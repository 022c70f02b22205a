"""What every arm may spend, and when a trial may end before its time."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainables.strict import Frozen


class _Stopping(Frozen):
    """What the rules that end trials have in common.

    Attributes:
        grace_period_epochs: first rung: no trial ends before it.
        min_recorded: trials that must be at a rung before it ends any.
    """

    grace_period_epochs: int = Field(default=3, ge=1)
    min_recorded: int = Field(default=3, ge=1)


class _Halving(_Stopping):
    """Successive halving.

    Attributes:
        reduction_factor: eta: the best ``1/eta`` of a rung go on, and each rung is ``eta`` times the one before.
        mode: ``stop`` decides for good when a trial comes to a rung; ``promote`` pauses it there, and goes on with
            it as soon as it is among the best.
    """

    reduction_factor: int = Field(default=3, ge=2)
    mode: Literal["stop", "promote"] = "stop"


class AshaStopping(_Halving):
    """Asynchronous successive halving (Li et al., MLSys 2020)."""

    rule: Literal["asha"] = "asha"


class HyperbandStopping(_Halving):
    """Asynchronous Hyperband (Li et al., JMLR 2018 and MLSys 2020): ASHA from several first rungs.

    Attributes:
        brackets: number of first rungs; None: as many as fit before the planned epochs.
    """

    rule: Literal["hyperband"] = "hyperband"
    brackets: int | None = Field(default=None, ge=1)


class MedianStopping(_Stopping):
    """Median stopping (Golovin et al., Google Vizier, KDD 2017).

    Attributes:
        interval_epochs: epochs from one rung to the next.
        min_recorded: other trials that must have come to a rung before it ends any.
    """

    rule: Literal["median"] = "median"
    interval_epochs: int = Field(default=1, ge=1)


class NoStopping(Frozen):
    """All trials run to the end."""

    rule: Literal["none"] = "none"


EarlyStopping = Annotated[AshaStopping | HyperbandStopping | MedianStopping | NoStopping, Field(discriminator="rule")]
"""When a trial may end before its planned epochs; each arm has rungs of its own."""


def halving_rungs(stopping: AshaStopping | HyperbandStopping, max_epochs: int) -> list[int]:
    """Return the epochs at which halving compares trials, all before ``max_epochs``."""
    rungs, rung = [], stopping.grace_period_epochs
    while rung < max_epochs:
        rungs.append(rung)
        rung *= stopping.reduction_factor
    return rungs


class Budget(Frozen):
    """What every arm may spend, the same for all.

    Attributes:
        trials: trials an arm. A grid may leave it out: the largest arm's grid times the replicates is then taken.
        max_epochs: planned epochs of a trial; where the space varies ``optimizer.max_epochs``, the largest number.
        early_stopping: when a trial may end before that; left out, none does.
        control_frac: share of each arm's trials that early stopping may not touch, the control cohort: it shows
            what stopping cost.
    """

    trials: int | None = Field(default=None, ge=1)
    max_epochs: int = Field(ge=1)
    early_stopping: EarlyStopping = NoStopping()
    control_frac: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _rungs_can_stop(self) -> Budget:
        stopping = self.early_stopping
        if isinstance(stopping, NoStopping):
            return self
        mend = "no rung would ever stop one; lower it or set early_stopping.rule to none"
        if stopping.grace_period_epochs >= self.max_epochs:
            raise ValueError(
                f"early_stopping.grace_period_epochs is {stopping.grace_period_epochs}, but trials end at "
                f"{self.max_epochs} epochs: {mend}"
            )
        others = isinstance(stopping, MedianStopping)  # its median is of other trials
        if self.trials is not None and stopping.min_recorded > self.trials - others:
            raise ValueError(
                f"early_stopping.min_recorded is {stopping.min_recorded}{' others' if others else ''}, but an arm has "
                f"{self.trials} trials: {mend}"
            )
        if isinstance(stopping, HyperbandStopping) and (stopping.brackets or 0) > (
            fitting := len(halving_rungs(stopping, self.max_epochs))
        ):
            raise ValueError(
                f"early_stopping.brackets is {stopping.brackets}, but only {fitting} of its first rungs lie before "
                f"{self.max_epochs} epochs: lower it or leave it out"
            )
        return self


class Confirm(Frozen):
    """Training each arm's best configurations again from scratch, on seeds that chose nothing.

    Full epochs, no early stopping, the same seeds in every arm. Only these trials are measured on test images: what a
    search shows is the luck of its winners as well.

    Attributes:
        configs: how many of an arm's configurations, the best by the study's metric after their last planned epoch.
        seeds: trials of each.
    """

    configs: int = Field(default=1, ge=1)
    seeds: int = Field(default=5, ge=2)
