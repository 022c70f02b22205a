"""Arms of equal dose: the probability or the size at which each one mixes labels as much as the others.

Dose is exposure, the smaller one of both labels' shares averaged over a run (see :mod:`trainables.mixing.dose`).
Arms that mix no labels have none and are left as they are. What is solved for follows from the study alone, by
Monte Carlo from a fixed seed, so that a sweep that is taken up again has the same trials.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from trainables.config import TrialConfig
from trainables.data.config import Data
from trainables.errors import UserError, did_you_mean
from trainables.merging import flattened
from trainables.mixing.config import Mix
from trainables.mixing.size import FixedSize
from trainables.strict import Frozen

if TYPE_CHECKING:
    from search_spaces.study import Study

SOLVED_FOR = {"prob": ("mix.apply.prob", "mix.alternate.mix.apply.prob"), "size": ("mix.size.frac",)}
"""Paths of a trial that are solved for."""

TOLERANCE = 0.01
"""Relative difference from the target that is accepted of a solution."""

_FRACTIONS = tuple(round(0.1 * tenth, 1) for tenth in range(1, 11))
"""Where the largest exposure is looked for; up to it exposure rises with the size, beyond it the partner dominates."""


class Match(Frozen):
    """What is made equal between arms, and by what.

    Attributes:
        dose: ``exposure``, the mean of the smaller label share over all samples of a run, mixed or not.
        by: what is solved for: ``prob``, the probability of mixing (of two alternating policies both, in proportion),
            or ``size``, the pasted fraction of policies whose size is fixed, at their own probability.
        target: exposure of all matched arms; None: the lowest one that any of them has as it is declared.
        target_from_arms: the target is the lowest exposure of the arms that a sweep began with: more were added.
        arms: which arms are matched; None: all that mix labels.
    """

    dose: Literal["exposure"] = "exposure"
    by: Literal["prob", "size"] = "prob"
    target: float | None = Field(default=None, gt=0, le=0.5)
    target_from_arms: bool = False
    arms: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None


def mixes_labels(mix: Mix) -> bool:
    """Whether a policy ever gives a sample two labels; one-hot rules and content without a class do not."""
    return any(
        policy.apply.mean_prob > 0 and policy.content == "partner" and policy.label.exponent != "inf"
        for policy in _chosen(mix)
    )


def _chosen(mix: Mix) -> list[Mix]:
    """Return the policies that have a chance of being chosen."""
    if mix.alternate is None:
        return [mix]
    chances = (1 - mix.alternate.prob, mix.alternate.prob)
    return [policy for chance, policy in zip(chances, mix.policies, strict=True) if chance > 0]


def is_matched(study: Study, arm: str) -> bool:
    """Whether an arm's dose is made equal to that of others."""
    match = study.match
    if match is None or (match.arms is not None and arm not in match.arms):
        return False
    return any(mixes_labels(config.mix) for config in study.extremes(arm))


def matched(study: Study, arm: str, config: TrialConfig) -> TrialConfig:
    """Return a trial's configuration with the probability or size at which it has the study's exposure.

    Raises:
        UserError: no probability or size gives it.
    """
    match = study.match
    if match is None or not mixes_labels(config.mix) or (match.arms is not None and arm not in match.arms):
        return config
    target = match_target(study)
    try:
        solve = _with_prob if match.by == "prob" else _with_size
        mix = solve(config.mix, target, **image_facts(config))
    except ValueError as error:
        raise UserError(f"study '{study.name}', arm '{arm}': match: {error}") from None
    return config.model_copy(update={"mix": mix})


def match_target(study: Study) -> float:
    """Return the exposure that matched arms are to have.

    Raises:
        ValueError: the study matches nothing.
    """
    if study.match is None:
        raise ValueError(f"study '{study.name}' matches nothing")
    if study.match.target is not None:
        return study.match.target
    configs = [next(iter(study.extremes(arm))) for arm in study.arms if is_matched(study, arm)]
    return min(_exposure(config.mix, **image_facts(config)) for config in configs)


def image_facts(config: TrialConfig) -> dict[str, Any]:
    """Return what a dose depends on besides the policy: the images' size, and images where the policy looks at them.

    Raises:
        UserError: the data source cannot be used.
    """
    if config.mix.needs:
        from trainables.data.prepared import prepare_data

        images = prepare_data(config.data).images
        height_px, width_px = images.images.shape[1:3]
        return {"height_px": height_px, "width_px": width_px, "data": images}
    height_px, width_px = _image_size(Data(source=config.data.source, image_size_px=config.data.image_size_px))
    return {"height_px": height_px, "width_px": width_px, "data": None}


@functools.lru_cache(maxsize=64)
def _image_size(data: Data) -> tuple[int, int]:
    if data.image_size_px is not None:
        return data.image_size_px, data.image_size_px
    from trainables.data.sources.registry import open_source

    described = open_source(data.source).describe()
    return described.height_px, described.width_px


def _exposure(mix: Mix, **facts: Any) -> float:
    """Measure, to digits that another processor's last bit does not change."""
    from trainables.mixing.dose import measure_exposure

    return _rounded(measure_exposure(mix, **facts).value)


