"""Known configurations are tried first; they change no other trial and no budget."""

from __future__ import annotations

from typing import Any

import pytest

from search_spaces.discover import load_study
from search_spaces.study import Study
from trainables.errors import UserError

PAPER = {"mix.size.alpha": 1, "mix.apply.prob": 0.5}
SPACE = {
    "mix.size.alpha": {"kind": "loguniform", "lo": 0.1, "hi": 4.0},
    "mix.apply.prob": {"kind": "uniform", "lo": 0.1, "hi": 1.0},
}
VALUES: dict[str, Any] = {
    "question": "Does the published setting win?",
    "arms": {"clip": {"mix": "cutmix", "space": SPACE}, "torus": {"mix": "cutmix_torus", "space": SPACE}},
    "space": {"optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 1.0}},
    "budget": {"trials": 6, "max_epochs": 3},
}


def study_of(*, arm_points: Any = (), **changes: Any) -> Study:
    arms = VALUES["arms"] | {"clip": VALUES["arms"]["clip"] | {"points": list(arm_points)}}
    return load_study(VALUES | {"arms": arms} | changes)


def refusal(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        study_of(**changes)
    return str(caught.value)


def drawn(study: Study, arm: str) -> list[dict[str, Any]]:
    return [study.draw(arm, number) for number in range(study.trials_per_arm)]


@pytest.mark.parametrize("search", ["random", "quasi_random"])
class TestTrials:
    def test_the_first_ones_take_the_points(self, search: str) -> None:
        study = study_of(search=search, points=[{"optimizer.lr": 0.1}], arm_points=[PAPER])
        before = study_of(search=search)
        assert drawn(study, "clip")[0] == drawn(before, "clip")[0] | {"optimizer.lr": 0.1}
        assert drawn(study, "clip")[1] == drawn(before, "clip")[1] | PAPER
        assert drawn(study, "torus")[0] == drawn(before, "torus")[0] | {"optimizer.lr": 0.1}

    def test_the_others_stay(self, search: str) -> None:
        study = study_of(search=search, points=[{"optimizer.lr": 0.1}], arm_points=[PAPER])
        assert drawn(study, "clip")[2:] == drawn(study_of(search=search), "clip")[2:]
        assert drawn(study, "torus")[1:] == drawn(study_of(search=search), "torus")[1:]
        assert study.trials_per_arm == 6

    def test_points_of_all_arms_are_paired(self, search: str) -> None:
        study = study_of(search=search, points=[{"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}])
        rates = {arm: [params["optimizer.lr"] for params in drawn(study, arm)] for arm in study.arms}
        assert rates["clip"] == rates["torus"]
        assert rates["clip"][:2] == [0.1, 0.2]

    def test_each_point_gets_all_its_replicates(self, search: str) -> None:
        study = study_of(search=search, replicates=2, arm_points=[PAPER])
        params = drawn(study, "clip")
        assert params[0] == params[1]
        assert params[0].items() >= PAPER.items()
        assert params[2] == drawn(study_of(search=search, replicates=2), "clip")[2]


def test_a_value_has_the_type_of_its_domain() -> None:
    alpha = study_of(arm_points=[PAPER]).draw("clip", 0)["mix.size.alpha"]
    assert isinstance(alpha, float)


def test_they_come_back_from_a_manifest() -> None:
    study = study_of(points=[{"optimizer.lr": 0.1}], arm_points=[PAPER])
    assert Study.model_validate(study.model_dump(mode="json")) == study


@pytest.mark.parametrize(
    ("domain", "value", "words"),
    [
        ({"kind": "loguniform", "lo": 0.01, "hi": 1.0}, 2, "must be a number from 0.01 to 1, got 2"),
        ({"kind": "uniform", "lo": 0.01, "hi": 1.0}, "0.1", "must be a number from 0.01 to 1, got '0.1'"),
        ({"kind": "uniform", "lo": 0.01, "hi": 1.0}, True, "must be a number from 0.01 to 1, got True"),
        ({"kind": "choice", "values": [0.1, 0.2]}, 0.3, "must be one of 0.1 | 0.2, got 0.3"),
        ({"kind": "fixed", "value": 0.1}, None, "must be one of 0.1, got None"),
    ],
)
def test_a_value_outside_its_domain(domain: dict[str, Any], value: object, words: str) -> None:
    message = refusal(space={"optimizer.lr": domain}, points=[{"optimizer.lr": value}])
    assert message == f"study 'my_study', arm 'clip': points: point 1: 'optimizer.lr' of arm 'clip' {words}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"points": [{"optimizer.rl": 0.1}]}, "'optimizer.rl' is not in the space of arm 'clip'; did you mean"),
        ({"points": [PAPER, {}]}, "point 2 gives no value"),
        ({"points": [{"optimizer.lr": 0.1}] * 7}, "7 points with 1 replicates need more than the 6 trials"),
        ({"points": [{"optimizer.lr": 0.1}] * 4, "replicates": 2}, "4 points with 2 replicates need more than the 6"),
        ({"points": [{"optimizer": {"lr": 0.1}}]}, "'points.0.optimizer': a point has one value per dotted path"),
        (
            {"arm_points": [{"optimizer.max_epochs": 2}]},
            "'optimizer.max_epochs' may be given in the study's points only",
        ),
    ],
)
def test_refused(changes: dict[str, Any], words: str) -> None:
    if "max_epochs" in words:
        epochs = {"kind": "choice", "values": [2, 3]}
        changes = changes | {"space": {"optimizer.max_epochs": epochs}}
    assert words in refusal(**changes)


def test_a_grid_has_none() -> None:
    lr = {"kind": "choice", "values": [0.1, 0.2]}
    values = VALUES | {"arms": {"off": {"mix": "off"}}, "space": {"optimizer.lr": lr}, "budget": {"max_epochs": 3}}
    with pytest.raises(UserError, match="search 'grid' runs every combination, so points change nothing"):
        load_study(values | {"search": "grid", "points": [{"optimizer.lr": 0.1}]})


def test_a_point_whose_values_do_not_go_together() -> None:
    """Each value is in its domain, and the corners of the domains are valid configurations."""
    space = {
        "mix.size.lo": {"kind": "choice", "values": [0.0, 0.6]},
        "mix.size.hi": {"kind": "choice", "values": [1.0, 0.5]},
    }
    arm, point = {"mix": "cutmix", "space": space}, {"mix.size.lo": 0.6, "mix.size.hi": 0.5}
    load_study(VALUES | {"arms": {"clip": arm}})
    with pytest.raises(UserError, match=r"lo must be <= hi, got 0\.6 > 0\.5"):
        load_study(VALUES | {"arms": {"clip": arm | {"points": [point]}}})
