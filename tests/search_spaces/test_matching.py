"""Arms of equal dose: what is solved for has the exposure, and what cannot have it is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search_spaces.check import check_study
from search_spaces.discover import load_study
from search_spaces.match_checks import check_reachable
from search_spaces.study import Study
from trainables.errors import UserError
from trainables.mixing.dose import measure_exposure
from trainables.strict import parse

ROOT = Path(__file__).parents[2]

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
    check_study(study)
    return study


def exposures(study: Study) -> dict[str, float]:
    """Each arm's exposure, measured with other random numbers than those it was solved with."""
    mixes = {arm: study.trial_config(arm, study.draw(arm, 0), replicate=0).mix for arm in study.arms}
    return {arm: measure_exposure(mix, height_px=32, width_px=32, seed=99).value for arm, mix in mixes.items()}


@pytest.mark.parametrize("match", ["exposure", {"target": 0.08}, {"arms": ["clip", "torus", "mixup"]}])
def test_matched_arms_have_equal_exposure(match: Any) -> None:
    study = study_of(match=match)
    measured = exposures(study)
    target = study.match_target()
    matched = [arm for arm in study.arms if study.is_matched(arm)]
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
    assert study_of(match="exposure").match_target() == pytest.approx(lowest, rel=0.02)


def test_drawn_parameters_are_honoured() -> None:
    space = {"mix.size.alpha": {"kind": "choice", "values": [0.2, 4.0]}}
    study = study_of(
        arms={"torus": {"mix": "cutmix_torus", "space": space}}, match={"target": 0.05}, search="grid",
        budget={"max_epochs": 1},
    )  # fmt: skip
    mixes = [
        study.trial_config("torus", params, replicate=0).mix
        for params in (study.grid_point("torus", index) for index in range(study.n_grid_points("torus")))
    ]
    assert mixes[0].apply.prob > 1.3 * mixes[1].apply.prob  # little is mixed at alpha 0.2
    for mix in mixes:
        assert measure_exposure(mix, height_px=32, width_px=32, seed=99).value == pytest.approx(0.05, rel=0.02)


def test_a_fixed_size_can_be_solved_for() -> None:
    fixed = {"size": {"kind": "fixed"}}
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
        ({"match": {"by": "size", "target": 0.1, "arms": ["timm"]}}, "two policies alternate in arm 'timm'"),
        ({"match": {"arms": ["clip"]}}, "only arm 'clip' has an exposure to match"),
        (
            {"match": {"target": 0.1}, "arms": {"a": {"mix": {"preset": "cutmix", "apply": {"prob": 0.3}}}}},
            "match.target decides on 'mix.apply.prob', but it is given for arm 'a'",
        ),
        (
            {"match": {"target": 0.1}, "arms": {"a": {"mix": "cutmix"}}, "base": {"mix": {"apply": {"prob": 0.3}}}},
            "'mix.apply.prob'",
        ),
        (
            {
                "match": {"target": 0.1, "by": "size"},
                "arms": {"a": {"mix": {"preset": "cutmix_fixed_size", "size": {"frac": 0.3}}}},
            },
            "match.target decides on 'mix.size.frac', but it is given for arm 'a'",
        ),
        (
            {
                "match": {"target": 0.1, "by": "size"},
                "arms": {"a": {"mix": {"preset": "cutmix_fixed_size", "label": {"exponent": 0.0}}}},
            },
            "labels of arm 'a' do not follow it",
        ),
        (
            {"match": "exposure", "arms": {"a": {"mix": "cutmix"}, "b": {"mix": "snapmix"}}},
            "the exposure of arm 'b' depends on the network in training",
        ),
        ({"match": {"target": 0.6}}, "'match.target': input should be less than or equal to 0.5"),
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
        check_reachable(study)


def test_a_draw_out_of_reach_is_found_before_anything_starts() -> None:
    """Each of two parameters alone leaves it within reach, both together do not."""
    arms = {
        "fixed": {
            "mix": {"preset": "cutmix_torus", "size": {"kind": "fixed"}},
            "space": {
                "mix.size.frac": {"kind": "choice", "values": [0.3, 0.04]},
                "mix.label.exponent": {"kind": "choice", "values": [0.5, 1.0]},
            },
        }
    }
    study = study_of(arms=arms, match={"target": 0.15}, search="grid", budget={"max_epochs": 1})
    for config in study.extremes("fixed"):  # a corner at a time is well
        assert config.mix.size.model_dump()["frac"] == 0.3 or config.mix.label.exponent == 0.5
    with pytest.raises(UserError, match=r"arm 'fixed': match: exposure is 0\.04\d* at probability 1"):
        check_reachable(study)


def test_a_policy_that_is_never_chosen_does_not_count() -> None:
    arms = {
        "only": {"mix": {"preset": "cutmix_torus", "alternate": {"prob": 0.0, "mix": {"preset": "mixup"}}}},
        "torus": {"mix": "cutmix_torus"},
    }
    study = study_of(arms=arms, match="exposure")
    for arm, value in exposures(study_of(arms=arms, match={"target": 0.2})).items():
        assert value == pytest.approx(0.2, rel=0.02), arm
    assert study.match_target() == pytest.approx(0.125, rel=0.02)


def test_one_hot_labels_are_left_alone() -> None:
    """Their exposure is what even splits leave of it: a target nobody means."""
    study = study_of(arms=ARMS | {"one_hot": {"mix": "cutmix_one_hot"}}, match="exposure")
    assert not study.is_matched("one_hot")
    assert study.match_target() > 0.1
    assert study.trial_config("one_hot", {}, replicate=0) == study.declared_config("one_hot", {}, replicate=0)


@pytest.mark.parametrize("schedule", [{"ramp_up_end": 1.0}, {"ramp_down_start": 0.5, "ramp_down_end": 0.5}])
def test_a_schedule_is_made_up_for_by_the_probability(schedule: dict[str, float]) -> None:
    arms = {"always": {"mix": "cutmix_torus"}, "now": {"mix": {"preset": "mixup", "apply": {"schedule": schedule}}}}
    study = study_of(arms=arms, match={"target": 0.1})
    mixes = {arm: study.trial_config(arm, {}, replicate=0).mix for arm in arms}
    assert mixes["now"].apply.prob == pytest.approx(2 * mixes["always"].apply.prob, rel=0.01)
    for value in exposures(study).values():
        assert value == pytest.approx(0.1, rel=0.02)


def test_nothing_is_measured_to_list_studies() -> None:
    code = (
        "import sys\nfrom search_spaces.discover import load_study\nload_study('mask_shape')\n"
        "print(sorted({'torch', 'ray', 'scipy', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_built_in_study_of_shapes_is_matched() -> None:
    study = load_study("mask_shape")
    left_alone = [arm for arm in study.arms if not study.is_matched(arm)]
    assert left_alone == ["off", "cutout"]
    check_reachable(study)