def _with_prob(mix: Mix, target: float, **facts: Any) -> Mix:
    """Exposure is proportional to the probability: one measurement says it all.

    Raises:
        ValueError: even at probability 1 it is lower.
    """
    most = 1 / max(policy.apply.prob for policy in _chosen(mix))
    highest = _exposure(_scaled(mix, most), **facts)
    if highest * (1 + TOLERANCE / 10) < target:
        raise ValueError(
            f"exposure is {highest:.4g} at probability 1 and cannot reach the target {target:.4g}: lower match.target "
            "or leave the arm out of match.arms"
        )
    return _scaled(mix, most * min(1.0, target / highest))


def _scaled(mix: Mix, factor: float) -> Mix:
    """Return the policy with its probabilities times ``factor``."""
    prob = min(1.0, _rounded(mix.apply.prob * factor))
    changes: dict[str, Any] = {"apply": mix.apply.model_copy(update={"prob": prob})}
    if mix.alternate is not None:
        changes["alternate"] = mix.alternate.model_copy(update={"mix": _scaled(mix.alternate.mix, factor)})
    return mix.model_copy(update=changes)


def _with_size(mix: Mix, target: float, **facts: Any) -> Mix:
    """Find the smaller size of the two that have the exposure.

    Raises:
        ValueError: no size has it.
    """
    from scipy.optimize import brentq

    def excess(frac: float) -> float:
        return _exposure(_resized(mix, frac), **facts) - target

    highest = max(_FRACTIONS, key=excess)
    if excess(highest) < 0:
        raise ValueError(
            f"exposure is at most {target + excess(highest):.4g}, at size.frac {highest:g} and probability "
            f"{mix.apply.prob:g}, and cannot reach the target {target:.4g}: lower match.target or raise apply.prob"
        )
    found = _rounded(brentq(excess, 0.0, highest, xtol=1e-6, rtol=1e-5))
    if abs(excess(found)) > TOLERANCE * target:
        raise ValueError(f"exposure jumps past the target {target:.4g} at size.frac {found:g}: match by prob")
    return _resized(mix, found)


def _resized(mix: Mix, frac: float) -> Mix:
    return mix.model_copy(update={"size": FixedSize(frac=float(frac))})


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def check_matchable(study: Study) -> None:
    """Refuse a match that contradicts the study or names arms that cannot have a dose; nothing is measured yet.

    Raises:
        UserError: naming the arm or path and what to do.
    """
    match = study.match
    if match is None:
        return
    where = f"study '{study.name}': match"
    for arm in match.arms or ():
        if arm not in study.arms:
            raise UserError(f"{where}.arms: there is no arm '{arm}'{did_you_mean(arm, study.arms)}")
        if not is_matched(study, arm):
            raise UserError(f"{where}.arms: arm '{arm}' mixes no labels, so that it has no exposure: leave it out")
    arms = [arm for arm in study.arms if is_matched(study, arm)]
    if not arms:
        raise UserError(f"{where}: no arm mixes labels, so that none has an exposure: drop match")
    for arm in arms:
        _check_varied(study, arm, match, where)
        if match.target is not None and not match.target_from_arms:
            _check_given(study, arm, match, where)
        if match.by == "size":
            _check_has_size(study, arm, where)
    if len(arms) == 1 and match.target is None:
        raise UserError(f"{where}: only arm '{arms[0]}' has an exposure to match: name a match.target or drop match")


def _check_varied(study: Study, arm: str, match: Match, where: str) -> None:
    for path in study.space_of(arm):
        if path in SOLVED_FOR[match.by]:
            raise UserError(f"{where} solves for '{path}', but the space of arm '{arm}' varies it: drop one of them")
        if match.target is None and (path == "mix" or path.startswith("mix.")):
            raise UserError(
                f"{where}.target is missing: the space of arm '{arm}' varies '{path}', so that its trials have no "
                "common exposure to start from; name one, as in match: {dose: exposure, target: 0.1}"
            )


def _check_given(study: Study, arm: str, match: Match, where: str) -> None:
    """What is solved for from a target has no effect where it is spelled out; a preset's own value is a default."""
    parts = study.arms[arm]
    given = [study.base, parts.base, {"mix": parts.mix}]
    for path in SOLVED_FOR[match.by]:
        if any(path in flattened(values) for values in given):
            raise UserError(
                f"{where}.target decides on '{path}', but it is given for arm '{arm}': drop it, or the target, which "
                "is then the lowest exposure of the arms as they are declared"
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


def check_reachable(study: Study) -> None:
    """Measure, and refuse a dose that some trial cannot have: before anything starts.

    All trials that are known beforehand are solved for; what is found is kept for the sweep.

    Raises:
        UserError: naming the arm, the exposure it can have and the target.
    """
    for arm in study.arms:
        if not is_matched(study, arm):
            continue
        for config in study.extremes(arm):
            matched(study, arm, config)
        for number in range(study.trials_per_arm if study.space_of(arm) else 0):
            study.trial_config(arm, study.draw(arm, number), replicate=0)
