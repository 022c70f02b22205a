"""Check of a whole study, before anything is run."""

from __future__ import annotations

from search_spaces.contradictions import check_contradictions
from search_spaces.match_checks import check_matchable
from search_spaces.study import DEFAULTS, Study
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.merging import merged
from trainables.strict import parse


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
                study.declared_config(arm, params, replicate=0)
            if study.search == "grid":
                study.grid_of(arm)
    except ValueError as error:
        raise UserError(f"study '{study.name}': {error}") from None
    if study.search == "grid":
        _check_grid_budget(study)
    check_matchable(study)


def _check_grid_budget(study: Study) -> None:
    """Check that every arm runs its grid in whole rounds and that all arms plan the same epochs."""
    points = {arm: len(study.grid_of(arm)) for arm in study.arms}
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
