"""Studies by name and by path, YAML without traps, values set on top."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from search_spaces.discover import built_in_studies, load_study, parse_setting
from search_spaces.study import Study
from trainables.errors import UserError

SMALL = """
question: Does it matter?
arms:
  off: {mix: off}
  cutmix: {mix: cutmix}
budget: {trials: 2, max_epochs: 3, early_stopping: {rule: none}}
"""


def write(folder: Path, text: str = SMALL, name: str = "small.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.fixture
def small(tmp_path: Path) -> str:
    return write(tmp_path)


def refusal(study: str, *settings: str) -> str:
    with pytest.raises(UserError) as caught:
        load_study(study, settings=settings)
    return str(caught.value)


class TestBuiltIn:
    def test_there_are_some(self) -> None:
        assert {"quickstart", "alpha_prob"} <= set(built_in_studies())

    @pytest.mark.parametrize("name", built_in_studies())
    def test_loads_and_draws_every_arm(self, name: str) -> None:
        study = load_study(name)
        assert study.name == name
        assert study.question
        assert study.why_open
        for arm in study.arms:
            for number in range(min(4, study.trials_per_arm)):
                params = study.draw(arm, number)
                config = study.trial_config(arm, params, replicate=study.replicate(arm, number))
                assert config.optimizer.max_epochs == study.max_epochs_of(params)
                assert set(params) == set(study.space_of(arm))

    @pytest.mark.parametrize("name", built_in_studies())
    def test_holds_for_other_searches(self, name: str) -> None:
        """What is shown first must not break on ``--set search=tpe``; a grid says no number of trials."""
        study = load_study(name)
        settings = ["search=tpe", f"budget.trials={study.trials_per_arm}"]
        if "optimizer.max_epochs" in study.space:
            assert "search 'tpe' would spend more epochs" in refusal(name, *settings)
        else:
            assert load_study(name, settings=settings).search == "tpe"

    def test_drawn_values_reach_the_configuration(self) -> None:
        study = load_study("alpha_prob")
        params = study.draw("cutmix", 0)
        mix = study.trial_config("cutmix", params, replicate=0).mix
        assert mix.apply.prob == params["mix.apply.prob"]
        assert mix.size.model_dump()["alpha"] == params["mix.size.alpha"]
        assert mix.position.kind == params["mix.position.kind"]


class TestFile:
    def test_by_path(self, small: str) -> None:
        study = load_study(small)
        assert (study.name, list(study.arms)) == ("small", ["off", "cutmix"])

    def test_by_relative_path(self, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(Path(small).parent)
        assert load_study("small.yaml") == load_study("./small.yaml") == load_study(small)

    def test_may_name_itself(self, tmp_path: Path) -> None:
        assert load_study(write(tmp_path, "name: small\n" + SMALL)).name == "small"

    def test_must_not_bear_another_name(self, tmp_path: Path) -> None:
        message = refusal(write(tmp_path, "name: other\n" + SMALL))
        assert "name is 'other'" in message
        assert "'small'" in message

    def test_not_there(self, tmp_path: Path) -> None:
        assert "no study file" in refusal(str(tmp_path / "none.yaml"))

    def test_a_folder(self, tmp_path: Path) -> None:
        assert "no study file" in refusal(str(tmp_path))

    def test_unknown_name(self) -> None:
        assert "did you mean 'quickstart'?" in refusal("quikstart")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("arms: [", "cannot read study"),
            ("a: 1\n b: 2", "cannot read study"),
            ("- a\n- b", "must be a mapping"),
            ("", "must be a mapping"),
            ("just words", "must be a mapping"),
            (SMALL + "!!python/object:os.system {}", "cannot read study"),
            (SMALL + "budget: {trials: 3, max_epochs: 3}\n", "key 'budget' is given twice"),
            (SMALL.replace("off: {mix: off}", "off: {mix: off, mix: cutmix}"), "key 'mix' is given twice"),
            (SMALL.replace("cutmix: {mix", "off: {mix"), "key 'off' is given twice"),
        ],
    )
    def test_unreadable(self, tmp_path: Path, text: str, words: str) -> None:
        message = refusal(write(tmp_path, text))
        assert words in message
        assert "\n" not in message
        assert "small.yaml" in message

    def test_not_utf8(self, tmp_path: Path) -> None:
        (tmp_path / "small.yaml").write_bytes(b"question: \xff\xfe")
        assert "cannot read study" in refusal(str(tmp_path / "small.yaml"))


class TestValues:
    """A study from Python: values as in a file, or a study."""

    VALUES = {
        "question": "Does it matter?",
        "arms": {"off": {"mix": "off"}, "here": {"mix": "cutmix", "base": {"data": {"source": "cifar10:here"}}}},
        "base": {"model": {"name": "tiny"}},
        "budget": {"trials": 2, "max_epochs": 3},
    }

    def test_mean_what_a_file_means(self, tmp_path: Path) -> None:
        path = tmp_path / "small.yaml"
        path.write_text(json.dumps(self.VALUES), encoding="utf-8")
        assert load_study({"name": "small", **self.VALUES}) == load_study(str(path)) == load_study(path)

    def test_have_a_name_of_their_own_or_the_usual_one(self) -> None:
        assert load_study({"name": "mine", **self.VALUES}).name == "mine"
        assert load_study(self.VALUES).name == "my_study"

    def test_stay_as_they_are(self) -> None:
        before = copy.deepcopy(self.VALUES)
        load_study(self.VALUES, scale="smoke", settings=["arms.off.base.data.source=cifar10:there"])
        assert before == self.VALUES

    def test_take_a_scale_and_settings(self) -> None:
        study = load_study(self.VALUES, scale="smoke", settings=["budget.trials=7"])
        assert (study.budget.trials, study.budget.max_epochs) == (7, 2)

    def test_are_checked(self) -> None:
        with pytest.raises(UserError, match=r"^study 'my_study': unknown key 'budgets'; did you mean 'budget'"):
            load_study({**self.VALUES, "budgets": {}})

    @pytest.mark.parametrize("name", built_in_studies())
    def test_a_study_passes_through(self, name: str) -> None:
        study = load_study(name)
        assert load_study(study) == study

    def test_settings_apply_to_a_study(self) -> None:
        study = load_study("quickstart")
        changed = load_study(study, settings=["budget.trials=3", "space[optimizer.lr].hi=0.25"])
        assert (changed.budget.trials, changed.space["optimizer.lr"].corners()) == (3, [0.03, 0.25])

    def test_a_study_takes_no_scale(self) -> None:
        """Its own exceptions from the scale are gone: only the file has them."""
        with pytest.raises(UserError, match="study 'position' is loaded already: give the scale 'smoke'"):
            load_study(load_study("position"), scale="smoke")


class TestYaml:
    def read(self, text: str) -> Any:
        return parse_setting(f"x={text}")["x"]

    @pytest.mark.parametrize(
        ("text", "value"),
        [("1e-4", 1e-4), ("1E5", 1e5), ("-2e3", -2e3), ("+.5e1", 5.0), ("1.e2", 100.0), ("5.0e-4", 5e-4)],
    )
    def test_numbers_with_an_exponent_are_numbers(self, text: str, value: float) -> None:
        assert self.read(text) == value
        assert isinstance(self.read(text), float)

    @pytest.mark.parametrize("text", ["off", "on", "yes", "no", "Off", "NO"])
    def test_words_for_truth_values_are_words(self, text: str) -> None:
        assert self.read(text) == text

    @pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("null", None), ("", None)])
    def test_truth_and_nothing(self, text: str, value: object) -> None:
        assert self.read(text) is value

    @pytest.mark.parametrize("text", ["1e", "e5", "1e5x", "v1e5"])
    def test_words_that_look_like_numbers_stay_words(self, text: str) -> None:
        assert self.read(text) == text

    def test_an_arm_may_be_called_off(self, small: str) -> None:
        assert list(load_study(small).arms)[0] == "off"  # noqa: RUF015

    def test_equal_keys_in_different_mappings_are_no_repetition(self) -> None:
        assert self.read("{a: {b: 1}, b: 1}") == {"a": {"b": 1}, "b": 1}


class TestSettings:
    @pytest.mark.parametrize(
        ("setting", "values"),
        [
            ("seed=3", {"seed": 3}),
            ("budget.trials=8", {"budget": {"trials": 8}}),
            ("base.optimizer.lr=1e-2", {"base": {"optimizer": {"lr": 0.01}}}),
            ("arms.off.mix=off", {"arms": {"off": {"mix": "off"}}}),
            ("budget={trials: 2, max_epochs: 3}", {"budget": {"trials": 2, "max_epochs": 3}}),
            ("space[mix.size.alpha].hi=2", {"space": {"mix.size.alpha": {"hi": 2}}}),
            ("arms.off.space[a.b].lo=0.5", {"arms": {"off": {"space": {"a.b": {"lo": 0.5}}}}}),
            ("question=a=b", {"question": "a=b"}),
            ("question='1'", {"question": "1"}),
            ("base.data.flip=null", {"base": {"data": {"flip": None}}}),
        ],
    )
    def test_a_path_and_a_value(self, setting: str, values: dict[str, Any]) -> None:
        assert parse_setting(setting) == values

    @pytest.mark.parametrize("setting", ["", "seed", "=3", ".=3", "[]=3", "space[a.b=3", "space]a[=3", "a[b]]=3"])
    def test_no_path_and_value(self, setting: str) -> None:
        with pytest.raises(UserError, match="path=value") as caught:
            parse_setting(setting)
        assert f"'{setting}'" in str(caught.value)

    @pytest.mark.parametrize("text", ["[1", "{a: 1, a: 2}", "'x", "a: b: c"])
    def test_an_unreadable_value(self, text: str) -> None:
        with pytest.raises(UserError, match="cannot read the value") as caught:
            parse_setting(f"base.data={text}")
        assert "base.data" in str(caught.value)

    def test_lie_over_the_file_the_last_on_top(self, small: str) -> None:
        study = load_study(small, settings=["budget.trials=5", "seed=1", "seed=2"])
        assert (study.budget.trials, study.budget.max_epochs, study.seed) == (5, 3, 2)

    def test_reach_into_a_domain(self) -> None:
        study = load_study("quickstart", settings=["space[optimizer.lr].hi=0.25"])
        assert study.space["optimizer.lr"].corners() == [0.03, 0.25]

    def test_add_an_arm(self, small: str) -> None:
        study = load_study(small, settings=["arms.erased={mix: random_erasing}"])
        assert list(study.arms) == ["off", "cutmix", "erased"]

    def test_are_checked_as_the_file_is(self, small: str) -> None:
        assert "did you mean 'trials'?" in refusal(small, "budget.trails=3")


class TestDataPath:
    """A sweep is taken up again from any folder, and its trials run in others."""

    def source(self, study: Study, arm: str = "off") -> str:
        return study.trial_config(arm, {}, replicate=0).data.source

    def test_becomes_absolute(self, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        study = load_study(small, settings=["base.data.source=imagefolder:photos/mine"])
        assert self.source(study) == f"imagefolder:{tmp_path}{os.sep}photos{os.sep}mine"

    def test_of_an_arm_too(self, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        study = load_study(small, settings=["arms.off.base.data.source=cifar10:here", "base.model.name=tiny"])
        assert self.source(study) == f"cifar10:{tmp_path}{os.sep}here"
        assert self.source(study, "cutmix") == "digits"

    def test_home_is_spelled_out(self, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/somewhere")
        study = load_study(small, settings=["base.data.source=tiny-imagenet:~/tiny"])
        assert self.source(study) == "tiny-imagenet:/somewhere/tiny"

    def test_names_without_a_path_stay(self, small: str) -> None:
        assert self.source(load_study(small, settings=["base.data.source=cifar100"])) == "cifar100"


class TestRenamedKeys:
    MESSAGE = "'mix.share' was renamed to 'mix.granularity'"

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("cutmix: {mix: cutmix}", "cutmix: {mix: {preset: cutmix, share: batch}}"),
            ("cutmix: {mix: cutmix}", "cutmix: {base: {mix: {preset: cutmix, share: batch}}}"),
            ("cutmix: {mix: cutmix}", "cutmix: {mix: cutmix, space: {mix.share: {kind: fixed, value: batch}}}"),
        ],
    )
    def test_in_an_arm(self, tmp_path: Path, old: str, new: str) -> None:
        assert refusal(write(tmp_path, SMALL.replace(old, new))) == f"study 'small', arm 'cutmix': {self.MESSAGE}"

    def test_set_on_top(self, small: str) -> None:
        assert refusal(small, "base.mix.share=batch") == f"study 'small', base: {self.MESSAGE}"
        assert self.MESSAGE in refusal(small, "space[mix.share]={kind: choice, values: [sample, batch]}")

    def test_of_a_schedule(self, small: str) -> None:
        message = refusal(small, "arms.cutmix.mix={preset: cutmix, apply: {schedule: {off0: 0.9}}}")
        assert "'mix.apply.schedule.off0' was renamed to 'mix.apply.schedule.ramp_down_start'" in message
