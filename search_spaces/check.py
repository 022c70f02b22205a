"""Check of a whole study, before anything is run."""

from __future__ import annotations

import itertools

from search_spaces.budget import MAX_EPOCHS, MAX_TRIALS
from search_spaces.contradictions import check_contradictions
from search_spaces.match_checks import check_matchable
from search_spaces.study import DEFAULTS, Study
from trainables.config import ON_GPU_ONLY, TrialConfig
from trainables.errors import UserError
from trainables.merging import merged
from trainables.strict import parse

ADAMW_LARGEST_LR = 0.05
"""Largest learning rate with AdamW; each of its steps changes each weight by about the learning rate."""


def check_study(study: Study) -> None:
    """Check that the arms and domains of a study give valid configurations only.

    Raises:
        UserError: names the arm, the path and the value.
    """
    check_contradictions(study)
    parse(TrialConfig, merged(DEFAULTS, study.base), where=f"study '{study.name}', base")
    try:
        for arm in study.arms:
            parse(TrialConfig, study.arm_values(arm), where=f"study '{study.name}', arm '{arm}'")
            for params in study.corner_params(arm):
                config = study.declared_config(arm, params, replicate=0)
                _check_shares(study, arm, config)
                _check_precision(study, arm, config)
                _check_rate(arm, config)
            if study.search == "grid":
                _check_grid_size(study, arm)
    except ValueError as error:
        raise UserError(f"study '{study.name}': {error}") from None
    if study.search == "grid":
        _check_grid_budget(study)
    _check_searches(study)
    _check_points(study)
    check_matchable(study)


def _check_shares(study: Study, arm: str, config: TrialConfig) -> None:
    """Check that each worker of a trial gets a row of each whole batch."""
    n_workers, batch_size = study.resources.workers, config.data.batch_size
    if n_workers > batch_size:
        raise ValueError(
            f"arm '{arm}': resources.workers is {n_workers}, but data.batch_size is {batch_size}: the workers share "
            f"each batch, so use at most {batch_size} workers"
        )


def _check_precision(study: Study, arm: str, config: TrialConfig) -> None:
    """Check that trials on CPUs have a precision of CPUs."""
    precision = config.model.precision
    if precision in ON_GPU_ONLY and not study.resources.gpus:
        raise ValueError(
            f"arm '{arm}': model.precision is '{precision}', which needs a GPU, but resources.gpus is 0: set it, or "
            "use auto, bf16 or fp32"
        )


def _check_rate(arm: str, config: TrialConfig) -> None:
    """Check the learning rate of AdamW: the default is one for stochastic gradient descent, with which AdamW diverges.

    Not in the configuration itself: a study that varies the rate has the default in its base.
    """
    lr = config.optimizer.lr
    if config.optimizer.name == "adamw" and lr > ADAMW_LARGEST_LR:
        raise ValueError(
            f"arm '{arm}': optimizer.lr is {lr:g}, but with optimizer.name 'adamw' it must be at most "
            f"{ADAMW_LARGEST_LR:g}: lower optimizer.lr, for example to 0.001, and set optimizer.weight_decay, for "
            "example to 0.05"
        )


def _check_grid_size(study: Study, arm: str) -> None:
    """Check the number of trials of a grid: not in the model, because a recorded sweep is read with any number."""
    n_points = study.n_grid_points(arm)
    if n_points * study.replicates > MAX_TRIALS:
        raise ValueError(
            f"the grid of arm '{arm}' has {n_points:,} points with {study.replicates} replicates, but an arm has at "
            f"most {MAX_TRIALS:,} trials: use fewer values, or search 'random'"
        )


def _check_searches(study: Study) -> None:
    """Check that something can be searched, and that each search of each arm gets the same number of trials."""
    searches = study.n_searches
    if study.confirm is not None and study.confirm.configs > study.trials_per_search:
        raise UserError(
            f"study '{study.name}': confirm.configs is {study.confirm.configs}, but a search has "
            f"{study.trials_per_search} trials: lower it"
        )
    if searches == 1:
        return
    where = f"study '{study.name}': confirm.searches is {searches}, but"
    if not any(map(study.is_searched, study.arms)):
        raise UserError(
            f"{where} nothing varies in the arms, so there is nothing to search: set it to 1; confirm.seeds sets the "
            "number of fresh seeds"
        )
    if study.search == "grid":
        for arm in study.arms:
            if (rounds := study.trials_per_arm // study.n_grid_points(arm)) % searches:
                raise UserError(
                    f"{where} the {rounds} rounds of the grid of arm '{arm}' cannot be divided equally among them: "
                    "choose replicates or confirm.searches so that they can"
                )
    elif study.trials_per_arm % (searches * study.replicates):
        smallest = searches * study.replicates
        replicates = f" with {study.replicates} replicates" if study.replicates > 1 else ""
        raise UserError(
            f"{where} the {study.trials_per_arm} trials of budget.trials cannot be divided equally among the searches"
            f"{replicates}: use a multiple of {smallest}, for example "
            f"{smallest * max(1, round(study.trials_per_arm / smallest))}, or another number of searches"
        )
    try:
        study.budget.early_stopping.check(max_epochs=study.budget.max_epochs, trials=study.trials_per_search)
    except ValueError as error:
        raise UserError(f"study '{study.name}': {error}") from None


def _check_points(study: Study) -> None:
    """Check that each arm can try its known configurations within its budget."""
    for arm in study.arms:
        points = study.points_of(arm)
        where = f"study '{study.name}', arm '{arm}': points"
        if points and study.search == "grid":
            raise UserError(f"{where}: search 'grid' runs every combination, so points change nothing: leave them out")
        if len(points) * study.replicates > study.trials_per_search:
            raise UserError(
                f"{where}: {len(points)} points with {study.replicates} replicates need more than the "
                f"{study.trials_per_search} trials of a search: raise budget.trials, or give fewer points"
            )
        if any(MAX_EPOCHS in point for point in study.arms[arm].points):
            raise UserError(
                f"{where}: '{MAX_EPOCHS}' may be given in the study's points only: all arms have the same budget"
            )
        for index, point in enumerate(points):
            try:
                number = next(n for n in itertools.count() if study.index_in_search(arm, n) == index * study.replicates)
                params = study.draw(arm, number)
            except ValueError as error:
                raise UserError(f"{where}: point {index + 1}: {error}") from None
            if not point:
                raise UserError(f"{where}: point {index + 1} gives no value: name a path of the space, or leave it out")
            study.declared_config(arm, params, replicate=0)


def _check_grid_budget(study: Study) -> None:
    """Check that every arm runs its grid in whole rounds and that all arms plan the same epochs."""
    points = {arm: study.n_grid_points(arm) for arm in study.arms}
    largest = max(points, key=lambda arm: points[arm])
    if study.trials_per_arm < points[largest]:
        raise UserError(
            f"study '{study.name}': budget.trials is {study.trials_per_arm}, but the grid of arm '{largest}' has "
            f"{points[largest]} points: leave budget.trials out or raise it"
        )
    planned = {arm: study.max_epochs_in(arm) for arm in study.arms}
    least, most = min(planned, key=lambda arm: planned[arm]), max(planned, key=lambda arm: planned[arm])
    if planned[least] < planned[most]:
        raise UserError(
            f"study '{study.name}': the grid of arm '{most}' plans {planned[most]} epochs in {study.trials_per_arm} "
            f"trials, the grid of arm '{least}' plans {planned[least]}: choose replicates or budget.trials so that "
            "every arm runs its grid in whole rounds"
        )
