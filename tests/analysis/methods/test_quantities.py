"""What is measured on test images, and which command adds what is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.data import arms, frames
from analysis.methods import quantities as confirmed
from tests.analysis.simulated_grids import GRIDS
from tests.analysis.simulated_studies import SimulatedTrial, record

NAMES = ["test_error", "worst_class", "localization", "max_box"]


@pytest.fixture(scope="module")
def folder(simulate: Callable[..., Path]) -> Path:
    return simulate(**GRIDS["position"](True))


@pytest.fixture(scope="module")
def unconfirmed(simulate: Callable[..., Path]) -> Path:
    return simulate(**GRIDS["position"](False))


def test_every_axis_and_headline_metric_exists() -> None:
    from trainables.evaluation.axes import AXES

    for name, quantity in confirmed.QUANTITIES.items():
        if name != confirmed.TEST_ERROR:
            known = AXES[quantity.axis].headline
            assert quantity.metric in {metric for _, metric in known}
            assert quantity.setting is None or (quantity.setting, quantity.metric) in known


def test_values_are_those_of_each_arms_best_configuration(folder: Path) -> None:
    values = confirmed.values_of(NAMES, folder)
    assert list(values["arm"].cat.categories) == ["off", "cutout", "mixup", "cutmix", "spill", "inside", "torus"]
    errors = values.query("quantity == 'test_error'")
    expected = arms.arm_values(folder)
    assert sorted(errors["value"]) == pytest.approx(sorted(expected["error"]))
    assert set(values["quantity"]) == {"test_error", "worst_class", "localization"}


def test_a_quantity_that_was_measured_again_counts_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = frames.load(folder, phase="confirm")
    later = sweep.evaluations.query("metric == 'top1_loc_error'").assign(value=0.9, time_s=5.0)
    again = frames.Sweep(
        sweep.manifest, sweep.trials, sweep.epochs, sweep.decisions, pd.concat([later, sweep.evaluations])
    )
    monkeypatch.setattr(frames, "load", lambda *_, **__: again)
    assert set(confirmed.trials_with(["localization"], folder)["localization"]) == {0.9}


def test_differences_are_paired_by_seed(folder: Path) -> None:
    values = confirmed.values_of(NAMES, folder)
    found = confirmed.differences(values, baseline="cutmix", margin=0.005).set_index(["quantity", "arm"])
    wide = values.query("quantity == 'worst_class'").pivot(index="replicate", columns="arm", values="value")
    row = found.loc[("worst_class", "torus")]
    assert row["p"] == pytest.approx(stats.ttest_rel(wide["torus"], wide["cutmix"]).pvalue)
    assert found.loc["test_error", "margin"].eq(0.005).all()
    assert found.loc["worst_class", "margin"].isna().all()
    table = confirmed.readable(found.reset_index())
    assert table.loc[table["quantity"] == "test error of the worst class (points)", "estimate"].min() == pytest.approx(
        100 * found.loc["worst_class", "estimate"].min()
    )


def test_means_are_a_table_to_read(folder: Path) -> None:
    values = confirmed.values_of(NAMES, folder)
    table = confirmed.means(values)
    assert table.columns[0] == "test top-1 error (%)"
    own = values.query("quantity == 'localization' and arm == 'off'")["value"]
    assert table.loc["off", "top-1 localization error (%)"].startswith(f"{100 * own.mean():.2f} (")
    assert confirmed.means(values.iloc[:0]).empty


def test_the_verdict_says_what_is_decided_and_what_is_missing(folder: Path) -> None:
    found = confirmed.differences(confirmed.values_of(NAMES, folder), baseline="cutmix")
    said = confirmed.verdict(found, NAMES, sweep_dir=folder)
    assert said[0].startswith(
        "The configuration found for torus has a lower test top-1 error than the configuration found for cutmix ("
    )
    assert said[1] == "Undecided in test top-1 error, against cutmix: off, cutout, mixup, spill, inside (n = 5 seeds)."
    assert "How much of this is the luck of one search is not known" in said[-2]
    assert f"`cutmix-sweep evaluate {folder} --axes localization`" in said[-1]
    assert "MaxBoxAccV2" in said[-1]


def test_nothing_confirmed_is_said_with_its_command(unconfirmed: Path) -> None:
    values = confirmed.values_of(NAMES, unconfirmed)
    assert values.empty
    found = confirmed.differences(values, baseline="cutmix")
    (said,) = confirmed.verdict(found, NAMES, sweep_dir=unconfirmed)
    assert f"`cutmix-sweep confirm {unconfirmed} --seeds 10`" in said


@pytest.mark.parametrize(("confirm", "seeds"), [({"searches": 3, "seeds": 2}, 2), ({"searches": 1, "seeds": 12}, 12)])
def test_the_command_confirms_no_fewer_seeds_than_the_study(
    confirm: dict[str, int], seeds: int, tmp_path: Path
) -> None:
    space = {"mix.size.alpha": {"kind": "uniform", "lo": 0.1, "hi": 2.0}}
    trials = [SimulatedTrial("off", number, [0.3]) for number in range(3)]
    folder = record(tmp_path, "s", ["off", "cutmix"], trials, n_trials=3, space=space, confirm=confirm)
    found = confirmed.differences(confirmed.values_of(["test_error"], folder), baseline="off")
    (said,) = confirmed.verdict(found, ["test_error"], sweep_dir=folder)
    assert f"`cutmix-sweep confirm {folder} --seeds {seeds}`" in said


def test_values_of_a_parameter_are_compared_where_several_are_confirmed(folder: Path) -> None:
    path = "mix.label.lam"
    tested = confirmed.trials_with(NAMES, folder)
    given = {"path": path, "baseline": "realised", "sweep_dir": folder}
    said = confirmed.level_verdict(tested, NAMES, **given)
    assert "`cutmix-sweep confirm" in said[0]
    assert "--configs 10" in said[0]
    rng = np.random.default_rng(0)
    noise = pd.Series(rng.normal(0, 0.001, len(tested)), tested.index)
    other = tested.assign(**{f"params.{path}": "nominal"}, test_error=tested["test_error"] + 0.1 + noise)
    realised = tested.assign(**{f"params.{path}": "realised"})
    said = confirmed.level_verdict(pd.concat([realised, other]), ["test_error"], **given)
    assert said[0].startswith("policy cutmix: lam nominal has a higher test top-1 error than lam realised")
    assert len(said) == 8
    assert said[-1].startswith("Values are those of the configuration that one search found for each arm")
