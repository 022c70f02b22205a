"""Equal dose: the probability or the size at which a policy mixes labels as much as others do.

Dose is exposure: the smaller of a sample's two label fractions, averaged over a run. See
:mod:`trainables.mixing.dose`. Policies that mix no labels have no exposure and are left as they are. The solution
follows from the configuration alone, by Monte Carlo from a fixed seed, so that a resumed sweep has the same trials.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field

from trainables.config import TrialConfig
from trainables.data.config import Data
from trainables.data.places import place_of
from trainables.mixing.config import Mix
from trainables.mixing.size import FixedSize
from trainables.strict import Frozen

SOLVED_FOR = {"prob": ("mix.apply.prob", "mix.alternate.mix.apply.prob"), "size": ("mix.size.frac",)}
"""Paths of a trial that are solved for."""

TOLERANCE = 0.01
"""Accepted relative difference between a solution and the target."""

_FRACTIONS = tuple(round(0.1 * tenth, 1) for tenth in range(1, 11))
"""Sizes among which the largest exposure is searched: exposure rises with the size up to it and falls beyond it."""


class Match(Frozen):
    """Which dose is made equal between arms, and by which parameter.

    Attributes:
        dose: ``exposure``, the mean of the smaller label fraction over all samples of a run, mixed or not.
        by: what is solved for: ``prob``, the probability of mixing (if two policies alternate both, in proportion),
            or ``size``, the pasted fraction of policies with a fixed size, at their own probability.
        target: exposure of all matched arms; None: the lowest exposure of these arms as they are declared.
        target_from_arms: whether the target is the lowest exposure of the arms that a sweep began with, because arms
            were added later.
        arms: which arms are matched; None: all arms that mix labels.
    """

    dose: Literal["exposure"] = "exposure"
    by: Literal["prob", "size"] = "prob"
    target: float | None = Field(default=None, gt=0, le=0.5)
    target_from_arms: bool = False
    arms: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None

    def includes(self, arm: str) -> bool:
        """Return whether an arm is matched if it mixes labels."""
        return self.arms is None or arm in self.arms


def mixes_labels(mix: Mix) -> bool:
    """Return whether a policy can give a sample two labels; one-hot rules and content without a class cannot."""
    return any(
        policy.apply.mean_prob > 0 and policy.content == "partner" and policy.label.exponent != "inf"
        for policy in _possible(mix)
    )


def _possible(mix: Mix) -> list[Mix]:
    """Return the policies with a probability above 0."""
    if mix.alternate is None:
        return [mix]
    probs = (1 - mix.alternate.prob, mix.alternate.prob)
    return [policy for prob, policy in zip(probs, mix.policies, strict=True) if prob > 0]


def with_exposure(config: TrialConfig, target: float, *, by: Literal["prob", "size"]) -> TrialConfig:
    """Return a configuration with the probability or size at which its policy has the exposure ``target``.

    Raises:
        ValueError: no probability or size gives it.
        UserError: the data source cannot be used.
    """
    solve = _with_prob if by == "prob" else _with_size
    return config.model_copy(update={"mix": solve(config.mix, target, **image_facts(config))})


def lowest_exposure(configs: Iterable[TrialConfig]) -> float:
    """Return the lowest exposure of some configurations' policies.

    Raises:
        UserError: the data source cannot be used.
    """
    return min(_exposure(config.mix, **image_facts(config)) for config in configs)


def image_facts(config: TrialConfig) -> dict[str, Any]:
    """Return what a dose depends on besides the policy: the images' size, and images for policies that use them.

    Raises:
        UserError: the data source cannot be used.
    """
    if config.mix.needs:
        from trainables.data.prepared import prepare_data

        images = prepare_data(config.data).images
        height_px, width_px = images.images.shape[1:3]
        return {"height_px": height_px, "width_px": width_px, "data": images}
    source = place_of(config.data.source).source
    height_px, width_px = _image_size(Data(source=source, image_size_px=config.data.image_size_px))
    return {"height_px": height_px, "width_px": width_px, "data": None}


@functools.lru_cache(maxsize=64)
def _image_size(data: Data) -> tuple[int, int]:
    if data.image_size_px is not None:
        return data.image_size_px, data.image_size_px
    from trainables.data.sources.registry import open_source

    described = open_source(data.source).describe()
    return described.height_px, described.width_px


def _exposure(mix: Mix, **facts: Any) -> float:
    """Measure the exposure, rounded so that the last bit of another processor does not change it."""
    from trainables.mixing.dose import measure_exposure

    return _rounded(measure_exposure(mix, **facts).value)


def _with_prob(mix: Mix, target: float, **facts: Any) -> Mix:
    """Return the policy at the probability with the exposure ``target``: exposure is proportional to the probability.

    Raises:
        ValueError: the exposure is lower even at probability 1.
    """
    most = 1 / max(policy.apply.prob for policy in _possible(mix))
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
    """Return the policy at the smaller of the two sizes with the exposure ``target``.

    Raises:
        ValueError: no size has this exposure.
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
    frac = _rounded(brentq(excess, 0.0, highest, xtol=1e-6, rtol=1e-5))
    if abs(excess(frac)) > TOLERANCE * target:
        raise ValueError(f"exposure jumps past the target {target:.4g} at size.frac {frac:g}: match by prob")
    return _resized(mix, frac)


def _resized(mix: Mix, frac: float) -> Mix:
    return mix.model_copy(update={"size": FixedSize(frac=float(frac))})


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
