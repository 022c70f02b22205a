"""Checks of a study's ``match``: contradictions, and doses that no trial can reach."""

from __future__ import annotations

from search_spaces.matching import SOLVED_FOR, Match, mixes_labels
from search_spaces.study import Study
from trainables.errors import UserError, did_you_mean
from trainables.merging import flattened


def check_matchable(study: Study) -> None:
    """Check that a match does not contradict the study and that its arms have an exposure; nothing is measured yet.

    Raises:
        UserError: names the arm or path and what to do.
    """
    match = study.match
    if match is None:
        return
    where = f"study '{study.name}': match"
    for arm in match.arms or ():
        if arm not in study.arms:
            raise UserError(f"{where}.arms: there is no arm '{arm}'{did_you_mean(arm, study.arms)}")
        if not study.is_matched(arm):
            raise UserError(f"{where}.arms: arm '{arm}' mixes no labels, so it has no exposure: leave it out")
    arms = [arm for arm in study.arms if study.is_matched(arm)]
    if not arms:
        raise UserError(f"{where}: no arm mixes labels, so no arm has an exposure: leave match out")
    for arm in arms:
        _check_known(study, arm, where)
        _check_varied(study, arm, match, where)
        if match.target is not None and not match.target_from_arms:
            _check_solved_for(study, arm, match, where)
        if match.by == "size":
            _check_has_size(study, arm, where)
    if len(arms) == 1 and match.target is None:
        raise UserError(
            f"{where}: only arm '{arms[0]}' has an exposure to match: set a match.target or leave match out"
        )


def _check_known(study: Study, arm: str, where: str) -> None:
    for config in study.extremes(arm):
        if config.mix.map_kinds:
            raise UserError(
                f"{where}.arms: the exposure of arm '{arm}' depends on the network in training, whose maps decide on "
                "masks or labels, so it is not known before: leave the arm out of match.arms"
            )


def _check_varied(study: Study, arm: str, match: Match, where: str) -> None:
    for path in study.space_of(arm):
        if path in SOLVED_FOR[match.by]:
            raise UserError(f"{where} solves for '{path}', but the space of arm '{arm}' varies it: drop one of them")
        if match.target is None and (path == "mix" or path.startswith("mix.")):
            raise UserError(
                f"{where}.target is missing: the space of arm '{arm}' varies '{path}', so its trials have no common "
                "exposure to start from; set one, for example match: {dose: exposure, target: 0.1}"
            )


def _check_solved_for(study: Study, arm: str, match: Match, where: str) -> None:
    """Check that what the target decides on is not set by hand; the value of a preset is a default."""
    parts = study.arms[arm]
    by_hand = [study.base, parts.base, {"mix": parts.mix}]
    for path in SOLVED_FOR[match.by]:
        if any(path in flattened(values) for values in by_hand):
            raise UserError(
                f"{where}.target decides on '{path}', but it is given for arm '{arm}': drop it, or drop the target; "
                "the target is then the lowest exposure of the arms as they are declared"
            )


def _check_has_size(study: Study, arm: str, where: str) -> None:
    for mix in (config.mix for config in study.extremes(arm) if mixes_labels(config.mix)):
        if mix.alternate is not None:
            raise UserError(f"{where}.by is 'size', but two policies alternate in arm '{arm}': match by prob")
        if mix.size.kind != "fixed":
            raise UserError(
                f"{where}.by is 'size', but arm '{arm}' has mix.size.kind '{mix.size.kind}': fix it with "
                "{kind: fixed}, or match by prob"
            )
        if mix.label.exponent == 0:
            raise UserError(f"{where}.by is 'size', but labels of arm '{arm}' do not follow it: match by prob")


def check_reachable(study: Study, *, max_trials: int | None = None) -> None:
    """Check, by measuring, that every trial can have its dose, before anything starts.

    All trials that are known beforehand are solved for. The sweep reuses these solutions.

    Args:
        study: the study.
        max_trials: about the number of trials to solve for, the first of each arm; None: all.

    Raises:
        UserError: names the arm, the exposure that it can have and the target.
    """
    if max_trials is not None:
        max_trials = max(1, max_trials // len(study.arms))
    for arm in study.arms:
        if not study.is_matched(arm):
            continue
        for config in study.extremes(arm):
            study.matched(arm, config)
        n_trials = study.trials_per_arm if max_trials is None else min(study.trials_per_arm, max_trials)
        for number in range(n_trials if study.space_of(arm) else 0):
            study.trial_config(arm, study.draw(arm, number), replicate=0)
