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

    def test_may_have_a_name_that_its_file_has_not(self, tmp_path: Path) -> None:
        assert load_study(write(tmp_path, "name: other\n" + SMALL, "My-Study.yaml")).name == "other"

    @pytest.mark.parametrize(
        ("file", "proposed"),
        [("my-study", "my_study"), ("Mine", "mine"), ("a b", "a_b"), ("2nd", "study_2nd"), ("größe", "groe")],
    )
    def test_whose_name_is_no_study_name(self, tmp_path: Path, file: str, proposed: str) -> None:
        message = refusal(write(tmp_path, name=f"{file}.yaml"))
        assert f"{file}.yaml' gives no name, and the name of its file is not one" in message
        assert f"rename the file to {proposed}.yaml, or write into it name: {proposed}" in message

    @pytest.mark.parametrize("name", ["My-Study", "1st", "a" * 65, "a/b", "a[b]"])
    def test_a_name_that_is_not_valid(self, tmp_path: Path, name: str) -> None:
        message = refusal(write(tmp_path, f"name: '{name}'\n{SMALL}"))
        assert "'name': a name has small letters, digits and '_', a letter first, and at most 64" in message

    def test_a_number_as_name(self, tmp_path: Path) -> None:
        assert refusal(write(tmp_path, "name: 3\n" + SMALL)).startswith("study '3': 'name': input should be a valid s")

    def test_not_there(self, tmp_path: Path) -> None:
        assert "no study file" in refusal(str(tmp_path / "none.yaml"))

    def test_a_folder(self, tmp_path: Path) -> None:
        assert "is a folder: give the path of the .yaml file" in refusal(str(tmp_path))

    def test_a_path_that_is_too_long(self) -> None:
        message = refusal(f"{'x' * 5000}.yaml")
        assert "File name too long" in message
        assert len(message) < 300

    def test_unknown_name(self) -> None:
        assert "did you mean 'quickstart'?" in refusal("quikstart")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("arms: [", "cannot read study"),
            ("a: 1\n b: 2", "cannot read study"),
            ("- a\n- b", "is a list: it must be a mapping"),
            ("", "is empty: it must be a mapping"),
            ("# a comment", "is empty: it must be a mapping"),
            ("just words", "is a single value: it must be a mapping"),
            (SMALL + "---\n" + SMALL, "but found another document"),
            (SMALL.replace("trials: 2", "trials: 010"), "'010' is not a plain decimal number"),
            ("x" * 5_000_000, "it has more than 1,000,000 characters"),
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

    @pytest.mark.parametrize("content", [b"a: \xff\xfe", SMALL.encode("utf-16"), b"\x89PNG\r\n\x1a\n" + bytes(9)])
    def test_not_utf8(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "small.yaml").write_bytes(content)
        assert "it is not text in UTF-8" in refusal(str(tmp_path / "small.yaml"))

    def test_with_a_byte_order_mark(self, tmp_path: Path) -> None:
        (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8-sig")
        assert load_study(tmp_path / "small.yaml").question == "Does it matter?"

    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ("program: train.py\nmethod: bayes\nparameters: {lr: {min: 0.1, max: 1}}", "a sweep of Weights & Biases"),
            ("quick: {run: PPO, stop: {training_iteration: 3}, config: {lr: 0.1}}", "experiments of Ray"),
            ("param_space: {lr: 0.1}\ntune_config: {num_samples: 3}", "arguments of ray.tune.Tuner"),
            ("direction: minimize\nsampler: tpe\nn_trials: 20", "arguments of Optuna"),
            ("apiVersion: kubeflow.org/v1beta1\nkind: Experiment", "Katib"),
            ('{"schema_version": 2, "study": {"name": "a"}}', "the manifest of a sweep"),
            ("model: {name: tiny}\noptimizer: {lr: 0.1}", "belongs under 'base'"),
        ],
    )
    def test_of_another_program(self, tmp_path: Path, text: str, kind: str) -> None:
        message = refusal(write(tmp_path, text))
        assert "is not a study: it" in message
        assert kind in message


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
        changed = load_study(study, settings=["budget.trials=20", "space[optimizer.lr].hi=0.25"])
        assert (changed.budget.trials, changed.space["optimizer.lr"].corners()) == (20, [0.03, 0.25])

    def test_a_study_takes_no_scale(self) -> None:
        """Its own exceptions from the scale are gone: only the file has them."""
        with pytest.raises(UserError, match="study 'position' is loaded already: give the scale 'smoke'"):
            load_study(load_study("position"), scale="smoke")


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

    @pytest.mark.parametrize(
        "setting",
        [
            "",
            "seed",
            "=3",
            ".=3",
            "[]=3",
            "space[a.b=3",
            "space]a[=3",
            "a[b]]=3",
            "budget..trials=1",
            ".seed=1",
            "seed.=1",
            "budget. trials=1",
            "space[a]b=3",
        ],
    )
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

    def test_drop_an_arm_or_a_parameter(self) -> None:
        settings = ["arms.cutout=null", "space[optimizer.lr]=null", "base.optimizer.lr=0.1", "confirm=null"]
        study = load_study("quickstart", settings=settings)
        assert (list(study.arms), study.space) == (["off", "mixup", "cutmix"], {})
        assert refusal("quickstart", "arms.cutot=null").startswith(
            "--set arms.cutot: 'arms.cutot' is null, but there is nothing to drop; did you mean 'cutout'?"
        )

    @pytest.mark.parametrize("path", ["arms", "budget", "arms.off", "space[optimizer.lr]"])
    def test_that_cannot_change_anything(self, path: str) -> None:
        assert f"--set {path}: an empty mapping changes nothing" in refusal("quickstart", f"{path}={{}}")

    def test_may_repeat_a_value(self, small: str) -> None:
        """A loop over seeds begins with the default."""
        assert load_study(small, settings=["seed=0", "budget={trials: 2}"]).seed == 0

    def test_a_long_value_is_cut(self, small: str) -> None:
        for setting in (f"{'x' * 999}=1", f"seed={'x' * 999}", f"budget.trials=[{'1,' * 999}"):
            assert len(refusal(small, setting)) < 600

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

    def test_that_is_too_long(self, small: str) -> None:
        message = refusal(small, f"base.data.source=imagefolder:{'x' * 5000}")
        assert message.startswith("--data or data.source: 'imagefolder:xxx")
        assert message.endswith("File name too long")
        assert len(message) < 200

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
