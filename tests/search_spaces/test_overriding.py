"""A study that extends another: its values over the other's, with a question of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from search_spaces.discover import load_study
from search_spaces.study import Study
from search_spaces.yaml_text import parse_yaml
from trainables.errors import UserError

BASE = """
question: Does it matter?
why_open: The paper does not say.
arms:
  off: {mix: off}
  cutout: {mix: cutout}
  cutmix: {mix: cutmix, space: {mix.size.alpha: {kind: uniform, lo: 0.5, hi: 2.0}}}
reference: off
space: {optimizer.lr: {kind: loguniform, lo: 0.01, hi: 1.0}}
budget: {trials: 4, max_epochs: 6}
scales: {smoke: {budget: {max_epochs: 3}}}
"""


def load(folder: Path, text: str, *settings: str, scale: str | None = None, name: str = "mine.yaml") -> Study:
    (folder / "base.yaml").write_text(BASE, encoding="utf-8")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return load_study(path, scale=scale, settings=settings)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, text)
    return str(caught.value)


def test_takes_over_what_it_does_not_say(tmp_path: Path) -> None:
    study = load(tmp_path, "{extends: base.yaml, question: 'And with more trials?', budget: {trials: 9}}")
    base = load_study(tmp_path / "base.yaml")
    assert (study.name, study.question, study.why_open) == ("mine", "And with more trials?", "")
    assert study.budget.trials == 9
    dumped, expected = study.model_dump(), base.model_dump()
    for key in ("name", "question", "why_open", "budget"):
        del dumped[key], expected[key]
    assert dumped == expected
    assert Study.model_validate(study.model_dump(mode="json")) == study  # as in the manifest


def test_changes_adds_and_drops_arms_and_parameters(tmp_path: Path) -> None:
    study = load(
        tmp_path,
        """
        extends: base.yaml
        question: Fewer arms?
        arms:
          cutout: null
          cutmix: {mix: {label: {exponent: 0.5}}, space: {mix.size.alpha: null}}
          mixup: {mix: mixup}
        space: {optimizer.lr: {hi: 0.5}, data.pad_px: {kind: integers, lo: 0, hi: 4}}
        """,
    )
    assert list(study.arms) == ["off", "cutmix", "mixup"]
    assert study.arms["cutmix"].mix == {"preset": "cutmix", "label": {"exponent": 0.5}}
    assert study.arms["cutmix"].space == {}
    assert {path: domain.corners() for path, domain in study.space.items()} == {
        "optimizer.lr": [0.01, 0.5],
        "data.pad_px": [0, 4],
    }


def test_a_built_in_study_and_a_chain_of_files(tmp_path: Path) -> None:
    (tmp_path / "middle.yaml").write_text("{extends: quickstart, question: 'One?', seed: 7}", encoding="utf-8")
    study = load(tmp_path, "{extends: ../middle.yaml, question: 'Two?'}", name="below/mine.yaml")
    assert (study.question, study.seed, list(study.arms)) == ("Two?", 7, list(load_study("quickstart").arms))


def test_values_may_extend_too() -> None:
    study = load_study({"extends": "quickstart", "question": "Mine?", "arms": {"cutout": None}})
    assert (study.name, list(study.arms)) == ("my_study", ["off", "mixup", "cutmix"])


def test_scales_and_settings_lie_over_both(tmp_path: Path) -> None:
    text = "{extends: base.yaml, question: '?', scales: {smoke: {replicates: 2}}}"
    study = load(tmp_path, text, "budget.trials=5", scale="smoke")
    assert (study.budget.max_epochs, study.budget.trials, study.replicates) == (3, 5, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{extends: base.yaml}", "'question' is missing: a study that extends another one asks its own"),
        ("{extends: none.yaml, question: '?'}", "extends: no study file"),
        ("{extends: quikstart, question: '?'}", "did you mean 'quickstart'?"),
        ("{extends: [a], question: '?'}", "'extends' must be the name or the path of a study, got ['a']"),
        ("{extends: mine.yaml, question: '?'}", "'extends' goes in a circle"),
        ("{extends: other.yaml, question: '?'}", "'extends' goes in a circle"),
        (
            "{extends: base.yaml, question: '?', arms: {cutot: null}}",
            "'arms.cutot' is null, but there is nothing",
        ),
        ("{extends: base.yaml, question: '?', arms: {off: {space: {a.b: null}}}}", "arms.off: 'space.a.b' is null"),
        ("{extends: base.yaml, question: '?', arms: {off: null}}", "reference: there is no arm 'off'"),
    ],
)
def test_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "other.yaml").write_text("{extends: mine.yaml, question: '?'}", encoding="utf-8")
    assert words in refusal(tmp_path, text)


def test_a_null_arm_means_nothing_in_a_study_of_its_own(tmp_path: Path) -> None:
    """An empty entry must not drop an arm in silence."""
    assert "'arms.cutout': input should be a mapping" in refusal(tmp_path, BASE.replace("{mix: cutout}", ""))


def test_the_examples_of_the_readme() -> None:
    readme = Path(__file__).parents[2] / "search_spaces" / "README.md"
    points, extends = re.findall(r"```yaml\n(.*?)```", readme.read_text(encoding="utf-8"), flags=re.DOTALL)
    lr = {"kind": "uniform", "lo": 0.01, "hi": 1.0}
    whole = {"question": "?", "space": {"optimizer.lr": lr}, "budget": {"trials": 4, "max_epochs": 3}}
    study = load_study(whole | parse_yaml(points))
    assert study.known_values("cutmix", 1) == {"mix.size.alpha": 1.0, "mix.apply.prob": 0.5}
    assert list(load_study(parse_yaml(extends)).arms) == ["off", "mixup", "cutmix", "fmix"]
