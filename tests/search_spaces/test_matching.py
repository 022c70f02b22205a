"""Arms of equal dose: what is solved for has the exposure, and what cannot have it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from search_spaces.discover import load_study
from search_spaces.matching import is_matched, match_target, refuse_unreachable
from search_spaces.study import Study
from trainables.errors import UserError
from trainables.mixing.dose import measure_exposure
from trainables.strict import parse

ARMS: dict[str, Any] = {
    "off": {"mix": "off"},
    "cutout": {"mix": "cutout"},
    "mixup": {"mix": "mixup"},
    "clip": {"mix": "cutmix"},
    "torus": {"mix": "cutmix_torus"},
    "ellipse": {"mix": {"preset": "cutmix_torus", "mask": {"family": "ellipse"}}},
    "half": {"mix": {"preset": "cutmix_torus", "label": {"exponent": 0.5}}},
    "timm": {"mix": "timm_elem"},
}


def study_of(**values: Any) -> Study:
    whole = {"name": "mine", "question": "?", "arms": ARMS, "budget": {"trials": 1, "max_epochs": 1}, **values}
    study = parse(Study, whole, where="study 'mine'")
    study.check()
    return study


def exposures(study: Study) -> dict[str, float]:
    """Each arm's exposure, measured with other random numbers than those it was solved with."""
    mixes = {arm: study.trial_config(arm, study.draw(arm, 0), replicate=0).mix for arm in study.arms}
    return {arm: measure_exposure(mix, height_px=32, width_px=32, seed=99).value for arm, mix in mixes.items()}


@pytest.mark.parametrize("match", ["exposure", {"target": 0.08}, {"arms": ["clip", "torus", "mixup"]}])
def test_matched_arms_have_equal_exposure(match: Any) -> None:
    study = study_of(match=match)
    measured = exposures(study)
    target = match_target(study)
    matched = [arm for arm in study.arms if is_matched(study, arm)]
    assert {"clip", "torus", "mixup"} <= set(matched)
    assert "off" not in matched
    assert "cutout" not in matched
    for arm in matched:
        assert measured[arm] == pytest.approx(target, rel=0.02), arm
    if match == {"target": 0.08}:
        assert target == 0.08


def test_without_a_match_arms_keep_their_probability() -> None:
    measured = exposures(study_of())
    assert measured["mixup"] > 1.5 * measured["clip"]


def test_the_target_is_the_lowest_of_the_matched_arms() -> None:
    declared = exposures(study_of())
    lowest = min(value for value in declared.values() if value > 0)
    assert match_target(study_of(match="exposure")) == pytest.approx(lowest, rel=0.02)


def test_drawn_parameters_are_honoured() -> None:
    space = {"mix.size.alpha": {"kind": "choice", "values": [0.2, 4.0]}}
    study = study_of(
        arms={"torus": {"mix": "cutmix_torus", "space": space}}, match={"target": 0.05}, search="grid",
        budget={"max_epochs": 1},
    )  # fmt: skip
    mixes = [study.trial_config("torus", params, replicate=0).mix for params in study.grid_of("torus")]
    assert mixes[0].apply.prob > 1.3 * mixes[1].apply.prob  # little is mixed at alpha 0.2
    for mix in mixes:
        assert measure_exposure(mix, height_px=32, width_px=32, seed=99).value == pytest.approx(0.05, rel=0.02)


def test_a_fixed_size_can_be_solved_for() -> None:
    fixed = {"size": {"kind": "fixed", "frac": 0.5}}
    arms = {name: {"mix": {"preset": name, "apply": {"prob": 1.0}, **fixed}} for name in ("cutmix", "cutmix_torus")}
    study = study_of(arms=arms, match={"by": "size", "target": 0.15})
    mixes = {arm: study.trial_config(arm, {}, replicate=0).mix for arm in study.arms}
    assert mixes["cutmix_torus"].size.model_dump() == {"kind": "fixed", "frac": pytest.approx(0.15, abs=0.003)}
    assert mixes["cutmix"].apply.prob == 1.0
    for value in exposures(study).values():
        assert value == pytest.approx(0.15, rel=0.02)


def test_solved_again_it_is_the_same() -> None:
    first, second = (study_of(match="exposure") for _ in range(2))
    for arm in ARMS:
        assert first.trial_config(arm, {}, replicate=0) == second.trial_config(arm, {}, replicate=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"match": "exposre"}, "'match' is unknown: 'exposre'; did you mean 'exposure'"),
        ({"match": {"arms": ["clp"]}}, "there is no arm 'clp'; did you mean 'clip'"),
        ({"match": {"arms": ["cutout"]}}, "arm 'cutout' mixes no labels"),
        ({"match": "exposure", "arms": {"off": {"mix": "off"}}}, "no arm mixes labels"),
        (
            {"match": {"target": 0.1}, "arms": {"a": {"mix": "cutmix", "space": {"mix.apply.prob": "PROB"}}}},
            "solves for 'mix.apply.prob', but the space of arm 'a' varies it",
        ),
        (
            {"match": "exposure", "arms": {"a": {"mix": "cutmix", "space": {"mix.size.alpha": "PROB"}}}},
            "match.target is missing: the space of arm 'a' varies 'mix.size.alpha'",
        ),
        ({"match": {"by": "size", "target": 0.1, "arms": ["clip"]}}, "arm 'clip' has mix.size.kind 'beta'"),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], message: str) -> None:
    for arm in values.get("arms", {}).values():
        arm["space"] = {path: {"kind": "uniform", "lo": 0.1, "hi": 1.0} for path in arm.get("space", {})}
    with pytest.raises(UserError) as refused:
        study_of(**values)
    assert message in str(refused.value)


def test_a_dose_out_of_reach_names_arm_exposure_and_target() -> None:
    study = study_of(match={"target": 0.26, "arms": ["clip", "torus"]})
    with pytest.raises(UserError, match=r"arm 'torus': match: exposure is 0\.2\d* at probability 1.*target 0\.26"):
        refuse_unreachable(study)


def test_the_built_in_study_of_shapes_is_matched() -> None:
    study = load_study("mask_shape")
    left_alone = [arm for arm in study.arms if not is_matched(study, arm)]
    assert left_alone == ["off", "cutout"]
    refuse_unreachable(study)
