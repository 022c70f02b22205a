"""Searchers: each proposes the parameters of a search's trials from the results of that search so far.

A searcher keeps no state: a proposal is a pure function of the study, the trial's number and the past trials of its
search. So a resumed sweep continues as if it had never been interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.domains import Choice, Domain, Fixed, Integers, LogUniform, Uniform
from search_spaces.study import Study
from trainables.renames import original_path
from trainables.seeds import derive_seed

if TYPE_CHECKING:
    import optuna

STARTUP_TRIALS = 5
"""Random draws per search before ``tpe`` uses results; the same in every arm, however many trials are added."""


@dataclass(frozen=True)
class PastTrial:
    """A trial as a searcher sees it.

    Attributes:
        params: drawn values by dotted path.
        values: the search metric by epoch, lower is better; not finite where the trial diverged.
        completed: whether it ran all planned epochs.
        ended: whether it is over for any reason.
        cancelled: whether a person stopped it: its values then tell nothing about its parameters.
    """

    params: Mapping[str, Any]
    values: Mapping[int, float]
    completed: bool
    ended: bool
    cancelled: bool = False


def propose(study: Study, arm: str, number: int, past: Sequence[PastTrial]) -> dict[str, Any]:
    """Return the parameters of one arm's trial ``number``, by dotted path.

    Args:
        study: what is run.
        arm: name of the arm.
        number: number of the trial within the arm.
        past: the earlier trials of the same search in the order of their numbers; only ``tpe`` uses them.
    """
    if study.search == "tpe" and study.space_of(arm):
        return _propose_tpe(study, arm, number, past) | study.known_values(arm, number)
    return study.draw(arm, number)


def _propose_tpe(study: Study, arm: str, number: int, past: Sequence[PastTrial]) -> dict[str, Any]:
    """Propose by a tree-structured Parzen estimator over the search's own trials (Bergstra et al., NeurIPS 2011).

    A trial that was stopped early counts as pruned with its values by epoch, never as complete at a lower fidelity.
    Running trials count as bad ones, so that parallel proposals spread. Cancelled trials are left out.
    """
    from sweep import tpe

    if replicate := number % study.replicates:  # a further replicate of the configuration before it
        return dict(past[-replicate].params)
    # under the first names: the estimator samples the parameters in the order of their names
    paths = {original_path(path): path for path in study.space_of(arm)}
    distributions = {name: distribution(study.space_of(arm)[path]) for name, path in paths.items()}
    seed = derive_seed(study.seed, "tpe", arm, number) % 2**32
    told = [trial for trial in past if not trial.cancelled]
    trials = [_frozen(number, trial, distributions) for number, trial in enumerate(told, start=1)]
    params = tpe.ask(trials, distributions, seed=seed, n_startup=STARTUP_TRIALS)
    return {paths[name]: value for name, value in params.items()}


def _frozen(
    number: int, trial: PastTrial, distributions: dict[str, optuna.distributions.BaseDistribution]
) -> optuna.trial.FrozenTrial:
    from optuna.trial import FrozenTrial, TrialState

    state = TrialState.RUNNING
    if trial.ended:
        state = TrialState.COMPLETE if trial.completed and trial.values else TrialState.PRUNED
    values = {epoch: value if math.isfinite(value) else math.inf for epoch, value in trial.values.items()}
    return FrozenTrial(
        number=number,
        state=state,
        value=values[max(values)] if state == TrialState.COMPLETE else None,
        datetime_start=None,
        datetime_complete=None,
        params={original_path(path): value for path, value in trial.params.items()},
        distributions=distributions,
        user_attrs={},
        system_attrs={},
        intermediate_values=values,
        trial_id=number,
    )


def distribution(domain: Domain) -> optuna.distributions.BaseDistribution:
    """Return the Optuna distribution of a domain."""
    import optuna

    make: dict[type[Domain], Callable[[Any], optuna.distributions.BaseDistribution]] = {
        Uniform: lambda d: optuna.distributions.FloatDistribution(d.lo, d.hi),
        LogUniform: lambda d: optuna.distributions.FloatDistribution(d.lo, d.hi, log=True),
        Integers: lambda d: optuna.distributions.IntDistribution(d.lo, d.hi),
        Choice: lambda d: optuna.distributions.CategoricalDistribution(d.values),
        Fixed: lambda d: optuna.distributions.CategoricalDistribution((d.value,)),
    }
    return make[type(domain)](domain)
