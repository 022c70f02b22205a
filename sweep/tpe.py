"""Optuna's tree-structured Parzen estimator, told about past trials without copies of them."""

from __future__ import annotations

import warnings
from collections.abc import Container, Iterable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState


def ask(
    past: Iterable[FrozenTrial], distributions: Mapping[str, BaseDistribution], *, seed: int, n_startup: int
) -> dict[str, Any]:
    """Return the parameters that the estimator proposes after ``past`` trials; lower values are better.

    The result is that of an Optuna study to which the trials were added. Its storage would copy and check each of them,
    which takes several times as long as the estimator itself.

    Args:
        past: trials with numbers from 1 on.
        distributions: distribution of each parameter.
        seed: seed of the estimator.
        n_startup: number of trials before the first proposal that uses their values.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # constant_liar
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=n_startup, constant_liar=True)
        study = optuna.create_study(sampler=sampler, direction="minimize", storage=_PastTrials(past))
        return dict(study.ask(dict(distributions)).params)


class _PastTrials(optuna.storages.InMemoryStorage):
    """Storage of a study that has past trials; the trial that is asked for has the number 0."""

    def __init__(self, past: Iterable[FrozenTrial]) -> None:
        super().__init__()
        self._past = list(past)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        past = [trial for trial in self._past if states is None or trial.state in states]
        return past + super().get_all_trials(study_id, deepcopy, states)
